//! Histories, made by the product's own [`Execution`], each of them once and under a short name.

use std::collections::HashMap;
use std::time::Duration;

use crate::event::{CallbackAnswer, Event, Recorded, StepFailure};
use crate::execution::{Attempt, Move, WATCHDOG};
use crate::id::{Sequence, StepName};
use crate::retry::Failed;
use crate::samples::{at, failure, id, text, webhook};
use crate::time::Timestamp;
use crate::workflow::{AtMostOnce, Workflow};
use crate::{Command, Events, Execution, Next, Status, View};

/// A moment of the model: so many of [`WATCHDOG`].
pub(super) type Tick = u8;

/// The last moment: there, whatever is waited for has come.
pub(super) const LAST: Tick = 2;

/// The name of a history.
pub(super) type Past = u16;

/// The history without events.
pub(super) const NOTHING: Past = 0;

/// The step that the model's workflows have second.
pub(super) const SECOND: u8 = 1;

/// A moment, and those after the last one are the last one.
pub(super) fn after(now: Tick, ticks: Tick) -> Tick {
    (now + ticks).min(LAST)
}

fn to_time(tick: Tick) -> Timestamp {
    at(0) + WATCHDOG * u32::from(tick)
}

fn from_time(time: Timestamp) -> Tick {
    let ticks = time.since(at(0)).as_millis() / WATCHDOG.as_millis();
    u8::try_from(ticks).expect("it is a moment of the model")
}

/// What somebody wants to record, in a few bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Order {
    Receive(Tick),
    Complete { step: u8, attempt: u8 },
    Fail { step: u8, attempt: u8, retry_at: Option<Tick> },
    Claim { step: u8, attempt: u8, until: Tick },
    Ask { step: u8, attempt: u8, expires: Tick },
    Answer { step: u8, now: Tick },
    Expire { step: u8, attempt: u8, now: Tick },
    Fire(Tick),
    End,
}

/// What is decided together.
pub(super) type Orders = [Option<Order>; 4];

/// Nothing is decided.
pub(super) const NONE: Orders = [None; 4];

/// These, and one more.
pub(super) fn with(mut orders: Orders, order: Order) -> Orders {
    let free = orders.iter_mut().find(|order| order.is_none());
    *free.expect("no more than four are decided together") = Some(order);
    orders
}

/// What an execution wants, as far as the model's workflows can want it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    /// To have this decided.
    Decide(Order),
    Fire,
    Wait(Tick),
    /// An attempt that acts outside; whether it must be claimed.
    Act {
        step: u8,
        attempt: u8,
        claims: bool,
    },
}

/// A history and what follows from it.
#[derive(Debug)]
pub(super) struct Known {
    /// The state; none without events.
    pub(super) execution: Option<Execution>,
    pub(super) events: Vec<Recorded>,
    pub(super) sequence: u8,
    pub(super) created: Tick,
    /// Whether its view shows an end.
    pub(super) ended: bool,
    pub(super) waits_until: Option<Tick>,
    /// What it wants, at each moment.
    pub(super) wishes: [Wish; LAST as usize + 1],
    /// How many attempts at each step have ended, and whether it completed; from the events alone.
    pub(super) attempts: [u8; 2],
    pub(super) completed: [bool; 2],
    pub(super) asked: bool,
    pub(super) answered: bool,
    /// What is wrong with it, whoever made it.
    pub(super) wrong: Option<&'static str>,
}

/// Every history that was met.
#[derive(Debug)]
pub(super) struct Pasts {
    workflow: Workflow,
    known: Vec<Known>,
    followed: HashMap<(Past, Orders), (Orders, Past)>,
}

impl Pasts {
    pub(super) fn new(workflow: Workflow) -> Self {
        let nothing = Known {
            execution: None,
            events: Vec::new(),
            sequence: 0,
            created: 0,
            ended: false,
            waits_until: None,
            wishes: [Wish::Nothing; LAST as usize + 1],
            attempts: [0; 2],
            completed: [false; 2],
            asked: false,
            answered: false,
            wrong: None,
        };
        Self { workflow, known: vec![nothing], followed: HashMap::new() }
    }

