//! Valid requests, each changed a little in every way we can think of: none of them may be accepted.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use everhook::conformance::Vector;
use everhook_ingest::signature::preset::Way;
use everhook_ingest::signature::{Custom, Recipe};
use everhook_journal::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::vectors::{NOW, own, published};

/// How many changed requests there must be.
const REQUESTS_MIN: usize = 100_000;

/// How many places of one text are changed at most.
const PLACES_MAX: usize = 24;

/// What is changed in one place: single bits, and a few of them together.
const MASKS: [u8; 11] = [1, 2, 4, 8, 16, 32, 64, 3, 5, 0x11, 0x60];

#[test]
fn no_changed_request_is_accepted() {
    let theirs = published().map(|published| published.vectors().collect::<Vec<_>>());
    let ours = own().vectors().map(|vector| (vector, usize::MAX)).collect::<Vec<_>>();
    let theirs = theirs.unwrap_or_default().into_iter().map(|vector| (vector, PLACES_MAX));
    let all: Vec<_> = ours.into_iter().chain(theirs).filter(|(vector, _)| vector.valid).collect();
    let (tried, next) = (AtomicUsize::new(0), AtomicUsize::new(0));

    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((vector, places)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let changed =
                        Changed { original: reduced(vector), places: *places, tried: &tried };
                    changed.assert_all_refused();
                }
            });
        }
    });

    let tried = tried.into_inner();
    assert!(tried >= REQUESTS_MIN, "only {tried} requests");
    println!("{tried} changed requests, none accepted");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_is_sent_is_judged(text in "[ -~\u{e9}]{0,80}", bytes in vec(any::<u8>(), 0..80)) {
        for vector in own().vectors() {
            let Ok(scheme) = vector.scheme() else { continue };
            for at in 0..vector.headers.len() {
                let mut changed = vector.clone();
                changed.headers[at].1.push_str(&text);
                changed.verify(&scheme, NOW).ok();
                changed.headers[at].1.clone_from(&text);
                changed.query.clone_from(&text);
                changed.verify(&scheme, NOW).ok();
            }
            for body in [bytes.clone(), text.clone().into_bytes(), [&vector.body, &*bytes].concat()] {
                Vector { body, ..vector.clone() }.verify(&scheme, NOW).ok();
            }
        }
    }
}

/// A request without anything that its verification can do without: further signatures that fit, or that do not.
fn reduced(vector: &Vector) -> Vector {
    let mut reduced = vector.clone();
    for name in verified_headers(vector) {
        let mut without = reduced.clone();
        without.headers.retain(|(found, _)| !found.eq_ignore_ascii_case(&name));
        if accepts(&without) {
            reduced = without;
        }
    }
    for at in 0..reduced.headers.len() {
        for separator in [' ', ',', ';'] {
            let entries = reduced.headers[at].1.split(separator).count();
            for entry in (0..entries).rev() {
                let mut without = reduced.clone();
                let mut left: Vec<_> = reduced.headers[at].1.split(separator).collect();
                left.remove(entry);
                without.headers[at].1 = left.join(&separator.to_string());
                if !left.is_empty() && accepts(&without) {
                    reduced = without;
                }
            }
        }
    }
    assert!(accepts(&reduced), "{}", vector.id);
    reduced
}

fn accepts(vector: &Vector) -> bool {
    vector.scheme().is_ok_and(|scheme| vector.verify(&scheme, NOW).is_ok())
}

/// One valid request, and how many of its changes were tried.
struct Changed<'a> {
    original: Vector,
    places: usize,
    tried: &'a AtomicUsize,
}

