//! One world: its tables, functions and outsiders, from the first webhook to the last end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use everhook_journal::guard::Guard;
use everhook_journal::store::{Item, Store};
use everhook_journal::{ExecutionId, Timestamp};
use tokio::sync::Notify;

use crate::batches;
use crate::bodies;
use crate::bursts;
use crate::checks::{Checked, Checks, Violation};
use crate::dice::Dice;
use crate::executor::{Executor, Process, WORLD, executor, roll, sleep};
use crate::expiry::{self, Sent};
use crate::faults::{Fault, Faults};
use crate::focus::{Focus, Weak};
use crate::functions::{Consumer, Functions};
use crate::objects::Objects;
use crate::outsiders::{end, kills, operator, sender, sweep};
use crate::quarantine;
use crate::stream::Stream;
use crate::tables::{Items, Key, SimulatedTables};

/// When every world begins: 24 November 2026.
const BEGINNING: i64 = 1_795_486_845_000;

/// How many worlds have the product's own event source.
const POLLED: f64 = 0.4;

/// How a world ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The rule that was broken, if one was.
    pub violation: Option<Violation>,
    /// How often each fault struck, in the order of [`Fault::ALL`].
    pub faults: Vec<u64>,
    /// How many executions completed, failed, and were cancelled.
    pub ends: [u64; 3],
    /// How many appends there were.
    pub appends: u64,
    /// How many calls were answered.
    pub calls: u64,
    /// How long it took, in the world's own time.
    pub took: Duration,
    /// A digest of everything that happened, in order.
    pub digest: u64,
}

/// What keeps a process from recording an outcome in time, beside its death.
const TROUBLES: [Fault; 13] = [
    Fault::CrashBefore,
    Fault::CrashAfter,
    Fault::Throttled,
    Fault::ThrottledBriefly,
    Fault::AppendLate,
    Fault::RequestLost,
    Fault::ReplyLost,
    Fault::ReplyLostAgain,
    Fault::AppliedLate,
    Fault::Stall,
    Fault::SlowCall,
    Fault::FailedCall,
    Fault::PayloadFails,
];

