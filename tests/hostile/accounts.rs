//! What is left once those who mean harm have gone: nothing is stored that no history names, no place is held, and no
//! address has more than its share.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use everhook::local::door::Limits;
use everhook_journal::{SourceName, Timestamp};
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::standing::Standing;

const CONFIG: &str = r#"
    [sources.default]
    verify = "none"

    [sources.guarded]
    scheme = "hmac-sha256"
    secrets = ["generated:x"]
    quarantine = true

    [[workflows.default.steps]]
    name = "look"
    run = "validate"
"#;

/// Where the attacker and a true sender are.
const ATTACKER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 1));
const SENDER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));

/// After any time at which something is stored.
const FUTURE: Timestamp = Timestamp::from_millis(i64::MAX / 4);

/// JSON that is too large for an event, however it is compressed.
fn large(seed: u64) -> String {
    let mut state = seed;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        format!("{state:016x}")
    });
    format!("{{\"noise\": \"{}\"}}", noise.take(8_000).collect::<String>())
}

async fn connect(from: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from, 0)).unwrap();
    socket.connect(to).await.unwrap()
}

/// The status with which a webhook from this address is answered, over a connection of its own.
async fn send(from: IpAddr, to: SocketAddr) -> Option<u16> {
    let mut stream = connect(from, to).await;
    let request =
        "POST /webhook HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(5), stream.read_to_string(&mut answer))
        .await
        .ok()?
        .ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_hostile_callers() {
    let standing = Standing::start(CONFIG, Limits::default()).await;
    let (client, server) = (&standing.client, &standing.server);
    let payloads = &server.parts.ingest.payloads;
    let post = async |path: String, body: String| {
        client.post(standing.url(&path)).body(body).send().await.unwrap().status().as_u16()
    };

    let letters = ["A", "B", "Z", "7"].map(|letter| letter.repeat(52));
    let guesses = letters.iter().flat_map(|token| {
        ["", "/success", "/failure", "/heartbeat"].map(|what| format!("/callbacks/{token}{what}"))
    });
    let guessed = join_all(guesses.zip(1..).map(|(path, seed)| post(path, large(seed)))).await;
    assert!(guessed.iter().all(|status| *status == 404), "{guessed:?}");
    let forged = join_all((0..40).map(|n| post("/webhook/guarded".into(), large(n)))).await;
    assert!(forged.iter().all(|status| *status == 401), "{forged:?}");
    assert_eq!(payloads.stored_before(FUTURE).await.unwrap(), [], "stored for strangers");

    let accepted = join_all((0..20).map(|n| post("/webhook".into(), large(n % 5)))).await;
    assert!(accepted.iter().all(|status| *status == 202), "{accepted:?}");
    let gone = join_all((0..50).map(async |_| {
        let mut stream = connect(ATTACKER, server.address).await;
        stream
            .write_all(b"POST /webhook HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{")
            .await
            .ok();
    }));
    gone.await;

    let began = Instant::now();
    while server.connections.count().0 > 4 || server.pressure.recording() > 0 {
        let left = (server.connections.count(), server.pressure.recording());
        assert!(began.elapsed() < Duration::from_secs(20), "left: {left:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.collect(FUTURE).await.unwrap();
    assert_eq!(payloads.stored_before(FUTURE).await.unwrap().len(), 5, "one for each body");
    let kept = server.parts.ingest.quarantined(&SourceName::new("guarded")).await.unwrap();
    assert!(kept.len() <= 75, "{} of one address", kept.len());
    standing.serves("default", "{\"still\": true}").await;
    standing.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_of_one_address_keep_no_other_out() {
    const PLACES: usize = 32;
    let limits = Limits {
        connections_max: PLACES,
        head_time: Duration::from_secs(20),
        body_time: Duration::from_secs(20),
    };
    let standing = Standing::start(CONFIG, limits).await;
    let address = standing.server.address;
    let attack = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let mut stream = connect(ATTACKER, address).await;
            // Silent from the start, in the head, or in the body.
            let begun: &[u8] = match held.len() % 3 {
                0 => b"",
                1 => b"POST /webhook HTTP/1.1\r\n",
                _ => b"POST /webhook HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{",
            };
            stream.write_all(begun).await.ok();
            held.push(stream);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let began = Instant::now();
    while standing.server.connections.count().0 < PLACES {
        assert!(began.elapsed() < Duration::from_secs(10), "the door is not full");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    for _ in 0..20 {
        let asked = Instant::now();
        assert_eq!(send(SENDER, address).await, Some(202));
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    }

    let (open, most) = standing.server.connections.count();
    assert!(open <= PLACES && most <= PLACES, "{open} connections, {most} of one address");
    attack.abort();
    standing.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_one_address_may_have_all_connections() {
    let limits = Limits { connections_max: 16, ..Limits::default() };
    let standing = Standing::start(CONFIG, limits).await;
    let address = standing.server.address;
    let mut idle = Vec::new();
    for _ in 0..15 {
        idle.push(connect(ATTACKER, address).await);
    }
    assert_eq!(send(ATTACKER, address).await, Some(202));
    // None of them was closed.
    for mut stream in idle {
        stream
            .write_all(b"POST /webhook HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
            .await
            .unwrap();
        let mut byte = [0; 12];
        stream.read_exact(&mut byte).await.unwrap();
        assert_eq!(&byte, b"HTTP/1.1 202");
    }
    standing.server.stop().await;
}
