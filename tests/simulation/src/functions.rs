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
use everhook_journal::ambient;
use everhook_journal::guard::{self, Guard};
use everhook_journal::stream::{Batch, BatchResponse};
use everhook_journal::{
    Clock, ExecutionId, Executions, Journal, Payloads, Sequence, SourceName, Timestamp,
};
use everhook_processor::advance::{Advanced, Outage, Stint, advance_within, unknown_lane};
use everhook_processor::awake::{Awake, News};
use everhook_processor::bulkhead::{Lane, Measure, Place};
use everhook_processor::calls::Calls;
use everhook_processor::memory::Memory;
use everhook_processor::recall::Recall;
use everhook_processor::{Cause, Driver, Invocation, Suspects, Sweep, Wake, alone, wakeup};
use everhook_projector::{Projector, StatusApi};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::oneshot;

use crate::executor::{Process, WORLD, executor, roll, sleep};
use crate::faults::Fault;
use crate::focus::Focus;
use crate::kit::kit;
use crate::world::{World, world};

/// How long an invocation may take, by function.
const PROCESSOR: Duration = Duration::from_secs(60);
const INGEST: Duration = Duration::from_secs(29);

/// How long the sweep claims rows in one look.
const SWEEPS: Duration = Duration::from_secs(50);

/// How many processes of a function are kept.
const KEPT: usize = 3;

/// How many executions a processor drives at once.
const CONCURRENCY: usize = 8;

/// How many calls to one destination are in flight at most where targets hang, and how many of them for one source.
const CALLS: (usize, usize) = (12, 6);

/// How often one execution is driven again at once because it was told something meanwhile.
const AGAIN_MAX: usize = 1_000;

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

/// What drives executions, and which.
struct Processor {
    driver: Driver,
    awake: Awake,
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
    sweep: Function<Sweep>,
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
    Journal::new(world.store.clone(), "journal", clock.clone())
}

fn executions(world: &World) -> Executions {
    Executions::new(world.store.clone(), "executions")
}

fn new_ingest(world: &World, clock: Clock, version: usize) -> Ingest {
    let kit = kit();
    let payloads = Payloads::new(world.objects.clone());
    let (journal, executions) = (journal(world, &clock), executions(world));
    let config = &kit.configs[version];
    Ingest::from_config(config, &kit.secrets, journal, executions, payloads, clock)
        .expect("the simulation's configuration")
}

fn new_processor(world: &World, clock: Clock, version: usize) -> Processor {
    let kit = kit();
    let journal = journal(world, &clock);
    let calls = match world.is_about(Focus::Hanging) {
        true => Calls::new(CALLS.0, CALLS.1),
        false => Calls::default(),
    };
    let driver = Driver {
        plans: kit.plans(version, journal.clone()),
        journal,
        executions: executions(world),
        payloads: Payloads::new(world.objects.clone()),
        clock,
        callbacks: Some(kit.callbacks.clone()),
        run_ahead: world.run_ahead,
        recall: Recall::default(),
        memory: Memory::default(),
        turns: everhook_processor::advance::places(CONCURRENCY),
        calls,
        process: OnceLock::new(),
        closing: AtomicBool::new(false),
        suspects: Suspects::default(),
    };
    Processor { driver, awake: Awake::default() }
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
    let body = move |processor: Rc<Processor>, clock: Clock| async move {
        let wakes = wakeup::from_batch(&batch);
        let deadline = clock.now() + PROCESSOR;
        let (failed, acting) = drive(&processor.driver, wakes, deadline, hands_over).await;
        hand_over(acting);
        let failed = batch.records.iter().filter(|record| failed.contains(&record.execution));
        BatchResponse::failed(failed)
    };
    world.functions.processor.invoke(new_processor, body).await
}

/// Makes an execution go on in this process, and returns at once, as the supervisor does it on one machine.
fn keep_driving(instance: &Rc<Instance<Processor>>, wake: Wake) {
    let processor = &instance.handler;
    let Some(news) = processor.awake.begin(&wake) else { return };
    let busy = Busy::begin(instance);
    executor().spawn(instance.process, async move {
        let Instance { handler, clock, .. } = &*busy.0;
        let Processor { driver, awake } = &**handler;
        let mut wake = wake;
        let mut lane = lane(&wake);
        for _ in 0..AGAIN_MAX {
            let place = driver.turns.enter(&lane, Measure::default()).await;
            let deadline = clock.now() + HANDED_OVER;
            drive_one(driver, &wake, (deadline, &news, false), place).await;
            match awake.end(&wake.execution, &news) {
                Some(cause) => wake.cause = cause,
                None => return,
            }
            lane = unknown_lane();
        }
        awake.forget(&wake.execution);
    });
}

