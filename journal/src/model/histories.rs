//! Histories, made by the product's own [`Execution`]. Each is kept once, under a short id.

use std::collections::HashMap;
use std::time::Duration;

use crate::event::{CallbackAnswer, Event, Recorded, Webhook};
use crate::execution::{Attempt, Move, Stage};
use crate::id::{Sequence, StepName};
use crate::samples::{at, failure, id, text, webhook};
use crate::time::Timestamp;
use crate::workflow::{AtMostOnce, StepDefinition, Workflow};
use crate::{Command, Events, Execution, Next, Status, View};

/// A time of the model, in ticks.
pub(super) type Tick = u8;

/// The last tick. All that is waited for is due then, and nothing crashes any more.
pub(super) const LAST: Tick = 3;

/// How long a claim lasts.
const CLAIM: Tick = 1;

/// How long a callback may be answered.
const EXPIRY: Tick = 2;

/// A history, by its place among all that were met.
pub(super) type HistoryId = u16;

/// The history without events.
pub(super) const EMPTY: HistoryId = 0;

/// Commands that are decided together, by their place among all that were met.
pub(super) type BatchId = u16;

/// A command, in a few bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Order {
    Receive,
    Complete { step: u8, attempt: u8 },
    Fail { step: u8, attempt: u8, retry_at: Option<Tick> },
    Claim { step: u8, attempt: u8, until: Tick, replaces: Option<Tick> },
    Ask { step: u8, attempt: u8, expires: Tick },
    Answer { step: u8, now: Tick },
    Expire { step: u8, attempt: u8, now: Tick },
    Fire(Tick),
    End,
    Redrive,
}

/// What an execution wants, as far as the workflows of the model can want it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    Decide(Order),
    Wait(Tick),
    /// To have an attempt made that acts outside.
    Act {
        step: u8,
        attempt: u8,
    },
}

/// A claim as the history has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Claim {
    pub(super) step: u8,
    pub(super) attempt: u8,
    pub(super) until: Tick,
}

/// A history and what follows from it.
#[derive(Debug)]
pub(super) struct History {
    execution: Option<Execution>,
    events: Vec<Recorded>,
    pub(super) sequence: u8,
    /// Whether its view says that it has ended.
    pub(super) ended: bool,
    /// Whether the projector writes its view.
    pub(super) is_shown: bool,
    /// What its last append says in `until`.
    pub(super) until: Option<Tick>,
    pub(super) claim: Option<Claim>,
    /// Whether it holds an answer or a redrive, and whether that is its last event.
    pub(super) has_signal: bool,
    pub(super) ends_with_signal: bool,
    wishes: [Wish; LAST as usize + 1],
}

/// All histories that were met.
#[derive(Debug)]
pub(super) struct Histories {
    workflow: Workflow,
    /// The paths of all steps; those inside of others come last.
    paths: Vec<StepName>,
    histories: Vec<History>,
    placed: HashMap<(HistoryId, BatchId, Option<Tick>), HistoryId>,
    batches: Vec<Vec<Order>>,
    batch_ids: HashMap<Vec<Order>, BatchId>,
    followed: HashMap<(HistoryId, BatchId, Tick), (BatchId, HistoryId)>,
}

/// So many ticks later, but never after the last one.
pub(super) fn later(now: Tick, ticks: Tick) -> Tick {
    (now + ticks).min(LAST)
}

fn to_time(tick: Tick) -> Timestamp {
    at(60 * i64::from(tick))
}

fn to_tick(time: Timestamp) -> Tick {
    u8::try_from(time.since(at(0)).as_secs() / 60).expect("it is a time of the model")
}

fn small(number: u32) -> u8 {
    u8::try_from(number).expect("there are few attempts")
}

impl Histories {
    pub(super) fn new(workflow: Workflow) -> Self {
        let inner = |outer: &StepDefinition| {
            let outer = outer.clone();
            let paths = outer.steps.iter().map(|step| format!("{}/{}", outer.name, step.name));
            paths.map(StepName::new).collect::<Vec<_>>()
        };
        let outer = workflow.steps.iter().map(|step| step.name.clone());
        let paths = outer.chain(workflow.steps.iter().flat_map(inner)).collect();
        let empty = History {
            execution: None,
            events: Vec::new(),
            sequence: 0,
            ended: false,
            is_shown: false,
            until: None,
            claim: None,
            has_signal: false,
            ends_with_signal: false,
            wishes: [Wish::Nothing; LAST as usize + 1],
        };
        Self {
            workflow,
            paths,
            histories: vec![empty],
            placed: HashMap::new(),
            batches: Vec::new(),
            batch_ids: HashMap::new(),
            followed: HashMap::new(),
        }
    }

    pub(super) fn get(&self, history: HistoryId) -> &History {
        &self.histories[usize::from(history)]
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.histories.len()
    }

