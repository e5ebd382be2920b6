//! S13: what is recorded was said, byte for byte, and what a step sees was recorded.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use everhook_journal::event::{CallbackAnswer, OutgoingRequest, Webhook};
use everhook_journal::payload::sha256_hex;
use everhook_journal::{Event, Payload, Recorded};
use everhook_processor::Input;

use super::history::History;
use super::{Checked, violated};
use crate::kit::kit;

/// The largest result, and the longest words for a failure.
pub(crate) const RESULT_BYTES_MAX: u64 = 256 * 1024;
const KIND_BYTES_MAX: usize = 300;
const MESSAGE_BYTES_MAX: usize = 2_000;

/// What was said outside, by its digests.
#[derive(Default)]
pub(crate) struct Said {
    /// The bodies sent under an id.
    sent: BTreeMap<String, BTreeSet<String>>,
    /// The results that targets gave for a step of an execution.
    given: BTreeMap<(String, String), BTreeSet<String>>,
    /// The answers that callers gave to an execution.
    answered: BTreeMap<String, BTreeSet<String>>,
}

impl Said {
    /// A sender sends this.
    pub(crate) fn sent(&mut self, delivery: &str, body: &[u8]) {
        self.sent.entry(delivery.to_owned()).or_default().insert(sha256_hex(body));
    }

    /// A target gives this result.
    pub(crate) fn given(&mut self, input: &Input, json: &str) {
        let key = (input.execution.to_string(), input.step.to_string());
        self.given.entry(key).or_default().insert(sha256_hex(json.as_bytes()));
    }

    /// A caller gives this answer.
    pub(crate) fn answered(&mut self, execution: &str, json: &[u8]) {
        self.answered.entry(execution.to_owned()).or_default().insert(sha256_hex(json));
    }

    /// What was answered to an execution that has expired is no answer to the one that begins in its place.
    pub(super) fn forget_answers(&mut self, execution: &str) {
        self.answered.remove(execution);
    }

    /// What an event records was said.
    pub(super) fn recorded(&self, execution: &str, history: &History, event: &Recorded) -> Checked {
        request(execution, history, &event.event)?;
        match &event.event {
            Event::WebhookReceived(webhook) => self.webhook(execution, webhook),
            Event::StepCompleted { step, output, .. } if acts(history, step.as_str()) => {
                let given = self.given.get(&(execution.to_owned(), step.to_string()));
                let what = || format!("the result of {step} of {execution}");
                is_said(output, given, what)?;
                match output.bytes() > RESULT_BYTES_MAX {
                    true => violated("S13", format!("{} is larger than may be kept", what())),
                    false => Ok(()),
                }
            }
            Event::StepFailed { step, error, retry_at, .. } => {
                if error.kind == "too_large" && retry_at.is_some() {
                    return violated(
                        "S13",
                        format!("{step} of {execution} is too large and will be tried again"),
                    );
                }
                let short =
                    error.kind.len() <= KIND_BYTES_MAX && error.message.len() <= MESSAGE_BYTES_MAX;
                match short {
                    true => Ok(()),
                    false => violated("S13", format!("{step} of {execution} fails at length")),
                }
            }
            Event::StepPolled { step, state, .. } => {
                let given = self.given.get(&(execution.to_owned(), step.to_string()));
                is_said(state, given, || format!("what {step} of {execution} saw"))
            }
            Event::CallbackReceived { step, answer: CallbackAnswer::Succeeded(payload) } => {
                is_said(payload, self.answered.get(execution), || {
                    format!("the answer to {step} of {execution}")
                })
            }
            _ => Ok(()),
        }
    }

    fn webhook(&self, execution: &str, webhook: &Webhook) -> Checked {
        let Webhook { body, body_sha256, delivery_id, .. } = webhook;
        if digest(body).as_ref() != Some(body_sha256) {
            return violated("S13", format!("the body of {execution} is not that of its digest"));
        }
        is_said(body, self.sent.get(delivery_id.as_str()), || {
            format!("the body of {execution} ({delivery_id})")
        })
    }
}