impl Changed<'_> {
    fn assert_all_refused(&self) {
        self.headers();
        self.body();
        self.secrets();
        self.times();
        self.urls();
    }

    #[track_caller]
    fn assert_refused(&self, how: &str, change: impl FnOnce(&mut Vector)) {
        let mut changed = self.original.clone();
        change(&mut changed);
        self.tried.fetch_add(1, Ordering::Relaxed);
        let body = String::from_utf8_lossy(&changed.body);
        let (id, headers) = (&changed.id, &changed.headers);
        assert!(!accepts(&changed), "{id}: {how}: {headers:?} {body}");
    }

    fn headers(&self) {
        let verified = verified_headers(&self.original);
        for (at, (name, value)) in self.original.headers.iter().enumerate() {
            if !verified.iter().any(|verified| verified.eq_ignore_ascii_case(name)) {
                continue;
            }
            self.assert_refused("dropped", |vector| {
                vector.headers.remove(at);
            });
            self.assert_refused("emptied", |vector| vector.headers[at].1.clear());
            self.assert_refused("doubled", |vector| {
                vector.headers.push(self.original.headers[at].clone());
            });
            // In a list without a time of its own the same signature twice is still one signature.
            if !is_list(&self.original) {
                self.assert_refused("joined", |vector| {
                    vector.headers[at].1 = format!("{value},{value}")
                });
            }
            self.assert_refused("truncated", |vector| {
                vector.headers[at].1.pop();
            });
            self.assert_refused("cut", |vector| {
                vector.headers[at].1.remove(0);
            });
            for more in ["0", "A", "=", "."] {
                self.assert_refused("longer", |vector| vector.headers[at].1.push_str(more));
            }
            for (from, to) in TAGS {
                // The generic schemes say that their tag is optional.
                let optional = to.is_empty() && self.original.preset.adjustable;
                if value.contains(from) && !optional {
                    self.assert_refused("another tag", |vector| {
                        vector.headers[at].1 = value.replace(from, to);
                    });
                }
            }
            for (place, mask) in places(value.len(), self.places) {
                let flipped = flipped(value.as_bytes(), place, mask);
                // Another comma makes the tag, which is optional here, an entry of its own.
                let commas = flipped.matches(',').count() > value.matches(',').count();
                if commas && is_list(&self.original) && self.original.preset.adjustable {
                    continue;
                }
                self.assert_refused("a bit of a header", |vector| {
                    vector.headers[at].1 = flipped;
                });
            }
        }
    }

    fn body(&self) {
        let body = &self.original.body;
        for (from, to) in signed_spans(&self.original) {
            for (place, mask) in
                places(to - from, self.places.max(to - from) / 8 + self.places.min(32))
            {
                self.assert_refused("a bit of the body", |vector| {
                    vector.body[from + place] ^= mask;
                });
            }
            if (from, to) == (0, body.len()) && !body.is_empty() {
                self.assert_refused("an empty body", |vector| vector.body.clear());
                self.assert_refused("a shorter body", |vector| {
                    vector.body.pop();
                });
                for more in [b" ", b"\n", b"0", b"&"] {
                    self.assert_refused("a longer body", |vector| vector.body.extend(more));
                }
            }
        }
    }

    fn secrets(&self) {
        for secret in ["", "whsec_", "whpk_", "another-secret", "00"] {
            self.assert_refused("another secret", |vector| vector.secrets = vec![secret.into()]);
        }
        self.assert_refused("no secret", |vector| vector.secrets.clear());
    }

    fn times(&self) {
        let (Some(tolerance), Some(now)) = (self.original.settings.tolerance, self.original.now)
        else {
            return;
        };
        for beyond in [2, 60, 3600, 86_400, 400_000_000] {
            // Some are looked at from the edge of the window, on one side or the other.
            let window = if self.places == usize::MAX { tolerance } else { tolerance * 2 };
            let away = window + Duration::from_secs(beyond);
            self.assert_refused("too old", |vector| vector.now = Some(now + away));
            let before = now.as_millis() - i64::try_from(away.as_millis()).unwrap();
            self.assert_refused("too new", |vector| {
                vector.now = Some(Timestamp::from_millis(before));
            });
        }
    }

    fn urls(&self) {
        if let Way::Recipe(written) = &self.original.preset.way
            && !Recipe::parse(written).unwrap().needs_url()
        {
            return;
        }
        let Some(url) = &self.original.settings.public_url else { return };
        for other in ["", "https://evil.example/", &format!("{url}/")] {
            self.assert_refused("another URL", |vector| {
                vector.settings.public_url = Some(other.to_owned());
            });
        }
        self.assert_refused("no URL", |vector| vector.settings.public_url = None);
        self.assert_refused("another query", |vector| vector.query.push_str("&more=1"));
    }
}

