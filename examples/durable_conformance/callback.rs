//! Somebody outside who calls back.

use everhook_journal::event::Event;
use everhook_journal::{ExecutionId, Recorded, StepName, Timestamp};

use super::case::Action;
use super::world::World;

/// An action that is still to come.
#[derive(Debug)]
pub(crate) struct Coming {
    action: Action,
    /// The callback it is about, once that is there: when it was created, its step, its attempt.
    about: Option<(Timestamp, StepName, u32)>,
}

impl Coming {
    pub(crate) fn new(action: &Action) -> Self {
        Self { action: action.clone(), about: None }
    }

    /// Looks whether its callback was created.
    pub(crate) fn look(&mut self, history: &[Recorded]) {
        if self.about.is_some() {
            return;
        }
        self.about = history.iter().find_map(|recorded| match &recorded.event {
            Event::CallbackCreated { step, attempt, .. } => {
                let name = step.as_str().rsplit('/').next();
                let fits = self.action.callback == "*" || name == Some(&*self.action.callback);
                fits.then(|| (recorded.at, step.clone(), *attempt))
            }
            _ => None,
        });
    }

    /// When it is to be done, once that is known.
    pub(crate) fn time(&self) -> Option<Timestamp> {
        self.about.as_ref().map(|(created, ..)| *created + self.action.delay)
    }

    /// Does it.
    pub(crate) async fn perform(self, world: &World, id: &ExecutionId) -> Result<(), String> {
        let Some((_, step, attempt)) = self.about else { return Ok(()) };
        let token = world.callbacks.urls(&world.callbacks.token(id, &step, attempt)).token;
        let body = self.action.payload.map(|payload| payload.to_string());
        let path = format!("/callbacks/{token}/{}", self.action.operation);
        world.post(&path, body).await?;
        Ok(())
    }
}
