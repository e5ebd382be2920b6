//! The HTTP door: what API Gateway does before and after the handlers.

mod connections;
mod local;
mod places;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use aws_lambda_events::encodings::Body as EventBody;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use everhook_ingest::answer::Answer;
use everhook_ingest::seen::Seen;
use everhook_ingest::{callbacks, operators};
use everhook_journal::SourceName;
use everhook_journal::id::fresh;
use futures_util::StreamExt;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{Doorbell, Parts, Pressure};
pub use connections::Limits;
use local::is_local;
use places::{Place, Places};

/// The most that API Gateway takes, whatever the configuration allows.
const BODY_BYTES_MAX: usize = 10 * 1024 * 1024;

struct Door {
    parts: Parts,
    doorbell: Doorbell,
    limits: Limits,
    pressure: Pressure,
    places: Places,
}

/// The connections of a door, for whoever keeps accounts. A clone counts the same.
#[derive(Debug, Clone)]
pub struct Connections(Places);

impl Connections {
    /// None yet, and never more than these limits allow.
    pub fn new(limits: &Limits) -> Self {
        Self(Places::new(limits.connections_max))
    }

    /// How many are open, and how many of them one address holds at most.
    pub fn count(&self) -> (usize, usize) {
        self.0.count()
    }
}

/// Why a body was not read.
enum Unread {
    TooLarge,
    BrokenOff,
}

/// Answers callers with these handlers until `stopped` turns true. It rings when a webhook has been recorded.
pub async fn serve(
    listener: TcpListener,
    parts: Parts,
    doorbell: Doorbell,
    pressure: Pressure,
    limits: Limits,
    connections: Connections,
    stopped: watch::Receiver<bool>,
) {
    let places = connections.0;
    let door = Door { parts, doorbell, limits, pressure, places };
    connections::serve(listener, Arc::new(door), stopped).await;
}

async fn answer(door: &Door, caller: SocketAddr, request: Request, place: &Place) -> Response {
    // An address of IPv4 comes in another form where both are listened to.
    let caller = caller.ip().to_canonical();
    let path = request.uri().path();
    let refused = |status, why: &str| refuse(caller, path, request.headers(), status, why);
    if !is_for_one_host(&request) {
        return refused(StatusCode::BAD_REQUEST, "a request names the host that it is for, once");
    }
    let is_status = path.starts_with("/status/");
    let is_sources = operators::is_theirs(path);
    let listed = |path: &str| {
        path == "/workflows" || path == "/executions" || path.starts_with("/executions/")
    };
    let is_list = !is_sources && listed(path);
    let is_webhook = path == "/webhook" || path.starts_with("/webhook/");
    let source = SourceName::new(path.strip_prefix("/webhook/").unwrap_or("default"));
    // In AWS these are behind IAM; here behind the machine's own edge.
    if (is_list || is_sources)
        && let Err(why) = is_local(caller, &request)
    {
        let message = format!("operators' calls are answered on this machine only: {why}");
        return refused(StatusCode::FORBIDDEN, &message);
    }
    // A page can also post to this machine by its own name; a browser then says where the page is from.
    if is_sources && request.headers().contains_key(ORIGIN) {
        return refused(StatusCode::FORBIDDEN, "operators' calls are not made by pages");
    }
    let event = match event(door, request, caller).await {
        Ok(event) => event,
        Err(refused) => return refused,
    };
    place.answers();
    if is_status || is_list {
        return respond(door.parts.status.handle(event).await);
    }
    let ingest = &door.parts.ingest;
    // A place is taken only by a webhook that is here and verified: strangers keep none from others.
    let admit = || {
        let waiting = door.parts.supervisor.driver().turns.waiting(source.as_str());
        let entered = is_webhook.then(|| door.pressure.enter(source.as_str(), waiting));
        entered.transpose().map_err(Answer::from)
    };
    let response = match is_sources {
        true => Box::pin(operators::handle(ingest, event)).await,
        false => everhook_ingest::handle_if(ingest, event, admit).await,
    };
    if response.status_code < 300 {
        door.doorbell.ring();
    }
    respond(response)
}

