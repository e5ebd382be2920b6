//! The targets, and how each call to one of them ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How a target answers.
#[derive(Debug, Clone)]
pub(super) struct Answering {
    /// What it sends first.
    first: Vec<u8>,
    /// What it sends after that, again and again, as long as somebody takes it.
    then: Vec<u8>,
    /// How long it waits before each of these.
    pause: Duration,
    /// What it does when there is nothing more to send.
    end: End,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Close,
    Reset,
    Keep,
    /// The other side's request is not even read.
    Ignore,
}

/// A target.
pub(super) struct Target {
    pub(super) name: &'static str,
    pub(super) answering: Answering,
    pub(super) wanted: Wanted,
}

/// How a call ends.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    /// The step fails for this kind of reason.
    Fails(&'static str),
    /// The step's result has this body.
    Completes(Value),
    /// The step's result has the first part of the body.
    IsCut,
}

use Wanted::{Completes, Fails, IsCut};

impl Answering {
    /// Sends this, and closes.
    pub(super) fn whole(answer: impl AsRef<[u8]>) -> Self {
        let first = answer.as_ref().to_vec();
        Self { first, then: Vec::new(), pause: Duration::ZERO, end: End::Close }
    }

    fn then(self, then: impl AsRef<[u8]>) -> Self {
        Self { then: then.as_ref().to_vec(), ..self }
    }

    fn every(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    fn end(self, end: End) -> Self {
        Self { end, ..self }
    }
}

/// A running target.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub(super) async fn start(answering: Answering) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let answering = answering.clone();
                // Whoever calls may go away at any time.
                tokio::spawn(async move { serve(stream, &answering).await.ok() });
            }
        });
        Self { address, connections }
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, answering: &Answering) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    if matches!(answering.end, End::Ignore) {
        std::future::pending::<()>().await;
    }
    let count = stream.read(&mut buffer).await?;
    assert!(count > 0);
    stream.write_all(&answering.first).await?;
    while !answering.then.is_empty() {
        tokio::time::sleep(answering.pause).await;
        stream.write_all(&answering.then).await?;
    }
    match answering.end {
        End::Close | End::Ignore => {}
        End::Keep => while stream.read(&mut buffer).await? > 0 {},
        End::Reset => stream.set_zero_linger()?,
    }
    Ok(())
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";

/// A head, and the same head again and again, is what most of them are made of.
fn ok(rest: &str) -> Answering {
    Answering::whole(format!("{OK}{rest}"))
}

/// A megabyte of zeros in gzip, and as much again for every repetition of its middle.
const GZIP_MEMBER: &[u8] = &[
    0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3, 0xed, 0xc1, 0x31, 1, 0, 0, 0, 0xc2, 0xa0, 0xf5, 0x4f, 0xed,
];

