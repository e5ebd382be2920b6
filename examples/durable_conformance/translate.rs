//! Our history as the peer's events.
//!
//! Starts of attempts are derived from the times that outcomes carry, unless an attempt was claimed.
//! Branches start with the first event inside of them and end with their last.
//! What only computes leaves no event: the peer's handlers do such things between their operations.

use std::collections::{BTreeMap, BTreeSet};

use everhook_journal::event::{Branches, CallbackAnswer};
use everhook_journal::execution::{LineEnd, Stage};
use everhook_journal::{Event, Execution, Payload, Payloads, Recorded, Timestamp, Workflow};
use serde_json::{Map, Value, json};

use super::event::{SubType, branch_kind, context, error, failed, retry};
use super::place::{self, Kind, Level, levels, parent};

/// A history that is being translated.
pub(crate) struct Translation<'w> {
    workflow: &'w Workflow,
    payloads: &'w Payloads,
    execution: Option<Execution>,
    events: Vec<(Timestamp, Map<String, Value>)>,
    /// Contexts that have started and not ended.
    open: BTreeSet<String>,
    /// Contexts that have started.
    begun: BTreeSet<String>,
    /// Attempts whose start is recorded.
    claimed: BTreeSet<(String, u32)>,
    waits: BTreeMap<String, u64>,
    /// What items are called, by the ids of their branches.
    labels: BTreeMap<String, String>,
}

/// The peer's events, numbered from 1.
pub(crate) async fn translate(
    workflow: &Workflow,
    payloads: &Payloads,
    history: &[Recorded],
) -> Result<Vec<Value>, String> {
    let mut translation = Translation {
        workflow,
        payloads,
        execution: None,
        events: Vec::new(),
        open: BTreeSet::new(),
        begun: BTreeSet::new(),
        claimed: BTreeSet::new(),
        waits: BTreeMap::new(),
        labels: BTreeMap::new(),
    };
    for recorded in history {
        translation.add(recorded).await?;
    }
    let numbered = translation.events.into_iter().enumerate().map(|(place, (at, mut event))| {
        event.insert("EventId".into(), json!(place + 1));
        event.insert("EventTimestamp".into(), json!(at));
        Value::Object(event)
    });
    Ok(numbered.collect())
}

impl<'w> Translation<'w> {
    async fn add(&mut self, recorded: &Recorded) -> Result<(), String> {
        let illegal = |error: everhook_journal::execution::IllegalEvent| error.to_string();
        match &mut self.execution {
            Some(execution) => execution.apply(recorded).map_err(illegal)?,
            None => self.execution = Some(Execution::begin(recorded).map_err(illegal)?),
        }
        let at = recorded.at;
        match &recorded.event {
            Event::WebhookReceived(_) => self.put(at, "ExecutionStarted", json!({})),
            Event::ExecutionCompleted { .. } => {
                let output = self.execution.as_ref().and_then(|it| it.line.output()).cloned();
                let result = self.result(output.as_ref()).await?;
                self.put(at, "ExecutionSucceeded", result);
            }
            Event::ExecutionFailed { cause } => {
                let error = error(&cause.kind, &cause.message);
                self.put(at, "ExecutionFailed", error);
            }
            event => {
                if let Some(path) = event.step() {
                    let levels = levels(self.workflow, path.as_str());
                    self.begin_branches(&levels, started_at(event).unwrap_or(at));
                    self.step_event(recorded, &levels).await?;
                    self.end_contexts(at, &levels).await?;
                }
            }
        }
        Ok(())
    }

