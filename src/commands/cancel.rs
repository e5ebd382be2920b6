//! `everhook cancel`: an operator ends an execution.

use super::client::Client;
use super::{Failure, print};
use crate::cli::Cancel;

pub(super) async fn run(cancel: Cancel) -> Result<(), Failure> {
    let client = Client::new(&cancel.server.server)?;
    let reason = form_urlencoded::Serializer::new(String::new())
        .append_pair("reason", &cancel.reason)
        .finish();
    client.post(&format!("/executions/{}/cancel?{reason}", cancel.token), &[], Vec::new()).await?;
    print(&format!("{} is cancelled", cancel.token));
    Ok(())
}
