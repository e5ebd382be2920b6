//! `everhook reverify`: kept requests are verified as of their receipt, and those that fit are released.

use everhook_ingest::reverify::{Looked, Outcome, Reverified};

use super::client::Client;
use super::{Failure, print, print_json, print_line};
use crate::cli::Reverify;

pub(super) async fn run(reverify: Reverify) -> Result<(), Failure> {
    let client = Client::new(&reverify.server.server)?;
    let query = if reverify.dry_run { "?dryRun=true" } else { "" };
    let path = format!("/sources/{}/reverify{query}", reverify.source);
    let answer = client.post(&path, &[], Vec::new()).await?;
    let reverified: Reverified = serde_json::from_value(answer).map_err(Failure::of)?;
    if reverify.json {
        print_json(&reverified)?;
    } else {
        reverified.requests.iter().for_each(|looked| print_line(&line(looked)));
        print(&summary(&reverified, reverify.dry_run));
    }
    match reverified.failed {
        0 => Ok(()),
        failed => Err(Failure(format!(
            "{failed} could not be looked at or recorded, and are still kept; run it again"
        ))),
    }
}

fn line(looked: &Looked) -> String {
    let outcome = match &looked.outcome {
        Outcome::Released { executions, duplicate } => {
            let tokens: Vec<_> = executions.iter().map(ToString::to_string).collect();
            let known = if *duplicate { ", which was there" } else { "" };
            format!("released as {}{known}", tokens.join(", "))
        }
        Outcome::Releasable => "would be released".to_owned(),
        Outcome::Refused(reason) => format!("still refused: {reason}"),
        Outcome::Failed(reason) => format!("failed: {reason}"),
    };
    let Looked { received_at, reason, bytes, .. } = looked;
    format!("{received_at}  {reason:<39}  {bytes:>6} bytes  {outcome}")
}

fn summary(reverified: &Reverified, dry_run: bool) -> String {
    let released = if dry_run { "would be released" } else { "released" };
    format!("{} {released}, {} still refused", reverified.released, reverified.refused)
}
