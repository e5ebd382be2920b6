//! A worker, as it sees itself.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::super::program::Program;
use super::super::question::{Dot, Question, Wanted};
use super::{MEMORY_BYTES_MAX, PROCESSOR_TIME_MAX, QUESTION_BYTES_MAX, frame};
use crate::step::{Output, StepError, to_output};
use crate::steps::validate::Schema;

/// The status with which a worker ends whose evaluation takes too much processor time.
pub(super) const EXIT_TIME: i32 = 75;

/// How long a worker waits for something to do.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// How often the processor time of an evaluation is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How long after its own limit the kernel ends a worker.
const KERNEL_LATER: Duration = Duration::from_secs(5);

/// The stack of an evaluation.
const STACK_BYTES: usize = 32 * 1024 * 1024;

/// From then on an evaluation is a long one.
const LONG: Duration = Duration::from_millis(200);

/// How much less the share of the processor is for a long evaluation. A worker cannot take that back.
const NICE: i32 = 10;

/// How many compiled expressions a worker keeps.
const KEPT_MAX: usize = 16;

/// What the evaluating thread tells the one that watches its time.
enum Told {
    Begins,
    Ends,
}

/// Is a worker: answers what comes in over standard input, which is a socket, until it is closed.
pub fn serve() -> ExitCode {
    let Ok(socket) = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from) else {
        return ExitCode::FAILURE;
    };
    // A panic's message may hold what the webhook sent.
    std::panic::set_hook(Box::new(|_| {}));
    socket.set_read_timeout(Some(IDLE_MAX)).ok();
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).ok();
    limit(Resource::As, mapped_bytes() + MEMORY_BYTES_MAX + STACK_BYTES as u64);
    let (tell, told) = channel();
    let thread = std::thread::Builder::new().name("evaluation".into()).stack_size(STACK_BYTES);
    let is_tired = Arc::new(AtomicBool::new(false));
    let tired = is_tired.clone();
    let Ok(thread) = thread.spawn(move || answer_all(socket, &tell, &tired)) else {
        return ExitCode::FAILURE;
    };
    watch(&told, &is_tired);
    match thread.join() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn limit(resource: Resource, value: u64) {
    let maximum = getrlimit(resource).maximum;
    let current = maximum.map_or(value, |maximum| maximum.min(value));
    setrlimit(resource, Rlimit { current: Some(current), maximum }).ok();
}

/// How much memory is mapped now: this program.
fn mapped_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let kib = size.and_then(|size| size.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(1024 * 1024) * 1024
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Ends the process if an evaluation takes too much processor time, and gives others the right of way if it takes long.
fn watch(told: &Receiver<Told>, is_tired: &AtomicBool) {
    while let Ok(told_first) = told.recv() {
        let Told::Begins = told_first else { continue };
        let began = processor_time();
        loop {
            match told.recv_timeout(LOOK_EVERY) {
                Ok(Told::Ends) => break,
                Ok(Told::Begins) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let took = processor_time() - began;
                    if took > LONG && !is_tired.swap(true, Ordering::Relaxed) {
                        nice(NICE).ok();
                    }
                    if took > PROCESSOR_TIME_MAX {
                        std::process::exit(EXIT_TIME);
                    }
                }
            }
        }
    }
}

fn answer_all(mut socket: UnixStream, tell: &Sender<Told>, is_tired: &AtomicBool) {
    let mut programs: HashMap<String, Rc<Program>> = HashMap::new();
    while let Ok(asked) = read(&mut socket) {
        tell.send(Told::Begins).ok();
        limit(Resource::Cpu, (processor_time() + PROCESSOR_TIME_MAX + KERNEL_LATER).as_secs());
        let answer = frame::to_question(asked).map_or_else(
            || Err(StepError::fatal("invalid", "the worker cannot read the question")),
            |(code, question)| answer(&mut programs, code, &question),
        );
        tell.send(Told::Ends).ok();
        // The next question deserves a worker with its full share.
        if socket.write_all(&frame::from_answer(&answer)).is_err()
            || is_tired.load(Ordering::Relaxed)
        {
            return;
        }
    }
}

fn read(socket: &mut UnixStream) -> io::Result<Bytes> {
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    // The expression and the lengths of its parts come on top.
    if length > 2 * QUESTION_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut asked = vec![0; length];
    socket.read_exact(&mut asked)?;
    Ok(asked.into())
}

fn answer(
    programs: &mut HashMap<String, Rc<Program>>,
    code: String,
    question: &Question,
) -> Result<Output, StepError> {
    if let (Wanted::Schema, Dot::Json(body)) = (question.wanted, &question.dot) {
        let met = catch_unwind(AssertUnwindSafe(|| Schema::read(&code)?.check(body)));
        return met
            .unwrap_or_else(|_| Err(StepError::fatal("panic", "the schema panicked on this input")))
            .and_then(|()| to_output(&()));
    }
    let program = match programs.get(&code) {
        Some(program) => program.clone(),
        None => {
            let program = Program::compile(&code);
            let program = Rc::new(program.map_err(|error| StepError::fatal("invalid", error))?);
            if programs.len() >= KEPT_MAX {
                programs.clear();
            }
            programs.insert(code, program.clone());
            program
        }
    };
    let answered = catch_unwind(AssertUnwindSafe(|| question.answer(&program)));
    answered.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<&str>().copied();
        let words = words.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        match words {
            // What no memory could ever hold is not even asked for.
            Some("capacity overflow") => Err(super::Exceeded::Memory.into()),
            _ => Err(StepError::fatal("panic", "jq: the expression panicked on this input")),
        }
    })
}