/// What one world consists of.
pub(crate) struct World {
    pub(crate) items: RefCell<Items>,
    pub(crate) store: Store,
    pub(crate) objects: Arc<Objects>,
    pub(crate) functions: Functions,
    pub(crate) checks: RefCell<Checks>,
    /// The version of the workflows that new processes have.
    pub(crate) version: Cell<usize>,
    /// Whether ingest tells the processor of webhooks, and whether it does so early.
    pub(crate) tells_early: Option<bool>,
    focus: Option<Focus>,
    pub(crate) weak: Weak,
    /// When something can be audited that was not yet.
    audits: RefCell<Vec<Timestamp>>,
    /// Which executions have wide lists, see [`Fault::ResultsWide`].
    pub(crate) wide: RefCell<BTreeMap<String, bool>>,
    /// What each execution was sent as, and the tokens that were given out for it.
    pub(crate) sent: RefCell<BTreeMap<String, Sent>>,
    pub(crate) asked: RefCell<Vec<(String, ExecutionId)>>,
    faults: Faults,
    pub(crate) stream: Stream,
    pub(crate) due: Notify,
    senders: Cell<usize>,
    violation: RefCell<Option<Violation>>,
    processes: RefCell<Vec<String>>,
    digest: Cell<u64>,
    calls: Cell<u64>,
    is_told: bool,
    is_checked: bool,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

/// The world of this thread.
pub(crate) fn world() -> Rc<World> {
    CURRENT.with_borrow(Clone::clone).expect("called inside a world")
}

/// Runs one world; tells what happens if asked to.
/// Without a guard, the world is about what that guard is for, if it is for one thing and nothing else is asked for.
pub fn run(seed: u64, off: Option<Guard>, about: Option<Focus>, is_told: bool) -> Outcome {
    let mut dice = Dice::new(seed);
    let drawn = Focus::draw(&mut dice);
    let focus = about.or_else(|| off.and_then(Focus::of)).or(drawn);
    let world = World::new(focus, &mut dice, is_told);
    let took = world.live(dice, off, || begin(&world, Focus::sources(focus)));
    let now = Timestamp::from_millis(BEGINNING) + took;
    let violation = world.violation.borrow_mut().take();
    let violation = violation.or_else(|| match world.faults.have_ceased() {
        true if world.is_done(now) => world.checks.borrow().end(now).err(),
        _ => Some(world.unfinished(now)),
    });
    let checks = world.checks.borrow();
    Outcome {
        violation,
        faults: world.faults.counts(),
        ends: checks.ends(),
        appends: checks.appends,
        calls: world.calls.get(),
        took,
        digest: world.digest.get(),
    }
}

/// Runs something over the simulated tables alone, in a world in which nothing fails and nothing is checked.
pub fn quietly<R, F>(run: impl FnOnce(Store) -> F) -> Option<R>
where
    R: 'static,
    F: Future<Output = R> + 'static,
{
    let mut dice = Dice::new(0);
    let world = World { is_checked: false, ..World::unshared(None, &mut dice, false) };
    let world = Rc::new(world);
    world.faults.cease();
    let result = Rc::new(RefCell::new(None));
    let run = run(world.store.clone());
    world.live(dice, None, || {
        let process = world.process("guest");
        let result = result.clone();
        executor().spawn(process, async move {
            let ended = run.await;
            *result.borrow_mut() = Some(ended);
        });
    });
    result.take()
}

fn begin(world: &Rc<World>, sources: &[&'static str]) {
    let executor = executor();
    world.stream.open(roll(|dice| dice.between(1, 2)) as u32);
    let many = roll(|dice| dice.between(1, 5)) as usize;
    world.senders.set(many);
    if world.is_about(Focus::Hanging) {
        world.senders.set(many + 1);
        executor.spawn(WORLD, bursts::sender());
    }
    if world.is_about(Focus::Weeks) {
        world.senders.set(many + 1);
        executor.spawn(WORLD, expiry::last_hours());
        executor.spawn(WORLD, expiry::deletions());
    }
    for number in 0..many {
        let source = sources[roll(|dice| dice.below(sources.len()))];
        match source {
            _ if world.is_about(Focus::Hanging) => {
                executor.spawn(WORLD, bursts::calm(source, number));
            }
            batches::SOURCE => executor.spawn(WORLD, batches::sender(number)),
            quarantine::SOURCE => executor.spawn(WORLD, quarantine::sender(number)),
            bodies::POKE => executor.spawn(WORLD, bodies::poke(number)),
            bodies::SHOP => executor.spawn(WORLD, bodies::shop(number)),
            _ => executor.spawn(WORLD, sender(source, number)),
        }
    }
    executor.spawn(WORLD, sweep());
    if world.strikes(Fault::SecondSweep) {
        executor.spawn(WORLD, sweep());
    }
    executor.spawn(WORLD, kills());
    executor.spawn(WORLD, operator());
    if world.strikes(Fault::NewVersion) {
        executor.spawn(WORLD, async {
            sleep(Duration::from_secs(roll(|dice| dice.between(1, 300)))).await;
            crate::world::world().version.set(1);
        });
    }
    executor.spawn(WORLD, end());
}

impl World {
    fn new(focus: Option<Focus>, dice: &mut Dice, is_told: bool) -> Rc<Self> {
        Rc::new(Self::unshared(focus, dice, is_told))
    }

    fn unshared(focus: Option<Focus>, dice: &mut Dice, is_told: bool) -> Self {
        let faults = Faults::draw(focus, dice);
        let weak = Weak::draw(focus, dice);
        // Only a model of Lambda's mappings gives two drivers the same record often enough, and gives up records
        // whose batches kill their process. On one machine these die with the event source: real servers try that.
        let is_mapped = matches!(
            focus,
            Some(Focus::Drivers | Focus::Killers | Focus::Weeks | Focus::Races | Focus::Unheard)
        );
        let is_polled = dice.happens(POLLED) && !is_mapped;
        let tells_early = dice.happens(0.5).then(|| dice.happens(0.5));
        let tells_early = tells_early.filter(|_| focus != Some(Focus::Unheard));
        Self {
            items: RefCell::default(),
            store: Store::simulated(Arc::new(SimulatedTables)),
            objects: Objects::new(),
            functions: Functions::new(is_polled),
            checks: RefCell::default(),
            version: Cell::new(0),
            tells_early,
            focus,
            weak,
            audits: RefCell::default(),
            wide: RefCell::default(),
            sent: RefCell::default(),
            asked: RefCell::default(),
            faults,
            stream: Stream::new(is_polled),
            due: Notify::new(),
            senders: Cell::new(0),
            violation: RefCell::default(),
            processes: RefCell::new(vec!["world".into()]),
            digest: Cell::new(0xcbf2_9ce4_8422_2325),
            calls: Cell::new(0),
            is_told,
            is_checked: true,
        }
    }

    /// Makes this the thread's world until it ends; says how long that took, in its own time.
    fn live(self: &Rc<Self>, dice: Dice, off: Option<Guard>, begin: impl FnOnce()) -> Duration {
        CURRENT.set(Some(self.clone()));
        let mut kept = None;
        Executor::run(dice, BEGINNING, off, |executor| {
            kept = Some(executor.clone());
            begin();
        });
        CURRENT.set(None);
        kept.map_or(Duration::ZERO, |executor| executor.now())
    }

    /// Whether it is about this.
    pub(crate) fn is_about(&self, focus: Focus) -> bool {
        self.focus == Some(focus)
    }

    /// Whether this goes wrong now.
    pub(crate) fn strikes(&self, fault: Fault) -> bool {
        let strikes = roll(|dice| self.faults.strikes(fault, dice));
        if strikes {
            self.tell(|| format!("fault: {}", Fault::ALL[fault as usize].2));
            if TROUBLES.contains(&fault) {
                self.checks.borrow_mut().troubled.insert(executor().current());
            }
            // What acted is not recorded, because its result is not stored.
            if fault == Fault::PayloadFails {
                self.checks.borrow_mut().all_disturbed(executor().current());
            }
        }
        strikes
    }

    /// Tells what happens, if somebody listens; it is part of the digest in any case.
    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        if self.is_told {
            let executor = executor();
            let process = executor.current().0 as usize;
            let name = self.processes.borrow()[process].clone();
            println!("{:>12.3} {name:<14} {}", executor.now().as_secs_f64(), what());
        }
    }

    /// An item was written.
    pub(crate) fn written(
        &self,
        table: &str,
        key: &Key,
        before: Option<&Item>,
        after: Option<&Item>,
    ) {
        self.calls.set(self.calls.get() + 1);
        self.mix(key, after);
        if !self.is_checked {
            return;
        }
        if table == "timers" {
            let now = self.now();
            self.check(|checks| checks.timer(&key.0, after, now));
            self.due.notify_waiters();
            return;
        }
        let now = self.now();
        let Some(execution) = ExecutionId::parse(&key.0) else {
            self.check(|checks| checks.audited(&key.0, after, now));
            return;
        };
        if table == "journal" {
            if key.1 == 1 && after.is_some() {
                self.received(now);
            }
            self.check(|checks| checks.appended(&key.0, before, after, now));
            // What is deleted has a record too, which nobody asks for.
            if after.is_some() {
                self.stream.record(&execution, key.1);
            }
        } else {
            self.check(|checks| checks.row(&key.0, before, after, now));
        }
    }

    /// A webhook was recorded: the passes of the audit come to it one after the other.
    fn received(&self, now: Timestamp) {
        let passes =
            [Duration::from_secs(22), Duration::from_secs(3_602), Duration::from_secs(86_402)];
        self.audits.borrow_mut().extend(passes.map(|after| now + after));
        self.due.notify_waiters();
    }

    /// When something can be audited that was not yet.
    pub(crate) fn next_audit(&self) -> Option<Timestamp> {
        self.audits.borrow().iter().min().copied()
    }

    /// An audit that began then has been made.
    pub(crate) fn audited(&self, began: Timestamp) {
        self.audits.borrow_mut().retain(|at| *at >= began);
    }

    /// An object was stored.
    pub(crate) fn objects_written(&self, location: &str) {
        let name = location.rsplit('/').next().unwrap_or(location).to_owned();
        self.checks.borrow_mut().objects.insert(name);
    }

    /// A batch is delivered.
    pub(crate) fn given(&self, consumer: Consumer, records: &[u64]) {
        self.add(&executor().now().as_micros().to_le_bytes());
        self.add(&[consumer as u8]);
        records.iter().for_each(|record| self.add(&record.to_le_bytes()));
    }

    /// Adds to the digest.
    fn add(&self, bytes: &[u8]) {
        let add =
            |digest: u64, byte: &u8| (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        self.digest.set(bytes.iter().fold(self.digest.get(), add));
    }

    fn mix(&self, key: &Key, after: Option<&Item>) {
        let add = |bytes: &[u8]| self.add(bytes);
        add(&executor().now().as_micros().to_le_bytes());
        add(key.0.as_bytes());
        add(&key.1.to_le_bytes());
        for name in
            ["events", "append", "previous", "until", "fired", "again_at", "sequence", "view"]
        {
            let value = after.and_then(|item| item.get(name));
            add(match value {
                Some(AttributeValue::S(text) | AttributeValue::N(text)) => text.as_bytes(),
                Some(AttributeValue::B(bytes)) => bytes.as_ref(),
                _ => b"-",
            });
        }
    }

    /// Looks whether something holds; a world ends where it does not.
    pub(crate) fn check(&self, look: impl FnOnce(&mut Checks) -> Checked) {
        let checked = look(&mut self.checks.borrow_mut());
        if let Err(violation) = checked {
            self.tell(|| format!("VIOLATION {}: {}", violation.rule, violation.what));
            self.violation.borrow_mut().get_or_insert(violation);
            executor().stop();
        }
    }

    /// Whether the process that is at work is one of this function.
    pub(crate) fn runs(&self, function: &str) -> bool {
        let process = executor().current().0 as usize;
        self.processes.borrow()[process].starts_with(function)
    }

    /// A new process.
    pub(crate) fn process(&self, name: &str) -> Process {
        let mut processes = self.processes.borrow_mut();
        let number = processes.len() as u32;
        processes.push(format!("{name}-{number}"));
        Process(number)
    }

    pub(crate) fn kill(&self, process: Process) {
        let now = self.now();
        let mut checks = self.checks.borrow_mut();
        checks.dead.insert(process);
        checks.died.entry(process).or_insert(now);
        checks.all_disturbed(process);
        drop(checks);
        executor().kill(process);
    }

    pub(crate) fn is_dead(&self, process: Process) -> bool {
        self.checks.borrow().dead.contains(&process)
    }

    /// The true time.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(executor().true_millis())
    }

    /// From now on nothing goes wrong any more.
    pub(crate) fn cease(&self) {
        self.faults.cease();
        self.stream.doorbell.ring();
    }

    /// From now on things go wrong again.
    pub(crate) fn resume(&self) {
        self.faults.resume();
    }

    /// Whether nothing goes wrong any more.
    pub(crate) fn is_calm(&self) -> bool {
        self.faults.have_ceased()
    }

    /// So many more senders want a 202.
    pub(crate) fn senders_come(&self, many: usize) {
        self.senders.set(self.senders.get() + many);
    }

    /// A sender has its 202.
    pub(crate) fn sender_is_done(&self) {
        self.senders.set(self.senders.get() - 1);
    }

    /// Whether everybody has what was promised.
    pub(crate) fn is_done(&self, now: Timestamp) -> bool {
        self.senders.get() == 0
            && self.checks.borrow().unfinished(self.is_about(Focus::Weeks), now).is_none()
            && self.undelivered().is_none()
    }

    /// What the product's event source has not delivered.
    fn undelivered(&self) -> Option<String> {
        let missing = self.stream.is_polled.then(|| self.stream.deliveries.borrow().missing());
        missing.flatten()
    }

    fn unfinished(&self, now: Timestamp) -> Violation {
        let unfinished = self.checks.borrow().unfinished(self.is_about(Focus::Weeks), now);
        match (unfinished, self.undelivered()) {
            (None, Some(what)) if self.senders.get() == 0 => Violation { rule: "P1", what },
            (unfinished, _) => {
                let what = unfinished.unwrap_or_else(|| "a sender never got a 202".into());
                Violation { rule: "L1", what }
            }
        }
    }
}
