//! Answers that steps wait for: `POST /callbacks/{token}`.

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use aws_lambda_events::http::Method;
use bytes::Bytes;
use everhook_journal::callback::CallbackToken;
use everhook_journal::event::{CallbackAnswer, Event, StepFailure};
use everhook_journal::execution::Refusal;
use everhook_journal::guard::{self, Guard};
use everhook_journal::{Command, Execution, Payload, Sequence, StepName, json, telemetry};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::answer::Answer;
use crate::fact::FactError;
use crate::receive::Ingest;
use crate::request::{self, Headers};

/// The largest answer.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// The longest word for a kind of failure, and the longest message.
const KIND_CHARS_MAX: usize = 64;
const MESSAGE_CHARS_MAX: usize = 400;

/// What nobody who guesses is told more of.
const UNKNOWN: &str = "there is no such callback";

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Success,
    Failure,
    Heartbeat,
}

/// A failure, as whoever calls back may say it.
#[derive(Debug, Default, Deserialize)]
struct SaidFailure {
    #[serde(default, alias = "ErrorType", alias = "kind", alias = "type")]
    error: Option<String>,
    #[serde(default, alias = "ErrorMessage", alias = "reason")]
    message: Option<String>,
}

/// Whether a path is a callback's.
pub fn is_one(path: &str) -> bool {
    path.starts_with("/callbacks/")
}

/// Answers one call. A 200 means: durably recorded, and the execution goes on.
pub async fn handle(ingest: &Ingest, event: ApiGatewayV2httpRequest) -> Answer {
    let Some((token, asked)) = asked(crate::path(&event)) else {
        return Answer::error(404, UNKNOWN);
    };
    if event.request_context.http.method != Method::POST {
        return Answer::error(405, "a callback is called with POST").with_header("allow", "POST");
    }
    let headers = Headers::new(event.headers);
    let text = event.body.unwrap_or_default();
    let body = match request::body(&headers, text, event.is_base64_encoded, ANSWER_BYTES_MAX) {
        Ok(body) => body,
        Err(rejected @ request::Rejected::TooLarge { .. }) => {
            telemetry::rejected(rejected.kind());
            return Answer::error(413, format!("an answer has at most {ANSWER_BYTES_MAX} bytes"));
        }
        Err(rejected) => {
            telemetry::rejected(rejected.kind());
            return rejected.into();
        }
    };
    let called = match asked {
        Asked::Heartbeat => ingest.beat(&token).await,
        Asked::Success => match to_json(&body) {
            Some(json) => {
                let answer = CallbackAnswer::Succeeded(Payload::of_json(&json));
                ingest.called_back(&token, answer, Some(json)).await
            }
            None => return Answer::error(400, "an answer is JSON or text"),
        },
        Asked::Failure => {
            ingest.called_back(&token, CallbackAnswer::Failed(failure(&body)), None).await
        }
    };
    match called {
        Ok(duplicate) => {
            let message = if duplicate { "already received" } else { "received" };
            Answer::json(&json!({
                "message": message, "duplicate": duplicate, "executionToken": token.execution(),
            }))
        }
        Err(FactError::Absent) => {
            telemetry::rejected("callback");
            Answer::error(404, UNKNOWN)
        }
        Err(FactError::Refused(_)) => {
            telemetry::rejected("callback");
            let message = "this callback was answered before, or it has expired";
            Answer::error(409, message)
        }
        Err(error) => error.into(),
    }
}

