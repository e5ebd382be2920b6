//! Clients that mean harm, at the door of a running server.

mod requests;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use everhook::local::door::Limits;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::standing::Standing;

use super::raw::{Answer, Answers, exchange};
use requests::{Case, Wanted, cases};

/// Sources whose requests are read in every way that there is.
const CONFIG: &str = r#"
    [settings]
    body_bytes_max = 1048576

    [sources.default]
    verify = "none"
    workflow = "look"

    [sources.open]
    verify = "none"
    expect = "any"
    workflow = "look"

    [sources.grid]
    scheme = "eventgrid"
    secrets = ["generated:x"]
    workflow = "look"

    [sources.graph]
    scheme = "msgraph"
    secrets = ["generated:x"]
    workflow = "look"

    [sources.mail]
    scheme = "mailgun"
    secrets = ["generated:x"]
    workflow = "look"

    [sources.topic]
    scheme = "sns"
    topics = ["arn:aws:sns:eu-central-1:123456789012:topic"]
    workflow = "look"

    [sources.board]
    scheme = "monday"
    secrets = ["generated:x"]
    workflow = "look"

    [sources.pay]
    scheme = "adyen-item"
    secrets = ["generated:x"]
    workflow = "look"

    [sources.chat]
    scheme = "slack"
    secrets = ["generated:x"]
    workflow = "look"

    [sources.loose]
    verify = "none"
    workflow = "loose"

    [[workflows.look.steps]]
    name = "look"
    run = "validate"
    expect = "any"

    [[workflows.loose.steps]]
    name = "read"
    run = "transform"
    jq = ".a"
"#;

/// As patient as a test can be.
const LIMITS: Limits = Limits {
    connections_max: 512,
    head_time: Duration::from_secs(4),
    body_time: Duration::from_secs(6),
};

/// How many different webhooks are accepted at least.
const TOKENS_MIN: usize = 8;

/// How many clients hold a connection at once.
const SLOW: usize = 240;

/// How many clients the table has, and those that are slow in their own tests.
pub(super) fn count() -> usize {
    cases().len() + 2 * SLOW
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_has_a_clear_answer() {
    let standing = Standing::start(CONFIG, LIMITS).await;
    let address = standing.server.address;
    let tried = cases().into_iter().map(|case| async move {
        let began = Instant::now();
        let answers = exchange(address, &case.request, case.manner).await;
        (complaint(&case, &answers, began.elapsed()), answers)
    });
    // All at once: nobody waits for anybody.
    let (complaints, answers): (Vec<_>, Vec<_>) =
        futures_util::future::join_all(tried).await.into_iter().unzip();
    let complaints: Vec<_> = complaints.into_iter().flatten().collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));

    // What was accepted comes to an end, however it was sent.
    let tokens = answers.iter().flat_map(|answers| &answers.answers).filter_map(Answer::token);
    let tokens: BTreeSet<_> = tokens.collect();
    assert!(tokens.len() >= TOKENS_MIN, "{tokens:?}");
    for token in tokens {
        standing.ended(&token).await;
    }
    standing.serves("default", "{}").await;
    standing.server.stop().await;
}

/// What is wrong with these answers.
fn complaint(case: &Case, answers: &Answers, took: Duration) -> Option<String> {
    let fits = |wanted: &[u16], answers: &[Answer]| {
        answers.iter().map(|answer| answer.status).eq(wanted.iter().copied())
            && answers.iter().all(|answer| answer.status == 100 || is_object(&answer.body))
    };
    let fits = match (&case.wanted, &answers.answers[..]) {
        (Wanted::Json(wanted), all) => fits(wanted, all),
        (Wanted::Parser(before, status), [all @ .., last]) => {
            fits(before, all) && last.status == *status && last.body.is_empty()
        }
        (Wanted::Closed, all) => all.is_empty(),
        _ => false,
    };
    let shown: Vec<_> = answers.answers.iter().map(|answer| (&answer.head, &answer.body)).collect();
    (!(fits && answers.closed)).then(|| {
        format!(
            "{}: wanted {:?}, closed {}, in {took:?}, {shown:?}",
            case.name, case.wanted, answers.closed
        )
    })
}

fn is_object(body: &str) -> bool {
    serde_json::from_str::<Value>(body).is_ok_and(|body| body.is_object())
}

/// Opens connections that send a byte a tick, for ever.
async fn slow(standing: &Standing, first: &'static str) -> Vec<tokio::task::JoinHandle<Duration>> {
    let address = standing.server.address;
    let mut clients = Vec::new();
    for _ in 0..SLOW {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(first.as_bytes()).await.unwrap();
        clients.push(tokio::spawn(async move {
            let began = Instant::now();
            let mut byte = [0];
            loop {
                tokio::select! {
                    read = stream.read(&mut byte) => if matches!(read, Ok(0) | Err(_)) { break },
                    () = tokio::time::sleep(Duration::from_millis(200)) => {
                        if stream.write_all(b"a").await.is_err() { break }
                    }
                }
            }
            began.elapsed()
        }));
    }
    clients
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_who_send_a_byte_at_a_time_are_cut_off_and_hold_up_nobody() {
    let standing = Standing::start(CONFIG, LIMITS).await;
    let heads = slow(&standing, "POST /webhook/open HTTP/1.1\r\nhost: x\r\nx-").await;
    let bodies =
        slow(&standing, "POST /webhook/open HTTP/1.1\r\nhost: x\r\ncontent-length: 99999\r\n\r\n");
    let bodies = bodies.await;

    let began = Instant::now();
    standing.serves("default", "{}").await;
    let took = began.elapsed();

    assert!(heads.iter().chain(&bodies).all(|client| !client.is_finished()), "cut off too early");
    assert!(took < Duration::from_secs(3), "{took:?}");
    for client in heads.into_iter().chain(bodies) {
        let held = client.await.unwrap();
        assert!(held < Duration::from_secs(12), "held for {held:?}");
    }
    standing.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_door_lets_the_next_one_in_when_somebody_is_cut_off() {
    let head_time = Duration::from_millis(500);
    let limits = Limits { connections_max: 8, head_time, ..LIMITS };
    let standing = Standing::start(CONFIG, limits).await;
    let mut held = Vec::new();
    for _ in 0..24 {
        let mut stream = TcpStream::connect(standing.server.address).await.unwrap();
        stream.write_all(b"POST /webhook/open HTTP/1.1\r\n").await.unwrap();
        held.push(stream);
    }

    let began = Instant::now();
    standing.serves("default", "{}").await;

    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(held);
    standing.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_stops_although_somebody_holds_a_connection() {
    let patient = Limits { head_time: Duration::from_secs(60), ..Limits::default() };
    let standing = Standing::start(CONFIG, patient).await;
    let mut held = TcpStream::connect(standing.server.address).await.unwrap();
    held.write_all(b"POST /webhook/open HTTP/1.1\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;

    let began = Instant::now();
    standing.server.stop().await;

    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
}
