//! The requests, and what each is answered.

use std::time::Duration;

use crate::hostile::raw::Manner;

/// A request.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) request: Vec<u8>,
    pub(super) manner: Manner,
    pub(super) wanted: Wanted,
}

/// What comes back before the connection is closed.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    /// These answers, each with a JSON body.
    Json(Vec<u16>),
    /// Perhaps answers as above, and the refusal of the HTTP parser: a status without a body.
    Parser(Vec<u16>, u16),
    /// Nothing.
    Closed,
}

use Wanted::{Closed, Json, Parser};

/// How deep nested JSON is.
const DEPTH: usize = 100_000;

fn case(name: impl Into<String>, request: impl Into<Vec<u8>>, wanted: Wanted) -> Case {
    let (name, request, manner) = (name.into(), request.into(), Manner::default());
    Case { name, request, manner, wanted }
}

/// The same by somebody who goes on for ever with its last bytes, and is hung up on all the same.
fn endless(mut case: Case, again: usize) -> Case {
    case.manner.endless = again;
    case
}

/// A POST to the open source with these header lines and this body.
fn post(headers: &str, body: &str) -> String {
    format!("POST /webhook/open HTTP/1.1\r\nhost: x\r\n{headers}\r\n{body}")
}

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let all = [heads(), smuggled(), lines(), nested(), bodies(), manners()];
    all.into_iter().flatten().collect()
}

/// Headers without end.
fn heads() -> Vec<Case> {
    let long = |bytes: usize| post(&format!("x-a: {}\r\n", "a".repeat(bytes)), "");
    let many = |count: usize| {
        let lines: String = (0..count).map(|n| format!("x-{n}: 1\r\n")).collect();
        post(&lines, "")
    };
    vec![
        case("a header of 8 KiB", long(8 * 1024), Json(vec![202])),
        case("a header of 12 KiB", long(12 * 1024), Parser(vec![], 431)),
        case("a header of 64 KiB", long(64 * 1024), Parser(vec![], 431)),
        case("a header of 1 MiB", long(1024 * 1024), Parser(vec![], 431)),
        case("90 headers", many(90), Json(vec![202])),
        case("200 headers", many(200), Parser(vec![], 431)),
        case("10,000 headers", many(10_000), Parser(vec![], 431)),
        case(
            "a name of 64 KiB",
            post(&format!("{}: 1\r\n", "n".repeat(64 * 1024)), ""),
            Parser(vec![], 431),
        ),
        case(
            "a path of 70,000 bytes",
            format!("POST /{} HTTP/1.1\r\nhost: x\r\n\r\n", "p".repeat(70_000)),
            Parser(vec![], 431),
        ),
        case(
            "a path of 9,000 bytes",
            format!("POST /webhook/{} HTTP/1.1\r\nhost: x\r\n\r\n", "p".repeat(9_000)),
            Json(vec![401]),
        ),
        case(
            "a query of 9,000 bytes",
            format!("POST /webhook/open?{} HTTP/1.1\r\nhost: x\r\n\r\n", "q".repeat(9_000)),
            Json(vec![202]),
        ),
    ]
}