impl Ingest {
    /// Records an answer, with the JSON it is made of; says whether the same one was recorded before.
    async fn called_back(
        &self,
        token: &CallbackToken,
        answer: CallbackAnswer,
        json: Option<Box<RawValue>>,
    ) -> Result<bool, FactError> {
        let (id, token_sha256) = (token.execution(), token.sha256());
        let decide = |execution: &Execution| {
            Ok(Command::ReceiveCallback {
                step: waiting(execution, &token_sha256)?,
                token_sha256: token_sha256.clone(),
                answer: answer.clone(),
                now: self.clock.now(),
            })
        };
        let execution = self.execution(&id).await?;
        // Nothing of a stranger is stored: first the token must be one for which a step waits.
        let added = match decide(&execution).and_then(|command| execution.decide(command)) {
            Err(refusal) => Err(refusal.into()),
            Ok(_) => {
                if let (CallbackAnswer::Succeeded(payload), Some(json)) = (&answer, json) {
                    let stored = self.payloads.store_json(payload, json).await;
                    stored.map_err(|error| FactError::Unavailable(error.to_string()))?;
                }
                self.add_to(&id, execution, decide).await
            }
        };
        match added {
            Ok(_) => Ok(false),
            Err(FactError::Refused(refusal)) => match self.said_before(token).await? {
                // The reply to the first call was lost: it counts, and is told again.
                Some(before) if before == answer => {
                    let execution = self.execution(&id).await?;
                    if guard::holds(Guard::RepeatedFactSetsTimer) {
                        self.settle(&id, &execution).await?;
                    }
                    Ok(true)
                }
                _ => Err(refusal.into()),
            },
            Err(error) => Err(error),
        }
    }

    /// Records a sign of life.
    async fn beat(&self, token: &CallbackToken) -> Result<bool, FactError> {
        let (id, token_sha256) = (token.execution(), token.sha256());
        let execution = self.execution(&id).await?;
        let step = waiting(&execution, &token_sha256);
        let step = match step {
            Ok(step) => step,
            Err(refusal) => return self.said_before(token).await.and(Err(refusal.into())),
        };
        let callbacks = execution.callbacks();
        let callback = callbacks.iter().find(|(path, _)| *path == step).map(|(_, found)| found);
        let now = self.clock.now();
        if callback.is_some_and(|it| it.answer.is_some() || now >= it.due()) {
            return Err(Refusal::NotThisCallback { step }.into());
        }
        // One that comes soon after the last, or that nobody waits for, changes nothing worth keeping.
        let Some(every) = callback.and_then(|callback| callback.heartbeat) else { return Ok(true) };
        let fresh = callback.is_some_and(|it| now.since(it.alive_at) < every / 4);
        if fresh {
            return Ok(true);
        }
        let decide = |execution: &Execution| {
            Ok(Command::BeatCallback {
                step: waiting(execution, &token_sha256)?,
                token_sha256: token_sha256.clone(),
                now: self.clock.now(),
            })
        };
        self.add(&id, decide).await.map(|_| false)
    }

    /// What was recorded for this token, if anything was. A token that was never made is none.
    async fn said_before(
        &self,
        token: &CallbackToken,
    ) -> Result<Option<CallbackAnswer>, FactError> {
        let sha256 = token.sha256();
        let history = self.journal.read(&token.execution(), Sequence::START).await;
        let history = history.map_err(|error| FactError::Unavailable(error.to_string()))?;
        let created = history.iter().position(|recorded| {
            matches!(&recorded.event, Event::CallbackCreated { token_sha256, .. } if *token_sha256 == sha256)
        });
        let created = created.ok_or(FactError::Absent)?;
        let step = history[created].event.step();
        Ok(history[created..].iter().find_map(|recorded| match &recorded.event {
            Event::CallbackReceived { step: own, answer } if Some(own) == step => {
                Some(answer.clone())
            }
            _ => None,
        }))
    }
}

/// The step that waits for whoever knows this token.
fn waiting(execution: &Execution, token_sha256: &str) -> Result<StepName, Refusal> {
    // A callback of an execution that was cancelled stands there still, and waits for nobody.
    if execution.status.is_terminal() {
        return Err(Refusal::Ended);
    }
    let callbacks = execution.callbacks();
    let found = callbacks.into_iter().find(|(_, callback)| callback.token_sha256 == token_sha256);
    found.map(|(step, _)| step).ok_or(Refusal::NotThisCallback { step: StepName::new("") })
}

