//! Runs executions' actors: finds them, starts them when there is a place to drive from, and stops them when they are
//! idle. An actor that fails takes nothing else with it.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use everhook_journal::ambient::Stopwatch;
use everhook_journal::{Execution, ExecutionId, SourceName, Timestamp};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::sync::oneshot;

use crate::actor::{Beginning, ExecutionActor};
use crate::advance::{Advanced, Driver, Limits, Outage, unknown_lane};
use crate::bulkhead::{Lane, Measure, Place};
use crate::registry::{Asked, IDLE, Registry, Rest, Rested};
use crate::wakeup::{News, Told, Wake};

/// How often to check whether all drives have ended.
const CLOSING: Duration = Duration::from_millis(10);

/// How long a drive may take whose result no call waits for.
const HANDED_OVER: Duration = Duration::from_secs(24 * 3600);

/// Runs executions' actors.
#[derive(Debug)]
pub struct Supervisor {
    driver: Arc<Driver>,
    parent: ActorRef<()>,
    live: Arc<AtomicUsize>,
    began: Stopwatch,
    registry: Mutex<Registry<ActorRef<Drive>, Waiter>>,
    /// Whether a task stops idle actors. Changed only while the registry is locked.
    is_tidied: AtomicBool,
}

/// What waits for the end of a drive.
type Waiter = oneshot::Sender<Drove>;

/// The result of a drive.
#[derive(Debug, Clone)]
enum Drove {
    Advanced(Advanced),
    Outage,
}

/// The result of driving executions.
#[derive(Debug, Default)]
pub struct Driven {
    /// Those that met an outage.
    pub failed: HashSet<ExecutionId>,
    /// Those whose next step acts, by source, if that was left to another process.
    pub acting: BTreeMap<SourceName, Vec<ExecutionId>>,
}

/// The message of an execution's actor: make it go on, from this place.
#[derive(Debug)]
pub struct Drive {
    pub(crate) told: Told,
    pub(crate) news: Arc<News>,
    pub(crate) place: Place,
    pub(crate) limits: Limits,
    pub(crate) done: Done,
}

/// Tells the supervisor when a drive has ended; if this is dropped, that it failed.
#[derive(Debug)]
pub(crate) struct Done {
    supervisor: Arc<Supervisor>,
    execution: ExecutionId,
    limits: Limits,
    has_rested: bool,
}