    pub(super) fn get(&self, past: Past) -> &Known {
        &self.known[usize::from(past)]
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn wish(&self, past: Past, now: Tick) -> Wish {
        self.get(past).wishes[usize::from(now)]
    }

    /// How an attempt fails, with the time of the next, if there is a next.
    pub(super) fn failed(&self, step: u8, attempt: u8, retryable: bool, now: Tick) -> Order {
        failed(&self.workflow, step, attempt, retryable, now)
    }

    /// What of these still fits, and the history with it, as one append.
    pub(super) fn follow(&mut self, past: Past, orders: Orders) -> (Orders, Past) {
        if let Some(followed) = self.followed.get(&(past, orders)) {
            return *followed;
        }
        let before = self.get(past);
        let mut execution = before.execution.clone();
        let mut fitting = NONE;
        let mut events = Vec::new();
        for order in orders.into_iter().flatten() {
            let event = match (&execution, order) {
                (None, Order::Receive(_)) => self.received(),
                (None, _) | (Some(_), Order::Receive(_)) => continue,
                (Some(execution), order) => {
                    match execution.decide(self.command(execution, order)) {
                        Ok(event) => event,
                        Err(_) => continue,
                    }
                }
            };
            fitting = with(fitting, order);
            events.push(event.clone());
            // Times of appends decide nothing: one time for all keeps the histories few.
            let after = Sequence::new(before.sequence.into());
            let time = match order {
                Order::Receive(now) => to_time(now),
                _ => to_time(before.created),
            };
            let all = Events::new(events.clone()).expect("there is one").record(after, time, None);
            let last = all.last().expect("there is one").clone();
            execution = Some(match execution {
                None => Execution::begin(&last).expect("a webhook begins an execution"),
                Some(execution) => execution.evolve(&last).expect("what was decided is accepted"),
            });
        }
        let followed = match execution {
            Some(execution) if fitting != NONE => {
                let mut all = before.events.clone();
                let created = execution.created_at;
                let after = Sequence::new(before.sequence.into());
                all.extend(Events::new(events).expect("some").record(after, created, None));
                (fitting, self.place(all, execution))
            }
            _ => (NONE, past),
        };
        self.followed.insert((past, orders), followed);
        self.followed.insert((past, fitting), followed);
        followed
    }

    fn place(&mut self, events: Vec<Recorded>, execution: Execution) -> Past {
        let folded = Execution::fold(&events).expect("it is a history");
        assert_eq!(folded.as_ref(), Some(&execution), "a history is folded as it was made");
        let view = View::of(&id(), &execution);
        let wishes =
            std::array::from_fn(|now| wish(&self.workflow, &execution, u8::try_from(now).unwrap()));
        let mut known = Known {
            sequence: u8::try_from(execution.sequence.get()).unwrap(),
            created: from_time(execution.created_at),
            ended: view.status.is_terminal(),
            waits_until: execution.waits_until().map(from_time),
            wishes,
            attempts: [0; 2],
            completed: [false; 2],
            asked: false,
            answered: false,
            wrong: None,
            events,
            execution: Some(execution),
        };
        self.look_through(&mut known);
        self.known.push(known);
        u16::try_from(self.known.len() - 1).expect("there are few histories")
    }

    /// Reads the events one by one, without the product's help.
    fn look_through(&self, known: &mut Known) {
        let mut is_over = false;
        let mut wrong = None;
        for (n, recorded) in (1u64..).zip(&known.events) {
            if recorded.sequence.get() != n || recorded.first > recorded.sequence {
                wrong = Some("the history has a gap");
            }
            if matches!(recorded.event, Event::WebhookReceived(_)) != (n == 1) {
                wrong = Some("a history begins twice, or not with a webhook");
            }
            if is_over {
                wrong = Some("something follows the end");
            }
            let own = |name: &StepName| self.workflow.steps.iter().position(|it| it.name == *name);
            let step = recorded.event.step().and_then(own);
            match (&recorded.event, step) {
                (
                    Event::ExecutionCompleted { .. }
                    | Event::ExecutionFailed { .. }
                    | Event::ExecutionCancelled { .. },
                    _,
                ) => {
                    is_over = true;
                    continue;
                }
                (Event::StepCompleted { .. } | Event::CallbackReceived { .. }, Some(step)) => {
                    if known.completed[step] {
                        wrong = Some("a step completed twice");
                    }
                    known.completed[step] = true;
                    known.attempts[step] += 1;
                    known.answered |= matches!(recorded.event, Event::CallbackReceived { .. });
                }
                (Event::StepFailed { .. }, Some(step)) => known.attempts[step] += 1,
                (Event::CallbackCreated { .. }, _) => known.asked = true,
                _ => {}
            }
            if step == Some(SECOND.into()) && !known.completed[0] {
                wrong = Some("the second step came before the first had completed");
            }
        }
        known.wrong = wrong;
    }

    fn received(&self) -> Event {
        let webhook = crate::event::Webhook { workflow: self.workflow.reference(), ..webhook(&[]) };
        Event::WebhookReceived(std::sync::Arc::new(webhook))
    }

    fn name(&self, step: u8) -> &StepName {
        &self.workflow.steps[usize::from(step)].name
    }

    fn command(&self, execution: &Execution, order: Order) -> Command {
        let began = execution.created_at;
        let attempt = |step: u8, number: u8| Attempt {
            step: self.name(step).clone(),
            number: number.into(),
            started_at: began,
            took: Duration::ZERO,
            request: None,
        };
        match order {
            Order::Receive(_) => unreachable!("only an execution has commands"),
            Order::Complete { step, attempt: n } => {
                Command::CompleteStep(attempt(step, n), text("done"))
            }
            Order::Fail { step, attempt: n, retry_at } => {
                Command::FailStep(attempt(step, n), failure(), retry_at.map(to_time))
            }
            Order::Claim { step, attempt, until } => {
                let step = self.name(step).clone();
                let until = to_time(until);
                let attempt = attempt.into();
                Command::ClaimStep { step, attempt, until, replaces: None, process: None }
            }
            Order::Ask { step, attempt, expires } => Command::CreateCallback {
                step: self.name(step).clone(),
                attempt: attempt.into(),
                token_sha256: "t".into(),
                steps: Vec::new(),
                expires_at: to_time(expires),
                heartbeat: None,
            },
            Order::Answer { step, now } => Command::ReceiveCallback {
                step: self.name(step).clone(),
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
        }
    }
}

/// What the product says that an execution wants.
fn wish(workflow: &Workflow, execution: &Execution, now: Tick) -> Wish {
    match execution.next(workflow, to_time(now)) {
        Next::Nothing => Wish::Nothing,
        Next::Complete { .. } | Next::Fail { .. } => Wish::Decide(Order::End),
        Next::GiveUp { .. } => unreachable!("nothing follows a failure in these workflows"),
        Next::Fire { .. } => Wish::Fire,
        Next::Wait { until } => Wish::Wait(from_time(until)),
        Next::Do { tasks, .. } => {
            let [task] = &tasks[..] else { panic!("one step at a time") };
            let place = workflow.steps.iter().position(|it| it.name == task.path);
            let step = u8::try_from(place.expect("it is a step of the workflow")).unwrap();
            let small = |number: u32| u8::try_from(number).unwrap();
            match task.what {
                Move::Attempt(number) if task.step.run == "callback" => Wish::Decide(Order::Ask {
                    step,
                    attempt: small(number),
                    expires: after(now, 2),
                }),
                Move::Attempt(number) => Wish::Act {
                    step,
                    attempt: small(number),
                    claims: task.step.at_most_once.is_some(),
                },
                Move::Interrupt(number) => {
                    let again = task.step.at_most_once == Some(AtMostOnce::Attempt);
                    Wish::Decide(failed(workflow, step, small(number), again, now))
                }
                Move::Expire(number) => {
                    Wish::Decide(Order::Expire { step, attempt: small(number), now })
                }
                Move::EndWait(_) | Move::EndBranches(_) => panic!("{task:?}"),
            }
        }
    }
}

fn failed(workflow: &Workflow, step: u8, attempt: u8, retryable: bool, now: Tick) -> Order {
    let StepFailure { kind, .. } = failure();
    let failed = Failed {
        attempt: attempt.into(),
        kind: &kind,
        retryable,
        age: Duration::ZERO,
        retry_after: None,
    };
    let delay = workflow.steps[usize::from(step)].retry.after(&failed, 1.0);
    Order::Fail { step, attempt, retry_at: delay.map(|_| after(now, 1)) }
}
