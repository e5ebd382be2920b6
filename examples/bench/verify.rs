//! Verifications a second on one core, beside the bare primitive of the same crate on the same bytes.

use std::fmt;
use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use everhook_ingest::request::Headers;
use everhook_ingest::signature::key::{Algorithm, Key};
use everhook_ingest::signature::{Scheme, Sent, preset};
use everhook_journal::Timestamp;
use everhook_journal::secret::Secret;
use serde::Serialize;

use crate::figures::rounded;
use crate::signer::Signer;

/// One scheme of each family with a secret on both sides, and what it computes.
const SCHEMES: [(&str, Algorithm); 5] = [
    ("github", Algorithm::HmacSha256),
    ("slack", Algorithm::HmacSha256),
    ("standard-webhooks", Algorithm::HmacSha256),
    ("hmac-sha1", Algorithm::HmacSha1),
    ("paystack", Algorithm::HmacSha512),
];

/// The sizes of bodies.
const SIZES: [usize; 2] = [1024, 256 * 1024];

/// A secret that every one of these schemes takes.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// When it is.
const NOW: Timestamp = Timestamp::from_millis(1_795_486_845_000);

/// How often the calls take turns: the machine's speed drifts, and all are to drift alike.
const TURNS: u32 = 9;

/// What one scheme does with one size.
#[derive(Debug, Serialize)]
pub(crate) struct Verified {
    scheme: &'static str,
    body_bytes: usize,
    took_us: f64,
    primitive_us: f64,
    per_second: f64,
    /// With what follows a right signature: the one pass through the body.
    with_reading_us: f64,
}

/// Measures all of them for about this long each.
pub(crate) fn measure(time: Duration) -> io::Result<Vec<Verified>> {
    let mut found = Vec::new();
    for (name, algorithm) in SCHEMES {
        for body_bytes in SIZES {
            found.push(shared(name, algorithm, &body(body_bytes), time).map_err(io::Error::other)?);
        }
    }
    for name in ["telnyx", "sendgrid"] {
        for body_bytes in SIZES {
            let signer = Signer::new(name).ok_or_else(|| io::Error::other("no key"))?;
            found.push(public(name, &signer, &body(body_bytes), time).map_err(io::Error::other)?);
        }
    }
    Ok(found)
}

fn body(bytes: usize) -> Vec<u8> {
    format!(r#"{{"type":"bench","text":"{}"}}"#, "x".repeat(bytes - 26)).into_bytes()
}

/// A scheme whose secret both sides know.
fn shared(
    name: &'static str,
    algorithm: Algorithm,
    body: &[u8],
    time: Duration,
) -> Result<Verified, String> {
    let known = preset(name).ok_or_else(|| format!("there is no {name}"))?;
    let secret = Secret::new("env:BENCH", SECRET);
    let scheme = Scheme::new(known, &[secret], Default::default())?;
    let key = Key::of("env:BENCH", algorithm, SECRET.as_bytes()).ok_or("the secret is a key")?;
    let pairs = scheme.sign("bench-1", Some("bench"), body, NOW);
    let primitive = || drop(black_box(key.sign(black_box(&[body]))));
    one(name, &scheme, &pairs, body, primitive, time)
}

/// A scheme by a public key, beside ring's own verification of the same signature.
fn public(
    name: &'static str,
    signer: &Signer,
    body: &[u8],
    time: Duration,
) -> Result<Verified, String> {
    let known = preset(name).ok_or_else(|| format!("there is no {name}"))?;
    let secret = Secret::new("env:BENCH", signer.secret());
    let scheme = Scheme::new(known, &[secret], Default::default())?;
    let text = signer.text(body, NOW);
    let signature = signer.signature(&text).ok_or("it cannot sign")?;
    let pairs = signer.headers(&signature, NOW);
    let primitive = || {
        black_box(signer.verify(black_box(&text), &signature));
    };
    one(name, &scheme, &pairs, body, primitive, time)
}

fn one(
    name: &'static str,
    scheme: &Scheme,
    pairs: &[(String, String)],
    body: &[u8],
    primitive: impl Fn(),
    time: Duration,
) -> Result<Verified, String> {
    let headers = Headers::from_pairs(pairs);
    let body = &bytes::Bytes::copy_from_slice(body);
    let sent =
        Sent { method: "POST", query: "", headers: &headers, body, now: NOW, certificate: None };
    scheme.verify(&sent).map_err(|error| format!("{name}: {error}"))?;

    let verify = || drop(black_box(scheme.verify(black_box(&sent))));
    let read = || drop(black_box(scheme.verify(&sent).map(|found| scheme.read(found, &sent))));
    let (mut ours, mut bare, mut with_reading) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        ours.push(microseconds(verify, time / TURNS / 12));
        bare.push(microseconds(&primitive, time / TURNS / 12));
        with_reading.push(microseconds(read, time / TURNS / 12));
    }
    let (took_us, primitive_us) = (median(ours), median(bare));
    Ok(Verified {
        scheme: name,
        body_bytes: body.len(),
        took_us,
        primitive_us,
        per_second: rounded(1_000_000.0 / took_us),
        with_reading_us: median(with_reading),
    })
}

/// How long one call takes, of as many as fit into this time.
fn microseconds(call: impl Fn(), time: Duration) -> f64 {
    let began = Instant::now();
    let mut calls = 0_u32;
    while began.elapsed() < time {
        (0..16).for_each(|_| call());
        calls += 16;
    }
    began.elapsed().as_secs_f64() * 1_000_000.0 / f64::from(calls)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<18} {:>7} bytes {:>9.2} µs, primitive {:>9.2} µs: {:.2} times, {:+.2} µs; {:.0} a second; with reading {:.2} µs",
            self.scheme,
            self.body_bytes,
            self.took_us,
            self.primitive_us,
            self.took_us / self.primitive_us,
            self.took_us - self.primitive_us,
            self.per_second,
            self.with_reading_us
        )
    }
}
