//! `everhook status`: where an execution stands.

use std::time::Duration;

use everhook_projector::shown::ShownExecution;

use super::client::Client;
use super::{Failure, print_json};
use crate::cli::Status;

/// How often `--wait` asks.
const ASK_EVERY: Duration = Duration::from_millis(200);

pub(super) async fn run(status: Status) -> Result<(), Failure> {
    let client = Client::new(&status.server.server)?;
    let path = format!("/status/{}", status.token);
    let mut shown: ShownExecution = client.get(&path, &[]).await?;
    while status.wait && !shown.status.is_terminal() {
        tokio::time::sleep(ASK_EVERY).await;
        shown = client.get(&path, &[]).await?;
    }
    print_json(&shown)
}
