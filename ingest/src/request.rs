//! What API Gateway hands over, made exact: the bytes that were sent, and each header once.

use std::collections::BTreeMap;

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use aws_lambda_events::http::{HeaderMap, HeaderName, HeaderValue, Method};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use everhook_journal::{SourceName, Timestamp, credential};

use crate::signature::{Scheme, Sent};

/// How many headers of a webhook are kept.
const HEADERS_MAX: usize = 64;

/// The longest value of a header that is kept, in bytes.
const HEADER_VALUE_MAX: usize = 4 * 1024;

/// The longest path and query that are kept, in bytes.
const PATH_MAX: usize = 2 * 1024;

/// The methods of webhooks and handshakes.
const METHODS: [Method; 4] = [Method::POST, Method::GET, Method::HEAD, Method::OPTIONS];

/// Has the addresses that a request came through, if there were proxies.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Headers of the connection and of proxies; docs/steps.md lists them.
const TRANSPORT: [&str; 18] = [
    "accept-encoding",
    "cdn-loop",
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "te",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "via",
    "x-amzn-trace-id",
    "x-real-ip",
];

/// What others of them begin with.
const TRANSPORT_PREFIXES: [&str; 6] =
    ["cf-", "cloudfront-", "proxy-", "x-amz-cf-", "x-envoy-", "x-forwarded-"];

/// The source of `POST /webhook`.
const DEFAULT_SOURCE: &str = "default";

/// A request that may be a webhook. Nothing in it has been verified.
#[derive(Debug)]
pub struct Request {
    /// Whose webhook it says it is.
    pub source: SourceName,
    /// The method: webhooks are posted, handshakes may use another one.
    pub method: Method,
    /// The path.
    pub path: String,
    /// The query, as sent.
    pub query: String,
    /// The headers.
    pub headers: Headers,
    /// The caller's address.
    pub source_ip: Option<String>,
    /// The gateway's name for the request.
    pub request_id: String,
    /// When it was received, if it has been in quarantine since.
    pub quarantined_at: Option<Timestamp>,
    /// The body, byte for byte.
    pub body: Bytes,
}

/// Why a request cannot be a webhook.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The path is not one of ours.
    #[error("there is nothing here; webhooks go to POST /webhook/{{source}}")]
    NoSuchPath,
    /// The method is not POST, nor one of a handshake.
    #[error("webhooks are sent with POST")]
    NotPost,
    /// The body is too large. It was not cut.
    #[error("the body is larger than {limit} bytes; raise `body_bytes_max` to accept it")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// The body is compressed.
    #[error("send the body without Content-Encoding: signatures cover the bytes as sent")]
    Encoded,
    /// The gateway says the body is base64, and it is not.
    #[error("the body is not the base64 that the gateway says it is")]
    NotBase64,
}

impl Rejected {
    /// What it is counted as.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoSuchPath => "not_found",
            Self::NotPost => "method",
            Self::TooLarge { .. } => "too_large",
            Self::Encoded => "encoded",
            Self::NotBase64 => "malformed",
        }
    }
}

impl Request {
    /// Reads the gateway's event.
    pub fn from_event(
        event: ApiGatewayV2httpRequest,
        body_bytes_max: usize,
    ) -> Result<Self, Rejected> {
        let http = event.request_context.http;
        let path = event.raw_path.or(http.path).unwrap_or_default();
        let source = source(&path).ok_or(Rejected::NoSuchPath)?;
        if !METHODS.contains(&http.method) {
            return Err(Rejected::NotPost);
        }
        let headers = Headers(event.headers);
        let text = event.body.unwrap_or_default();
        let body = decoded(text, event.is_base64_encoded, body_bytes_max)?;
        Ok(Self {
            source,
            method: http.method,
            path: shortened(path),
            query: shortened(event.raw_query_string.unwrap_or_default()),
            headers,
            source_ip: http.source_ip,
            request_id: event.request_context.request_id.unwrap_or_default(),
            quarantined_at: None,
            body,
        })
    }
}

