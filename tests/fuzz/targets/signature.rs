//! Every preset's verifier, and every preset's handshake: whatever is sent, nothing panics
//! and nothing is believed that nobody has signed.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

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

fuzz_target!(|data: (u8, Vec<(String, String)>, String, &[u8])| {
    let (which, pairs, query, body) = data;
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::try_from(name.as_str());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value)) {
            headers.append(name, value);
        }
    }
    let scheme = &SCHEMES[usize::from(which) % SCHEMES.len()];
    let headers = Headers::new(headers);
    let sent = Sent {
        method: "POST",
        query: &query,
        headers: &headers,
        body,
        now: Timestamp::from_millis(1_795_486_845_000),
        certificate: None,
    };
    assert!(scheme.verify(&sent).is_err(), "{} believed a stranger", scheme.name());
    scheme.preset().handshake.before(scheme, &sent);
});
