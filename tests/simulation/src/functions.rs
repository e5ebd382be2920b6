//! The Lambda functions: processes that run the product's handlers, one invocation at a time, and die.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::future::ready;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use everhook_ingest::Ingest;
use everhook_journal::ambient;
use everhook_journal::stream::{Batch, BatchResponse};
use everhook_journal::{Clock, ExecutionId, Executions, Journal, Payloads, Timestamp};
use everhook_processor::advance::{Advanced, Stint, advance_within, unknown_lane};
use everhook_processor::awake::News;
use everhook_processor::bulkhead::Measure;
use everhook_processor::calls::Calls;
use everhook_processor::memory::Memory;
use everhook_processor::recall::Recall;
use everhook_processor::{Cause, Driver, Invocation, Suspects, Sweep, Wake, alone, wakeup};
use everhook_projector::Projector;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::oneshot;

use crate::executor::{Process, WORLD, executor, roll, sleep};
use crate::faults::Fault;
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
    is_busy: Cell<bool>,
    version: usize,
}

/// The processes of one function.
pub(crate) struct Function<T> {
    name: &'static str,
    limit: Duration,
    instances: RefCell<Vec<Rc<Instance<T>>>>,
}

/// The functions of a world.
pub(crate) struct Functions {
    ingest: Function<Ingest>,
    processor: Function<Driver>,
    projector: Function<Projector>,
    sweep: Function<Sweep>,
}

impl Functions {
    pub(crate) fn new() -> Self {
        Self {
            ingest: Function::new("ingest", INGEST),
            processor: Function::new("processor", PROCESSOR),
            projector: Function::new("projector", PROCESSOR),
            sweep: Function::new("sweep", PROCESSOR),
        }
    }
}

impl<T: 'static> Function<T> {
    fn new(name: &'static str, limit: Duration) -> Self {
        Self { name, limit, instances: RefCell::default() }
    }

    /// Runs an invocation in a process that is free, or in a new one.
    async fn invoke<R: 'static, F: Future<Output = R> + 'static>(
        &self,
        make: impl FnOnce(&World, Clock, usize) -> T,
        body: impl FnOnce(Rc<T>, Clock) -> F,
    ) -> Option<R> {
        let instance = self.instance(make);
        instance.is_busy.set(true);
        let (send, receive) = oneshot::channel();
        let run = body(instance.handler.clone(), instance.clock.clone());
        executor().spawn(instance.process, async move {
            send.send(run.await).ok();
        });
        let ended = ambient::timeout(self.limit, receive).await;
        instance.is_busy.set(false);
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
            it.is_busy.get() || it.version == version || roll(|dice| dice.happens(0.8))
        });
        instances.retain(|it| !world.is_dead(it.process));
        let free: Vec<_> = instances.iter().filter(|it| !it.is_busy.get()).cloned().collect();
        let starts = instances.len() < KEPT && roll(|dice| dice.happens(0.3));
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
        let is_busy = Cell::new(false);
        let instance = Rc::new(Instance { process, handler, clock, is_busy, version });
        instances.push(instance.clone());
        instance
    }

    /// A process that is at work, if one is.
    pub(crate) fn busy(&self) -> Option<Process> {
        let instances = self.instances.borrow();
        let busy: Vec<_> = instances.iter().filter(|it| it.is_busy.get()).collect();
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

fn new_driver(world: &World, clock: Clock, version: usize) -> Driver {
    let kit = kit();
    let journal = journal(world, &clock);
    Driver {
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
        calls: Calls::default(),
        process: OnceLock::new(),
        closing: AtomicBool::new(false),
        suspects: Suspects::default(),
    }
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
    // On one machine nothing has to end soon.
    let hands_over = !world.stream.is_polled;
    let body = move |driver: Rc<Driver>, clock: Clock| async move {
        let wakes = wakeup::from_batch(&batch);
        let deadline = clock.now() + PROCESSOR;
        let (failed, acting) = drive(&driver, wakes, deadline, hands_over).await;
        hand_over(acting);
        let failed = batch.records.iter().filter(|record| failed.contains(&record.execution));
        BatchResponse::failed(failed)
    };
    world.functions.processor.invoke(new_driver, body).await
}

/// Executions whose time has come.
pub(crate) async fn fire(invocation: Invocation) {
    let world = world();
    let body = |driver: Rc<Driver>, clock: Clock| async move {
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
            Invocation::Due(ids) => drive_all(&driver, ids, Cause::Due, deadline).await,
            Invocation::Acting(ids) => drive_all(&driver, ids, Cause::HandedOver, deadline).await,
            Invocation::Alone { execution, deaths } => {
                let wake = Wake { execution: execution.clone(), cause: Cause::Alone };
                let drive = async {
                    let id = execution.as_str();
                    world.checks.borrow_mut().driven_alone(id, false);
                    let (failed, _) = drive(&driver, vec![wake], deadline, false).await;
                    world.checks.borrow_mut().driven_alone(id, true);
                    failed.is_empty()
                };
                alone::drive(&driver, &execution, deaths, deadline, drive).await;
            }
        }
    };
    world.functions.processor.invoke(new_driver, body).await;
}

async fn drive_all(driver: &Driver, ids: Vec<ExecutionId>, cause: Cause, deadline: Timestamp) {
    let wakes = ids.into_iter().map(|execution| Wake { execution, cause });
    drive(driver, wakes.collect(), deadline, false).await;
}

/// Leaves executions whose next step acts to invocations of their own, which may be lost or come twice.
fn hand_over(acting: Vec<ExecutionId>) {
    if acting.is_empty() || world().strikes(Fault::InvocationLost) {
        return;
    }
    let times = 1 + usize::from(world().strikes(Fault::InvocationRepeated));
    for _ in 0..times {
        let acting = acting.clone();
        executor().spawn(WORLD, async move {
            sleep(Duration::from_millis(roll(|dice| dice.between(1, 500)))).await;
            fire(Invocation::Acting(acting)).await;
        });
    }
}

/// As the supervisor does it, without its actors: they take tasks of a runtime, and add nothing that is checked here.
async fn drive(
    driver: &Driver,
    wakes: Vec<Wake>,
    deadline: Timestamp,
    hands_over: bool,
) -> (HashSet<ExecutionId>, Vec<ExecutionId>) {
    let (mut failed, mut acting) = (HashSet::new(), Vec::new());
    let mut driven = futures_util::stream::iter(wakes)
        .map(|wake| async move {
            let place = driver.turns.enter(&unknown_lane(), Measure::default()).await;
            let news = &News::default();
            let stint = Stint { deadline, news, place: Some(place), hands_over };
            let advancing = advance_within(driver, &wake, stint);
            (AssertUnwindSafe(advancing).catch_unwind().await, wake.execution)
        })
        .buffer_unordered(CONCURRENCY);
    while let Some((advanced, id)) = driven.next().await {
        match advanced {
            Ok(Ok(Advanced::Acts(_))) => acting.push(id),
            Ok(Err(_)) => {
                failed.insert(id);
            }
            Ok(Ok(_)) | Err(_) => {}
        }
    }
    (failed, acting)
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
