//! The process under test, from outside: its address, its counts, its memory and its processor time.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// What Linux counts processor time in, in all of its builds that matter here.
const TICK: Duration = Duration::from_millis(10);

/// DynamoDB calls by operation.
pub(crate) type Calls = BTreeMap<String, u64>;

/// A server of its own, with data of its own, both gone with this value.
pub(crate) struct Process {
    child: Child,
    /// Closing it ends the server.
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// Where its data is.
    pub(crate) data_dir: TempDir,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

/// This program again, told to do something else, with its output to be read.
pub(crate) fn again<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    if std::env::var_os("RUST_LOG").is_none() {
        command.env("RUST_LOG", "warn");
    }
    command.spawn()
}

impl Process {
    /// Starts a server, and returns once it listens.
    pub(crate) fn start() -> io::Result<Self> {
        let data_dir = tempfile::tempdir()?;
        let mut child = again([OsStr::new("serve-for-bench"), data_dir.path().as_os_str()])?;
        let questions = child.stdin.take();
        let mut answers = BufReader::new(child.stdout.take().expect("it was piped"));
        let mut address = String::new();
        answers.read_line(&mut address)?;
        let address = address.trim().parse().map_err(|_| io::Error::other("no server started"))?;
        Ok(Self { child, questions, answers, data_dir, address })
    }

    /// How many DynamoDB calls it has made, by operation.
    pub(crate) fn calls(&mut self) -> io::Result<Calls> {
        if let Some(questions) = &mut self.questions {
            questions.write_all(b"\n")?;
        }
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        Ok(serde_json::from_str(&answer)?)
    }

    /// The most memory it has had at once, in MiB; none where the system does not say.
    pub(crate) fn memory_peak_mib(&self) -> Option<f64> {
        let status = self.read("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib / 1024.0)
    }

    /// The processor time it has used; none where the system does not say.
    pub(crate) fn processor_time(&self) -> Option<Duration> {
        let stat = self.read("stat")?;
        // The name before it may hold blanks; the fields after it do not.
        let fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let ticks: Option<u32> =
            fields.skip(11).take(2).map(|field| field.parse::<u32>().ok()).sum();
        ticks.map(|ticks| TICK * ticks)
    }

    fn read(&self, file: &str) -> Option<String> {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.questions.take());
        // It says nothing more; its output ends when it does.
        self.answers.read_to_end(&mut Vec::new()).ok();
        self.child.wait().ok();
    }
}
