//! `everhook conformance`: whether the verifier, or a running receiver, judges vectors as it must.

use everhook_journal::Clock;

use super::client::Client;
use super::{Failure, print, print_json};
use crate::cli::Conformance;
use crate::conformance::{Collection, remote};

pub(super) async fn run(conformance: Conformance) -> Result<(), Failure> {
    let file = conformance.file.display();
    let text = std::fs::read_to_string(&conformance.file)
        .map_err(|error| Failure(format!("{file} cannot be read: {error}")))?;
    let collection = Collection::parse(&text)
        .map_err(|error| Failure(format!("{file} cannot be used: {error}")))?;
    let report = match &conformance.url {
        Some(url) => remote::judge(&collection, &Client::new(url)?).await?,
        None => collection.judge(Clock::System.now()),
    };
    if conformance.json {
        print_json(&report.to_json())?;
    } else {
        print(&report.to_string());
    }
    match report.totals() {
        (0, 0) => Err(Failure(format!("{file} has nothing to judge"))),
        (_, 0) => Ok(()),
        (_, failed) => Err(Failure(format!("{failed} failed"))),
    }
}