    pub(super) fn wish(&self, history: HistoryId, now: Tick) -> Wish {
        self.get(history).wishes[usize::from(now)]
    }

    pub(super) fn batch(&self, batch: BatchId) -> &[Order] {
        &self.batches[usize::from(batch)]
    }

    /// Whether a step acts at most once an attempt.
    pub(super) fn is_at_most_once(&self, step: u8) -> bool {
        let step = self.workflow.step(self.path(step).as_str());
        step.expect("it is a step of the workflow").at_most_once.is_some()
    }

    /// The claim of an attempt that is made now. It ends later than the one that it replaces.
    pub(super) fn claim(&self, history: HistoryId, step: u8, attempt: u8, now: Tick) -> Order {
        let replaces = self.get(history).claim.map(|claim| claim.until);
        let until = (now + CLAIM).max(replaces.map_or(0, |replaced| replaced + 1));
        Order::Claim { step, attempt, until, replaces }
    }

    /// What is recorded of an attempt that fails, with the time of the next, if there is a next.
    pub(super) fn failed(&self, step: u8, attempt: u8, now: Tick) -> Order {
        let definition = self.workflow.step(self.path(step).as_str());
        let attempts = definition.expect("it is a step of the workflow").retry.attempts;
        let retry_at = (u32::from(attempt) < attempts).then(|| later(now, 1));
        Order::Fail { step, attempt, retry_at }
    }

    /// What of these commands fits after a history, and the history with that as one append at this time.
    pub(super) fn follow(
        &mut self,
        history: HistoryId,
        orders: &[Order],
        now: Tick,
    ) -> (BatchId, HistoryId) {
        let wanted = self.intern(orders);
        if let Some(followed) = self.followed.get(&(history, wanted, now)) {
            return *followed;
        }
        let mut execution = self.get(history).execution.clone();
        let after = Sequence::new(self.get(history).sequence.into());
        let (mut fitting, mut events) = (Vec::new(), Vec::new());
        for order in orders {
            let event = match &execution {
                None => self.received(),
                Some(execution) => match execution.decide(self.command(execution, *order)) {
                    Ok(event) => event,
                    Err(_) => continue,
                },
            };
            fitting.push(*order);
            events.push(event);
            let last = self.record(after, &events).pop().expect("there is one");
            execution = Some(match execution {
                None => Execution::begin(&last).expect("a webhook begins an execution"),
                Some(execution) => execution.evolve(&last).expect("what was decided is accepted"),
            });
        }
        let batch = self.intern(&fitting);
        let followed = match execution {
            Some(execution) if !fitting.is_empty() => {
                let mut all = self.get(history).events.clone();
                all.extend(self.record(after, &events));
                let until = execution.rests_until(&self.workflow, to_time(now)).map(to_tick);
                (batch, self.place((history, batch, until), all, execution))
            }
            _ => (batch, history),
        };
        self.followed.insert((history, wanted, now), followed);
        followed
    }

    /// One append of these events. Its time decides nothing: one time for all keeps the histories few.
    fn record(&self, after: Sequence, events: &[Event]) -> Vec<Recorded> {
        Events::new(events.to_vec()).expect("there is one").record(after, to_time(0), None)
    }

    fn intern(&mut self, orders: &[Order]) -> BatchId {
        if let Some(batch) = self.batch_ids.get(orders) {
            return *batch;
        }
        let batch = BatchId::try_from(self.batches.len()).expect("there are few batches");
        self.batches.push(orders.to_vec());
        self.batch_ids.insert(orders.to_vec(), batch);
        batch
    }

    fn place(
        &mut self,
        (before, batch, until): (HistoryId, BatchId, Option<Tick>),
        events: Vec<Recorded>,
        execution: Execution,
    ) -> HistoryId {
        if let Some(placed) = self.placed.get(&(before, batch, until)) {
            return *placed;
        }
        let folded = Execution::fold(&events).expect("it is a history");
        assert_eq!(folded.as_ref(), Some(&execution), "a history is folded as it was made");
        let view = View::of(&id(), &execution);
        let is_signal = |recorded: &Recorded| {
            matches!(
                recorded.event,
                Event::CallbackReceived { .. } | Event::ExecutionRedriven { .. }
            )
        };
        let history = History {
            sequence: small(u32::try_from(execution.sequence.get()).expect("there are few")),
            ended: view.status.is_terminal(),
            is_shown: view.status.is_terminal() || execution.waits_until().is_some(),
            until,
            claim: self.claim_in(&execution),
            has_signal: events.iter().any(is_signal),
            ends_with_signal: events.last().is_some_and(is_signal),
            wishes: std::array::from_fn(|now| self.find_wish(&execution, now as Tick)),
            events,
            execution: Some(execution),
        };
        let placed = HistoryId::try_from(self.histories.len()).expect("there are few histories");
        self.histories.push(history);
        self.placed.insert((before, batch, until), placed);
        placed
    }

