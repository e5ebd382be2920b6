//! Runs so many executions' actors at once, and joins them all.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use everhook_journal::{ExecutionId, Timestamp};
use futures_util::StreamExt;
use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::sync::Semaphore;

use crate::actor::{ExecutionActor, ExecutionMessage};
use crate::advance::Driver;
use crate::wakeup::Wake;

/// Runs executions' actors.
#[derive(Debug)]
pub struct Supervisor {
    driver: Arc<Driver>,
    actor: ActorRef<()>,
    permits: Semaphore,
    concurrency: usize,
    live: AtomicUsize,
}

impl Supervisor {
    /// Starts it; at most `concurrency` executions will advance at once in this process.
    pub async fn start(driver: Arc<Driver>, concurrency: usize) -> Result<Self, SpawnErr> {
        let (actor, _) = Actor::spawn(None, SupervisorActor, ()).await?;
        let permits = Semaphore::new(concurrency);
        Ok(Self { driver, actor, permits, concurrency, live: AtomicUsize::new(0) })
    }

    /// How executions are driven.
    pub fn driver(&self) -> &Driver {
        &self.driver
    }

    /// How many executions' actors are alive; none once [`Supervisor::drive`] has returned.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::SeqCst)
    }

    /// Makes these executions go on, and returns those that met an outage.
    /// All of their actors have ended when this returns.
    pub async fn drive(&self, wakes: Vec<Wake>, deadline: Timestamp) -> HashSet<ExecutionId> {
        futures_util::stream::iter(wakes)
            .map(|wake| self.wake(wake, deadline))
            .buffer_unordered(self.concurrency)
            .filter_map(|failed| async { failed })
            .collect()
            .await
    }

    /// Makes one execution go on; returns it if it met an outage.
    async fn wake(&self, wake: Wake, deadline: Timestamp) -> Option<ExecutionId> {
        let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
        let id = wake.execution.clone();
        let handler = ExecutionActor { driver: self.driver.clone(), deadline };
        let spawned = Actor::spawn_linked(None, handler, (), self.actor.get_cell()).await;
        let Ok((actor, ended)) = spawned else {
            tracing::error!(execution.id = %id, "execution {id}: no actor could be started");
            return Some(id);
        };
        self.live.fetch_add(1, Ordering::SeqCst);
        let advanced = actor.call(|reply| ExecutionMessage::Wake(wake, reply), None).await;
        actor.stop(None);
        // A frozen Lambda would wake whatever were left running here, minutes later.
        ended.await.ok();
        self.live.fetch_sub(1, Ordering::SeqCst);
        match advanced {
            Ok(ractor::rpc::CallResult::Success(Ok(_))) => None,
            Ok(ractor::rpc::CallResult::Success(Err(outage))) => {
                tracing::warn!(execution.id = %id, "execution {id}: {outage}");
                Some(id)
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
