//! One execution's actor: a thin shell over [`crate::advance::advance`].
//!
//! It serialises the execution's wake-ups and keeps a panic to itself.
//! Correctness never rests on it: the conditional append does that.

use std::sync::Arc;

use everhook_journal::Timestamp;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

use crate::advance::{Advanced, Driver, Outage, advance};
use crate::wakeup::Wake;

/// Drives one execution.
#[derive(Debug)]
pub struct ExecutionActor {
    /// How it is driven.
    pub driver: Arc<Driver>,
    /// When it must have stopped.
    pub deadline: Timestamp,
}

/// What an execution's actor is told.
#[derive(Debug)]
pub enum ExecutionMessage {
    /// The execution moved, or its time has come: make it go on, and say how far it got.
    Wake(Wake, RpcReplyPort<Result<Advanced, Outage>>),
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
            ExecutionMessage::Wake(wake, reply) => {
                let advanced = advance(&self.driver, &wake, self.deadline).await;
                // Nobody listens any more only if the whole invocation is being dropped.
                reply.send(advanced).ok();
                Ok(())
            }
        }
    }
}
