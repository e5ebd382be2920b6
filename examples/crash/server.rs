//! The server under test: this program again as `everhook serve`, started, frozen and killed.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use everhook_journal::failpoint;

/// How long a start may take.
const READY_MAX: Duration = Duration::from_secs(60);

/// From which ports one is taken, and how many there are.
const PORT_MIN: u32 = 12_000;
const PORTS: u32 = 16_000;

/// How many lines of a log are shown of a server that did not start.
const LAST_LINES: usize = 20;

/// How long a server may take to stop when it is asked to.
const STOP_MAX: Duration = Duration::from_secs(30);

/// How often it is looked whether it still runs.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What `abort` ends a process with.
const SIGABRT: i32 = 6;

/// How a server is started.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) listen: SocketAddr,
    pub(crate) folder: PathBuf,
    /// Where to die: a name, and how often it is passed before.
    pub(crate) failpoint: Option<(&'static str, u64)>,
    /// The most KiB that any one of its files may have.
    pub(crate) file_kib_max: Option<u64>,
    /// A library that changes its clock, and the file that says how.
    pub(crate) clock: Option<(PathBuf, PathBuf)>,
    /// A library that lets its syncs fail, and the file whose presence says that they do.
    pub(crate) sync: Option<(PathBuf, PathBuf)>,
}

/// A running server. It is killed with this value.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    ready: Receiver<io::Result<String>>,
    /// When it was started.
    pub(crate) began: Instant,
}

/// Where a server keeps its data.
pub(crate) fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

impl Start {
    /// Starts it, and does not wait until it is ready.
    pub(crate) fn spawn(&self) -> io::Result<Server> {
        let program = std::env::current_exe()?;
        let mut command = match self.file_kib_max {
            None => Command::new(program),
            Some(kib) => {
                // A write beyond the limit then fails, as on a full disk, and does not kill.
                let script = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" \"$@\"");
                let mut command = Command::new("bash");
                command.arg("-c").arg(script).arg(program);
                command
            }
        };
        command
            .args(["serve-for-crash", "--listen", &self.listen.to_string(), "--data-dir"])
            .arg(data(&self.folder))
            .arg("--config")
            .arg(self.folder.join("everhook.toml"))
            .env_remove(failpoint::VARIABLE);
        if std::env::var_os("RUST_LOG").is_none() {
            command.env("RUST_LOG", "warn");
        }
        if let Some((name, passes)) = self.failpoint {
            command.env(failpoint::VARIABLE, format!("{name}:{passes}"));
        }
        if let Some((library, file)) = &self.clock {
            command
                .env("LD_PRELOAD", library)
                .env("FAKETIME_TIMESTAMP_FILE", file)
                .env("FAKETIME_NO_CACHE", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        if let Some((library, file)) = &self.sync {
            command.env("LD_PRELOAD", library).env("CRASH_SYNC_FAILS", file);
        }
        let log = self.folder.join("server.log");
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let began = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn()?;
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let (said, ready) = channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(output).read_line(&mut line);
            said.send(read.map(|_| line)).ok();
        });
        Ok(Server { child, ready, began })
    }
}

/// An address that is free, and stays so between two servers: below the ports from which systems take those of outgoing
/// connections, one of which may begin while no server listens.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    for _ in 0..PORTS {
        // Two programs at once, and two servers of one, are far apart.
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = PORT_MIN + (std::process::id() * 101 % PORTS + given) % PORTS;
        let port = u16::try_from(port).map_err(io::Error::other)?;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return listener.local_addr();
        }
    }
    Err(io::Error::other(format!("no port from {PORT_MIN} on is free")))
}

/// The last lines that servers have logged in this folder.
fn last_words(folder: &Path) -> String {
    let log = std::fs::read_to_string(folder.join("server.log")).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

impl Start {
    /// Starts a server that must become ready.
    pub(crate) fn serve(&self) -> io::Result<Server> {
        let mut server = self.spawn()?;
        match tokio::task::block_in_place(|| server.is_ready())? {
            true => Ok(server),
            false => {
                let said = last_words(&self.folder);
                Err(io::Error::other(format!("the server did not start; it said last:\n{said}")))
            }
        }
    }
}

impl Server {
    /// Waits until it accepts webhooks; says whether it does, or has died before.
    pub(crate) fn is_ready(&mut self) -> io::Result<bool> {
        match self.ready.recv_timeout(READY_MAX) {
            Ok(line) => Ok(line?.contains("http://")),
            Err(RecvTimeoutError::Timeout) => {
                Err(io::Error::other(format!("the server was not ready within {READY_MAX:?}")))
            }
            Err(RecvTimeoutError::Disconnected) => Ok(false),
        }
    }

    /// How it ended, if it does within this time.
    pub(crate) fn ended_within(&mut self, time: Duration) -> io::Result<Option<ExitStatus>> {
        let began = Instant::now();
        loop {
            match self.child.try_wait()? {
                None if began.elapsed() < time => std::thread::sleep(LOOK_EVERY),
                ended => return Ok(ended),
            }
        }
    }

    /// Kills it without warning. That it had already died by itself is an error.
    pub(crate) fn kill(mut self) -> io::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            return Err(io::Error::other(format!("the server died by itself: {status}")));
        }
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Asks it to stop. It must end well.
    pub(crate) fn stop(mut self) -> io::Result<()> {
        self.signal("TERM")?;
        match self.ended_within(STOP_MAX)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(io::Error::other(format!("the server stopped with {status}"))),
            None => Err(io::Error::other(format!("the server did not stop within {STOP_MAX:?}"))),
        }
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, by name.
    pub(crate) fn signal(&self, name: &str) -> io::Result<()> {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status()?;
        match status.success() {
            true => Ok(()),
            false => Err(io::Error::other(format!("no signal {name} to the server: {status}"))),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Whether a server died at a failpoint.
pub(crate) fn died_at_failpoint(status: ExitStatus) -> bool {
    status.signal() == Some(SIGABRT)
}
