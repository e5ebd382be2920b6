//! Every preset's verifier, and every preset's handshake: whatever is sent, nothing panics
//! and nothing is believed that nobody has signed.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use bytes::Bytes;
use aws_lambda_events::http::{HeaderMap, HeaderName, HeaderValue};
use everhook_journal::Secrets;
use everhook_ingest::request::Headers;
use everhook_ingest::signature::preset::{self, Way};
use everhook_ingest::signature::{Scheme, Sent};
use everhook_ingest::source::Sources;
use everhook_journal::config::Config;
use everhook_journal::{SourceName, Timestamp};
use libfuzzer_sys::fuzz_target;

/// A source of each preset, with secrets that are nobody's.
static SCHEMES: LazyLock<Vec<Scheme>> = LazyLock::new(|| {
    let folder = PathBuf::from("/nonexistent");
    let secrets = Secrets::pretending(folder.clone());
    let scheme = |name: &str| {
        let text = format!(
            "[sources.s]\nscheme = \"{name}\"\nsecrets = [\"generated:s\"]\n\
             [[workflows.default.steps]]\nname = \"v\"\nrun = \"validate\"\n"
        );
        let config = Config::parse(&text, folder.clone()).ok()?;
        let sources = Sources::from_config(&config, &secrets).ok()?;
        Some(sources.find(&SourceName::new("s")).scheme.clone())
    };
    let signed = preset::all().filter(|preset| !matches!(preset.way, Way::Open(_)));
    signed.filter_map(|preset| scheme(preset.name)).collect()
});

/// A request as text: the scheme, the query, headers, an empty line, the body.
struct Written<'a> {
    scheme: &'a str,
    query: &'a str,
    headers: Vec<&'a str>,
    body: &'a [u8],
}

fn written(data: &[u8]) -> Option<Written<'_>> {
    let end = data.windows(2).position(|two| two == b"\n\n")?;
    let mut lines = std::str::from_utf8(&data[..end]).ok()?.split('\n');
    let (scheme, query) = (lines.next()?, lines.next()?);
    Some(Written { scheme, query, headers: lines.collect(), body: &data[end + 2..] })
}

fuzz_target!(|data: &[u8]| {
    let Some(Written { scheme, query, headers: lines, body }) = written(data) else { return };
    let Some(scheme) = SCHEMES.iter().find(|known| known.name() == scheme) else { return };
    let mut headers = HeaderMap::new();
    for (name, value) in lines.into_iter().filter_map(|line| line.split_once(": ")) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    let headers = Headers::new(headers);
    let sent = Sent {
        method: "POST",
        query,
        headers: &headers,
        body: &Bytes::copy_from_slice(body),
        now: Timestamp::from_millis(1_795_486_845_000),
        certificate: None,
    };
    assert!(scheme.verify(&sent).is_err(), "{} believed a stranger", scheme.name());
    scheme.preset().handshake.before(scheme, &sent);
    // What follows a right signature reads the body of whoever has the secret.
    scheme.preset().handshake.after(scheme, &sent, &scheme.outline(sent.body));
});
