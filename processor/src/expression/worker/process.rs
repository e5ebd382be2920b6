//! A worker, as this process sees it.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::frame::{self, ANSWER_BYTES_MAX};
use super::serve::EXIT_TIME;
use super::{Command, Exceeded, WAIT_MAX};
use crate::step::{Output, StepError};

/// How much of what a worker says before it dies is looked at.
const LAST_WORDS_BYTES_MAX: u64 = 4 * 1024;

/// How long a worker that hangs up may take to end.
const END_MAX: Duration = Duration::from_secs(2);

/// SIGXCPU: the kernel's limit of processor time, if the worker's own did not work.
const SIGNAL_TIME: i32 = 24;

/// SIGKILL: where the system has no memory left.
const SIGNAL_KILL: i32 = 9;

/// A worker.
pub(super) struct Process {
    child: Child,
    /// None while it is asked.
    socket: Option<UnixStream>,
}

impl Process {
    /// Starts one. It gets nothing of this process but the socket: no environment, no files.
    pub(super) fn start(command: &Command) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        socket.set_nonblocking(true)?;
        let child = std::process::Command::new(&command.program)
            .args(&command.arguments)
            .env_clear()
            // Each arena of glibc reserves memory that counts.
            .env("MALLOC_ARENA_MAX", "1")
            .envs(command.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(Self { child, socket: Some(socket) })
    }

    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    #[cfg(test)]
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it. After a limit was exceeded, or if it takes too long, it is no more.
    pub(super) async fn ask(
        &mut self,
        asked: &[u8],
    ) -> Result<Result<Result<Output, StepError>, Exceeded>, StepError> {
        let Some(socket) = self.socket.take() else {
            return Ok(Err(Exceeded::Gone));
        };
        let Ok(mut socket) = tokio::net::UnixStream::from_std(socket) else {
            return Ok(Err(Exceeded::Gone));
        };
        match timeout(WAIT_MAX, exchange(&mut socket, asked)).await {
            Err(_) => {
                let message = format!(
                    "jq: the worker had no answer within {WAIT_MAX:?}; the machine is overloaded"
                );
                Err(StepError::retryable("timeout", message))
            }
            Ok(Ok(answer)) => {
                self.socket = socket.into_std().ok();
                Ok(Ok(answer))
            }
            Ok(Err(_)) => Ok(Err(self.end().await)),
        }
    }

    /// How it ended, after it has hung up.
    async fn end(&mut self) -> Exceeded {
        let ended = timeout(END_MAX, async {
            loop {
                match self.child.try_wait() {
                    Ok(Some(status)) => return Some(status),
                    Ok(None) => sleep(Duration::from_millis(2)).await,
                    Err(_) => return None,
                }
            }
        });
        let Ok(Some(status)) = ended.await else {
            return Exceeded::Died("it hung up".into());
        };
        let mut words = Vec::new();
        if let Some(said) = self.child.stderr.take() {
            said.take(LAST_WORDS_BYTES_MAX).read_to_end(&mut words).ok();
        }
        exceeded(status, &String::from_utf8_lossy(&words))
    }
}

fn exceeded(status: ExitStatus, last_words: &str) -> Exceeded {
    match (status.code(), status.signal()) {
        (Some(0), _) => Exceeded::Gone,
        (Some(EXIT_TIME), _) | (_, Some(SIGNAL_TIME)) => Exceeded::Time,
        (_, Some(SIGNAL_KILL)) => Exceeded::Memory,
        _ if last_words.contains("memory allocation of") => Exceeded::Memory,
        (_, Some(_)) if last_words.contains("overflowed its stack") => Exceeded::Stack,
        _ => Exceeded::Died(status.to_string()),
    }
}

/// Sends a question and reads the answer.
async fn exchange(
    socket: &mut tokio::net::UnixStream,
    asked: &[u8],
) -> io::Result<Result<Output, StepError>> {
    socket.write_all(asked).await?;
    let length = socket.read_u32_le().await? as usize;
    if length > ANSWER_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut answer = vec![0; length];
    socket.read_exact(&mut answer).await?;
    frame::to_answer(Bytes::from(answer)).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

impl Drop for Process {
    fn drop(&mut self) {
        // Whoever is asked and not waited for is killed; whoever hung up has ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
