use bytes::Bytes;
use everhook_journal::Timestamp;

use super::*;
use crate::request::Headers;
use crate::signature::{Algorithm, Key, Settings, preset};
use everhook_journal::secret::Secret;

fn scheme(name: &str) -> Scheme {
    let settings = Settings {
        verify_token: Key::of("env:TEST", Algorithm::Token, b"our token"),
        ..Settings::default()
    };
    let secrets = [Secret::new("env:TEST", "a secret")];
    Scheme::new(preset(name).unwrap(), &secrets, settings).unwrap()
}

fn before(name: &str, method: &str, query: &str) -> Option<Answer> {
    let headers = Headers::default();
    let now = Timestamp::from_millis(0);
    let body = Bytes::new();
    let sent = Sent { method, query, headers: &headers, body: &body, now, certificate: None };
    preset(name).unwrap().handshake.before(&scheme(name), &sent)
}

#[test]
fn metas_challenge_is_sent_back_only_to_who_knows_the_token() {
    let query =
        |token: &str| format!("hub.mode=subscribe&hub.challenge=7&hub.verify_token={token}");
    assert_eq!(before("meta", "GET", &query("our+token")), Some(Answer::text("7".into())));
    assert_eq!(before("meta", "GET", &query("another")), None);
    assert_eq!(before("meta", "GET", &query("")), None);
    assert_eq!(before("meta", "POST", &query("our+token")), None);
    let twice = format!("{}&hub.verify_token=another", query("our+token"));
    assert_eq!(before("meta", "GET", &twice), None);
}

#[test]
fn what_is_sent_back_is_short() {
    let query = |length: usize| format!("challenge={}", "a".repeat(length));
    assert!(before("dropbox", "GET", &query(ECHO_MAX)).is_some());
    assert_eq!(before("dropbox", "GET", &query(ECHO_MAX + 1)), None);
    assert_eq!(before("dropbox", "GET", "challenge="), None);
}

#[test]
fn a_sender_without_a_handshake_gets_no_answer() {
    for method in ["GET", "HEAD", "OPTIONS", "POST"] {
        assert_eq!(before("github", method, "challenge=a"), None, "{method}");
    }
}

#[test]
fn no_stranger_has_a_webhook_signed_by_xs_check() {
    assert!(before("x", "GET", "crc_token=uzwcfYtzr9").is_some());
    for body in ["%7B%22a%22:1%7D", "1", "true", "-1.5", "%22text%22", "a%20b", ""] {
        assert_eq!(before("x", "GET", &format!("crc_token={body}")), None, "{body}");
    }
}