fn asked(path: &str) -> Option<(CallbackToken, Asked)> {
    let rest = path.strip_prefix("/callbacks/")?;
    let (token, what) = rest.split_once('/').map_or((rest, ""), |(token, what)| (token, what));
    let asked = match what {
        "" | "success" => Asked::Success,
        "failure" => Asked::Failure,
        "heartbeat" => Asked::Heartbeat,
        _ => return None,
    };
    Some((CallbackToken::parse(token)?, asked))
}

/// An answer as JSON: as it is, if every reader can read it; else as a text; nothing as null.
/// What is JSON by its grammar and cannot be read all the same is marked as such.
fn to_json(body: &Bytes) -> Option<Box<RawValue>> {
    let text = std::str::from_utf8(body).ok()?;
    if text.trim().is_empty() {
        return RawValue::from_string("null".into()).ok();
    }
    match json::check(text.trim().as_bytes()) {
        Err(why) if !why.is_well_formed() => RawValue::from_string(json!(text).to_string()).ok(),
        Ok(_) | Err(_) => Some(json::kept(text.trim().as_bytes())),
    }
}

/// A failure, in the words of whoever called.
fn failure(body: &Bytes) -> StepFailure {
    let said: SaidFailure = serde_json::from_slice(body).unwrap_or_else(|_| SaidFailure {
        error: None,
        message: std::str::from_utf8(body).ok().map(str::to_owned),
    });
    let cut = |text: String, most: usize| -> String {
        text.chars().filter(|character| !character.is_control()).take(most).collect()
    };
    let kind = said.error.map(|kind| cut(kind, KIND_CHARS_MAX)).filter(|kind| !kind.is_empty());
    let message = said.message.map(|message| cut(message, MESSAGE_CHARS_MAX));
    StepFailure {
        kind: kind.unwrap_or_else(|| "callback_failed".into()),
        message: message.filter(|it| !it.is_empty()).unwrap_or_else(|| "no reason given".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZ";

    #[test]
    fn the_path_says_what_is_asked() {
        let what = |end: &str| asked(&format!("/callbacks/{TOKEN}{end}")).map(|(_, asked)| asked);
        assert_eq!(what(""), Some(Asked::Success));
        assert_eq!(what("/success"), Some(Asked::Success));
        assert_eq!(what("/failure"), Some(Asked::Failure));
        assert_eq!(what("/heartbeat"), Some(Asked::Heartbeat));
        assert_eq!(what("/success/"), None);
        assert_eq!(asked("/callbacks/ABC"), None);
    }

    #[test]
    fn an_answer_is_json_as_it_is_or_a_text() {
        let read =
            |text: &'static str| to_json(&Bytes::from(text)).map(|json| json.get().to_owned());
        assert_eq!(read("{\"n\": 1.10}").as_deref(), Some("{\"n\": 1.10}"));
        assert_eq!(read("yes").as_deref(), Some("\"yes\""));
        assert_eq!(read("").as_deref(), Some("null"));
        assert!(to_json(&Bytes::from_static(b"\xff")).is_none());
    }

    #[test]
    fn a_failure_is_told_in_its_own_words_as_far_as_they_fit() {
        let said = |text: &'static str| {
            let StepFailure { kind, message } = failure(&Bytes::from(text));
            (kind, message)
        };
        let rejected = ("RejectedError".to_owned(), "not approved".to_owned());
        assert_eq!(said(r#"{"error": "RejectedError", "message": "not approved"}"#), rejected);
        let theirs = r#"{"ErrorType": "RejectedError", "ErrorMessage": "not approved"}"#;
        assert_eq!(said(theirs), rejected);
        assert_eq!(said("no").0, "callback_failed");
        assert_eq!(said("").1, "no reason given");
    }
}