/// Requests that two readers could take for different ones. None may be answered twice.
fn smuggled() -> Vec<Case> {
    let inner = "GET /executions HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let both = format!("content-length: {}\r\ntransfer-encoding: chunked\r\n", inner.len() + 5);
    let chunked = "transfer-encoding: chunked\r\n";
    vec![
        case("length and chunked", post(&both, &format!("0\r\n\r\n{inner}")), Json(vec![202])),
        case(
            "chunked and length",
            post("transfer-encoding: chunked\r\ncontent-length: 5\r\n", "0\r\n\r\n"),
            Json(vec![202]),
        ),
        case(
            "two lengths",
            post("content-length: 0\r\ncontent-length: 4\r\n", "abcd"),
            Parser(vec![], 400),
        ),
        case(
            "two equal lengths",
            post("content-length: 4\r\ncontent-length: 4\r\n", "abcd"),
            Json(vec![202]),
        ),
        case("a list of lengths", post("content-length: 0, 4\r\n", "abcd"), Parser(vec![], 400)),
        case("a length with a sign", post("content-length: +4\r\n", "abcd"), Parser(vec![], 400)),
        case("a hexadecimal length", post("content-length: 0x4\r\n", "abcd"), Parser(vec![], 400)),
        case("a negative length", post("content-length: -4\r\n", "abcd"), Parser(vec![], 400)),
        case("an empty length", post("content-length: \r\n", "abcd"), Parser(vec![], 400)),
        case(
            "a length beyond 64 bits",
            post("content-length: 99999999999999999999\r\n", ""),
            Parser(vec![], 400),
        ),
        case(
            "a length of almost 64 bits",
            post("content-length: 18446744073709551615\r\n", ""),
            Parser(vec![], 431),
        ),
        case("a folded header", post("x-a: 1\r\n 2\r\n", ""), Parser(vec![], 400)),
        case("a folded length", post("content-length:\r\n 4\r\n", "abcd"), Parser(vec![], 400)),
        case("space before the colon", post("content-length : 4\r\n", "abcd"), Parser(vec![], 400)),
        case(
            "a tab before the colon",
            post("transfer-encoding\t: chunked\r\n", "0\r\n\r\n"),
            Parser(vec![], 400),
        ),
        case("space before a name", post(" content-length: 4\r\n", "abcd"), Parser(vec![], 400)),
        case("a header without a colon", post("content-length\r\n", ""), Parser(vec![], 400)),
        case("a nameless header", post(": 4\r\n", ""), Parser(vec![], 400)),
        case(
            "chunked, twice",
            post("transfer-encoding: chunked, chunked\r\n", "0\r\n\r\n"),
            Json(vec![202]),
        ),
        case(
            "chunked, not last",
            post("transfer-encoding: chunked, identity\r\n", "0\r\n\r\n"),
            Parser(vec![], 400),
        ),
        case(
            "not chunked",
            post("transfer-encoding: xchunked\r\n", "0\r\n\r\n"),
            Parser(vec![], 400),
        ),
        case(
            "a chunk with an extension",
            post(chunked, "2;a=\"b\"\r\n{}\r\n0\r\n\r\n"),
            Json(vec![202]),
        ),
        case(
            "a chunk with an endless extension",
            post(chunked, &format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "e".repeat(64 * 1024))),
            Json(vec![400]),
        ),
        case("trailers", post(chunked, "2\r\n{}\r\n0\r\nx-a: 1\r\n\r\n"), Json(vec![202])),
        case(
            "endless trailers",
            post(chunked, &format!("2\r\n{{}}\r\n0\r\nx-a: {}\r\n\r\n", "t".repeat(1024 * 1024))),
            Json(vec![400]),
        ),
        case("a chunk of no size", post(chunked, "\r\n{}\r\n0\r\n\r\n"), Json(vec![400])),
        case("a chunk of garbage", post(chunked, "zz\r\n{}\r\n0\r\n\r\n"), Json(vec![400])),
        case(
            "a chunk size beyond 64 bits",
            post(chunked, "10000000000000002\r\n{}\r\n0\r\n\r\n"),
            Json(vec![400]),
        ),
        case("a chunk with a sign", post(chunked, "+2\r\n{}\r\n0\r\n\r\n"), Json(vec![400])),
        case("a chunk with 0x", post(chunked, "0x2\r\n{}\r\n0\r\n\r\n"), Json(vec![400])),
        case("a chunk longer than said", post(chunked, "1\r\n{}\r\n0\r\n\r\n"), Json(vec![400])),
    ]
}