impl Request {
    /// What is verified of it: everything that a signature may cover.
    pub fn sent<'a>(&'a self, now: Timestamp, certificate: Option<&'a [u8]>) -> Sent<'a> {
        Sent {
            method: self.method.as_str(),
            query: &self.query,
            headers: &self.headers,
            body: &self.body,
            now,
            certificate,
        }
    }

    /// The headers worth keeping, of a request that this scheme verified.
    pub(crate) fn kept_headers(&self, scheme: &Scheme) -> BTreeMap<String, String> {
        let mut reads = scheme.reads();
        // Behind a proxy of the operator's own, such as CloudFront, only this header has the sender's address.
        if self.headers.first(FORWARDED_FOR) != self.source_ip.as_deref() {
            reads.push(FORWARDED_FOR);
        }
        self.headers.kept(&scheme.proofs(), &reads)
    }
}

/// The exact bytes of a body, as the gateway hands it over.
pub(crate) fn body(
    headers: &Headers,
    text: String,
    is_base64_encoded: bool,
    bytes_max: usize,
) -> Result<Bytes, Rejected> {
    headers.plain(None)?;
    decoded(text, is_base64_encoded, bytes_max)
}

fn decoded(text: String, is_base64_encoded: bool, bytes_max: usize) -> Result<Bytes, Rejected> {
    let too_large = Rejected::TooLarge { limit: bytes_max };
    let body = if is_base64_encoded {
        if text.len() / 4 * 3 > bytes_max + 3 {
            return Err(too_large);
        }
        BASE64.decode(text).map_err(|_| Rejected::NotBase64)?
    } else {
        text.into_bytes()
    };
    if body.len() > bytes_max { Err(too_large) } else { Ok(body.into()) }
}

/// The source that a path names; `None` for any other path.
fn source(path: &str) -> Option<SourceName> {
    let rest = path.strip_prefix("/webhook")?;
    let name = match rest.trim_end_matches('/') {
        "" => DEFAULT_SOURCE,
        rest => rest.strip_prefix('/')?,
    };
    (!name.contains('/')).then(|| SourceName::new(name))
}

fn shortened(mut text: String) -> String {
    let end = (0..=PATH_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or(0));
    text
}

/// A request's headers. Names are compared without regard to case.
#[derive(Debug, Default)]
pub struct Headers(HeaderMap);

/// A header that verification needs is missing or occurs twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderFault {
    /// It is missing.
    Missing,
    /// It occurs twice, or is not text.
    Ambiguous,
}

impl Headers {
    /// These headers.
    pub fn new(headers: HeaderMap) -> Self {
        Self(headers)
    }

    /// Headers from pairs; what cannot be a header is left out.
    pub fn from_pairs(pairs: &[(String, String)]) -> Self {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            let pair = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()));
            if let (Ok(name), Ok(value)) = pair {
                map.append(name, value);
            }
        }
        Self(map)
    }

    /// Refuses bodies that are said to be encoded, other than as the source's configuration expects.
    pub(crate) fn plain(&self, expected: Option<&str>) -> Result<(), Rejected> {
        let is_plain = |value: &HeaderValue| {
            [Some("identity"), expected]
                .into_iter()
                .flatten()
                .any(|known| value.as_bytes().eq_ignore_ascii_case(known.as_bytes()))
        };
        let values = self.0.get_all("content-encoding");
        if values.iter().all(is_plain) { Ok(()) } else { Err(Rejected::Encoded) }
    }

    /// All of them, byte for byte.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
    }

    /// The value of a header that verification uses: there must be exactly one.
    pub fn only(&self, name: &str) -> Result<&str, HeaderFault> {
        let mut values = self.0.get_all(name).iter();
        let value = values.next().ok_or(HeaderFault::Missing)?;
        if values.next().is_some() {
            return Err(HeaderFault::Ambiguous);
        }
        value.to_str().map_err(|_| HeaderFault::Ambiguous)
    }

    /// The value of a header that names something, whatever bytes it has: each byte is one character,
    /// so that different values stay different. Several are joined by commas, as API Gateway does it.
    pub fn id(&self, name: &str) -> Option<String> {
        let values = self.0.get_all(name).iter();
        let text = |value: &HeaderValue| value.as_bytes().iter().copied().map(char::from).collect();
        let values: Vec<String> = values.map(text).collect();
        let joined = values.join(",");
        (!joined.trim().is_empty()).then_some(joined)
    }

    /// Whether a header is sent, however often.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The value of a header, the first if there are several.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|value| value.to_str().ok())
    }

    /// The headers worth keeping: none that carries a credential or is one of these `proofs`, none that only says
    /// how the request got here unless the scheme `reads` it, and no more than fit.
    pub fn kept(&self, proofs: &[&str], reads: &[&str]) -> BTreeMap<String, String> {
        let has = |names: &[&str], name: &str| names.iter().any(|it| it.eq_ignore_ascii_case(name));
        let is_kept = |name: &str| {
            !credential::is_header(name)
                && !has(proofs, name)
                && (!is_of_transport(name) || has(reads, name))
        };
        let kept = self.0.keys().filter(|name| is_kept(name.as_str())).filter_map(|name| {
            let values = self.0.get_all(name).iter().map(|value| value.to_str().ok());
            let joined = values.collect::<Option<Vec<_>>>()?.join(",");
            (joined.len() <= HEADER_VALUE_MAX).then(|| (name.as_str().to_owned(), joined))
        });
        kept.take(HEADERS_MAX).collect()
    }
}

