//! A function: its processes, each under a Lambda Runtime API of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use everhook::local::event_source::{self, BatchOutcome};
use futures_util::FutureExt;
use lambda_simulator::state::InvocationState;
use lambda_simulator::{Invocation, InvocationStatus, Simulator};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

/// What a process may take beyond its function's timeout before it is ended.
const GRACE: Duration = Duration::from_secs(1);

/// How long is waited for news of an invocation before its state is looked at again.
const TURN: Duration = Duration::from_millis(50);

/// How long a process may take to ask for its first invocation.
const INIT: Duration = Duration::from_secs(10);

/// The five functions by their names in the template, with the names of their binaries.
pub(crate) const BINARIES: [(&str, &str); 5] = [
    ("IngestFunction", "ingest"),
    ("ProcessorFunction", "processor"),
    ("ProjectorFunction", "projector"),
    ("StatusFunction", "status"),
    ("SweepFunction", "sweep"),
];

/// Everything that functions wrote.
pub(crate) type Lines = Arc<Mutex<Vec<String>>>;

/// A function.
pub(crate) struct Function {
    arn: String,
    binary: PathBuf,
    environment: BTreeMap<String, String>,
    timeout: Duration,
    lines: Lines,
    idle: Mutex<Vec<Process>>,
    /// How many processes there may be.
    concurrency: Semaphore,
    dying: Notify,
    invocations: Mutex<u64>,
}

/// One process, which takes one invocation at a time.
struct Process {
    simulator: Simulator,
    child: Child,
    spawned_at: SystemTime,
}

/// An invocation that was answered.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) payload: Value,
    /// When the function was given the event.
    pub(crate) began: SystemTime,
    /// When its answer came.
    pub(crate) ended: SystemTime,
}

/// The ARN of a function.
pub(crate) fn arn(name: &str) -> String {
    format!("arn:aws:lambda:eu-central-1:123456789012:function:{name}")
}

/// Where the binary of a function is.
pub(crate) fn binary(folder: &Path, function: &str) -> PathBuf {
    let (_, name) = BINARIES.into_iter().find(|(known, _)| *known == function).unwrap();
    let places = [folder.join(function).join("bootstrap"), folder.join(name).join("bootstrap")];
    let found = places.into_iter().chain([folder.join(name)]).find(|path| path.is_file());
    let found =
        found.unwrap_or_else(|| panic!("{} has no {name}: build it first", folder.display()));
    found.canonicalize().unwrap()
}

impl Function {
    pub(crate) fn new(
        name: &str,
        binary: PathBuf,
        environment: BTreeMap<String, String>,
        timeout: Duration,
        concurrency: usize,
        lines: Lines,
    ) -> Self {
        Self {
            arn: arn(name),
            binary,
            environment,
            timeout,
            lines,
            idle: Mutex::default(),
            concurrency: Semaphore::new(concurrency),
            dying: Notify::new(),
            invocations: Mutex::default(),
        }
    }

    /// Invokes it, in a process that is idle or a new one.
    pub(crate) async fn invoke(&self, event: Value) -> Result<Answered, String> {
        self.invoke_within(event, self.timeout).await
    }

    /// Invokes it with another timeout than its own.
    pub(crate) async fn invoke_within(
        &self,
        event: Value,
        timeout: Duration,
    ) -> Result<Answered, String> {
        *self.invocations.lock().unwrap() += 1;
        let _one_of_them = self.concurrency.acquire().await.unwrap();
        let idle = self.idle.lock().unwrap().pop();
        let mut process = match idle {
            Some(process) => process,
            None => self.start().await,
        };
        let mut invocation = Invocation::new(event, u64::try_from(timeout.as_millis()).unwrap());
        invocation.invoked_function_arn = self.arn.clone();
        let id = process.simulator.enqueue(invocation).await;
        tokio::select! {
            ended = ended(&process.simulator, &id, timeout + GRACE) => {
                let state = ended.ok_or_else(|| format!("Task timed out after {timeout:?}"))?;
                self.idle.lock().unwrap().push(process);
                if state.status != InvocationStatus::Success {
                    return Err(format!("{:?}", state.error));
                }
                let response = state.response.unwrap();
                Ok(Answered {
                    payload: response.payload,
                    began: state.started_at.unwrap().into(),
                    ended: response.received_at.into(),
                })
            }
            status = process.child.wait() => Err(format!("Runtime exited: {status:?}")),
            () = self.dying.notified() => {
                process.child.kill().await.unwrap();
                Err("Runtime exited: it was killed".to_owned())
            }
        }
    }

    /// How much processor time its idle processes have used, as Linux counts it.
    pub(crate) fn processor_time(&self) -> Duration {
        let idle = self.idle.lock().unwrap();
        let ticks = idle.iter().filter_map(|process| {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.child.id()?));
            let stat = stat.ok()?;
            // Behind the name, which may have blanks: the 12th and 13th are of the process, in 1/100 s.
            let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
            let mut next = || fields.next()?.parse::<u64>().ok();
            Some(next()? + next()?)
        });
        Duration::from_millis(ticks.sum::<u64>() * 10)
    }

    /// Kills every process that is at work, as `kill -9` does.
    pub(crate) fn kill_busy(&self) {
        self.dying.notify_waiters();
    }

    /// How often it was invoked since the last time.
    pub(crate) fn invocations(&self) -> u64 {
        std::mem::take(&mut self.invocations.lock().unwrap())
    }

    /// Starts a process, and says how long it took until it asked for its first invocation.
    pub(crate) async fn start_once(&self) -> Duration {
        let process = self.start().await;
        let ready = async {
            loop {
                let events = process.simulator.get_telemetry_events_by_type("platform.initReport");
                if let Some(event) = events.await.first() {
                    return SystemTime::from(event.time);
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let ready = tokio::time::timeout(INIT, ready).await.expect("the function does not start");
        ready.duration_since(process.spawned_at).unwrap_or_default()
    }

    async fn start(&self) -> Process {
        let simulator = Simulator::builder().function_name("everhook").build().await.unwrap();
        simulator.enable_telemetry_capture().await;
        let spawned_at = SystemTime::now();
        let mut child = Command::new(&self.binary)
            .env_clear()
            .envs(simulator.lambda_env_vars())
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        gather(child.stdout.take().unwrap(), self.lines.clone());
        gather(child.stderr.take().unwrap(), self.lines.clone());
        Process { simulator, child, spawned_at }
    }

    /// The function as an event source mapping calls it.
    pub(crate) fn as_consumer(self: &Arc<Self>) -> event_source::Function {
        let function = self.clone();
        Arc::new(move |event| {
            let function = function.clone();
            async move {
                let event = serde_json::to_value(event).map_err(|error| error.to_string())?;
                let answered = function.invoke(event).await?;
                Ok(BatchOutcome::from_json(&answered.payload))
            }
            .boxed()
        })
    }
}

/// How an invocation ended, if it did in time.
async fn ended(simulator: &Simulator, id: &str, within: Duration) -> Option<InvocationState> {
    let latest = Instant::now() + within;
    while Instant::now() < latest {
        // In short turns: the simulator may miss that an invocation has ended while it begins to wait for it.
        if let Ok(state) = simulator.wait_for_invocation_complete(id, TURN).await {
            return Some(state);
        }
    }
    None
}

fn gather(output: impl AsyncRead + Unpin + Send + 'static, lines: Lines) {
    tokio::spawn(async move {
        let mut output = BufReader::new(output).lines();
        while let Ok(Some(line)) = output.next_line().await {
            lines.lock().unwrap().push(line);
        }
    });
}
