//! The Lambda functions: processes that run the product's handlers, one invocation at a time, and die.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::future::ready;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use everhook_ingest::Ingest;
use everhook_ingest::receive::Teller;
use everhook_journal::guard::{self, Guard};
use everhook_journal::id::Shards;
use everhook_journal::stream::{Batch, BatchResponse};
use everhook_journal::{
    Clock, Execution, ExecutionId, Executions, Journal, Payloads, SourceName, Storage, Timer,
    Timers, Timestamp, ambient,
};
use everhook_processor::advance::{Advanced, Driven, Limits, Stint, advance_within, unknown_lane};
use everhook_processor::bulkhead::{Lane, Measure};
use everhook_processor::calls::Calls;
use everhook_processor::registry::{Asked, Registry, Rest};
use everhook_processor::sweep::{HandOver, claim_messages, delay_seconds};
use everhook_processor::{Audit, Cause, Driver, Invocation, Suspects, Sweep, Wake, alone, wakeup};
use everhook_projector::{Projector, StatusApi};
use futures_util::FutureExt;
use tokio::sync::oneshot;

use crate::executor::{Process, WORLD, executor, roll, sleep};
use crate::faults::Fault;
use crate::focus::Focus;
use crate::kit::kit;
use crate::world::{World, world};

/// How long an invocation may take, by function.
const PROCESSOR: Duration = Duration::from_secs(60);
const INGEST: Duration = Duration::from_secs(29);

/// How long the sweep claims timers in one invocation.
const SWEEPS: Duration = Duration::from_secs(50);

/// How far ahead the sweep sends messages.
const AHEAD: Duration = Duration::from_secs(75);

/// The longest delay of a message.
const DELAY_MAX: Duration = Duration::from_secs(900);

/// Into how many shards the indexes are split.
const SHARDS: u64 = 2;

/// How many processes of a function are kept.
const KEPT: usize = 3;

/// How many executions a processor drives at once.
const CONCURRENCY: usize = 8;

/// How many calls to one destination are in flight at most where targets hang, and how many of them for one source.
const CALLS: (usize, usize) = (12, 6);

/// How long a drive that was handed over may take.
const HANDED_OVER: Duration = Duration::from_secs(24 * 3600);

/// Who reads the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consumer {
    Processor = 0,
    Projector = 1,
}

impl Consumer {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Processor, Self::Projector];

    /// What it answers to a batch; `None` if it died or was too slow.
    pub(crate) async fn invoke(self, batch: Batch) -> Option<BatchResponse> {
        match self {
            Self::Processor => process(batch).await,
            Self::Projector => project(batch).await,
        }
    }
}

/// A process with what it keeps in memory.
struct Instance<T> {
    process: Process,
    handler: Rc<T>,
    clock: Clock,
    /// How much it does at once.
    busy: Cell<u32>,
    version: usize,
}

/// One thing that a process does, until this is dropped.
struct Busy<T>(Rc<Instance<T>>);

impl<T> Busy<T> {
    fn begin(instance: &Rc<Instance<T>>) -> Self {
        instance.busy.set(instance.busy.get() + 1);
        Self(instance.clone())
    }
}

impl<T> Drop for Busy<T> {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get() - 1);
    }
}

/// What drives executions, and which: the supervisor of a process, whose actors are tasks here. What an actor keeps, and
/// when it drives, is the product's own.
struct Processor {
    driver: Driver,
    registry: RefCell<Registry<Actor, Waiter>>,
}

/// What an actor keeps.
type Actor = Rc<RefCell<Option<Execution>>>;

/// What waits for the end of a drive.
type Waiter = oneshot::Sender<Drove>;

/// What a drive came to.
#[derive(Clone)]
enum Drove {
    Advanced(Advanced),
    Outage,
}

/// The processes of one function.
pub(crate) struct Function<T> {
    name: &'static str,
    limit: Duration,
    /// Whether one process does everything, as on one machine.
    is_one: bool,
    instances: RefCell<Vec<Rc<Instance<T>>>>,
}

