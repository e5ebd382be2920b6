//! `everhook quarantine`: the requests of a source that were refused and are kept for a while.

use everhook_ingest::operators::{Cleared, ShownKept, ShownQuarantine};

use super::client::Client;
use super::{Failure, print, print_json, print_line};
use crate::cli::Quarantine;

pub(super) async fn run(quarantine: Quarantine) -> Result<(), Failure> {
    let client = Client::new(&quarantine.server.server)?;
    let path = format!("/sources/{}/quarantine", quarantine.source);
    if quarantine.clear {
        let answer = client.post(&format!("{path}/clear"), &[], Vec::new()).await?;
        let Cleared { cleared } = serde_json::from_value(answer).map_err(Failure::of)?;
        match quarantine.json {
            true => print_json(&Cleared { cleared })?,
            false => print(&format!("{cleared} removed")),
        }
        return Ok(());
    }
    let kept: ShownQuarantine = client.get(&path, &[]).await?;
    if quarantine.json {
        return print_json(&kept);
    }
    kept.requests.iter().for_each(|kept| print_line(&line(kept)));
    print(&format!("{} in quarantine", kept.requests.len()));
    Ok(())
}

fn line(kept: &ShownKept) -> String {
    let ShownKept { received_at, expires_at, reason, bytes } = kept;
    format!("{received_at}  {reason:<39}  {bytes:>6} bytes  until {expires_at}")
}
