//! Bytes over TCP, as somebody sends them who knows no HTTP library.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer may take. Longer is a hang.
const PATIENCE: Duration = Duration::from_secs(15);

/// What came back over a connection.
#[derive(Debug)]
pub(super) struct Answers {
    /// Every answer, in order.
    pub(super) answers: Vec<Answer>,
    /// Whether the server closed the connection.
    pub(super) closed: bool,
}

/// One answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    /// The execution that it names, if it is a 202.
    pub(super) fn token(&self) -> Option<String> {
        let body: serde_json::Value = serde_json::from_str(&self.body).ok()?;
        let token = body["executionToken"].as_str()?;
        (self.status == 202).then(|| token.to_owned())
    }
}

/// How a request is sent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Manner {
    /// Whether the sending half is closed after it.
    pub(super) half_closed: bool,
    /// How long after each byte nothing is sent.
    pub(super) pause: Option<Duration>,
    /// How many of its last bytes are sent again and again, until nobody takes them any more.
    pub(super) endless: usize,
}

pub(super) async fn exchange(address: SocketAddr, request: &[u8], manner: Manner) -> Answers {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let request = request.to_vec();
    let mut sending = tokio::spawn(async move {
        let step = if manner.pause.is_some() { 1 } else { 64 * 1024 };
        for chunk in request.chunks(step) {
            if writing.write_all(chunk).await.is_err() {
                break;
            }
            if let Some(pause) = manner.pause {
                tokio::time::sleep(pause).await;
            }
        }
        let again = &request[request.len() - manner.endless..];
        while !again.is_empty() && writing.write_all(again).await.is_ok() {}
        if manner.half_closed {
            writing.shutdown().await.ok();
        }
        writing
    });
    let mut received = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    let mut closed = false;
    loop {
        match timeout(PATIENCE, reading.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => {
                closed = true;
                break;
            }
            Ok(Ok(count)) => received.extend_from_slice(&buffer[..count]),
            Err(_) => break,
        }
    }
    // Its half may be closed, and it reads on.
    if manner.endless > 0 {
        closed &= timeout(PATIENCE, &mut sending).await.is_ok();
    }
    sending.abort();
    Answers { answers: split(&received), closed }
}

/// The complete answers in what was received. All of ours say how long they are.
fn split(mut received: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    while let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&received[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
        });
        let end = end + 4 + length.unwrap_or(0);
        let Some(body) = received.get(head.len() + 4..end) else { break };
        let body = String::from_utf8_lossy(body).into_owned();
        answers.push(Answer { status, head, body });
        received = &received[end..];
    }
    answers
}