impl Supervisor {
    /// Starts it.
    pub async fn start(driver: Arc<Driver>) -> Result<Self, SpawnErr> {
        let (parent, _) = Actor::spawn(None, Parent, ()).await?;
        let (live, began) = (Arc::default(), Stopwatch::start());
        let (registry, is_tidied) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self { driver, parent, live, began, registry, is_tidied })
    }

    /// How executions are driven.
    pub fn driver(&self) -> &Driver {
        &self.driver
    }

    /// How many actors are alive: those that drive, and those that rest.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::SeqCst)
    }

    /// How many executions wait for a place, or are being driven.
    pub fn busy(&self) -> usize {
        self.registry().busy()
    }

    /// How many executions it remembers: those that are awake, and those that were a moment ago.
    pub fn len(&self) -> usize {
        self.registry().len()
    }

    /// Whether it remembers none.
    pub fn is_empty(&self) -> bool {
        self.registry().is_empty()
    }

    /// Makes these executions go on. None of them is being driven when this returns.
    pub async fn drive(
        self: &Arc<Self>,
        wakes: Vec<Wake>,
        deadline: Timestamp,
        hands_over: bool,
    ) -> Driven {
        let limits = Limits { deadline, hands_over };
        let mut under_way: FuturesUnordered<_> = wakes
            .into_iter()
            .map(|wake| {
                let id = wake.execution.clone();
                let (send, drove) = oneshot::channel();
                self.wake(wake, &unknown_lane(), limits, Some(send));
                async move { (id, drove.await) }
            })
            .collect();
        let mut driven = Driven::default();
        while let Some((id, drove)) = under_way.next().await {
            match drove {
                Ok(Drove::Advanced(Advanced::Acts(source))) => {
                    driven.acting.entry(source).or_default().push(id);
                }
                Ok(Drove::Outage) => {
                    driven.failed.insert(id);
                }
                // A panic is the execution's own trouble: its timer or the audit brings it back.
                Ok(Drove::Advanced(_)) | Err(_) => {}
            }
        }
        driven
    }

    /// Makes an execution go on when it is its source's turn, and returns at once.
    pub fn hand_over(self: &Arc<Self>, wake: Wake, lane: &Lane) {
        if self.driver.is_closing() {
            return;
        }
        let deadline = self.driver.clock.now() + HANDED_OVER;
        self.wake(wake, lane, Limits { deadline, hands_over: false }, None);
    }

    /// Lets no further step begin, and waits until all drives have ended.
    pub async fn close(&self) {
        self.driver.close();
        self.driver.turns.clear();
        while self.registry().driving() > 0 {
            self.registry().ring();
            tokio::time::sleep(CLOSING).await;
        }
    }

    fn wake(self: &Arc<Self>, wake: Wake, lane: &Lane, limits: Limits, waiter: Option<Waiter>) {
        let id = wake.execution.clone();
        let asked = self.registry().wake(wake, waiter);
        match asked {
            Asked::Queue => self.queue(id, lane, limits),
            Asked::Told => {}
            Asked::Ended(waiter) => {
                if let Some(waiter) = waiter {
                    waiter.send(Drove::Advanced(Advanced::Ended)).ok();
                }
            }
        }
    }

    fn queue(self: &Arc<Self>, id: ExecutionId, lane: &Lane, limits: Limits) {
        let this = self.clone();
        self.driver.turns.queue(lane, Measure::default(), move |place| {
            this.turn(id, place, limits);
        });
    }

    /// There is a place: the actor drives from it, a new one if there is none.
    fn turn(self: Arc<Self>, execution: ExecutionId, place: Place, limits: Limits) {
        let Some(turn) = self.registry().turn(&execution) else { return };
        let (parent, driver, live) =
            (self.parent.get_cell(), self.driver.clone(), self.live.clone());
        let beginning = Beginning { execution: execution.clone(), driver, live };
        let done = Done { supervisor: self, execution, limits, has_rested: false };
        let drive = Drive { told: turn.told, news: turn.news, place, limits, done };
        if let Some(actor) = turn.actor {
            // An actor that is gone returns the message, and dropping it reports the failure.
            actor.cast(drive).ok();
            return;
        }
        tokio::spawn(async move {
            match Actor::spawn_linked(None, ExecutionActor, beginning, parent).await {
                Ok((actor, _)) => drop(actor.cast(drive)),
                Err(error) => tracing::error!("no actor could be started: {error}"),
            }
        });
    }

    fn rested(
        self: &Arc<Self>,
        id: &ExecutionId,
        actor: ActorRef<Drive>,
        rest: Rest,
    ) -> Rested<ActorRef<Drive>, Waiter> {
        let mut registry = self.registry();
        let rested = registry.rested(id, actor, rest, self.began.elapsed());
        if registry.has_idle() && !self.is_tidied.swap(true, Ordering::Relaxed) {
            tokio::spawn(tidy(Arc::downgrade(self)));
        }
        rested
    }

    fn registry(&self) -> MutexGuard<'_, Registry<ActorRef<Drive>, Waiter>> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops actors that have been idle for a while, for as long as there are some.
async fn tidy(supervisor: Weak<Supervisor>) {
    loop {
        tokio::time::sleep(IDLE).await;
        let Some(supervisor) = supervisor.upgrade() else { return };
        let mut registry = supervisor.registry();
        let idle = registry.tidy(supervisor.began.elapsed());
        let is_done = !registry.has_idle();
        if is_done {
            supervisor.is_tidied.store(false, Ordering::Relaxed);
        }
        drop(registry);
        idle.into_iter().for_each(|actor| actor.stop(None));
        if is_done {
            return;
        }
    }
}

impl Done {
    /// The drive has ended, and this is the state that its actor keeps.
    pub(crate) fn rested(
        mut self,
        actor: ActorRef<Drive>,
        result: Result<Advanced, Outage>,
        known: Option<&Execution>,
    ) {
        self.has_rested = true;
        let id = &self.execution;
        let drove = match result {
            Ok(advanced) => Drove::Advanced(advanced),
            Err(outage) => {
                tracing::warn!(execution.id = %id, "execution {id}: {outage}");
                Drove::Outage
            }
        };
        let has_ended = matches!(drove, Drove::Advanced(Advanced::Ended));
        let rest = Rest { has_ended, bytes: known.map_or(0, Execution::bytes) };
        let rested = self.supervisor.rested(id, actor, rest);
        rested.stop.into_iter().for_each(|actor| actor.stop(None));
        for waiter in rested.waiters {
            waiter.send(drove.clone()).ok();
        }
        if rested.again && !self.supervisor.driver.is_closing() {
            self.supervisor.queue(id.clone(), &unknown_lane(), self.limits);
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if !self.has_rested {
            let id = &self.execution;
            tracing::error!(execution.id = %id, "execution {id}: its actor failed");
            // Dropping this reports the failure to the caller that waits.
            drop(self.supervisor.registry().failed(id));
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.parent.stop(None);
    }
}

/// The parent of all executions' actors: their failures end here.
#[derive(Debug)]
struct Parent;

impl Actor for Parent {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _myself: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<()>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        // Without this, one child's panic would end the parent and with it all other children.
        if let SupervisionEvent::ActorFailed(child, _) = event {
            tracing::error!(actor = %child.get_id(), "an execution's actor failed");
        }
        Ok(())
    }
}