/// A query without the parameters that carry a credential. The others stay as they were sent.
pub(crate) fn kept_query(query: &str) -> String {
    let is_kept = |parameter: &&str| {
        let mut pairs = form_urlencoded::parse(parameter.as_bytes());
        !pairs.next().is_some_and(|(name, _)| credential::is_parameter(&name))
    };
    query.split('&').filter(is_kept).collect::<Vec<_>>().join("&")
}

/// Whether a header is about the connection, or was added by a proxy: no reader of a history needs it, and each of
/// them is paid for in every event 1. The caller's address is kept beside the headers.
fn is_of_transport(name: &str) -> bool {
    TRANSPORT.contains(&name) || TRANSPORT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &str) -> Option<String> {
        source(path).map(|name| name.to_string())
    }

    #[test]
    fn the_path_names_the_source() {
        assert_eq!(named("/webhook/github").as_deref(), Some("github"));
        assert_eq!(named("/webhook/github/").as_deref(), Some("github"));
        assert_eq!(named("/webhook").as_deref(), Some("default"));
        assert_eq!(named("/webhook/"), Some("default".into()));
        assert_eq!(named("/webhooks"), None);
        assert_eq!(named("/webhook/a/b"), None);
        assert_eq!(named("/"), None);
    }

    #[test]
    fn credentials_are_not_kept() {
        let mut headers = HeaderMap::new();
        for name in [
            "authorization",
            "proxy-authorization",
            "x-gitlab-token",
            "cookie",
            "x-api-key",
            "x-github-event",
            "x-acme",
        ] {
            headers.insert(name, "canary".parse().unwrap());
        }
        let kept = Headers(headers).kept(&["X-Acme"], &[]);
        assert_eq!(kept.into_keys().collect::<Vec<_>>(), ["x-github-event"]);
    }

    #[test]
    fn credentials_of_gateways_and_signed_urls_are_not_kept() {
        for name in [
            "X-Goog-IAP-JWT-Assertion",
            "X-JWT-Assertion",
            "Ocp-Apim-Subscription-Key",
            "Authentication",
            "X-Bearer",
            "X-OAuth",
            "X-OAuth2-Access",
            "X-Pwd",
            "X-User-Pwd",
            "X-Functions-Key",
            "X-Ms-Sas",
            "X-OTP",
            "X-Client-Private-Key",
            "X-Body-HMAC",
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::try_from(name).unwrap(), "canary".parse().unwrap());
            assert!(Headers(headers).kept(&[], &[]).is_empty(), "{name}");
        }
        for name in [
            "x-amz-sns-message-type",
            "x-request-id",
            "idempotency-key",
            "x-sasquatch",
            "x-topic",
            "webhook-id",
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::try_from(name).unwrap(), "kept".parse().unwrap());
            assert_eq!(Headers(headers).kept(&[], &[]).len(), 1, "{name}");
        }
        let signed = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=c&X-Amz-Security-Token=c&x-amz-signature=c&page=1";
        assert_eq!(kept_query(signed), "X-Amz-Algorithm=AWS4-HMAC-SHA256&page=1");
        for name in
            ["sas", "sig", "hmac", "HMAC_SHA256", "oauth_nonce", "bearer", "s-auth", "urlSignature"]
        {
            assert_eq!(kept_query(&format!("a=1&{name}=canary&b=2")), "a=1&b=2", "{name}");
        }
        for name in ["author", "sign", "design", "sasha", "country_code", "sort-key", "signed"] {
            let query = format!("{name}=kept");
            assert_eq!(kept_query(&query), query, "{name}");
        }
    }

    #[test]
    fn headers_of_the_connection_and_of_proxies_are_kept_only_if_the_scheme_reads_them() {
        let mut headers = HeaderMap::new();
        for name in [
            "accept",
            "accept-encoding",
            "cdn-loop",
            "cf-ray",
            "cloudfront-viewer-country",
            "connection",
            "content-length",
            "content-type",
            "expect",
            "forwarded",
            "host",
            "keep-alive",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "true-client-ip",
            "upgrade",
            "user-agent",
            "via",
            "x-amz-cf-id",
            "x-amz-sns-message-id",
            "x-amzn-trace-id",
            "x-envoy-attempt-count",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-github-event",
            "x-real-ip",
            "x-request-id",
        ] {
            headers.insert(name, "a".parse().unwrap());
        }
        let headers = Headers(headers);
        let kept = |reads| headers.kept(&[], reads).into_keys().collect::<Vec<_>>();
        let own = [
            "accept",
            "content-type",
            "user-agent",
            "x-amz-sns-message-id",
            "x-github-event",
            "x-request-id",
        ];
        assert_eq!(kept(&[]), own);
        let with = ["accept", "content-type", "host", "user-agent", "x-amz-sns-message-id"];
        assert_eq!(kept(&["Host", "x-forwarded-host"])[..5], with);
        assert!(headers.kept(&["host"], &["host"]).len() == own.len(), "a proof is never kept");
    }

    #[test]
    fn the_page_lists_the_headers_that_are_not_kept() {
        let page = include_str!("../../docs/steps.md").to_ascii_lowercase();
        for name in TRANSPORT.iter().chain(&TRANSPORT_PREFIXES) {
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn any_value_can_name_something_and_no_two_values_are_one() {
        let ids = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-id", HeaderValue::from_bytes(value).unwrap());
            }
            Headers(headers).id("X-Id")
        };
        assert_eq!(ids(&[b"caf\xe9"]).as_deref(), Some("caf\u{e9}"));
        let all: [&[&[u8]]; 7] = [
            &[b"caf\xe9"],
            &["caf\u{e9}".as_bytes()],
            &[b"caf\xea"],
            &[b"a"],
            &[b"A"],
            &[b"a", b"b"],
            &[b"b", b"a"],
        ];
        let unique: std::collections::BTreeSet<_> = all.iter().map(|values| ids(values)).collect();
        assert_eq!(unique.len(), all.len());
        assert_eq!((ids(&[]), ids(&[b""]), ids(&[b" "])), (None, None, None));
    }

    #[test]
    fn a_kept_query_has_no_credentials_and_is_otherwise_as_sent() {
        for (query, kept) in [
            ("", ""),
            ("a=1&b=%20", "a=1&b=%20"),
            ("token=s&a=1", "a=1"),
            ("a=1&API_KEY=s&b", "a=1&b"),
            ("%74oken=s", ""),
            ("key=s&monkey=1", "monkey=1"),
            ("access_token=s&code=s&sig=s", ""),
        ] {
            assert_eq!(kept_query(query), kept, "{query}");
        }
    }

    #[test]
    fn a_header_that_occurs_twice_is_ambiguous() {
        let mut headers = HeaderMap::new();
        headers.append("webhook-id", "a".parse().unwrap());
        headers.append("webhook-id", "b".parse().unwrap());
        let headers = Headers(headers);
        assert_eq!(headers.only("Webhook-Id"), Err(HeaderFault::Ambiguous));
        assert_eq!(headers.only("other"), Err(HeaderFault::Missing));
    }
}
