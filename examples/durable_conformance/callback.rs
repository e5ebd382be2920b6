//! Somebody outside who calls back.

use everhook_journal::event::Event;
use everhook_journal::execution::PATH_SEPARATOR;
use everhook_journal::{ExecutionId, Recorded, StepName, Timestamp};

use super::case::Action;
use super::world::World;

/// Looks which callbacks were created; each is answered by one action only.
pub(crate) fn look(coming: &mut [Coming], history: &[Recorded]) {
    let mut answered: Vec<_> = history.iter().filter_map(answered).collect();
    for coming in coming {
        if coming.about.is_none() {
            let fitting = history.iter().filter_map(created).find(|about| {
                let name = about.step.as_str().rsplit(PATH_SEPARATOR).next();
                let fits = coming.action.callback == "*" || name == Some(&*coming.action.callback);
                fits && !answered.contains(&about.step)
            });
            coming.about = fitting;
        }
        if let Some(about) =
            coming.about.as_ref().filter(|_| coming.action.operation != "heartbeat")
        {
            answered.push(about.step.clone());
        }
    }
}

fn created(recorded: &Recorded) -> Option<About> {
    let Event::CallbackCreated { step, attempt, .. } = &recorded.event else { return None };
    Some(About { created: recorded.at, step: step.clone(), attempt: *attempt })
}

fn answered(recorded: &Recorded) -> Option<StepName> {
    let Event::CallbackReceived { step, .. } = &recorded.event else { return None };
    Some(step.clone())
}

/// An action that is still to come.
#[derive(Debug)]
pub(crate) struct Coming {
    action: Action,
    about: Option<About>,
}

/// The callback that an action is about.
#[derive(Debug, Clone, PartialEq)]
struct About {
    created: Timestamp,
    step: StepName,
    attempt: u32,
}

impl Coming {
    pub(crate) fn new(action: &Action) -> Self {
        Self { action: action.clone(), about: None }
    }

    /// When it is to be done, once its callback is there.
    pub(crate) fn time(&self) -> Option<Timestamp> {
        self.about.as_ref().map(|about| about.created + self.action.delay)
    }

    /// Does it.
    pub(crate) async fn perform(self, world: &World, id: &ExecutionId) -> Result<(), String> {
        let Some(About { step, attempt, .. }) = self.about else { return Ok(()) };
        let began_at = world.execution(id).await?.created_at;
        let token = world.callbacks.token(id, began_at, &step, attempt);
        let token = world.callbacks.urls(&token).token;
        let body = self.action.payload.map(|payload| payload.to_string());
        let path = format!("/callbacks/{token}/{}", self.action.operation);
        world.post(&path, body).await?;
        Ok(())
    }
}
