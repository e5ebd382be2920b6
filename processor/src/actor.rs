//! One execution's actor: a thin shell over [`crate::advance::advance`].
//!
//! It serialises the execution's wake-ups and keeps a panic to itself.
//! Correctness never rests on it: the conditional append does that.

use std::sync::Arc;

use everhook_journal::Timestamp;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

use crate::advance::{Advanced, Driver, Outage, Stint, advance_within};
use crate::awake::News;
use crate::bulkhead::Place;
use crate::wakeup::Wake;

/// Drives one execution.
#[derive(Debug)]
pub struct ExecutionActor {
    /// How it is driven.
    pub driver: Arc<Driver>,
    /// When it must have stopped.
    pub deadline: Timestamp,
    /// What happens to the execution meanwhile.
    pub news: Arc<News>,
    /// Whether steps that act are left to another process.
    pub hands_over: bool,
}

/// What an execution's actor is told.
#[derive(Debug)]
pub enum ExecutionMessage {
    /// The execution moved, or its time has come: make it go on from this place, and say how far it got.
    Wake(Wake, Place, RpcReplyPort<Result<Advanced, Outage>>),
}

impl Actor for ExecutionActor {
    type Msg = ExecutionMessage;
    type State = ();
    type Arguments = ();

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        (): (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ExecutionMessage::Wake(wake, place, reply) => {
                let Self { deadline, hands_over, .. } = *self;
                let stint = Stint { deadline, news: &self.news, place: Some(place), hands_over };
                let advanced = advance_within(&self.driver, &wake, stint).await;
                // Nobody listens any more only if the whole invocation is being dropped.
                reply.send(advanced).ok();
                Ok(())
            }
        }
    }
}