/// The source of an execution that has just arrived, as its server knows it.
fn lane(wake: &Wake) -> Lane {
    let has_arrived = wake.cause == Cause::Appended(Sequence::START.next());
    let source = || world().checks.borrow().source(wake.execution.as_str());
    let source = has_arrived.then(source).flatten();
    source.map_or_else(unknown_lane, |source| source.as_str().into())
}

/// Executions whose time has come.
pub(crate) async fn fire(invocation: Invocation) {
    let world = world();
    if world.stream.is_polled
        && let Invocation::Due(ids) | Invocation::Acting(ids) = &invocation
    {
        let ids = ids.clone();
        let body = |instance: &Rc<Instance<Processor>>| {
            for execution in ids {
                keep_driving(instance, Wake { execution, cause: Cause::Due });
            }
            ready(())
        };
        world.functions.processor.invoke_in(new_processor, body).await;
        return;
    }
    let body = |processor: Rc<Processor>, clock: Clock| async move {
        let driver = &processor.driver;
        let deadline = clock.now() + PROCESSOR;
        let ids = match &invocation {
            Invocation::Stream(_) | Invocation::Acting(_) => &[][..],
            Invocation::Due(ids) => ids,
            Invocation::Alone { execution, .. } => std::slice::from_ref(execution),
        };
        let world = crate::world::world();
        ids.iter().for_each(|id| world.checks.borrow_mut().fired(id.as_str()));
        match invocation {
            Invocation::Stream(_) => {}
            Invocation::Due(ids) => drive_all(driver, ids, Cause::Due, deadline).await,
            Invocation::Acting(ids) => drive_all(driver, ids, Cause::HandedOver, deadline).await,
            Invocation::Alone { execution, deaths } => {
                let wake = Wake { execution: execution.clone(), cause: Cause::Alone };
                let id = execution.as_str();
                world.checks.borrow_mut().driven_alone(id);
                let drive = async { drive(driver, vec![wake], deadline, false).await.0.is_empty() };
                alone::drive(driver, &execution, deaths, deadline, drive).await;
                world.checks.borrow_mut().survived_alone(id);
            }
        }
    };
    world.functions.processor.invoke(new_processor, body).await;
}

async fn drive_all(driver: &Driver, ids: Vec<ExecutionId>, cause: Cause, deadline: Timestamp) {
    let wakes = ids.into_iter().map(|execution| Wake { execution, cause });
    drive(driver, wakes.collect(), deadline, false).await;
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

/// As the supervisor does it, without its actors: they take tasks of a runtime, and add nothing that is checked here.
async fn drive(
    driver: &Driver,
    wakes: Vec<Wake>,
    deadline: Timestamp,
    hands_over: bool,
) -> (HashSet<ExecutionId>, ActingBySource) {
    let (mut failed, mut acting) = (HashSet::new(), ActingBySource::new());
    let drives = wakes.into_iter().map(|wake| async move {
        let place = driver.turns.enter(&unknown_lane(), Measure::default()).await;
        let news = &News::default();
        let advanced = drive_one(driver, &wake, (deadline, news, hands_over), place).await;
        (advanced, wake.execution)
    });
    let mut driven = drives.collect::<FuturesUnordered<_>>();
    while let Some((advanced, id)) = driven.next().await {
        match advanced {
            Some(Ok(Advanced::Acts(source))) => acting.entry(source).or_default().push(id),
            Some(Err(_)) => {
                failed.insert(id);
            }
            Some(Ok(_)) | None => {}
        }
    }
    (failed, acting)
}

/// Drives an execution once; nothing if that panics.
async fn drive_one(
    driver: &Driver,
    wake: &Wake,
    (deadline, news, hands_over): (Timestamp, &News, bool),
    place: Place,
) -> Option<Result<Advanced, Outage>> {
    let stint = Stint { deadline, news, place: Some(place), hands_over };
    AssertUnwindSafe(advance_within(driver, wake, stint)).catch_unwind().await.ok()
}

async fn project(batch: Batch) -> Option<BatchResponse> {
    let world = world();
    let make = |world: &World, clock: Clock, _| Projector {
        journal: journal(world, &clock),
        executions: executions(world),
        clock,
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
        payloads: Payloads::new(world.objects.clone()),
        sources: Vec::new(),
    };
    let body = |status: Rc<StatusApi>, _| async move { status.handle(request).await };
    world.functions.status.invoke(make, body).await
}

/// Looks once for what is due; what is claimed is handed over at once.
pub(crate) async fn sweep() {
    let world = world();
    let make =
        |world: &World, clock: Clock, _| Sweep::new(executions(world), clock).suspecting_unmoved();
    let body = |sweep: Rc<Sweep>, clock: Clock| async move {
        sweep.look(clock.now() + SWEEPS, |invocation| ready(invoke(invocation))).await;
    };
    world.functions.sweep.invoke(make, body).await;
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