/// The functions of a world.
pub(crate) struct Functions {
    ingest: Function<Ingest>,
    processor: Function<Processor>,
    projector: Function<Projector>,
    sweep: Function<(Sweep, Audit)>,
    status: Function<StatusApi>,
}

impl Functions {
    /// Functions of AWS, or those of one machine.
    pub(crate) fn new(is_local: bool) -> Self {
        let processor = match is_local {
            true => Function { is_one: true, ..Function::new("processor", HANDED_OVER) },
            false => Function::new("processor", PROCESSOR),
        };
        Self {
            ingest: Function::new("ingest", INGEST),
            processor,
            projector: Function::new("projector", PROCESSOR),
            sweep: Function::new("sweep", PROCESSOR),
            status: Function::new("status", INGEST),
        }
    }
}

impl<T: 'static> Function<T> {
    fn new(name: &'static str, limit: Duration) -> Self {
        Self { name, limit, is_one: false, instances: RefCell::default() }
    }

    /// Runs an invocation in a process that is free, or in a new one.
    async fn invoke<R: 'static, F: Future<Output = R> + 'static>(
        &self,
        make: impl FnOnce(&World, Clock, usize) -> T,
        body: impl FnOnce(Rc<T>, Clock) -> F,
    ) -> Option<R> {
        let body =
            |instance: &Rc<Instance<T>>| body(instance.handler.clone(), instance.clock.clone());
        self.invoke_in(make, body).await
    }

    /// The same, of something that goes on in the process when the invocation has ended.
    async fn invoke_in<R: 'static, F: Future<Output = R> + 'static>(
        &self,
        make: impl FnOnce(&World, Clock, usize) -> T,
        body: impl FnOnce(&Rc<Instance<T>>) -> F,
    ) -> Option<R> {
        let instance = self.instance(make);
        let busy = Busy::begin(&instance);
        let (send, receive) = oneshot::channel();
        let run = body(&instance);
        executor().spawn(instance.process, async move {
            send.send(run.await).ok();
        });
        let ended = ambient::timeout(self.limit, receive).await;
        drop(busy);
        match ended {
            Ok(Ok(result)) => return Some(result),
            // It died.
            Ok(Err(_)) => {}
            Err(_) => {
                world().tell(|| format!("{} is out of time", self.name));
                world().kill(instance.process);
            }
        }
        self.instances.borrow_mut().retain(|other| other.process != instance.process);
        None
    }

    fn instance(&self, make: impl FnOnce(&World, Clock, usize) -> T) -> Rc<Instance<T>> {
        let world = world();
        let version = world.version.get();
        let mut instances = self.instances.borrow_mut();
        // Of an older version some stay for a while.
        instances.retain(|it| {
            it.busy.get() > 0 || it.version == version || roll(|dice| dice.happens(0.8))
        });
        instances.retain(|it| !world.is_dead(it.process));
        let is_free = |it: &&Rc<Instance<T>>| self.is_one || it.busy.get() == 0;
        let free: Vec<_> = instances.iter().filter(is_free).cloned().collect();
        let starts = instances.len() < KEPT && !self.is_one && roll(|dice| dice.happens(0.3));
        if !free.is_empty() && !starts {
            return free[roll(|dice| dice.below(free.len()))].clone();
        }
        let process = world.process(self.name);
        let skew = match world.strikes(Fault::Skewed) {
            true => roll(|dice| dice.between(0, 4_000)) as i64 - 2_000,
            false => 0,
        };
        let clock = Clock::Manual(executor().clock(process, skew));
        let handler = Rc::new(make(&world, clock.clone(), version));
        let busy = Cell::new(0);
        let instance = Rc::new(Instance { process, handler, clock, busy, version });
        instances.push(instance.clone());
        instance
    }

    /// A process that is at work, if one is.
    pub(crate) fn busy(&self) -> Option<Process> {
        let instances = self.instances.borrow();
        let busy: Vec<_> = instances.iter().filter(|it| it.busy.get() > 0).collect();
        (!busy.is_empty()).then(|| busy[roll(|dice| dice.below(busy.len()))].process)
    }
}

