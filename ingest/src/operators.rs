//! The calls of operators that need a source's secrets, or move an execution. Who may make them is decided before this:
//! IAM in AWS, the server's own door on one machine.

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use everhook_journal::guard::{self, Guard};
use everhook_journal::quarantine::Kept;
use everhook_journal::store::Unavailable;
use everhook_journal::{Command, Execution, ExecutionId, SourceName, StepName, Timestamp, View};
use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::fact::FactError;
use crate::receive::Ingest;

/// How much of an operator's reason is kept.
const REASON_CHARS_MAX: usize = 200;

/// What is kept of a source.
#[derive(Debug, Serialize, Deserialize)]
pub struct ShownQuarantine {
    /// The requests, the oldest first.
    pub requests: Vec<ShownKept>,
}

/// What became of a quarantine that was to be emptied.
#[derive(Debug, Serialize, Deserialize)]
pub struct Cleared {
    /// How many requests were removed.
    pub cleared: usize,
}

/// A kept request, as far as it is shown. What it says is shown to nobody.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownKept {
    /// When it was received.
    pub received_at: Timestamp,
    /// When it is forgotten.
    pub expires_at: Timestamp,
    /// Why it was refused.
    pub reason: String,
    /// How large its body is.
    pub bytes: u64,
}

impl From<Kept> for ShownKept {
    fn from(kept: Kept) -> Self {
        let Kept { received_at, expires_at, reason, bytes, .. } = kept;
        Self { received_at, expires_at, reason, bytes }
    }
}

