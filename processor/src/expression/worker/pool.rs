//! Who gets a worker, and when: no source and no bad expression holds all of them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use everhook_journal::SourceName;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use super::super::question::Question;
#[cfg(unix)]
use super::process::Process;
use super::{Command, Exceeded, WAITING_MAX, frame};
use crate::step::{Output, StepError};

/// How many workers evaluate at once for expressions that have kept to their limits.
const MAIN_MAX: usize = 3;

/// How many of those one source may have.
const SOURCE_MAX: usize = 2;

/// How many workers evaluate at once for expressions that lately exceeded a limit.
const SLOW_MAX: usize = 1;

/// How long an expression of a source is counted among those.
const SLOW_FOR: Duration = Duration::from_secs(300);

/// What is over sooner than this was not slow, however it ended.
const SLOW_AFTER: Duration = Duration::from_millis(100);

/// After so long an evaluation gives its worker up to another source that waits.
const LONG: Duration = Duration::from_millis(300);

/// How often it is looked whether one waits.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How many expressions are remembered as slow.
const SLOW_KNOWN_MAX: usize = 1_000;

/// An expression of a source.
type Key = [u8; 32];

/// The workers of this process.
pub(super) struct Pool {
    state: Mutex<Option<State>>,
}

#[derive(Default)]
struct State {
    running: Vec<Turn>,
    waiting: VecDeque<(Turn, oneshot::Sender<Permit>)>,
    /// When each of these last exceeded a limit.
    slow: HashMap<Key, Instant>,
    #[cfg(unix)]
    idle: Vec<Process>,
}

/// What waits for a worker, or has one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Turn {
    source: SourceName,
    is_slow: bool,
}

/// The right to use a worker.
struct Permit {
    pool: &'static Pool,
    turn: Turn,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.pool.release(&self.turn);
    }
}

/// An evaluation under way: if it exceeds a limit, or is given up late, its expression counts as slow.
struct Evaluation {
    pool: &'static Pool,
    key: Key,
    began: Instant,
    is_fine: bool,
}

impl Drop for Evaluation {
    fn drop(&mut self) {
        if !self.is_fine && self.began.elapsed() > SLOW_AFTER {
            self.pool.remember_slow(self.key);
        }
    }
}

impl State {
    fn has_room(&self, turn: &Turn) -> bool {
        let count = self.running.iter().filter(|other| other.is_slow == turn.is_slow).count();
        if turn.is_slow {
            return count < SLOW_MAX;
        }
        count < MAIN_MAX && self.of_source(turn) < SOURCE_MAX
    }

    fn of_source(&self, turn: &Turn) -> usize {
        self.running.iter().filter(|other| *other == turn).count()
    }

    /// The next that may have a worker: of the source that has the fewest, the one that has waited longest.
    fn next(&mut self) -> Option<(Turn, oneshot::Sender<Permit>)> {
        self.waiting.retain(|(_, waits)| !waits.is_closed());
        let places = self.waiting.iter().enumerate();
        let places = places.filter(|(_, (turn, _))| self.has_room(turn));
        let (place, _) = places.min_by_key(|(_, (turn, _))| self.of_source(turn))?;
        self.waiting.remove(place)
    }
}

impl Pool {
    pub(super) const fn new() -> Self {
        Self { state: Mutex::new(None) }
    }

    fn state(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(self.state().get_or_insert_default())
    }

    fn is_slow(&self, key: &Key) -> bool {
        self.with(|state| state.slow.get(key).is_some_and(|at| at.elapsed() < SLOW_FOR))
    }

    fn remember_slow(&self, key: Key) {
        self.with(|state| {
            if state.slow.len() >= SLOW_KNOWN_MAX {
                state.slow.retain(|_, at| at.elapsed() < SLOW_FOR);
            }
            if state.slow.len() < SLOW_KNOWN_MAX {
                state.slow.insert(key, Instant::now());
            }
        });
    }

    async fn turn(&'static self, turn: Turn) -> Result<Permit, StepError> {
        let waits = self.with(|state| {
            if state.has_room(&turn) {
                state.running.push(turn.clone());
                return Ok(None);
            }
            if state.waiting.len() >= WAITING_MAX {
                return Err(StepError::retryable(
                    "busy",
                    format!("jq: {WAITING_MAX} evaluations wait for a worker already"),
                ));
            }
            let (send, waits) = oneshot::channel();
            state.waiting.push_back((turn.clone(), send));
            Ok(Some(waits))
        })?;
        match waits {
            None => Ok(Permit { pool: self, turn }),
            Some(waits) => waits.await.map_err(|_| {
                StepError::retryable("busy", "jq: the wait for a worker was given up")
            }),
        }
    }