impl Functions {
    /// Any process that is at work.
    pub(crate) fn busy(&self) -> Option<Process> {
        match roll(|dice| dice.below(6)) {
            0 => self.ingest.busy(),
            1 => self.projector.busy(),
            2 => self.sweep.busy(),
            _ => self.processor.busy(),
        }
    }
}

fn journal(world: &World, clock: &Clock) -> Journal {
    Journal::new(world.store.clone(), "journal", Shards::new(SHARDS), clock.clone())
}

fn executions(world: &World) -> Executions {
    Executions::new(world.store.clone(), "executions", Shards::new(SHARDS))
}

fn timers(world: &World) -> Timers {
    Timers::new(world.store.clone(), "timers", Shards::new(SHARDS))
}

fn storage(world: &World, clock: &Clock, timers: Timers) -> Storage {
    Storage {
        journal: journal(world, clock),
        executions: executions(world),
        timers,
        payloads: Payloads::new(world.objects.clone()),
    }
}

fn new_ingest(world: &World, clock: Clock, version: usize) -> Ingest {
    let kit = kit();
    // A callback's answer wakes the processor at once, if that is not lost.
    let own = clock.clone();
    let timers = timers(world).telling(move |timer, _| {
        if timer.due <= own.now() {
            send(Invocation::Messages(vec![timer.clone()]), Duration::ZERO);
        }
        Box::pin(ready(()))
    });
    let config = &kit.configs[version];
    let mut ingest =
        Ingest::from_config(config, &kit.secrets, storage(world, &clock, timers), clock)
            .expect("the simulation's configuration");
    ingest.teller = world.tells_early.map(|early| Teller {
        early,
        tell: Box::new(|id, _| {
            send(Invocation::Received(vec![id.clone()]), Duration::ZERO);
            Box::pin(ready(()))
        }),
    });
    ingest
}

fn new_processor(world: &World, clock: Clock, version: usize) -> Processor {
    let kit = kit();
    let own = clock.clone();
    let timers = timers(world).telling(move |timer, terms| {
        if !terms.is_suspect {
            message(timer.clone(), own.now());
        }
        Box::pin(ready(()))
    });
    let Storage { journal, executions, timers, payloads } = storage(world, &clock, timers);
    let calls = match world.is_about(Focus::Hanging) {
        true => Calls::new(CALLS.0, CALLS.1),
        false => Calls::default(),
    };
    let driver = Driver {
        plans: kit.plans(version, journal.clone()),
        journal,
        executions,
        timers,
        payloads,
        clock,
        callbacks: Some(kit.callbacks.clone()),
        turns: everhook_processor::advance::places(CONCURRENCY),
        calls,
        process: OnceLock::new(),
        closing: AtomicBool::new(false),
        suspects: Suspects::default(),
        alone: OnceLock::new(),
    };
    Processor { driver, registry: RefCell::default() }
}

/// Sends the message that arrives when a timer is due. It may be lost, early, late, or come twice.
fn message(timer: Timer, now: Timestamp) {
    let delay = timer.due.since(now);
    if delay > DELAY_MAX || world().strikes(Fault::MessageLost) {
        return;
    }
    let exact = Duration::from_secs(u64::try_from(delay_seconds(delay)).unwrap_or(0));
    let times = 1 + usize::from(world().strikes(Fault::MessageRepeated));
    for _ in 0..times {
        let delay = match world().strikes(Fault::MessageEarly) {
            true => exact / 2,
            false => exact,
        };
        let lag = match world().strikes(Fault::MessageLate) {
            true => roll(|dice| dice.between(300, 120_000)),
            false => roll(|dice| dice.between(1, 300)),
        };
        let lag = Duration::from_millis(lag);
        let invocation = Invocation::Messages(vec![timer.clone()]);
        executor().spawn(WORLD, async move {
            sleep(delay + lag).await;
            fire(invocation).await;
        });
    }
}