    async fn step_event(
        &mut self,
        recorded: &Recorded,
        levels: &[Level<'_>],
    ) -> Result<(), String> {
        let Some(level) = levels.last() else { return Err("an unknown step".into()) };
        let (at, kind, path) = (recorded.at, level.kind(), level.path.clone());
        match (&recorded.event, kind) {
            (_, Kind::Code | Kind::Try) => {}
            // Every attempt is claimed; there, only one that is made at most once has begun before its end is known.
            (Event::StepClaimed { .. }, _) if level.step.at_most_once.is_none() => {}
            (Event::StepClaimed { replaces: Some(_), .. }, _) => {}
            (Event::StepClaimed { attempt, .. }, _) => {
                self.claimed.insert((path, *attempt));
                self.operation(at, levels, "StepStarted", json!({}));
            }
            (Event::WaitStarted { until, .. }, _) => {
                let seconds = until.since(at).as_secs();
                self.waits.insert(path, seconds);
                self.operation(at, levels, "WaitStarted", json!({ "Duration": seconds }));
            }
            (Event::StepCompleted { .. }, Kind::Wait) => {
                let seconds = self.waits.get(&path).copied();
                self.operation(at, levels, "WaitSucceeded", json!({ "Duration": seconds }));
            }
            (Event::BranchesStarted { branches, .. }, _) => {
                if let Branches::Map { labels, .. } = branches {
                    let called = labels.iter().enumerate();
                    let called = called.map(|(n, label)| (format!("{path}/{n}"), label.clone()));
                    self.labels.extend(called);
                }
                self.operation(at, levels, "ContextStarted", json!({}));
            }
            (Event::StepCompleted { output, .. }, Kind::Parallel | Kind::Map) => {
                let result = self.result(Some(output)).await?;
                self.operation(at, levels, "ContextSucceeded", result);
            }
            (Event::StepFailed { error: failure, .. }, Kind::Parallel | Kind::Map) => {
                self.operation(at, levels, "ContextFailed", failed(failure));
            }
            (Event::CallbackCreated { token_sha256, expires_at, heartbeat_ms, .. }, kind) => {
                if kind == Kind::WaitForCallback {
                    self.begin_context(at, path, &level.step.name, kind, parent(levels));
                }
                let mut details = json!({
                    "CallbackId": token_sha256,
                    "Timeout": expires_at.since(at).as_secs(),
                });
                if let Some(heartbeat) = heartbeat_ms {
                    details["HeartbeatTimeout"] = json!(heartbeat / 1_000);
                }
                self.operation(at, levels, "CallbackStarted", details);
            }
            (Event::CallbackReceived { answer, .. }, _) => match answer {
                CallbackAnswer::Succeeded(output) => {
                    let result = self.result(Some(output)).await?;
                    self.operation(at, levels, "CallbackSucceeded", result);
                }
                CallbackAnswer::Failed(failure) => {
                    self.operation(at, levels, "CallbackFailed", failed(failure));
                }
            },
            (Event::StepFailed { error: failure, .. }, Kind::Callback | Kind::WaitForCallback) => {
                self.operation(at, levels, "CallbackTimedOut", failed(failure));
            }
            (Event::StepCompleted { attempt, started_at, output, .. }, _) => {
                self.start(*started_at, levels, *attempt);
                let mut details = self.result(Some(output)).await?;
                details["RetryDetails"] = json!({ "CurrentAttempt": attempt });
                self.operation(at, levels, "StepSucceeded", details);
            }
            (Event::StepPolled { attempt, started_at, state, next_at, .. }, _) => {
                self.start(*started_at, levels, *attempt);
                let mut details = self.result(Some(state)).await?;
                details["RetryDetails"] = retry(*attempt, Some(*next_at), at);
                self.operation(at, levels, "StepSucceeded", details);
            }
            (
                Event::StepFailed { attempt, started_at, error: failure, retry_at, .. },
                Kind::Step,
            )
            | (
                Event::StepFailed { attempt, started_at, error: failure, retry_at, .. },
                Kind::WaitForCondition,
            ) => {
                self.start(*started_at, levels, *attempt);
                let mut details = failed(failure);
                details["RetryDetails"] = retry(*attempt, *retry_at, at);
                self.operation(at, levels, "StepFailed", details);
            }
            _ => {}
        }
        Ok(())
    }

    /// The start of an attempt, before everything that was recorded later.
    fn start(&mut self, at: Timestamp, levels: &[Level<'_>], attempt: u32) {
        let path = levels.last().map(|level| level.path.clone()).unwrap_or_default();
        if !self.claimed.contains(&(path, attempt)) {
            self.operation(at, levels, "StepStarted", json!({}));
        }
    }

    fn begin_branches(&mut self, levels: &[Level<'_>], at: Timestamp) {
        for level in levels {
            let (Some(id), kind) = (level.branch_id(), level.kind()) else { continue };
            if kind != Kind::Try {
                let name = self.branch_name(level, &id);
                self.begin_context(at, id, &name, branch_kind(kind), Some(level.path.clone()));
            }
        }
    }

    fn branch_name(&self, level: &Level<'_>, id: &str) -> String {
        self.labels.get(id).cloned().or_else(|| level.branch.clone()).unwrap_or_default()
    }

    fn begin_context(
        &mut self,
        at: Timestamp,
        id: String,
        name: &impl ToString,
        sub_type: impl Into<SubType>,
        parent: Option<String>,
    ) {
        if self.begun.insert(id.clone()) {
            self.open.insert(id.clone());
            let started = context("ContextStarted", &id, &name.to_string(), sub_type, parent);
            self.insert(at, started, json!({}));
        }
    }

    /// Ends the contexts around a step that are over.
    async fn end_contexts(&mut self, at: Timestamp, levels: &[Level<'_>]) -> Result<(), String> {
        for depth in (1..=levels.len()).rev() {
            let (levels, level) = (&levels[..depth], &levels[depth - 1]);
            let Some(execution) = &self.execution else { return Ok(()) };
            let lines = [&execution.line, &execution.rescue];
            let Some(state) = lines.iter().find_map(|line| place::state(line, &level.path)) else {
                continue;
            };
            let branch = level.branch.as_ref().and_then(|name| place::branch(state, name));
            if let (Some(line), Some(id)) = (branch, level.branch_id())
                && line.is_over()
                && self.open.remove(&id)
            {
                let (event, details) = match &line.end {
                    Some(LineEnd::Failed { error, .. }) => ("ContextFailed", failed(error)),
                    _ => {
                        let output = line.output().cloned();
                        ("ContextSucceeded", self.result(output.as_ref()).await?)
                    }
                };
                let name = self.branch_name(level, &id);
                let kind = branch_kind(level.kind());
                let ended = context(event, &id, &name, kind, Some(level.path.clone()));
                self.insert(at, ended, details);
                continue;
            }
            let outcome = match &state.stage {
                Stage::Completed(output) => Ok(output.clone()),
                Stage::Failed(_) => Err(state.error.clone()),
                _ => continue,
            };
            if level.kind() == Kind::WaitForCallback && self.open.remove(&level.path) {
                let name = level.step.name.to_string();
                let (event, details) = match outcome {
                    Ok(output) => ("ContextSucceeded", self.result(Some(&output)).await?),
                    Err(failure) => ("ContextFailed", failure.as_ref().map_or(json!({}), failed)),
                };
                let kind = Kind::WaitForCallback;
                let ended = context(event, &level.path, &name, kind, parent(levels));
                self.insert(at, ended, details);
            }
        }
        Ok(())
    }

    /// An event of the last of these levels.
    fn operation(&mut self, at: Timestamp, levels: &[Level<'_>], event: &str, details: Value) {
        let Some(level) = levels.last() else { return };
        let kind = level.kind();
        let (id, around, kind) = match kind {
            // The callback stands in the context of its own wait.
            Kind::WaitForCallback => {
                (format!("{}#callback", level.path), Some(level.path.clone()), Kind::Callback)
            }
            kind => (level.path.clone(), parent(levels), kind),
        };
        let event = context(event, &id, level.step.name.as_str(), kind, around);
        self.insert(at, event, details);
    }

    fn put(&mut self, at: Timestamp, event: &str, details: Value) {
        self.insert(at, Map::from_iter([("EventType".to_owned(), json!(event))]), details);
    }

    fn insert(&mut self, at: Timestamp, mut event: Map<String, Value>, details: Value) {
        let key = format!("{}Details", event["EventType"].as_str().unwrap_or_default());
        event.insert(key, details);
        let later = self.events.iter().rev().take_while(|(other, _)| *other > at).count();
        self.events.insert(self.events.len() - later, (at, event));
    }

    async fn result(&self, output: Option<&Payload>) -> Result<Value, String> {
        let Some(output) = output else { return Ok(json!({ "Result": {} })) };
        let opened = self.payloads.open(output).await.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&opened);
        Ok(json!({ "Result": { "Payload": text, "Truncated": false } }))
    }
}

fn started_at(event: &Event) -> Option<Timestamp> {
    match event {
        Event::StepCompleted { started_at, .. }
        | Event::StepFailed { started_at, .. }
        | Event::StepPolled { started_at, .. } => Some(*started_at),
        _ => None,
    }
}
