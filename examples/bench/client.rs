//! How it is sent: a small HTTP/1.1 client, so that the load costs this machine little beside the server.

use std::io;
use std::net::SocketAddr;

use serde::Deserialize;
use tokio::net::TcpStream;

/// The most headers an answer may have.
const HEADERS_MAX: usize = 8 * 1024;

/// A connection that is kept open.
pub(crate) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

/// A webhook that was accepted.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Accepted {
    execution_token: String,
    duplicate: bool,
}

impl Connection {
    /// A new connection.
    pub(crate) async fn open(server: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::with_capacity(16 * 1024) })
    }

    /// Sends a webhook that nobody sent before; returns its execution's token.
    pub(crate) async fn post(&mut self, request: &[u8]) -> io::Result<String> {
        let (status, body) = self.exchange(request).await?;
        let text = || String::from_utf8_lossy(body).into_owned();
        if status != 202 {
            return Err(io::Error::other(format!("the server says {status}: {}", text())));
        }
        let accepted: Accepted = serde_json::from_slice(body)?;
        match accepted.duplicate {
            false => Ok(accepted.execution_token),
            true => Err(io::Error::other(format!("taken for a redelivery: {}", text()))),
        }
    }

    /// The body of an answer to `GET path`.
    pub(crate) async fn get(&mut self, path: &str) -> io::Result<&[u8]> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        match self.exchange(request.as_bytes()).await? {
            (200, body) => Ok(body),
            (status, _) => Err(io::Error::other(format!("the server says {status} to GET {path}"))),
        }
    }

    async fn exchange(&mut self, request: &[u8]) -> io::Result<(u16, &[u8])> {
        self.write(request).await?;
        self.read.clear();
        let (status, body, end) = loop {
            self.fill().await?;
            let Some(head) = self.read.windows(4).position(|four| four == b"\r\n\r\n") else {
                if self.read.len() > HEADERS_MAX {
                    return Err(io::Error::other("the answer's headers have no end"));
                }
                continue;
            };
            let (status, length) = self.head(head)?;
            break (status, head + 4, head + 4 + length);
        };
        while self.read.len() < end {
            self.fill().await?;
        }
        Ok((status, &self.read[body..end]))
    }

    /// The status and the length of the body.
    fn head(&self, end: usize) -> io::Result<(u16, usize)> {
        let unreadable = || io::Error::other("the answer is not HTTP/1.1 with a content-length");
        let head = std::str::from_utf8(&self.read[..end]).map_err(|_| unreadable())?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let length = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        status.zip(length).ok_or_else(unreadable)
    }

    async fn write(&self, mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn fill(&mut self) -> io::Result<()> {
        loop {
            self.stream.readable().await?;
            match self.stream.try_read_buf(&mut self.read) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}