/// The event that API Gateway would make of a request.
async fn event(
    door: &Door,
    request: Request,
    caller: IpAddr,
) -> Result<ApiGatewayV2httpRequest, Response> {
    let (parts, body) = request.into_parts();
    let bytes_max =
        door.parts.ingest.body_bytes_max.clamp(callbacks::ANSWER_BYTES_MAX, BODY_BYTES_MAX);
    let read = tokio::time::timeout(door.limits.body_time, read(&parts.headers, body, bytes_max));
    let too_large = || format!("the body is larger than {bytes_max} bytes");
    let (status, why) = match read.await {
        Ok(Ok(body)) => return Ok(made(parts, body, caller)),
        Ok(Err(Unread::TooLarge)) => (StatusCode::PAYLOAD_TOO_LARGE, too_large()),
        Ok(Err(Unread::BrokenOff)) => (StatusCode::BAD_REQUEST, "the body broke off".to_owned()),
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the body took too long".to_owned()),
    };
    Err(refuse(caller, parts.uri.path(), &parts.headers, status, &why))
}

/// The event of a request that is here.
fn made(parts: axum::http::request::Parts, body: Bytes, caller: IpAddr) -> ApiGatewayV2httpRequest {
    let (text, is_base64_encoded) = encoded(body);
    let mut event = ApiGatewayV2httpRequest::default();
    event.version = Some("2.0".into());
    event.route_key = Some("$default".into());
    event.raw_path = Some(parts.uri.path().to_owned());
    event.raw_query_string = Some(parts.uri.query().unwrap_or_default().to_owned());
    event.headers = joined(&parts.headers);
    event.body = (!text.is_empty()).then_some(text);
    event.is_base64_encoded = is_base64_encoded;
    let context = &mut event.request_context;
    context.request_id = Some(fresh());
    context.stage = Some("$default".into());
    context.http.method = parts.method;
    context.http.path = Some(parts.uri.path().to_owned());
    context.http.source_ip = Some(caller.to_string());
    event
}

/// A body, if it is no larger. One that says that it is larger is not read at all.
async fn read(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Bytes, Unread> {
    let said = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if said
        .and_then(|length| length.parse().ok())
        .is_some_and(|length: u64| length > bytes_max as u64)
    {
        return Err(Unread::TooLarge);
    }
    let (mut chunks, mut read) = (body.into_data_stream(), Vec::new());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Unread::BrokenOff)?;
        if read.len() + chunk.len() > bytes_max {
            return Err(Unread::TooLarge);
        }
        read.extend_from_slice(&chunk);
    }
    Ok(read.into())
}

/// A body as API Gateway hands it over: text where it is text, else base64.
fn encoded(body: Bytes) -> (String, bool) {
    match String::from_utf8(Vec::from(body)) {
        Ok(text) => (text, false),
        Err(bytes) => (BASE64.encode(bytes.as_bytes()), true),
    }
}

/// Headers as API Gateway hands them over: several of one name are joined with commas.
fn joined(headers: &HeaderMap) -> HeaderMap {
    let mut joined = HeaderMap::with_capacity(headers.keys_len());
    for name in headers.keys() {
        let values: Vec<_> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(value) = HeaderValue::from_bytes(&values.join(&b',')) {
            joined.insert(name, value);
        }
    }
    joined
}

/// Two readers of two hosts could each take another one for the right one.
fn is_for_one_host(request: &Request) -> bool {
    let hosts = request.headers().get_all(HOST).iter().count();
    hosts == 1 || (hosts == 0 && request.version() < Version::HTTP_11)
}

fn respond(response: ApiGatewayV2httpResponse) -> Response {
    let body = match response.body {
        Some(EventBody::Text(text)) => Body::from(text),
        Some(EventBody::Binary(bytes)) => Body::from(bytes),
        Some(_) | None => Body::empty(),
    };
    let status = u16::try_from(response.status_code).ok();
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    (status.unwrap_or(StatusCode::BAD_GATEWAY), response.headers, body).into_response()
}

/// Answers a request that is refused before a handler sees it, and says in the log whose it was.
fn refuse(
    caller: IpAddr,
    path: &str,
    headers: &HeaderMap,
    status: StatusCode,
    why: &str,
) -> Response {
    let seen = Seen::early(&caller.to_string(), path, headers);
    tracing::info!(
        reason = why,
        status = status.as_u16(),
        address = seen.address,
        path = seen.path,
        agent = seen.agent,
        "rejected: {why}"
    );
    error(status, why)
}

fn error(status: StatusCode, error: &str) -> Response {
    let body = json!({ "error": error }).to_string();
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_header_is_joined_as_the_gateway_does() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_static("2"));
        assert_eq!(joined(&headers)["x-a"], "1,2");
    }

    #[test]
    fn only_what_is_not_text_becomes_base64() {
        assert_eq!(encoded(Bytes::from_static(b"{}")), ("{}".into(), false));
        assert_eq!(encoded(Bytes::from_static(b"\xff")), ("/w==".into(), true));
    }
}
