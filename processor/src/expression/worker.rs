//! Workers: processes of this program that evaluate expressions with limits on memory, time and stack.
//!
//! A worker that exceeds a limit ends, and nothing else does. One answers many questions, one after the other;
//! it ends with this process, or when it has had nothing to do for a while.
//!
//! A program calls [`begin`] before anything else, or [`offer`] and, when it is started as a worker, [`serve`].

mod frame;
mod pool;
#[cfg(unix)]
mod process;
#[cfg(unix)]
mod serve;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use everhook_journal::SourceName;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::question::Question;
use crate::step::{Output, StepError};
use pool::Pool;
#[cfg(unix)]
pub use serve::serve;

/// The argument with which a program of this project is a worker.
pub const ARGUMENT: &str = "expression-worker";

/// How much memory an evaluation may take.
pub const MEMORY_BYTES_MAX: u64 = 192 * 1024 * 1024;

/// How much time of a processor an evaluation may take.
pub const PROCESSOR_TIME_MAX: Duration = Duration::from_secs(1);

/// How long an evaluation may take altogether: more than its processor time only where the machine is overloaded.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The most that an expression may see.
const QUESTION_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How many larger inputs are evaluated in this process at once.
const LARGE_HERE_MAX: usize = 4;

/// How many evaluations may wait for a worker.
const WAITING_MAX: usize = 2_000;

static POOL: Pool = Pool::new();
static LARGE_HERE: Semaphore = Semaphore::const_new(LARGE_HERE_MAX);
static COMMAND: OnceLock<Command> = OnceLock::new();

/// How a worker is started.
#[derive(Debug, Clone)]
struct Command {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

/// Is a worker, if this process was started as one; otherwise says how this program is.
/// It has to be the first thing that the program does.
pub fn begin() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == ARGUMENT) && arguments.next().is_none() {
        return Some(serve());
    }
    offer();
    None
}

/// Says that this program is a worker when it is started with [`ARGUMENT`] alone.
pub fn offer() {
    offer_program(this_program(), [ARGUMENT]);
}

/// There are no workers on other systems.
#[cfg(not(unix))]
pub fn serve() -> ExitCode {
    ExitCode::FAILURE
}

/// Says which program is a worker, and with which arguments. Only the first word counts.
pub fn offer_program(
    program: impl Into<PathBuf>,
    arguments: impl IntoIterator<Item = impl Into<OsString>>,
) {
    let arguments = arguments.into_iter().map(Into::into).collect();
    COMMAND.get_or_init(|| Command { program: program.into(), arguments, environment: Vec::new() });
}

/// The program of this process, also after its file was replaced by another version.
fn this_program() -> PathBuf {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() { running } else { std::env::current_exe().unwrap_or(running) }
}

fn command() -> Option<&'static Command> {
    #[cfg(all(test, unix))]
    COMMAND.get_or_init(tests::command);
    COMMAND.get()
}

/// A place for the evaluation of a larger input in this process.
pub(crate) async fn large_here() -> SemaphorePermit<'static> {
    LARGE_HERE.acquire().await.expect("it is never closed")
}

/// What a worker answers.
pub(crate) async fn answer(
    code: &str,
    question: &Question,
    source: &SourceName,
) -> Result<Output, StepError> {
    if question.bytes() > QUESTION_BYTES_MAX {
        let limit = QUESTION_BYTES_MAX / 1024 / 1024;
        let message = format!("the evaluation sees more than {limit} MiB; let it see less");
        return Err(StepError::fatal("too_large", message));
    }
    let Some(command) = command() else {
        let message =
            "jq: this program cannot start workers for expressions; start it by `everhook::main`";
        return Err(StepError::retryable("no_worker", message));
    };
    POOL.answer(command, code, question, source).await
}

/// Why an evaluation in a worker has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exceeded {
    Memory,
    Time,
    Stack,
    /// The worker had ended before it was asked.
    Gone,
    /// The worker ended in another way.
    Died(String),
}

impl From<Exceeded> for StepError {
    fn from(exceeded: Exceeded) -> Self {
        match exceeded {
            Exceeded::Memory => {
                let limit = MEMORY_BYTES_MAX / 1024 / 1024;
                let message = format!(
                    "the evaluation takes more than {limit} MiB of memory on this input; \
                     let it make less of what the webhook sends"
                );
                Self::fatal("too_much_memory", message)
            }
            Exceeded::Time => {
                let message = format!(
                    "the evaluation takes more than {PROCESSOR_TIME_MAX:?} of processor time on this \
                     input; let it do less for each item of what the webhook sends"
                );
                Self::fatal("too_much_time", message)
            }
            Exceeded::Stack => {
                let message = "the evaluation recurses too deep on this input; \
                               let its depth not depend on what the webhook sends";
                Self::fatal("too_deep", message)
            }
            Exceeded::Gone => Self::retryable("no_worker", "jq: the worker had ended"),
            Exceeded::Died(how) => {
                Self::retryable("no_worker", format!("jq: the worker ended early ({how})"))
            }
        }
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests;