/// All of them.
pub(super) fn targets() -> Vec<Target> {
    let (tick, flood) = (Duration::from_millis(200), "x".repeat(64 * 1024));
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let target = |name, answering, wanted| Target { name, answering, wanted };
    let length = |length: usize| format!("content-length: {length}\r\n\r\n");
    let chunked = "transfer-encoding: chunked\r\n\r\n";
    let long =
        |bytes: usize| format!("x-a: {}\r\ncontent-length: 2\r\n\r\n{{}}", "a".repeat(bytes));
    let many: String = (0..10_000).map(|n| format!("x-{n}: 1\r\n")).collect();
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    vec![
        // Too slow, or never.
        target("a body by the byte", ok(&length(99)).then("x").every(tick), Fails("timeout")),
        target("a head by the byte", ok("x-").then("a").every(tick), Fails("timeout")),
        target(
            "a status line by the byte",
            Answering::whole("HTTP").then("/").every(tick),
            Fails("timeout"),
        ),
        target("chunks by the byte", ok(chunked).then("1\r\nx\r\n").every(tick), Fails("timeout")),
        target("nothing after the request", Answering::whole("").end(End::Keep), Fails("timeout")),
        target(
            "a request that is never read",
            Answering::whole("").end(End::Ignore),
            Fails("timeout"),
        ),
        target("a head, and then nothing", ok(&length(2)).end(End::Keep), Fails("timeout")),
        target("half a head, and then nothing", ok("x-a: ").end(End::Keep), Fails("timeout")),
        target(
            "half a chunk, and then nothing",
            ok(&format!("{chunked}5\r\nab")).end(End::Keep),
            Fails("timeout"),
        ),
        // Without end.
        target("a body without end", ok("\r\n").then(&flood), IsCut),
        target("chunks without end", ok(chunked).then(&chunk), IsCut),
        target("a petabyte, as said", ok(&length(1 << 50)).then(&flood), IsCut),
        target("headers without end", ok("").then("x-a: 1\r\n".repeat(8192)), Fails("http")),
        target("a header without end", ok("x-a: ").then(&flood), Fails("http")),
        target(
            "a status line without end",
            Answering::whole("HTTP/1.1 200 ").then(&flood),
            Fails("http"),
        ),
        target(
            "a chunk extension without end",
            ok(&format!("{chunked}1;")).then(&flood),
            Fails("http"),
        ),
        target(
            "trailers without end",
            ok(&format!("{chunked}2\r\n{{}}\r\n0\r\nx-a: ")).then(&flood),
            Fails("http"),
        ),
        target(
            "interim answers without end",
            Answering::whole("").then("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"),
            Fails("timeout"),
        ),
        target(
            "continue without end",
            Answering::whole("")
                .then("HTTP/1.1 100 Continue\r\n\r\n")
                .every(Duration::from_millis(1)),
            Fails("timeout"),
        ),
        // Too large.
        target("a header of 1 MiB", ok(&long(1024 * 1024)), Fails("http")),
        target(
            "10,000 headers",
            ok(&format!("{many}content-length: 2\r\n\r\n{{}}")),
            Fails("http"),
        ),
        target(
            "a body of 1 MiB",
            ok(&format!("{}{}", length(1024 * 1024), "x".repeat(1024 * 1024))),
            IsCut,
        ),
        target("deep JSON", ok(&format!("{}{deep}", length(deep.len()))), Completes(json!(deep))),
        // Packed. Nothing is unpacked: the bytes are kept as they came, and no more of them than of any others.
        target(
            "a packed body without end",
            ok("content-encoding: gzip\r\n\r\n").then(GZIP_MEMBER.repeat(1000)),
            IsCut,
        ),
        target(
            "gzip",
            packed("gzip", GZIP_MEMBER),
            Completes(json!("H4sIAAAAAAACA+3BMQEAAADCoPVP7Q==")),
        ),
        target(
            "deflate",
            packed("deflate", &GZIP_MEMBER[10..]),
            Completes(json!("7cExAQAAAMKg9U/t")),
        ),
        target("br", packed("br", &[0xcf, 0xff, 0xff, 0x7f, 0xf8]), Completes(json!("z///f/g="))),
        // Not HTTP, or not whole.
        target(
            "a status line of another protocol",
            Answering::whole("SSH-2.0-OpenSSH_9.6\r\n"),
            Fails("http"),
        ),
        target("a status of two digits", Answering::whole("HTTP/1.1 20 OK\r\n\r\n"), Fails("http")),
        target(
            "a status of 999",
            Answering::whole("HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n"),
            Fails("http_999"),
        ),
        target(
            "a status of 000",
            Answering::whole("HTTP/1.1 000 Odd\r\ncontent-length: 0\r\n\r\n"),
            Fails("http"),
        ),
        target(
            "HTTP/2 where nobody asked",
            Answering::whole("\0\0\x12\x04\0\0\0\0\0"),
            Fails("http"),
        ),
        target(
            "TLS where nobody asked",
            Answering::whole(b"\x15\x03\x01\0\x02\x02\x16"),
            Fails("http"),
        ),
        target(
            "switching protocols",
            Answering::whole(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
            ),
            Fails("http_101"),
        ),
        target("a NUL in a header", ok("x-a: \0\r\ncontent-length: 2\r\n\r\n{}"), Fails("http")),
        target("a folded header", ok("x-a: 1\r\n 2\r\ncontent-length: 2\r\n\r\n{}"), Fails("http")),
        target("closing at once", Answering::whole(""), Fails("http")),
        target("closing in the head", ok("x-a"), Fails("http")),
        target("closing in the body", ok(&format!("{}x", length(100))), Fails("http")),
        target("closing in a chunk", ok(&format!("{chunked}5\r\nab")), Fails("http")),
        target("closing between chunks", ok(&format!("{chunked}2\r\nab\r\n")), Fails("http")),
        target("a reset at once", Answering::whole("").end(End::Reset), Fails("http")),
        target(
            "a reset in the body",
            ok(&format!("{}x", length(100))).end(End::Reset),
            Fails("http"),
        ),
        target(
            "two lengths",
            ok("content-length: 2\r\ncontent-length: 3\r\n\r\n{}x"),
            Fails("http"),
        ),
        target("a length that is none", ok("content-length: x\r\n\r\n{}"), Fails("http")),
        target("a negative length", ok("content-length: -1\r\n\r\n{}"), Fails("http")),
        target("less than said", ok(&format!("{}{{}}", length(3))), Fails("http")),
        target("more than said", ok(&format!("{}{{}}garbage", length(2))), Completes(json!({}))),
        target(
            "two answers",
            ok(&format!("{}{{}}{OK}{}[1]", length(2), length(3))),
            Completes(json!({})),
        ),
        target("chunked garbage", ok(&format!("{chunked}zz\r\n{{}}\r\n0\r\n\r\n")), Fails("http")),
        target(
            "a chunk beyond 64 bits",
            ok(&format!("{chunked}fffffffffffffffff\r\n")),
            Fails("http"),
        ),
        target(
            "a chunk of a petabyte",
            ok(&format!("{chunked}4000000000000\r\n")).then(&flood),
            IsCut,
        ),
        // Sending elsewhere and back.
        target(
            "a redirect to itself",
            Answering::whole("HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n"),
            Fails("http_302"),
        ),
        target(
            "not modified",
            Answering::whole("HTTP/1.1 304 Not Modified\r\n\r\n"),
            Fails("http_304"),
        ),
        target(
            "a wait until the end of time",
            Answering::whole(
                "HTTP/1.1 503 No\r\nretry-after: 99999999999999999999\r\ncontent-length: 0\r\n\r\n",
            ),
            Fails("http_503"),
        ),
    ]
}

fn packed(encoding: &str, bytes: &[u8]) -> Answering {
    let head =
        format!("{OK}content-encoding: {encoding}\r\ncontent-length: {}\r\n\r\n", bytes.len());
    Answering::whole([head.as_bytes(), bytes].concat())
}