/// Names of algorithms and versions, and others in their place.
const TAGS: [(&str, &str); 16] = [
    ("sha256=", "sha1="),
    ("sha256=", "sha512="),
    ("sha256=", ""),
    ("sha1=", "sha256="),
    ("sha1=", ""),
    ("sha512=", "sha256="),
    ("v1=", "v0="),
    ("v1=", "v2="),
    ("v0=", "v1="),
    ("h1=", "h2="),
    ("v1,", "v1a,"),
    ("v1,", "v2,"),
    ("v1a,", "v1,"),
    ("SHA256withRSA", "SHA1withRSA"),
    ("HmacSHA256", "HmacSHA1"),
    ("eyJhbGciOiJIUzI1NiI", "eyJhbGciOiJub25lIi"),
];

/// Whether a header of this sender's is a list of signatures, divided by commas, and nothing else.
fn is_list(vector: &Vector) -> bool {
    match &vector.preset.way {
        Way::Recipe(written) => {
            let is_list = written.separator == Some(',') || vector.header.is_some();
            is_list && !written.timestamp.starts_with("entry:")
        }
        Way::Custom(..) | Way::Open(_) => false,
    }
}

/// The headers that a sender's verification reads.
fn verified_headers(vector: &Vector) -> Vec<String> {
    let names: Vec<&str> = match &vector.preset.way {
        Way::Recipe(written) => {
            let recipe = Recipe::parse(written).unwrap();
            let header = vector.header.into_iter().map(str::to_owned);
            let names = recipe.verified_headers().into_iter().map(str::to_owned);
            return names.chain(header).collect();
        }
        Way::Open(_) => vec![],
        Way::Custom(custom, _) => match custom {
            Custom::StandardWebhooks => vec![
                "webhook-id",
                "webhook-timestamp",
                "webhook-signature",
                "svix-id",
                "svix-timestamp",
                "svix-signature",
            ],
            Custom::Twilio => vec!["x-twilio-signature"],
            Custom::PayPal => vec![
                "paypal-transmission-id",
                "paypal-transmission-time",
                "paypal-transmission-sig",
                "paypal-auth-algo",
            ],
            Custom::Monday => vec!["authorization"],
            Custom::Sns | Custom::AdyenItem | Custom::Mailgun | Custom::MsGraph => vec![],
        },
    };
    names.into_iter().map(str::to_owned).collect()
}

/// The parts of the body that a signature covers, from and to. Where it covers a few values only, those.
fn signed_spans(vector: &Vector) -> Vec<(usize, usize)> {
    let whole = || vec![(0, vector.body.len())];
    let keys: &[&str] = match &vector.preset.way {
        Way::Recipe(written) if Recipe::parse(written).unwrap().covers_body() => return whole(),
        Way::Recipe(_) | Way::Open(_) => &[],
        Way::Custom(custom, _) => match custom {
            Custom::StandardWebhooks | Custom::Twilio | Custom::PayPal => return whole(),
            Custom::Monday => &[],
            Custom::MsGraph => &["clientState"],
            Custom::Mailgun => &["timestamp", "token", "signature"],
            Custom::AdyenItem => &["hmacSignature", "pspReference", "eventCode", "currency"],
            Custom::Sns => &[
                "Message",
                "MessageId",
                "Subject",
                "SubscribeURL",
                "Timestamp",
                "Token",
                "TopicArn",
                "Type",
                "SignatureVersion",
                "Signature",
            ],
        },
    };
    let body = std::str::from_utf8(&vector.body).unwrap();
    let value = |key: &&str| {
        let name = format!("\"{key}\":");
        let after = body.find(&name)? + name.len();
        let start = after + body[after..].find(|c: char| !c.is_whitespace())?;
        let inner = body[start..].strip_prefix('"')?;
        Some((start + 1, start + 1 + inner.find('"')?))
    };
    keys.iter().filter_map(value).collect()
}

/// Places of a text, not more than so many, and bits of each that leave it text.
fn places(length: usize, most: usize) -> impl Iterator<Item = (usize, u8)> {
    let step = length.div_ceil(most.max(1)).max(1);
    (0..length).step_by(step).flat_map(|place| MASKS.map(|mask| (place, mask)))
}

fn flipped(text: &[u8], place: usize, mask: u8) -> String {
    let mut text = text.to_vec();
    text[place] ^= mask;
    String::from_utf8_lossy(&text).into_owned()
}