/// Invokes the processor in a moment, if that is not lost.
fn send(invocation: Invocation, after: Duration) {
    if world().strikes(Fault::InvocationLost) {
        return;
    }
    let lag = Duration::from_millis(roll(|dice| dice.between(1, 100)));
    executor().spawn(WORLD, async move {
        sleep(after + lag).await;
        fire(invocation).await;
    });
}

/// A request to ingest: a webhook, or a callback.
pub(crate) async fn request(request: ApiGatewayV2httpRequest) -> Option<ApiGatewayV2httpResponse> {
    let world = world();
    let body =
        |ingest: Rc<Ingest>, _| async move { everhook_ingest::handle(&ingest, request).await };
    world.functions.ingest.invoke(new_ingest, body).await
}

/// A call of an operator.
pub(crate) async fn operate(request: ApiGatewayV2httpRequest) -> Option<ApiGatewayV2httpResponse> {
    let world = world();
    let body = |ingest: Rc<Ingest>, _| async move {
        everhook_ingest::operators::handle(&ingest, request).await
    };
    world.functions.ingest.invoke(new_ingest, body).await
}

async fn process(batch: Batch) -> Option<BatchResponse> {
    let world = world();
    if world.stream.is_polled && guard::holds(Guard::BatchesHandOver) {
        let wakes = wakeup::from_batch(&batch);
        let body = |instance: &Rc<Instance<Processor>>| {
            wakes.into_iter().for_each(|wake| keep_driving(instance, wake));
            ready(BatchResponse::Complete)
        };
        return world.functions.processor.invoke_in(new_processor, body).await;
    }
    let hands_over = !world.stream.is_polled;
    let body = move |instance: &Rc<Instance<Processor>>| {
        let instance = instance.clone();
        async move {
            let wakes = wakeup::from_batch(&batch);
            let (failed, acting) = drive(&instance, wakes, hands_over).await;
            hand_over(acting);
            let failed = batch.records.iter().filter(|record| failed.contains(&record.execution));
            BatchResponse::failed(failed)
        }
    };
    world.functions.processor.invoke_in(new_processor, body).await
}

/// Makes an execution go on in this process, and returns at once, as on one machine.
fn keep_driving(instance: &Rc<Instance<Processor>>, wake: Wake) {
    let lane = lane(&wake);
    let deadline = instance.clock.now() + HANDED_OVER;
    begin(instance, wake, &lane, Limits { deadline, hands_over: false }, None);
}

/// Gets an execution driven, as the supervisor does it.
fn begin(
    instance: &Rc<Instance<Processor>>,
    wake: Wake,
    lane: &Lane,
    limits: Limits,
    waiter: Option<Waiter>,
) {
    let id = wake.execution.clone();
    match instance.handler.registry.borrow_mut().wake(wake, waiter) {
        Asked::Queue => {}
        Asked::Told => return,
        Asked::Ended(waiter) => {
            if let Some(waiter) = waiter {
                waiter.send(Drove::Advanced(Advanced::Ended)).ok();
            }
            return;
        }
    }
    let busy = Busy::begin(instance);
    let mut lane = lane.clone();
    executor().spawn(instance.process, async move {
        let Processor { driver, registry } = &*busy.0.handler;
        loop {
            let place = driver.turns.enter(&lane, Measure::default()).await;
            let Some(turn) = registry.borrow_mut().turn(&id) else { return };
            let is_first = world().checks.borrow_mut().drive_begins(busy.0.process, &id);
            world().check(|_| is_first);
            let actor = turn.actor.unwrap_or_default();
            let known = actor.borrow_mut().take();
            let stint = Stint { limits, news: &turn.news, place: Some(place) };
            let driving = advance_within(driver, &id, turn.told, stint, known);
            let driven = AssertUnwindSafe(driving).catch_unwind().await;
            world().checks.borrow_mut().drive_ends(busy.0.process, &id);
            let Ok(Driven { result, known }) = driven else {
                drop(registry.borrow_mut().failed(&id));
                return;
            };
            let drove = result.map_or(Drove::Outage, Drove::Advanced);
            let has_ended = matches!(drove, Drove::Advanced(Advanced::Ended));
            let rest = Rest { has_ended, bytes: known.as_ref().map_or(0, Execution::bytes) };
            *actor.borrow_mut() = known;
            let rested = registry.borrow_mut().rested(&id, actor, rest, executor().now());
            for waiter in rested.waiters {
                waiter.send(drove.clone()).ok();
            }
            if !rested.again {
                return;
            }
            lane = unknown_lane();
        }
    });
}

