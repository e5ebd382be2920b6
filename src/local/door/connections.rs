//! The door's connections: how many there are at once, and how long one may keep the door waiting.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::places::Place;
use super::{Door, answer};

/// The longest request line and headers together: as much as API Gateway takes.
const HEAD_BYTES_MAX: usize = 10 * 1024;

/// The most headers of a request.
const HEADERS_MAX: usize = 100;

/// How much of a connection is read ahead.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// How long the calls under way have when the server stops.
const STOP_TIME: Duration = Duration::from_secs(5);

/// How long, and how much, is still read of a caller who has its answer and goes on sending.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long nobody is let in when the machine has no room for another connection.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(100);

/// How much callers may ask of the door at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many connections are open at once. For one more, the address that holds the most gives one up
    /// on which no request is being answered.
    pub connections_max: usize,
    /// How long a caller may take to send a request's headers, or to begin another request.
    pub head_time: Duration,
    /// How long a caller may take to send a body.
    pub body_time: Duration,
}

/// Half of the files that a process usually may open: the engine and the steps need some as well.
impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 512,
            head_time: Duration::from_secs(10),
            body_time: Duration::from_secs(30),
        }
    }
}

/// Accepts connections until it is told to stop; returns when all of them are closed.
pub(super) async fn serve(
    listener: TcpListener,
    door: Arc<Door>,
    mut stopped: watch::Receiver<bool>,
) {
    let places = door.places.clone();
    let mut connections = JoinSet::new();
    let leaving = stopped.clone();
    let mut stop = pin!(stopped.wait_for(|stop| *stop).map(drop));
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = async {
            let (stream, caller) = listener.accept().await?;
            let place = places.take(caller.ip()).await;
            io::Result::Ok((stream, caller, place))
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, caller, place)) => {
                let (door, leaving) = (Arc::clone(&door), leaving.clone());
                connections.spawn(connection(stream, caller, door, place, leaving));
            }
            // A caller that has gone already is no trouble; too many open files are, for a while.
            Err(error) => {
                if !matches!(error.kind(), io::ErrorKind::ConnectionAborted) {
                    tracing::warn!("accept failed: {error}");
                    tokio::time::sleep(NO_ROOM_PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Answers what comes over one connection. What is no HTTP is refused by its parser: 400, 414 or 431.
async fn connection(
    stream: TcpStream,
    caller: SocketAddr,
    door: Arc<Door>,
    place: Place,
    mut leaving: watch::Receiver<bool>,
) {
    stream.set_nodelay(true).ok();
    let limits = door.limits;
    let place = Arc::new(place);
    let at = Arc::clone(&place);
    let service = service_fn(move |request: Request<Incoming>| {
        let (door, place) = (Arc::clone(&door), Arc::clone(&at));
        let answer = async move {
            let answer = answer(&door, caller, request.map(Body::new), &place).await;
            place.waits();
            Ok(answer)
        };
        Box::pin(answer) as Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>
    });
    let mut connection = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_header_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        // Who has sent all of a request may close its half and still has an answer.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        ended = poll_fn(|context| connection.poll_without_shutdown(context)) => ended,
        () = leaving.wait_for(|stop| *stop).map(drop) => {
            Pin::new(&mut connection).graceful_shutdown();
            let ended = poll_fn(|context| connection.poll_without_shutdown(context));
            timeout(STOP_TIME, ended).await.unwrap_or(Ok(()))
        }
        // Somebody else needs the place more; this caller is owed nothing.
        () = place.given_up() => return,
    };
    if let Err(error) = ended {
        tracing::debug!("a connection ended early: {error}");
    }
    let lingering = linger(connection.into_parts().io.into_inner());
    tokio::select! {
        () = lingering => {}
        () = place.given_up() => {}
    }
}

/// Closes a connection so that its last answer arrives: with something unread, closing resets it,
/// and a reset overtakes what was sent before.
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let unread = async {
        let (mut buffer, mut read) = (vec![0; BUFFER_BYTES_MAX], 0);
        while read < LINGER_BYTES_MAX {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(count) => read += count,
            }
        }
    };
    timeout(LINGER_TIME, unread).await.ok();
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_caller_without_end_is_read_no_further_than_so_much() {
        let (ours, mut theirs) = tokio::io::duplex(BUFFER_BYTES_MAX);
        let endless = tokio::spawn(async move {
            let mut sent = 0;
            while theirs.write_all(&[b'x'; 1024]).await.is_ok() {
                sent += 1024;
            }
            sent
        });

        linger(ours).await;

        // What was read, and what was on its way.
        let sent = endless.await.unwrap();
        let most = LINGER_BYTES_MAX + 2 * BUFFER_BYTES_MAX;
        assert!((LINGER_BYTES_MAX..=most).contains(&sent), "{sent} bytes");
    }

    #[tokio::test]
    async fn a_silent_caller_is_waited_for_no_longer_than_so_long() {
        let (ours, _theirs) = tokio::io::duplex(BUFFER_BYTES_MAX);
        let began = Instant::now();

        linger(ours).await;

        assert!((LINGER_TIME..5 * LINGER_TIME).contains(&began.elapsed()));
    }
}
