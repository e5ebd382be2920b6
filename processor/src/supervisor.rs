//! Runs executions' actors: joins them all, where an invocation must not end before; or hands over, and returns at once.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use everhook_journal::{ExecutionId, SourceName, Timestamp};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};

use crate::actor::{ExecutionActor, ExecutionMessage};
use crate::advance::{Advanced, Driver, Outage, unknown_lane};
use crate::awake::{Awake, News};
use crate::bulkhead::{Lane, Measure, Place};
use crate::wakeup::Wake;

/// How often it is looked whether all drives have ended.
const CLOSING: Duration = Duration::from_millis(10);

/// How often one execution is driven again at once because it was told something meanwhile.
const AGAIN_MAX: usize = 1_000;

/// How long a drive that was handed over may take. Its row comes due meanwhile, and then it is told.
const HANDED_OVER: Duration = Duration::from_secs(24 * 3600);

/// Runs executions' actors.
#[derive(Debug)]
pub struct Supervisor {
    driver: Arc<Driver>,
    actor: ActorRef<()>,
    live: AtomicUsize,
    awake: Awake,
}

/// What came of driving executions.
#[derive(Debug, Default)]
pub struct Driven {
    /// Those that met an outage.
    pub failed: HashSet<ExecutionId>,
    /// Those whose next step acts, by source, if that was left to another process.
    pub acting: BTreeMap<SourceName, Vec<ExecutionId>>,
}

impl Supervisor {
    /// Starts it.
    pub async fn start(driver: Arc<Driver>) -> Result<Self, SpawnErr> {
        let (actor, _) = Actor::spawn(None, SupervisorActor, ()).await?;
        Ok(Self { driver, actor, live: AtomicUsize::new(0), awake: Awake::default() })
    }

    /// How executions are driven.
    pub fn driver(&self) -> &Driver {
        &self.driver
    }

    /// How many executions' actors are alive; none once [`Supervisor::drive`] has returned.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::SeqCst)
    }

    /// Makes these executions go on. All of their actors have ended when this returns.
    pub async fn drive(&self, wakes: Vec<Wake>, deadline: Timestamp, hands_over: bool) -> Driven {
        let mut driven = Driven::default();
        let mut under_way = wakes
            .into_iter()
            .map(|wake| async move {
                let turns = &self.driver.turns;
                let place = turns.enter(&unknown_lane(), Measure::default()).await;
                let id = wake.execution.clone();
                let stint = (deadline, Arc::<News>::default(), hands_over);
                (id, self.wake(wake, place, stint).await)
            })
            .collect::<FuturesUnordered<_>>();
        while let Some((id, advanced)) = under_way.next().await {
            match advanced {
                Some(Ok(Advanced::Acts(source))) => {
                    driven.acting.entry(source).or_default().push(id);
                }
                Some(Err(_)) => {
                    driven.failed.insert(id);
                }
                Some(Ok(_)) | None => {}
            }
        }
        driven
    }

    /// Makes an execution go on when it is its source's turn, and returns at once. If it is being driven already,
    /// its driver is told. Calls `ended` when it has been driven.
    pub fn hand_over(
        self: &Arc<Self>,
        wake: Wake,
        lane: &Lane,
        ended: impl FnOnce() + Send + 'static,
    ) {
        if self.driver.is_closing() {
            return;
        }
        let Some(news) = self.awake.begin(&wake) else { return };
        let this = self.clone();
        self.driver.turns.queue(lane, Measure::default(), move |place| {
            tokio::spawn(async move {
                Box::pin(this.live_through(wake, news, place)).await;
                ended();
            });
        });
    }

    /// Drives an execution until it is told nothing more.
    async fn live_through(&self, mut wake: Wake, news: Arc<News>, place: Place) {
        let id = wake.execution.clone();
        let mut place = Some(place);
        for _ in 0..AGAIN_MAX {
            let taken = match place.take() {
                Some(place) => place,
                None => self.driver.turns.enter(&unknown_lane(), Measure::default()).await,
            };
            let deadline = self.driver.clock.now() + HANDED_OVER;
            self.wake(wake.clone(), taken, (deadline, news.clone(), false)).await;
            match self.awake.end(&id, &news) {
                Some(cause) if !self.driver.is_closing() => wake.cause = cause,
                Some(_) => break,
                None => return,
            }
        }
        // Its due time brings it back.
        self.awake.forget(&id);
    }

    /// Lets no further step begin, and waits until whatever was handed over has ended.
    pub async fn close(&self) {
        self.driver.close();
        self.driver.turns.clear();
        while self.live() > 0 {
            self.awake.ring();
            tokio::time::sleep(CLOSING).await;
        }
    }

    /// Makes one execution go on; nothing if its actor panicked.
    async fn wake(
        &self,
        wake: Wake,
        place: Place,
        (deadline, news, hands_over): (Timestamp, Arc<News>, bool),
    ) -> Option<Result<Advanced, Outage>> {
        let id = wake.execution.clone();
        let handler = ExecutionActor { driver: self.driver.clone(), deadline, news, hands_over };
        let spawned = Actor::spawn_linked(None, handler, (), self.actor.get_cell()).await;
        let Ok((actor, ended)) = spawned else {
            tracing::error!(execution.id = %id, "execution {id}: no actor could be started");
            return None;
        };
        self.live.fetch_add(1, Ordering::SeqCst);
        let advanced = actor.call(|reply| ExecutionMessage::Wake(wake, place, reply), None).await;
        actor.stop(None);
        // A frozen Lambda would wake whatever were left running here, minutes later.
        ended.await.ok();
        self.live.fetch_sub(1, Ordering::SeqCst);
        match advanced {
            Ok(ractor::rpc::CallResult::Success(advanced)) => {
                if let Err(outage) = &advanced {
                    tracing::warn!(execution.id = %id, "execution {id}: {outage}");
                }
                Some(advanced)
            }
            // Its own trouble stays its own: the due time brings it back.
            _ => {
                tracing::error!(execution.id = %id, "execution {id}: its actor panicked");
                None
            }
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.actor.stop(None);
    }
}

/// The parent of all executions' actors: their failures end here.
#[derive(Debug)]
struct SupervisorActor;

impl Actor for SupervisorActor {
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
        // Without this, one child's panic would end the supervisor and with it all other children.
        if let SupervisionEvent::ActorFailed(child, _) = event {
            tracing::error!(actor = %child.get_id(), "an execution's actor failed");
        }
        Ok(())
    }
}