/// The source of an execution that has arrived, as its server knows it.
fn lane(wake: &Wake) -> Lane {
    let source = || world().checks.borrow().source(wake.execution.as_str());
    let source = (wake.cause == Cause::Received).then(source).flatten();
    source.map_or_else(unknown_lane, |source| source.as_str().into())
}

/// Invokes the processor with what is not a batch of the stream.
pub(crate) async fn fire(invocation: Invocation) {
    let world = world();
    let is_local = world.stream.is_polled;
    let body = move |instance: &Rc<Instance<Processor>>| {
        let instance = instance.clone();
        async move { invoked(&instance, invocation, is_local).await }
    };
    world.functions.processor.invoke_in(new_processor, body).await;
}

async fn invoked(instance: &Rc<Instance<Processor>>, invocation: Invocation, is_local: bool) {
    let driver = &instance.handler.driver;
    let world = world();
    let of = |ids: Vec<ExecutionId>, cause| -> Vec<_> {
        ids.into_iter().map(|id| Wake::new(id, cause)).collect()
    };
    let wakes = match invocation {
        Invocation::Stream(_) => return,
        Invocation::Received(ids) => of(ids, Cause::Received),
        Invocation::Acting(ids) => of(ids, Cause::HandedOver),
        Invocation::Due(fired) => {
            fired.into_iter().map(|fired| Wake::fired(fired, Cause::Due)).collect()
        }
        Invocation::Messages(timers) => {
            let fired = claim_messages(driver, &timers).await;
            fired.into_iter().map(|fired| Wake::fired(fired, Cause::Due)).collect()
        }
        Invocation::Alone(fired) => {
            let id = fired.timer.execution.clone();
            world.checks.borrow_mut().fired(id.as_str());
            world.checks.borrow_mut().driven_alone(id.as_str());
            let wakes = vec![Wake::fired(fired, Cause::Alone)];
            let drive = alone::drive(driver, &id, async {
                drive(instance, wakes, false).await;
            });
            alone::recorded(driver, &id, drive).await;
            world.checks.borrow_mut().survived_alone(id.as_str());
            return;
        }
    };
    for wake in wakes.iter().filter(|wake| wake.timer.is_some()) {
        world.checks.borrow_mut().fired(wake.execution.as_str());
    }
    if is_local {
        wakes.into_iter().for_each(|wake| keep_driving(instance, wake));
        return;
    }
    let (_, acting) = drive(instance, wakes, false).await;
    hand_over(acting);
}

/// Executions whose next step acts, by source.
type ActingBySource = BTreeMap<SourceName, Vec<ExecutionId>>;

/// Leaves executions whose next step acts to invocations of their own, which may be lost or come twice.
fn hand_over(acting: ActingBySource) {
    for acting in acting.into_values() {
        if world().strikes(Fault::InvocationLost) {
            continue;
        }
        let times = 1 + usize::from(world().strikes(Fault::InvocationRepeated));
        let latest = if world().is_about(Focus::Hanging) { 100 } else { 500 };
        for _ in 0..times {
            let acting = acting.clone();
            executor().spawn(WORLD, async move {
                sleep(Duration::from_millis(roll(|dice| dice.between(1, latest)))).await;
                fire(Invocation::Acting(acting)).await;
            });
        }
    }
}

