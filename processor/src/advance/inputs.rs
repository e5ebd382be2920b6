//! What steps get to see: the body and the results before them, opened once a drive.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use everhook_journal::execution::{Scope, Status, Task};
use everhook_journal::payload::PayloadError;
use everhook_journal::{Execution, ExecutionId, Payload, StepName};

use crate::plan::Ready;
use crate::step::{Input, Item, Recorder};
use crate::steps::branches::divide;

use super::{Driver, Trouble};

/// What was opened so far.
#[derive(Default)]
pub(super) struct Inputs {
    body: Option<Bytes>,
    /// The results of steps that stand in no other, which are there for all that follow.
    results: HashMap<StepName, Bytes>,
    /// The items of lists.
    items: HashMap<String, Arc<Vec<Bytes>>>,
}

impl Inputs {
    /// What this attempt gets to see.
    pub(super) async fn of(
        &mut self,
        driver: &Driver,
        id: &ExecutionId,
        execution: &Execution,
        task: &Task<'_>,
        ready: &Ready,
        number: u32,
    ) -> Result<Input, Trouble> {
        let path = &task.path;
        let scope = execution.scope(path);
        let state = match execution.step(path).and_then(|state| state.seen.as_ref()) {
            Some(seen) => Some(driver.payloads.open(seen).await?),
            None => None,
        };
        let callback = scope.callback.as_ref().zip(driver.callbacks.as_ref());
        let callback = callback.map(|((step, attempt), callbacks)| {
            callbacks.urls(&callbacks.token(id, execution.created_at, step, *attempt))
        });
        let cause = match &execution.status {
            Status::Failing { cause } => Some(cause.clone()),
            _ => None,
        };
        Ok(Input {
            execution: id.clone(),
            step: path.clone(),
            attempt: number,
            started_at: driver.clock.now(),
            timeout: task.step.timeout(),
            webhook: execution.webhook.clone(),
            received_at: execution.created_at,
            body: self.body(driver, execution).await?,
            outputs: Arc::new(self.outputs(driver, &scope).await?),
            options: ready.options.clone(),
            item: self.item(driver, &scope).await?,
            state,
            callback,
            cause,
            recorder: Recorder::new(task.step.record_request, ready.hidden),
        })
    }

    async fn body(
        &mut self,
        driver: &Driver,
        execution: &Execution,
    ) -> Result<Bytes, PayloadError> {
        if let Some(body) = &self.body {
            return Ok(body.clone());
        }
        let body = driver.payloads.open(&execution.webhook.body).await?;
        self.body = Some(body.clone());
        Ok(body)
    }

    async fn outputs(
        &mut self,
        driver: &Driver,
        scope: &Scope<'_>,
    ) -> Result<Vec<(StepName, Bytes)>, PayloadError> {
        let mut opened = Vec::new();
        for (depth, line) in scope.lines.iter().enumerate() {
            for (step, output) in line.outputs() {
                let known = if depth == 0 { self.results.get(step) } else { None };
                let bytes = match known {
                    Some(bytes) => bytes.clone(),
                    None => driver.payloads.open(output).await?,
                };
                if depth == 0 {
                    self.results.insert(step.clone(), bytes.clone());
                }
                opened.push((step.clone(), bytes));
            }
        }
        Ok(opened)
    }

    async fn item(&mut self, driver: &Driver, scope: &Scope<'_>) -> Result<Option<Item>, Trouble> {
        let Some((step, list, place)) = &scope.item else { return Ok(None) };
        if !self.items.contains_key(step) {
            let items = self.open_items(driver, list).await?;
            self.items.insert(step.clone(), items);
        }
        let item = self.items.get(step).and_then(|items| items.get(*place));
        let json = item.cloned().ok_or_else(|| Trouble::Own("a list has lost an item".into()))?;
        Ok(Some(Item { index: u32::try_from(*place).unwrap_or(u32::MAX), json }))
    }

    async fn open_items(
        &self,
        driver: &Driver,
        list: &Payload,
    ) -> Result<Arc<Vec<Bytes>>, Trouble> {
        let list = driver.payloads.open(list).await?;
        divide(&list).map(Arc::new).map_err(|error| Trouble::Own(error.to_string()))
    }
}