    fn claim_in(&self, execution: &Execution) -> Option<Claim> {
        (0..).zip(&self.paths).find_map(|(step, path)| {
            let state = execution.step(path)?;
            let Stage::Claimed(claim) = &state.stage else { return None };
            let (attempt, until) = (small(state.attempts + 1), to_tick(claim.until));
            Some(Claim { step, attempt, until })
        })
    }

    fn received(&self) -> Event {
        let webhook = Webhook { workflow: self.workflow.reference(), ..webhook(&[]) };
        Event::WebhookReceived(std::sync::Arc::new(webhook))
    }

    fn path(&self, step: u8) -> &StepName {
        &self.paths[usize::from(step)]
    }

    fn command(&self, execution: &Execution, order: Order) -> Command {
        let attempt = |step: u8, number: u8| Attempt {
            step: self.path(step).clone(),
            number: number.into(),
            started_at: execution.created_at,
            took: Duration::ZERO,
            request: None,
        };
        match order {
            Order::Receive => unreachable!("only an execution has commands"),
            Order::Complete { step, attempt: n } => {
                Command::CompleteStep(attempt(step, n), text("done"))
            }
            Order::Fail { step, attempt: n, retry_at } => {
                Command::FailStep(attempt(step, n), failure(), retry_at.map(to_time))
            }
            Order::Claim { step, attempt, until, replaces } => Command::ClaimStep {
                step: self.path(step).clone(),
                attempt: attempt.into(),
                until: to_time(until),
                replaces: replaces.map(to_time),
                process: None,
            },
            Order::Ask { step, attempt, expires } => {
                let definition = self.workflow.step(self.path(step).as_str());
                let steps = definition.expect("it is a step of the workflow").steps.iter();
                Command::CreateCallback {
                    step: self.path(step).clone(),
                    attempt: attempt.into(),
                    token_sha256: "t".into(),
                    steps: steps.map(|step| step.name.clone()).collect(),
                    expires_at: to_time(expires),
                    heartbeat: None,
                }
            }
            Order::Answer { step, now } => Command::ReceiveCallback {
                step: self.path(step).clone(),
                token_sha256: "t".into(),
                answer: CallbackAnswer::Succeeded(text("yes")),
                now: to_time(now),
            },
            Order::Expire { step, attempt: n, now } => {
                Command::ExpireCallback(attempt(step, n), failure(), to_time(now))
            }
            Order::Fire(now) => Command::FireTimer(to_time(now)),
            Order::End => match &execution.status {
                Status::Failing { cause } => Command::Fail(cause.clone()),
                _ => Command::Complete(None),
            },
            Order::Redrive => Command::Redrive(None),
        }
    }

    /// What the product says that an execution wants.
    fn find_wish(&self, execution: &Execution, now: Tick) -> Wish {
        match execution.next(&self.workflow, to_time(now)) {
            Next::Nothing => Wish::Nothing,
            Next::Complete { .. } | Next::Fail { .. } => Wish::Decide(Order::End),
            Next::GiveUp { .. } => unreachable!("nothing follows a failure in these workflows"),
            Next::Fire { .. } => Wish::Decide(Order::Fire(now)),
            Next::Wait { until } => Wish::Wait(to_tick(until)),
            Next::Do { tasks, .. } => {
                let [task] = &tasks[..] else { panic!("one step at a time: {tasks:?}") };
                let step = self.paths.iter().position(|path| *path == task.path);
                let step = u8::try_from(step.expect("it is a step of the workflow")).unwrap();
                match task.what {
                    Move::Attempt(number) if task.step.run == "callback" => {
                        let (attempt, expires) = (small(number), later(now, EXPIRY));
                        Wish::Decide(Order::Ask { step, attempt, expires })
                    }
                    Move::Attempt(number) => Wish::Act { step, attempt: small(number) },
                    Move::Interrupt(number) => {
                        assert_eq!(task.step.at_most_once, Some(AtMostOnce::Attempt));
                        Wish::Decide(self.failed(step, small(number), now))
                    }
                    Move::Expire(number) => {
                        Wish::Decide(Order::Expire { step, attempt: small(number), now })
                    }
                    Move::EndWait(_) | Move::EndBranches(_) => panic!("{task:?}"),
                }
            }
        }
    }

    /// The events of a history, in words.
    pub(super) fn words(&self, history: HistoryId) -> String {
        let events = self.get(history).events.iter().map(|recorded| match recorded.event.step() {
            Some(step) => format!("{} {step}", recorded.event.name()),
            None => recorded.event.name().to_owned(),
        });
        events.collect::<Vec<_>>().join(", ")
    }
}