/// Drives executions until none of them is being driven any more.
async fn drive(
    instance: &Rc<Instance<Processor>>,
    wakes: Vec<Wake>,
    hands_over: bool,
) -> (HashSet<ExecutionId>, ActingBySource) {
    let (mut failed, mut acting) = (HashSet::new(), ActingBySource::new());
    let limits = Limits { deadline: instance.clock.now() + PROCESSOR, hands_over };
    let mut waiting = Vec::new();
    for wake in wakes {
        let (send, drove) = oneshot::channel();
        waiting.push((wake.execution.clone(), drove));
        begin(instance, wake, &unknown_lane(), limits, Some(send));
    }
    for (id, drove) in waiting {
        match drove.await {
            Ok(Drove::Advanced(Advanced::Acts(source))) => {
                acting.entry(source).or_default().push(id);
            }
            Ok(Drove::Outage) => {
                failed.insert(id);
            }
            Ok(Drove::Advanced(_)) | Err(_) => {}
        }
    }
    (failed, acting)
}

async fn project(batch: Batch) -> Option<BatchResponse> {
    let world = world();
    let make = |world: &World, clock: Clock, _| Projector {
        journal: journal(world, &clock),
        executions: executions(world),
    };
    let body = |projector: Rc<Projector>, _| async move {
        everhook_projector::handle(&projector, batch).await
    };
    world.functions.projector.invoke(make, body).await
}

/// A question to the status API.
pub(crate) async fn query(request: ApiGatewayV2httpRequest) -> Option<ApiGatewayV2httpResponse> {
    let world = world();
    let make = |world: &World, clock: Clock, _| StatusApi {
        journal: journal(world, &clock),
        executions: executions(world),
        timers: timers(world),
        payloads: Payloads::new(world.objects.clone()),
        sources: Vec::new(),
    };
    let body = |status: Rc<StatusApi>, _| async move { status.handle(request).await };
    world.functions.status.invoke(make, body).await
}

/// Looks once for what is due, and looks after what would be forgotten; says whether the audit could be made.
pub(crate) async fn sweep() -> bool {
    let world = world();
    let make = |world: &World, clock: Clock, _| {
        let (journal, executions) = (journal(world, &clock), executions(world));
        let sweep = Sweep::new(timers(world), executions.clone(), journal.clone(), clock.clone());
        (sweep, Audit::new(journal, executions, timers(world), clock))
    };
    let body = |handlers: Rc<(Sweep, Audit)>, clock: Clock| async move {
        let (sweep, audit) = &*handlers;
        let until = clock.now() + SWEEPS;
        let began = crate::world::world().now();
        crate::world::world().checks.borrow_mut().sweep_begins(executor().current(), began);
        let hand_over = |handed| {
            ready(match handed {
                HandOver::Now(invocation) => invoke(invocation),
                HandOver::OnTime(timers) => {
                    timers.into_iter().for_each(|timer| message(timer, clock.now()));
                    true
                }
            })
        };
        sweep.look(AHEAD, until, hand_over).await;
        let audited = audit.run(until).await;
        if audited.as_ref().map_or(true, |audited| audited.timers > 0) {
            sweep.look(Duration::ZERO, until, hand_over).await;
        }
        let now = crate::world::world().now();
        crate::world::world().check(|checks| checks.all_covered(now));
        audited.is_ok()
    };
    world.functions.sweep.invoke(make, body).await.unwrap_or(false)
}

/// Invokes the processor asynchronously, as Lambda does it: hardly ever not at all, now and then twice.
fn invoke(invocation: Invocation) -> bool {
    if world().strikes(Fault::InvocationRefused) {
        return false;
    }
    if world().strikes(Fault::InvocationLost) {
        return true;
    }
    if world().strikes(Fault::InvocationRepeated) {
        let invocation = invocation.clone();
        executor().spawn(WORLD, async move {
            sleep(Duration::from_millis(roll(|dice| dice.between(0, 5_000)))).await;
            fire(invocation).await;
        });
    }
    executor().spawn(WORLD, fire(invocation));
    true
}
