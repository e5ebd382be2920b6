//! How load is sent: HTTP/1.1 over connections that stay open, at little cost beside the server.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

/// The most an answer may have.
const ANSWER_MAX: usize = 64 * 1024;

/// A connection that is kept open.
pub(crate) struct Wire {
    server: SocketAddr,
    stream: Option<TcpStream>,
    read: Vec<u8>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<u64>,
    pub(crate) body: Vec<u8>,
}

impl Wire {
    /// Connects when it is used first.
    pub(crate) fn new(server: SocketAddr) -> Self {
        Self { server, stream: None, read: Vec::new() }
    }

    /// Sends a request and waits for the answer. After an error the next one has a new connection.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.server).await?;
                stream.set_nodelay(true)?;
                stream
            }
        };
        write(&stream, request).await?;
        self.read.clear();
        loop {
            stream.readable().await?;
            match stream.try_read_buf(&mut self.read) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Ok(_) | Err(_) => {}
            }
            if let Some(answer) = answer(&self.read)? {
                self.stream = Some(stream);
                return Ok(answer);
            }
        }
    }
}

async fn write(stream: &TcpStream, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        stream.writable().await?;
        match stream.try_write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The answer, once it is whole.
fn answer(read: &[u8]) -> io::Result<Option<Answer>> {
    let unreadable = || io::Error::other("the answer is not HTTP/1.1 with a content-length");
    if read.len() > ANSWER_MAX {
        return Err(unreadable());
    }
    let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&read[..end]).map_err(|_| unreadable())?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let header = |wanted: &str| {
        head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim().parse().ok())?
        })
    };
    let length: usize =
        header("content-length").map(|length: u64| length as usize).ok_or_else(unreadable)?;
    let body = &read[end + 4..];
    if body.len() < length {
        return Ok(None);
    }
    let status = status.ok_or_else(unreadable)?;
    Ok(Some(Answer { status, retry_after: header("retry-after"), body: body[..length].to_vec() }))
}