/// Lines that are not what HTTP/1.1 says.
fn lines() -> Vec<Case> {
    vec![
        case(
            "bare line feeds",
            "POST /webhook/open HTTP/1.1\nhost: x\ncontent-length: 2\n\n{}",
            Json(vec![202]),
        ),
        case("a bare carriage return", post("x-a: 1\rx-b: 2\r\n", ""), Parser(vec![], 400)),
        case("a NUL in a header", post("x-a: a\0b\r\n", ""), Parser(vec![], 400)),
        case("a NUL in a name", post("x-\0a: b\r\n", ""), Parser(vec![], 400)),
        case(
            "a NUL in the path",
            "POST /webhook/o\0pen HTTP/1.1\r\nhost: x\r\n\r\n",
            Parser(vec![], 400),
        ),
        case("a NUL first", "\0\0\0\0", Parser(vec![], 400)),
        case(
            "control characters in a header",
            post("x-a: \x01\x02\x7f\r\n", ""),
            Parser(vec![], 400),
        ),
        case(
            "a space in the path",
            "POST /webhook/o pen HTTP/1.1\r\nhost: x\r\n\r\n",
            Parser(vec![], 400),
        ),
        case(
            "an absolute target",
            "POST http://evil.example/webhook/open HTTP/1.1\r\nhost: x\r\n\r\n",
            Json(vec![202]),
        ),
        case(
            "an absolute target of operators",
            "GET http://localhost/executions HTTP/1.1\r\nhost: evil.example\r\n\r\n",
            Json(vec![403]),
        ),
        case(
            "operators under another target",
            "GET http://evil.example/executions HTTP/1.1\r\nhost: localhost\r\n\r\n",
            Json(vec![403]),
        ),
        case("operators of no host, long ago", "GET /executions HTTP/1.0\r\n\r\n", Json(vec![403])),
        case(
            "an operators' call of another name",
            "GET //localhost/executions HTTP/1.1\r\nhost: evil.example\r\n\r\n",
            Json(vec![404]),
        ),
        case(
            "an authority as target",
            "CONNECT evil.example:443 HTTP/1.1\r\nhost: x\r\n\r\n",
            Json(vec![404]),
        ),
        case("an asterisk as target", "OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", Json(vec![404])),
        case(
            "TRACE",
            "TRACE /webhook/open HTTP/1.1\r\nhost: x\r\ncookie: canary\r\n\r\n",
            Json(vec![405]),
        ),
        case(
            "a method of its own",
            "EXPLODE /webhook/open HTTP/1.1\r\nhost: x\r\n\r\n",
            Json(vec![405]),
        ),
        case(
            "a method of 64 KiB",
            format!("{} / HTTP/1.1\r\n\r\n", "M".repeat(66_000)),
            Parser(vec![], 431),
        ),
        case(
            "a path that climbs",
            "POST /webhook/../executions HTTP/1.1\r\nhost: x\r\n\r\n",
            Json(vec![404]),
        ),
        case(
            "a path that climbs unseen",
            "POST /webhook/%2e%2e%2fexecutions HTTP/1.1\r\nhost: x\r\n\r\n",
            Json(vec![401]),
        ),
        case("no host", "POST /webhook/open HTTP/1.1\r\n\r\n", Json(vec![400])),
        case("operators without a host", "GET /executions HTTP/1.1\r\n\r\n", Json(vec![400])),
        case(
            "operators of two hosts",
            "GET /executions HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n",
            Json(vec![400]),
        ),
        case("HTTP/0.9", "GET /webhook/open\r\n\r\n", Parser(vec![], 400)),
        case(
            "HTTP/1.0",
            "POST /webhook/open HTTP/1.0\r\ncontent-length: 2\r\n\r\n{}",
            Json(vec![202]),
        ),
        case(
            "HTTP/1.0, chunked",
            "POST /webhook/open HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            Parser(vec![], 400),
        ),
        case("HTTP/3.7", "POST /webhook/open HTTP/3.7\r\nhost: x\r\n\r\n", Parser(vec![], 400)),
        case(
            "the preface of HTTP/2",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
            Closed,
        ),
        case("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), Parser(vec![], 400)),
        case("empty lines without end", "\r\n".repeat(50_000), Parser(vec![], 431)),
        case("SMTP", "EHLO evil.example\r\nMAIL FROM:<a@b>\r\n", Parser(vec![], 400)),
    ]
}

/// JSON that is too deep for a reader that calls itself, wherever JSON is read.
fn nested() -> Vec<Case> {
    let mut cases = Vec::new();
    let arrays = format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
    let objects = format!("{}1{}", r#"{"a":"#.repeat(DEPTH), "}".repeat(DEPTH));
    let open = "[".repeat(DEPTH);
    let typed = format!(r#"{{"type":{arrays},"id":{arrays}}}"#);
    for (shape, body) in [
        ("arrays", &arrays),
        ("objects", &objects),
        ("never closed", &open),
        ("in an object", &typed),
    ] {
        for (path, wanted) in [
            ("/webhook/default", 400),
            ("/webhook/open", 202),
            ("/webhook/loose", 400),
            ("/webhook/grid", 401),
            ("/webhook/graph", 401),
            ("/webhook/mail", 401),
            ("/webhook/topic", 401),
            ("/webhook/board", 401),
            ("/webhook/pay", 401),
            ("/webhook/chat", 401),
            ("/callbacks/AAAAAAAAAAAAAAAAAAAAAAAAAA.1.x", 404),
            ("/callbacks/AAAAAAAAAAAAAAAAAAAAAAAAAA.1.x/failure", 404),
            ("/executions/AAAAAAAAAAAAAAAAAAAAAAAAAA/cancel", 404),
            ("/executions/AAAAAAAAAAAAAAAAAAAAAAAAAA/redrive", 404),
            ("/sources/default/reverify", 200),
        ] {
            let length = body.len();
            let request = format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            cases.push(case(format!("{shape}, {path}"), request, Json(vec![wanted])));
        }
    }
    cases
}

/// Bodies that are too large, or not what they seem.
fn bodies() -> Vec<Case> {
    let large = "x".repeat(1024 * 1024 + 1);
    let chunked = "transfer-encoding: chunked\r\n";
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let mut cases = vec![
        case(
            "a byte too much",
            post(&format!("content-length: {}\r\n", large.len()), &large),
            Json(vec![413]),
        ),
        case(
            "as much as fits",
            post(&format!("content-length: {}\r\n", 1024 * 1024), &large[..1024 * 1024]),
            Json(vec![202]),
        ),
        endless(
            case(
                "a petabyte",
                post("content-length: 1125899906842624\r\n", &large),
                Json(vec![413]),
            ),
            large.len(),
        ),
        case(
            "a petabyte, said only",
            post("content-length: 1125899906842624\r\n", ""),
            Json(vec![413]),
        ),
        endless(case("chunks without end", post(chunked, &chunk), Json(vec![413])), chunk.len()),
        case(
            "a chunk that says it has a petabyte",
            post(chunked, "4000000000000\r\n"),
            Json(vec![408]),
        ),
        case("less than said", post("content-length: 100\r\n", "{}"), Json(vec![408])),
        case("a chunk that never ends", post(chunked, "2\r\n{}"), Json(vec![408])),
    ];
    for encoding in ["gzip", "br", "deflate", "zstd", "x-gzip", "gzip, gzip", "identity, gzip"] {
        // Nothing of it is unpacked, so any bytes do.
        let request =
            post(&format!("content-encoding: {encoding}\r\ncontent-length: 4\r\n"), "\x1f\x08ab");
        cases.push(case(format!("packed as {encoding}"), request, Json(vec![415])));
    }
    let twice =
        post("content-encoding: identity\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n", "{}");
    cases.push(case("packed on the second look", twice, Json(vec![415])));
    let mut latin =
        b"POST /webhook/open HTTP/1.1\r\nhost: x\r\ncontent-encoding: gz\xefp\r\n\r\n".to_vec();
    cases.push(case("packed as nobody knows", std::mem::take(&mut latin), Json(vec![415])));
    cases
}

/// Requests that are sent in odd ways.
fn manners() -> Vec<Case> {
    let whole = post("content-length: 2\r\n", "{}");
    let mut half_closed = case("a half-closed connection", whole.clone(), Json(vec![202]));
    half_closed.manner.half_closed = true;
    let mut cut = case("half a head, half-closed", "POST /webhook/open HTT", Closed);
    cut.manner.half_closed = true;
    let mut short =
        case("half a body, half-closed", post("content-length: 9\r\n", "{}"), Json(vec![400]));
    short.manner.half_closed = true;
    let mut slow = case("one byte at a time, but in time", whole.clone(), Json(vec![202]));
    slow.manner.pause = Some(Duration::from_millis(2));
    let rest = "GET /webhook/default HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n";
    vec![
        half_closed,
        cut,
        short,
        slow,
        case("nothing at all", "", Closed),
        case("half a head", "POST /webhook/open HTTP/1.1\r\nhost: x\r\nx-", Closed),
        case("three at once", format!("{whole}{rest}"), Json(vec![202, 405, 404])),
        case("a hundred at once", whole.repeat(100), Json(vec![202; 100])),
        case("a second one that is none", format!("{whole}\0\0\0\0"), Parser(vec![202], 400)),
        case(
            "asks before it sends, and sends",
            post("expect: 100-continue\r\ncontent-length: 2\r\n", "{}"),
            Json(vec![100, 202]),
        ),
        case(
            "asks before it sends too much",
            post("expect: 100-continue\r\ncontent-length: 9000000\r\n", ""),
            Json(vec![413]),
        ),
        case(
            "expects what nobody knows",
            post("expect: 200-ok\r\ncontent-length: 2\r\n", "{}"),
            Json(vec![202]),
        ),
        case(
            "wants to speak something else",
            post("connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 2\r\n", "{}"),
            Json(vec![202]),
        ),
    ]
}