    fn release(&'static self, turn: &Turn) {
        self.with(|state| {
            if let Some(place) = state.running.iter().position(|other| other == turn) {
                state.running.swap_remove(place);
            }
        });
        loop {
            let next = self.with(|state| {
                let (turn, waits) = state.next()?;
                state.running.push(turn.clone());
                Some((Permit { pool: self, turn }, waits))
            });
            let Some((permit, waits)) = next else { return };
            // Whoever waited no more gives the permit back here, which goes on from there.
            drop(waits.send(permit));
        }
    }

    pub(super) async fn answer(
        &'static self,
        command: &Command,
        code: &str,
        question: &Question,
        source: &SourceName,
    ) -> Result<Output, StepError> {
        let key: Key = Sha256::digest(format!("{source}\n{code}")).into();
        let asked = frame::from_question(code, question);
        let turn = Turn { source: source.clone(), is_slow: self.is_slow(&key) };
        let permit = self.turn(turn.clone()).await?;
        if !turn.is_slow {
            // It has no effects, so that it can begin again among the slow ones.
            tokio::select! {
                answer = self.evaluate(command, key, &asked) => return answer,
                () = self.keeps_others_waiting(source) => {}
            }
        }
        let _permit = match turn.is_slow {
            true => permit,
            false => {
                drop(permit);
                self.turn(Turn { is_slow: true, ..turn }).await?
            }
        };
        self.evaluate(command, key, &asked).await
    }

    async fn evaluate(
        &'static self,
        command: &Command,
        key: Key,
        asked: &[u8],
    ) -> Result<Output, StepError> {
        let mut evaluation = Evaluation { pool: self, key, began: Instant::now(), is_fine: false };
        let answer = self.ask(command, asked).await;
        evaluation.is_fine = match &answer {
            Ok(_) => true,
            Err(error) => !["too_much_time", "too_much_memory", "too_deep", "timeout"]
                .contains(&error.kind.as_str()),
        };
        answer
    }

    /// Returns once an evaluation that began now has taken long, and other sources wait for its worker.
    async fn keeps_others_waiting(&self, source: &SourceName) {
        tokio::time::sleep(LONG).await;
        let waits = |(turn, waits): &(Turn, oneshot::Sender<Permit>)| {
            !turn.is_slow && turn.source != *source && !waits.is_closed()
        };
        while !self.with(|state| state.waiting.iter().any(waits)) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    #[cfg(all(test, unix))]
    pub(super) fn idle_ids(&self) -> Vec<u32> {
        self.with(|state| state.idle.iter().map(Process::id).collect())
    }

    #[cfg(not(unix))]
    async fn ask(&self, _: &Command, _: &[u8]) -> Result<Output, StepError> {
        let message = "jq: this expression needs a worker, which there is on Unix only";
        Err(StepError::fatal("no_worker", message))
    }

    /// Keeps a worker for the next question, and lets those go that have ended meanwhile.
    #[cfg(unix)]
    fn keep(&self, process: Process) {
        self.with(|state| {
            state.idle.retain_mut(Process::is_running);
            state.idle.push(process);
        });
    }

    /// Asks a worker that has nothing to do, or a new one.
    #[cfg(unix)]
    async fn ask(&self, command: &Command, asked: &[u8]) -> Result<Output, StepError> {
        while let Some(mut process) = self.with(|state| state.idle.pop()) {
            match process.ask(asked).await? {
                Ok(answer) => {
                    self.keep(process);
                    return answer;
                }
                // It had ended, because it had nothing to do.
                Err(Exceeded::Gone) => {}
                // It may hold memory of earlier evaluations, so that only a new one is sure.
                Err(Exceeded::Memory | Exceeded::Died(_)) => break,
                Err(exceeded) => return Err(exceeded.into()),
            }
        }
        let mut process = Process::start(command).map_err(|error| {
            let message = format!(
                "jq: no worker process could be started for the expression ({error}); \
                 check the limits of processes and memory"
            );
            StepError::retryable("no_worker", message)
        })?;
        match process.ask(asked).await? {
            Ok(answer) => {
                self.keep(process);
                answer
            }
            Err(exceeded) => Err(exceeded.into()),
        }
    }
}