/// What is asked for, from the path.
#[derive(Debug, PartialEq, Eq)]
enum Asked<'p> {
    List(&'p str),
    Reverify(&'p str),
    Clear(&'p str),
    Cancel(&'p str),
    Redrive(&'p str),
}

/// Whether a path is an operator's.
pub fn is_theirs(path: &str) -> bool {
    path == "/sources" || path.starts_with("/sources/") || asked(path).is_some()
}

/// Answers one call.
pub async fn handle(ingest: &Ingest, event: ApiGatewayV2httpRequest) -> ApiGatewayV2httpResponse {
    let id = event.request_context.request_id.clone().unwrap_or_default();
    let answer = answer(ingest, &event).await.unwrap_or_else(|Unavailable(reason)| {
        tracing::error!(request.id = id, reason, "an operator's call failed: {reason}");
        let message = "the quarantine could not be read; ask again";
        Answer::error(503, message).with_header("retry-after", "5")
    });
    answer.with_header("cache-control", "no-store").into_response(&id)
}

async fn answer(ingest: &Ingest, event: &ApiGatewayV2httpRequest) -> Result<Answer, Unavailable> {
    let (name, method, asked) = match asked(crate::path(event)) {
        Some(asked @ Asked::List(name)) => (name, "GET", asked),
        Some(
            asked @ (Asked::Reverify(name)
            | Asked::Clear(name)
            | Asked::Cancel(name)
            | Asked::Redrive(name)),
        ) => (name, "POST", asked),
        None => {
            let message = "there is nothing here; try GET /sources/{source}/quarantine";
            return Ok(Answer::error(404, message));
        }
    };
    if event.request_context.http.method != method {
        return Ok(
            Answer::error(405, format!("this is asked with {method}")).with_header("allow", method)
        );
    }
    let parameter = |name| parameter(event, name);
    match asked {
        Asked::Cancel(id) => {
            return Ok(match parameter("reason") {
                Ok(reason) => cancel(ingest, id, reason).await,
                Err(answer) => answer,
            });
        }
        Asked::Redrive(id) => {
            return Ok(match parameter("from") {
                Ok(from) => redrive(ingest, id, from).await,
                Err(answer) => answer,
            });
        }
        Asked::List(_) | Asked::Reverify(_) | Asked::Clear(_) => {}
    }
    let name = SourceName::new(name);
    if ingest.sources.known(&name).is_none() {
        return Ok(Answer::error(404, format!("there is no source `{name}`")));
    }
    match asked {
        Asked::List(_) => {
            let kept = ingest.quarantined(&name).await?;
            let requests = kept.into_iter().map(ShownKept::from).collect();
            Ok(json(&ShownQuarantine { requests }))
        }
        Asked::Reverify(_) => {
            let dry_run = match event.raw_query_string.as_deref().unwrap_or_default() {
                "" => false,
                "dryRun=true" => true,
                _ => return Ok(Answer::error(400, "the only parameter here is dryRun=true")),
            };
            let reverified = Box::pin(ingest.reverify(&name, dry_run)).await?;
            Ok(json(&reverified.unwrap_or_default()))
        }
        Asked::Clear(_) => Ok(json(&Cleared { cleared: ingest.clear_quarantine(&name).await? })),
        Asked::Cancel(_) | Asked::Redrive(_) => unreachable!("answered above"),
    }
}

/// Ends an execution, for an operator.
async fn cancel(ingest: &Ingest, id: &str, reason: Option<String>) -> Answer {
    let reason = reason.unwrap_or_else(|| "by an operator".into());
    let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
    let Some(id) = ExecutionId::parse(id) else { return no_token() };
    added(&id, "cancelled", ingest.add(&id, |_| Ok(Command::Cancel(reason.clone()))).await)
}

/// Makes an execution go on that has failed or is stalled, for an operator.
async fn redrive(ingest: &Ingest, id: &str, from: Option<String>) -> Answer {
    let Some(id) = ExecutionId::parse(id) else { return no_token() };
    let from = from.map(StepName::new);
    let mut redriven = ingest.add(&id, |_| Ok(Command::Redrive(from.clone()))).await;
    if let Err(FactError::Refused(_)) = redriven
        && guard::holds(Guard::RepeatedFactSetsTimer)
    {
        match wake_again(ingest, &id).await {
            Ok(None) => {}
            // It has not failed, so nothing is appended: it is tried again from where it is.
            Ok(Some(stalled)) => redriven = Ok(stalled),
            Err(error) => redriven = Err(error),
        }
    }
    added(&id, "redriven", redriven)
}

/// Wakes an execution that was redriven before: the call may have died before it had set the timer, and a repeated one
/// is refused. Returns the execution if it was stalled.
async fn wake_again(ingest: &Ingest, id: &ExecutionId) -> Result<Option<Execution>, FactError> {
    let execution = ingest.execution(id).await?;
    if execution.status.is_terminal() {
        return Ok(None);
    }
    // The timer first: an execution that is not marked any more goes on.
    ingest.settle(id, &execution).await?;
    // Reopening takes the mark away too, and does not say whether there was one.
    let was_stalled = ingest.executions.unstall(id).await?;
    ingest.executions.reopen(&View::of(id, &execution)).await?;
    Ok(was_stalled.then_some(execution))
}

fn no_token() -> Answer {
    Answer::error(404, "an execution's token has 26 letters and digits")
}

fn added(id: &ExecutionId, done: &str, added: Result<Execution, FactError>) -> Answer {
    match added {
        Ok(_) => json(&serde_json::json!({ "executionToken": id, "message": done })),
        Err(error) => error.into(),
    }
}

/// The value of the only parameter that a call has.
fn parameter(event: &ApiGatewayV2httpRequest, name: &str) -> Result<Option<String>, Answer> {
    let query = event.raw_query_string.as_deref().unwrap_or_default();
    let mut value = None;
    for (key, given) in form_urlencoded::parse(query.as_bytes()) {
        if key != name || value.is_some() {
            return Err(Answer::error(400, format!("the only parameter here is {name}")));
        }
        value = Some(given.into_owned());
    }
    Ok(value.filter(|value| !value.is_empty()))
}

fn asked(path: &str) -> Option<Asked<'_>> {
    if let Some(rest) = path.strip_prefix("/executions/") {
        return match rest.split_once('/')? {
            (id, "cancel") => Some(Asked::Cancel(id)),
            (id, "redrive") => Some(Asked::Redrive(id)),
            _ => None,
        };
    }
    let (name, what) = path.strip_prefix("/sources/")?.split_once('/')?;
    match what {
        "quarantine" => Some(Asked::List(name)),
        "quarantine/clear" => Some(Asked::Clear(name)),
        "reverify" => Some(Asked::Reverify(name)),
        _ => None,
    }
}

fn json(value: &impl Serialize) -> Answer {
    Answer::json(&serde_json::to_value(value).expect("what is shown is JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_says_what_is_asked() {
        assert_eq!(asked("/sources/github/quarantine"), Some(Asked::List("github")));
        assert_eq!(asked("/sources/github/quarantine/clear"), Some(Asked::Clear("github")));
        assert_eq!(asked("/sources/github/reverify"), Some(Asked::Reverify("github")));
        for path in
            ["/sources", "/sources/github", "/sources/github/secrets", "/webhook/a/reverify"]
        {
            assert_eq!(asked(path), None, "{path}");
        }
        assert_eq!(asked("/sources/github/reverify/"), None);
    }
}
