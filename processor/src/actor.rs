//! An execution while it is awake.
//!
//! The [registry](crate::registry) finds its actor by the execution's id. The actor keeps the folded history, and drives
//! the execution for one wake-up after the other. A panic ends this actor and no other. Correctness never rests on
//! actors: the conditional append decides between processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use everhook_journal::{Execution, ExecutionId};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::advance::{Driver, Stint, advance_within};
use crate::supervisor::Drive;

/// Drives one execution.
#[derive(Debug)]
pub struct ExecutionActor;

/// The arguments that an actor starts with.
#[derive(Debug)]
pub struct Beginning {
    /// Its execution.
    pub execution: ExecutionId,
    /// How it is driven.
    pub driver: Arc<Driver>,
    /// How many actors are alive.
    pub live: Arc<AtomicUsize>,
}

/// The state of an actor.
#[derive(Debug)]
pub struct Awake {
    execution: ExecutionId,
    driver: Arc<Driver>,
    /// The execution as of the last append that this process knows.
    known: Option<Execution>,
    _live: Live,
}

/// Counts an actor for as long as it is alive, however it ends.
#[derive(Debug)]
struct Live(Arc<AtomicUsize>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Actor for ExecutionActor {
    type Msg = Drive;
    type State = Awake;
    type Arguments = Beginning;

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        Beginning { execution, driver, live }: Beginning,
    ) -> Result<Awake, ActorProcessingErr> {
        live.fetch_add(1, Ordering::SeqCst);
        Ok(Awake { execution, driver, known: None, _live: Live(live) })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        Drive { told, news, place, limits, done }: Drive,
        state: &mut Awake,
    ) -> Result<(), ActorProcessingErr> {
        let stint = Stint { limits, news: &news, place: Some(place) };
        let known = state.known.take();
        let driven = advance_within(&state.driver, &state.execution, told, stint, known).await;
        state.known = driven.known;
        done.rested(myself, driven.result, state.known.as_ref());
        Ok(())
    }
}