/// An outcome holds what its own attempt sent.
fn request(execution: &str, history: &History, event: &Event) -> Checked {
    let (step, attempt, is_sure) = match event {
        Event::StepCompleted { step, attempt, .. } | Event::StepPolled { step, attempt, .. } => {
            (step, attempt, acts(history, step.as_str()))
        }
        // What failed may have failed before it sent anything.
        Event::StepFailed { step, attempt, .. } => (step, attempt, false),
        _ => return Ok(()),
    };
    let is_own = |request: &OutgoingRequest| {
        let header = |name: &str| request.headers.get(name).cloned().flatten();
        request.url == step.as_str()
            && header("attempt") == Some(attempt.to_string())
            && header("execution").as_deref() == Some(execution)
    };
    match event.request() {
        None if !is_sure => Ok(()),
        Some(request) if is_own(request) => Ok(()),
        _ => violated("S13", format!("{step} {attempt} of {execution} does not say what it sent")),
    }
}

/// What a step sees is what was recorded.
pub(super) fn seen(history: &History, input: &Input) -> Checked {
    let Some(state) = &history.state else { return Ok(()) };
    if sha256_hex(&input.body) != state.webhook.body_sha256 {
        return violated("S13", format!("{} of {} sees another body", input.step, input.execution));
    }
    for (step, bytes) in input.outputs.iter() {
        let recorded = history.recorded.iter().rev().find_map(|recorded| match &recorded.event {
            Event::StepCompleted { step: own, output, .. } if own == step => Some(output),
            Event::CallbackReceived { step: own, answer: CallbackAnswer::Succeeded(output) }
                if own == step =>
            {
                Some(output)
            }
            _ => None,
        });
        // Inside of branches names are shorter than in the history.
        if let Some(payload) = recorded
            && !is(payload, bytes)
        {
            return violated(
                "S13",
                format!("{} of {} sees another result of {step}", input.step, input.execution),
            );
        }
    }
    let polled = history.recorded.iter().rev().find_map(|recorded| match &recorded.event {
        Event::StepPolled { step, attempt, state, .. }
            if *step == input.step && *attempt < input.attempt =>
        {
            Some(state)
        }
        _ => None,
    });
    if let Some(payload) = polled
        && !input.state.as_ref().is_some_and(|bytes| is(payload, bytes))
    {
        let (step, attempt) = (&input.step, input.attempt);
        return violated(
            "S13",
            format!("{step} {attempt} of {} sees another state than it left", input.execution),
        );
    }
    // What was too large is not tried again, unless an operator says so. Whoever is behind may make the same attempt.
    let refused = history.since_redrive().any(|recorded| {
        matches!(&recorded.event, Event::StepFailed { step, attempt, error, .. }
            if *step == input.step && *attempt < input.attempt && error.kind == "too_large")
    });
    match refused {
        true => violated(
            "S13",
            format!("{} of {} was too large and acts again", input.step, input.execution),
        ),
        false => Ok(()),
    }
}

/// Whether it is a step that acts, whose results we know.
fn acts(history: &History, step: &str) -> bool {
    let Some(state) = &history.state else { return false };
    let kit = kit();
    let workflow = kit.workflow(&state.webhook.workflow.hash);
    let step = workflow.and_then(|workflow| workflow.step(step));
    step.is_some_and(|step| step.run.starts_with("act") || step.run == "poll")
}

fn is_said(
    payload: &Payload,
    said: Option<&BTreeSet<String>>,
    what: impl Fn() -> String,
) -> Checked {
    let digest = digest(payload);
    let is_said = said.zip(digest).is_some_and(|(said, digest)| said.contains(&digest));
    match is_said {
        true => Ok(()),
        false => violated("S13", format!("{} was never said like this", what())),
    }
}

fn digest(payload: &Payload) -> Option<String> {
    match payload {
        Payload::Stored { sha256, .. } => Some(sha256.clone()),
        inline => inline.open_inline().ok().map(|bytes| sha256_hex(&bytes)),
    }
}

fn is(payload: &Payload, bytes: &Bytes) -> bool {
    match payload {
        Payload::Stored { sha256, .. } => *sha256 == sha256_hex(bytes),
        inline => inline.open_inline().is_ok_and(|own| own == *bytes),
    }
}
