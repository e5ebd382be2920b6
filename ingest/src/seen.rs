//! What a log says of a request that was refused: enough to find its sender, bounded, and nothing secret.

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use aws_lambda_events::http::HeaderMap;

use crate::request::{Headers, Request};

/// How much of a stranger's text a log holds, in characters.
const CHARS_MAX: usize = 120;

/// Where a refused request came from.
#[derive(Debug)]
pub struct Seen {
    /// The caller's address.
    pub address: String,
    /// The path, without its query, which may hold a token.
    pub path: String,
    /// What the caller says of itself.
    pub agent: Option<String>,
}

impl Seen {
    pub(crate) fn of_event(event: &ApiGatewayV2httpRequest) -> Self {
        let http = &event.request_context.http;
        let agent = event.headers.get("user-agent").and_then(|agent| agent.to_str().ok());
        Self::new(http.source_ip.as_deref(), crate::path(event), agent)
    }

    pub(crate) fn of(request: &Request) -> Self {
        let agent = Headers::first(&request.headers, "user-agent");
        Self::new(request.source_ip.as_deref(), &request.path, agent)
    }

    /// Of a request that was refused before anything was read of it. Beside webhooks', paths hold tokens.
    pub fn early(address: &str, path: &str, headers: &HeaderMap) -> Self {
        let agent = headers.get("user-agent").and_then(|agent| agent.to_str().ok());
        let is_webhook = path.starts_with("/webhook");
        let first = path.match_indices('/').nth(1).map_or(path, |(end, _)| &path[..end]);
        Self::new(Some(address), if is_webhook { path } else { first }, agent)
    }

    fn new(address: Option<&str>, path: &str, agent: Option<&str>) -> Self {
        Self {
            address: shown(address.unwrap_or("unknown")),
            path: shown(path),
            agent: agent.map(shown),
        }
    }
}

/// A stranger's text as a log may hold it: no control characters, and no more than fits in a line.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.escape_debug().take(CHARS_MAX).collect();
    if text.escape_debug().nth(CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_text_is_escaped_and_bounded() {
        assert_eq!(shown("/webhook/a"), "/webhook/a");
        assert_eq!(
            shown("a\u{1b}[2J\nb\0\u{202e}\"c\u{85}"),
            "a\\u{1b}[2J\\nb\\0\\u{202e}\\\"c\\u{85}"
        );
        assert_eq!(shown(&"ü".repeat(1_000_000)).chars().count(), CHARS_MAX + 1);
        assert_eq!(shown(&"\n".repeat(CHARS_MAX)).chars().count(), CHARS_MAX + 1);
    }
}
