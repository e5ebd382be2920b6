//! `GET /status/{token}` and the operators' queries.

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use aws_lambda_events::encodings::Body;
use aws_lambda_events::http::{HeaderMap, HeaderName, HeaderValue};
use everhook_journal::event::{Event, Recorded};
use everhook_journal::payload::{PayloadError, Payloads};
use everhook_journal::store::Unavailable;
use everhook_journal::table::ReadError;
use everhook_journal::verify::{VerifyError, verify};
use everhook_journal::view::ViewStatus;
use everhook_journal::{
    ExecutionId, Executions, Journal, Sequence, SourceName, Timers, Timestamp, gateway,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::current::current;
use crate::list::{self, BadCursor, Filter, PAGE_DEFAULT, PAGE_MAX};
use crate::shown::{ShownExecution, ShownPage};
use crate::workflows;

/// What it takes to answer queries.
#[derive(Debug)]
pub struct StatusApi {
    /// The histories.
    pub journal: Journal,
    /// The views.
    pub executions: Executions,
    /// The timers, which unfinished executions have.
    pub timers: Timers,
    /// The large payloads.
    pub payloads: Payloads,
    /// The sources that are listed when none is named.
    pub sources: Vec<SourceName>,
}

/// A page of a history.
#[derive(Debug, Serialize, Deserialize)]
pub struct ShownEvents {
    /// The events, in order.
    pub events: Vec<Recorded>,
    /// Where the next page begins, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// What is asked, from the path.
#[derive(Debug, PartialEq)]
enum Question<'p> {
    Status(&'p str),
    List,
    Workflows,
    Execution(&'p str),
    Events(&'p str),
    Verification(&'p str),
    Body(&'p str),
}

/// Why a question has no answer.
enum Fault {
    /// The caller's, or that of what was asked for.
    Caller(i64, String),
    /// Ours.
    Outage(String),
}

impl From<Unavailable> for Fault {
    fn from(error: Unavailable) -> Self {
        Self::Outage(error.to_string())
    }
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(error) => error.into(),
            // Asking again would not help.
            error => Self::Caller(500, error.to_string()),
        }
    }
}

impl From<PayloadError> for Fault {
    fn from(error: PayloadError) -> Self {
        match error {
            PayloadError::Missing | PayloadError::Damaged => Self::Caller(410, error.to_string()),
            PayloadError::Unavailable(_) => Self::Outage(error.to_string()),
        }
    }
}

impl StatusApi {
    /// Answers one event as Lambda hands it over. What cannot be read is refused, and fails nothing.
    pub async fn handle_event(&self, event: Value) -> ApiGatewayV2httpResponse {
        match gateway::read(event) {
            Ok(event) => self.handle(event).await,
            Err(unreadable) => {
                tracing::warn!("refused: {unreadable}");
                error(400, unreadable.to_string())
            }
        }
    }

    /// Answers one query. Who may ask what is decided before this: everybody a status, operators the rest.
    pub async fn handle(&self, event: ApiGatewayV2httpRequest) -> ApiGatewayV2httpResponse {
        let path = event.raw_path.unwrap_or_default();
        let query = event.raw_query_string.unwrap_or_default();
        let Some(question) = question(&path) else {
            return error(404, "there is nothing here; try GET /status/{executionToken}");
        };
        if event.request_context.http.method != "GET" {
            let mut response = error(405, "queries are made with GET");
            response.headers.insert("allow", HeaderValue::from_static("GET"));
            return response;
        }
        let answer = match question {
            Question::Status(token) | Question::Execution(token) => self.execution(token).await,
            Question::List => self.list(&query).await,
            Question::Workflows => self.workflows().await,
            Question::Events(token) => self.events(token, &query).await,
            Question::Verification(token) => self.verification(token).await,
            Question::Body(token) => self.body(token).await,
        };
        answer.unwrap_or_else(|fault| match fault {
            Fault::Caller(status, message) => error(status, message),
            Fault::Outage(message) => {
                tracing::error!("a query could not be answered: {message}");
                let mut response = error(503, "the query could not be answered; ask again");
                response.headers.insert("retry-after", HeaderValue::from_static("5"));
                response
            }
        })
    }

    async fn execution(&self, token: &str) -> Result<ApiGatewayV2httpResponse, Fault> {
        let row = current(&self.journal, &self.executions, &known(token)?).await?;
        let shown = row.and_then(ShownExecution::of).ok_or_else(unknown)?;
        Ok(to_json(&shown))
    }

    async fn list(&self, query: &str) -> Result<ApiGatewayV2httpResponse, Fault> {
        let mut filter = Filter::default();
        let (mut limit, mut cursor) = (PAGE_DEFAULT, None);
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let bad = |wanted: &str| Fault::Caller(400, format!("`{key}` must be {wanted}"));
            let time =
                || Timestamp::parse(&value).ok_or_else(|| bad("a time: 2026-11-24T12:00:00Z"));
            match key.as_ref() {
                "source" => filter.source = Some(SourceName::new(value.as_ref())),
                "status" => {
                    let words =
                        "received, running, waiting, completed, failed, cancelled or stalled";
                    let status = ViewStatus::parse(&value).ok_or_else(|| bad(words))?;
                    filter.status = Some(status);
                }
                "from" => filter.from = Some(time()?),
                "to" => filter.to = Some(time()?),
                "limit" => limit = number(&value).ok_or_else(|| bad("1 to 100"))?.min(PAGE_MAX),
                "cursor" => cursor = Some(value.into_owned()),
                _ => {
                    return Err(unknown_parameter(&key, "source, status, from, to, limit, cursor"));
                }
            }
        }
        let page = list::page(self, &filter, limit, cursor.as_deref()).await?;
        let (rows, cursor) = page.map_err(|bad: BadCursor| Fault::Caller(400, bad.to_string()))?;
        let executions = rows.into_iter().filter_map(ShownExecution::of).collect();
        Ok(to_json(&ShownPage { executions, cursor }))
    }

    async fn workflows(&self) -> Result<ApiGatewayV2httpResponse, Fault> {
        Ok(to_json(&workflows::in_use(self).await?))
    }

    async fn events(&self, token: &str, query: &str) -> Result<ApiGatewayV2httpResponse, Fault> {
        let id = known(token)?;
        let (mut limit, mut after) = (PAGE_MAX, Sequence::START);
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let bad = |wanted: &str| Fault::Caller(400, format!("`{key}` must be {wanted}"));
            match key.as_ref() {
                "limit" => limit = number(&value).ok_or_else(|| bad("1 to 100"))?.min(PAGE_MAX),
                "cursor" => {
                    let wanted = "one that an earlier page gave";
                    after = Sequence::new(value.parse().map_err(|_| bad(wanted))?);
                }
                _ => return Err(unknown_parameter(&key, "limit, cursor")),
            }
        }
        // Histories are short by budget, and a page may begin in the middle of an append.
        let mut events = self.journal.read(&id, Sequence::START).await?;
        if events.is_empty() {
            return Err(unknown());
        }
        events.retain(|recorded| recorded.sequence > after);
        let more = events.len() > limit;
        events.truncate(limit);
        let cursor = events.last().filter(|_| more).map(|last| last.sequence.to_string());
        Ok(to_json(&ShownEvents { events, cursor }))
    }

    async fn verification(&self, token: &str) -> Result<ApiGatewayV2httpResponse, Fault> {
        let (id, payloads) = (known(token)?, Some(&self.payloads));
        let verified = verify(&self.journal, &self.executions, payloads, &id).await;
        let verified = verified.map_err(|error| match error {
            VerifyError::History(error) => Fault::from(error),
            VerifyError::Payloads(error) => Fault::from(error),
        })?;
        Ok(to_json(&verified.ok_or_else(unknown)?))
    }

    async fn body(&self, token: &str) -> Result<ApiGatewayV2httpResponse, Fault> {
        let history = self.journal.read(&known(token)?, Sequence::START).await?;
        let Some(Event::WebhookReceived(webhook)) = history.first().map(|first| &first.event)
        else {
            return Err(unknown());
        };
        let body = self.payloads.open(&webhook.body).await?;
        // Never the sender's type: it would run in an operator's browser.
        let mut response = respond(200, "application/octet-stream", Body::Binary(body.to_vec()));
        response.is_base64_encoded = true;
        Ok(response)
    }
}

fn question(path: &str) -> Option<Question<'_>> {
    let mut parts = path.strip_prefix('/')?.trim_end_matches('/').split('/');
    let question = match (parts.next()?, parts.next(), parts.next()) {
        ("status", Some(token), None) => Question::Status(token),
        ("executions", None, None) => Question::List,
        ("workflows", None, None) => Question::Workflows,
        ("executions", Some(token), None) => Question::Execution(token),
        ("executions", Some(token), Some("events")) => Question::Events(token),
        ("executions", Some(token), Some("verification")) => Question::Verification(token),
        ("executions", Some(token), Some("body")) => Question::Body(token),
        _ => return None,
    };
    parts.next().is_none().then_some(question)
}

fn known(token: &str) -> Result<ExecutionId, Fault> {
    ExecutionId::parse(token).ok_or_else(unknown)
}

fn unknown() -> Fault {
    Fault::Caller(404, "there is no such execution, or it has expired".into())
}

fn unknown_parameter(key: &str, known: &str) -> Fault {
    Fault::Caller(400, format!("there is no parameter `{key}`; known here: {known}"))
}

fn number(text: &str) -> Option<usize> {
    text.parse().ok().filter(|number| *number > 0)
}

fn to_json(value: &impl Serialize) -> ApiGatewayV2httpResponse {
    let text = serde_json::to_string(value).expect("what is shown is JSON");
    respond(200, "application/json", Body::Text(text))
}

fn error(status: i64, error: impl Into<String>) -> ApiGatewayV2httpResponse {
    let text = json!({ "error": error.into() }).to_string();
    respond(status, "application/json", Body::Text(text))
}

fn respond(status: i64, content_type: &'static str, body: Body) -> ApiGatewayV2httpResponse {
    let mut headers = HeaderMap::new();
    let fixed = [
        ("content-type", content_type),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    ];
    for (name, value) in fixed {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let mut response = ApiGatewayV2httpResponse::default();
    response.status_code = status;
    response.headers = headers;
    response.body = Some(body);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_the_question() {
        assert_eq!(question("/status/ABC"), Some(Question::Status("ABC")));
        assert_eq!(question("/executions"), Some(Question::List));
        assert_eq!(question("/workflows"), Some(Question::Workflows));
        assert_eq!(question("/executions/ABC/events"), Some(Question::Events("ABC")));
        let verification = question("/executions/ABC/verification");
        assert_eq!(verification, Some(Question::Verification("ABC")));
        assert_eq!(question("/executions/ABC/body/"), Some(Question::Body("ABC")));
        assert_eq!(question("/status"), None);
        assert_eq!(question("/executions/ABC/other"), None);
        assert_eq!(question("/executions/ABC/events/1"), None);
    }
}
