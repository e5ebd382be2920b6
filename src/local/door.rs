//! The HTTP door: what API Gateway does before and after the handlers.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use aws_lambda_events::encodings::Body as EventBody;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{CONTENT_TYPE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use everhook_ingest::operators;
use everhook_journal::id::fresh;
use serde_json::json;

use super::{Doorbell, Parts, Pressure};

/// How long a caller may take to send a body.
const BODY_TIME: Duration = Duration::from_secs(30);

/// The most that API Gateway takes, whatever the configuration allows.
const BODY_BYTES_MAX: usize = 10 * 1024 * 1024;

struct Door {
    parts: Parts,
    doorbell: Doorbell,
    pressure: Pressure,
}

/// The door in front of these handlers. It rings when a webhook has been recorded.
pub fn router(parts: Parts, doorbell: Doorbell, pressure: Pressure) -> Router {
    Router::new().fallback(answer).with_state(Arc::new(Door { parts, doorbell, pressure }))
}

async fn answer(
    State(door): State<Arc<Door>>,
    ConnectInfo(caller): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let path = request.uri().path();
    let is_status = path.starts_with("/status/");
    let is_sources = operators::is_theirs(path);
    let listed = |path: &str| {
        path == "/workflows" || path == "/executions" || path.starts_with("/executions/")
    };
    let is_list = !is_sources && listed(path);
    let is_webhook = path == "/webhook" || path.starts_with("/webhook/");
    // In AWS these are behind IAM; here behind the machine's own edge. The name is checked too:
    // a page in a browser can point a name of its own at this machine.
    if (is_list || is_sources)
        && !(caller.ip().is_loopback() && names_this_machine(request.headers()))
    {
        return error(
            StatusCode::FORBIDDEN,
            "operators' queries are answered on this machine only",
        );
    }
    // A page can also post to this machine by its own name; a browser then says where the page is from.
    if is_sources && request.headers().contains_key(ORIGIN) {
        return error(StatusCode::FORBIDDEN, "operators' calls are not made by pages");
    }
    let event = match event(request, caller.ip()).await {
        Ok(event) => event,
        Err(refused) => return refused,
    };
    if is_status || is_list {
        return respond(door.parts.status.handle(event).await);
    }
    // Only now that it is here: whoever sends slowly keeps nobody else out.
    let recorded = door.parts.ingest.counts.accepted.load(Ordering::Relaxed);
    let _turn = match is_webhook.then(|| door.pressure.enter(recorded)).transpose() {
        Ok(turn) => turn,
        Err(refused) => return refused.into_response(),
    };
    let response = match is_sources {
        true => Box::pin(operators::handle(&door.parts.ingest, event)).await,
        false => everhook_ingest::handle(&door.parts.ingest, event).await,
    };
    if response.status_code < 300 {
        door.doorbell.ring();
    }
    respond(response)
}

/// The event that API Gateway would make of a request.
async fn event(request: Request, caller: IpAddr) -> Result<ApiGatewayV2httpRequest, Response> {
    let (parts, body) = request.into_parts();
    let read = tokio::time::timeout(BODY_TIME, to_bytes(body, BODY_BYTES_MAX)).await;
    let body = match read {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            let message = "the body is too large, or it broke off";
            return Err(error(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        Err(_) => return Err(error(StatusCode::REQUEST_TIMEOUT, "the body took too long")),
    };
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
    Ok(event)
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

fn names_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
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

fn error(status: StatusCode, error: &str) -> Response {
    let body = json!({ "error": error }).to_string();
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &'static str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static(name));
        names_this_machine(&headers)
    }

    #[test]
    fn only_this_machines_own_names_are_its_names() {
        for name in ["localhost:8080", "LOCALHOST", "127.0.0.1:8080", "[::1]:8080", "127.0.0.1"] {
            assert!(host(name), "{name}");
        }
        for name in ["evil.example:8080", "localhost.evil.example", "", "10.0.0.1:8080"] {
            assert!(!host(name), "{name}");
        }
    }

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
