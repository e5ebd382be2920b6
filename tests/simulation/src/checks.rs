//! What must hold: on every append, on every write of a row, at every answer, and at the end.

mod calm;
mod covered;
mod decided;
mod history;
mod idle;
mod said;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use everhook_journal::event::{IdOrigin, Webhook};
use everhook_journal::executions::{DEATHS_MAX, Row};
use everhook_journal::item::Append;
use everhook_journal::store::Item;
use everhook_journal::timers::AGAIN_MAX;
use everhook_journal::{
    Event, Execution, ExecutionId, Recorded, SourceName, Status, Timestamp, View, item,
};
use everhook_processor::Input;

use crate::bodies;
use crate::executor::{Process, executor};
use crate::focus::Focus;
use crate::kit::{HANG, kit};
use crate::world::world;
use covered::Wakes;
use history::History;
pub(crate) use said::{RESULT_BYTES_MAX, Said};

/// How far a clock may be off.
pub(crate) const SKEW: Duration = Duration::from_secs(2);

/// How soon after its end an outcome is recorded, if nothing is wrong.
const AT_ONCE: Duration = Duration::from_secs(3);

/// How soon a healthy source's execution begins.
const BEGINS_WITHIN: Duration = Duration::from_secs(1);

/// How often an execution may kill what drives it when it is due, until it is stalled: once beside others, three times
/// alone, as often again for an invocation that is delivered twice, and some for those that were not counted in time.
const KILLS_MAX: u32 = 12;

/// How long what was under way when a history expired may go on.
const UNDER_WAY: Duration = Duration::from_secs(90);

/// How long redeliveries are still recognised then.
const REST: Duration = Duration::from_secs(300);

/// When a stalled execution is tried again.
const STALLED: Duration = Duration::from_secs(6 * 3600);

/// What a row says of an execution that was stalled because of deaths.
const DIED: &str = "the process died";

/// Something that must not happen, and did.
#[derive(Debug, Clone)]
pub struct Violation {
    /// Which rule: `S1` to `S20`, `L1` to `L6`, `P1` to `P3`.
    pub rule: &'static str,
    /// What happened.
    pub what: String,
}

/// How long equal bodies without an id count as one delivery.
const WINDOW: Duration = Duration::from_secs(600);

/// What a sender means by something that it sends.
#[derive(Debug, Clone)]
pub(crate) enum Meant {
    /// One event, known by this.
    Event(String),
    /// An event that looks like any other of its body.
    Body { name: String, sent_at: Timestamp },
}

/// The result of a check.
pub(crate) type Checked = Result<(), Violation>;

pub(crate) fn violated(rule: &'static str, what: impl Into<String>) -> Checked {
    Err(Violation { rule, what: what.into() })
}

/// When an item may be deleted.
fn expiry(item: &Item) -> Timestamp {
    let seconds = item::read_number(item, "ttl").ok().and_then(|ttl| i64::try_from(ttl).ok());
    Timestamp::from_millis(seconds.unwrap_or(i64::MAX / 1_000) * 1_000)
}

/// Whether that is past, by DynamoDB's seconds.
fn has_passed(expires_at: Timestamp, now: Timestamp) -> bool {
    expires_at.to_ttl_seconds() < now.as_millis().div_euclid(1_000)
}

/// Whether something is stalled because its history could not be read or folded. No world touches one.
fn is_damage(reason: &str) -> bool {
    reason.starts_with("the history of") || reason.starts_with("event ")
}

/// What is known of one world's executions, from its tables and from what outsiders were told.
#[derive(Default)]
pub(crate) struct Checks {
    histories: BTreeMap<String, History>,
    /// The execution of each delivery, as senders were told, and the other way round.
    deliveries: BTreeMap<String, String>,
    tokens: BTreeMap<String, String>,
    /// What was said outside.
    pub(crate) said: Said,
    under_way: BTreeMap<(String, String, u32), (Process, u32)>,
    pub(crate) dead: BTreeSet<Process>,
    pub(crate) died: BTreeMap<Process, Timestamp>,
    /// Processes whose calls failed or were slow.
    pub(crate) troubled: BTreeSet<Process>,
    /// Who last made each attempt, and when it ended.
    last: BTreeMap<(String, String, u32), (Process, Option<Timestamp>)>,
    pub(crate) objects: BTreeSet<String>,
    pub(crate) appends: u64,
    wakes: Wakes,
    /// Which executions each process drives now.
    driven: BTreeSet<(Process, String)>,
}

impl Checks {
    fn of(&mut self, execution: &str) -> &mut History {
        self.histories.entry(execution.to_owned()).or_default()
    }

    /// S1–S4, S8, S10, S11, S13, S18: an append.
    pub(crate) fn appended(
        &mut self,
        execution: &str,
        before: Option<&Item>,
        after: Option<&Item>,
        now: Timestamp,
    ) -> Checked {
        self.appends += 1;
        let Some(item) = after else {
            return match before.is_some_and(|before| has_passed(expiry(before), now)) {
                true => Ok(()),
                false => violated("S1", format!("an append of {execution} was deleted")),
            };
        };
        let is_earlier =
            |before| has_passed(expiry(before), now + SKEW) && expiry(before) < expiry(item);
        if before.is_some_and(|before| !is_earlier(before)) {
            return violated("S1", format!("an append of {execution} was overwritten"));
        }
        let Append { previous, recorded, .. } = match item::to_append(item) {
            Ok(append) => append,
            Err(error) => return violated("S1", format!("an append cannot be read: {error}")),
        };
        let first = recorded.first().map(|first| &first.event);
        if matches!(first, Some(Event::WebhookReceived(_))) {
            self.begins_anew(execution, now);
        } else if has_passed(expiry(item), now) {
            return match expiry(item) + UNDER_WAY < now {
                // It was under way when its history expired, and counts as deleted.
                false => Ok(()),
                true => violated(
                    "S18",
                    format!("something is appended to {execution}, which has expired"),
                ),
            };
        }
        let last = self.of(execution).recorded.last().and_then(|last| last.digest);
        if previous != last {
            return violated(
                "S1",
                format!("an append of {execution} is not chained to the one before"),
            );
        }
        if let Some(missing) = self.missing_object(&recorded) {
            return violated(
                "S9",
                format!("an event of {execution} names an object that is not there: {missing}"),
            );
        }
        self.in_time(execution, now)?;
        for event in &recorded {
            self.interrupted(execution, event, now)?;
            self.of(execution).event(execution, event, now)?;
            if matches!(event.event, Event::ExecutionRedriven { .. }) {
                self.redriven(execution, now);
                self.begins_again(execution);
            }
            self.said.recorded(execution, &self.histories[execution], event)?;
            decided::follows(execution, &self.histories[execution], event)?;
        }
        self.of(execution).replayed(execution)?;
        self.moved(execution, false, now)?;
        self.covered(execution, now)
    }

    /// What begins where something has expired has nothing to do with that.
    fn begins_anew(&mut self, execution: &str, now: Timestamp) {
        let history = self.of(execution);
        if history.has_expired(now + SKEW) {
            *history =
                History { row: history.row.take(), lives: history.lives + 1, ..History::default() };
            self.last.retain(|(own, _, _), _| own != execution);
            self.said.forget_answers(execution);
        }
    }

    /// L5, where nothing but others' targets and webhooks could be the reason: an execution begins soon.
    fn in_time(&mut self, execution: &str, now: Timestamp) -> Checked {
        if !world().is_about(Focus::Hanging) {
            return Ok(());
        }
        let history = self.of(execution);
        let (Some(received), Some(state)) = (history.received, &history.state) else {
            history.received = Some(now);
            return Ok(());
        };
        let is_first = history.recorded.len() == 1;
        let is_healthy = state.webhook.source.as_str() != HANG;
        match is_first && is_healthy && now > received + BEGINS_WITHIN {
            true => violated(
                "L5",
                format!("{execution} was received at {received} and begins at {now}"),
            ),
            false => Ok(()),
        }
    }

    /// An object that the events name but the object store does not have.
    fn missing_object(&self, recorded: &[Recorded]) -> Option<String> {
        let events = serde_json::to_string(recorded).ok()?;
        events.split("\"stored\":{\"sha256\":\"").skip(1).find_map(|rest| {
            let name = rest.get(..64)?;
            (!self.objects.contains(name)).then(|| name.to_owned())
        })
    }

    /// S10: nobody who is alive and within his time is called interrupted.
    fn interrupted(&self, execution: &str, event: &Recorded, now: Timestamp) -> Checked {
        let Event::StepFailed { step, attempt, error, .. } = &event.event else { return Ok(()) };
        if error.kind != "interrupted" {
            return Ok(());
        }
        let key = (execution.to_owned(), step.to_string(), *attempt);
        match self.under_way.get(&key) {
            Some((process, _)) if !self.dead.contains(process) => violated(
                "S10",
                format!(
                    "{step} {attempt} of {execution} was called interrupted at {now} and is still being made"
                ),
            ),
            _ => Ok(()),
        }
    }

    /// S4–S6, S8, S13: something is done outside.
    pub(crate) fn effect_begins(
        &mut self,
        input: &Input,
        process: Process,
        now: Timestamp,
    ) -> Checked {
        let execution = input.execution.as_str();
        if self.of(execution).is_gone(now) {
            return violated(
                "S18",
                format!("{} of {execution} acts, which has expired", input.step),
            );
        }
        let key = (execution.to_owned(), input.step.to_string(), input.attempt);
        self.acts_once(input)?;
        self.again(&key, now)?;
        self.last.insert(key.clone(), (process, None));
        self.under_way.entry(key).or_insert((process, 0)).1 += 1;
        self.moved(execution, false, now)?;
        let history = self.of(execution);
        history.order(input)?;
        history.in_time(input, now)?;
        history.once(input)?;
        said::seen(history, input)?;
        let own = input.idempotency_key();
        let known = history.keys.entry(input.step.to_string()).or_insert_with(|| own.clone());
        if *known != own {
            return violated(
                "S6",
                format!("{} of {execution} has the keys {known} and {own}", input.step),
            );
        }
        Ok(())
    }

    /// S15: an attempt acts once, unless who made it died or had trouble with the tables.
    /// S16: who died repeats only what was in flight, or had just ended.
    fn again(&self, key: &(String, String, u32), now: Timestamp) -> Checked {
        let Some((process, ended)) = self.last.get(key) else { return Ok(()) };
        let (execution, step, attempt) = key;
        let redriven = self.histories.get(execution).map_or(0, |history| history.redriven);
        if self.troubled.contains(process) || redriven > 0 {
            return Ok(());
        }
        match (self.died.get(process), ended) {
            (None, _) => violated(
                "S15",
                format!("{step} {attempt} of {execution} acts again at {now}, undisturbed"),
            ),
            (Some(died), Some(ended)) if *died > *ended + AT_ONCE => violated(
                "S16",
                format!(
                    "{step} {attempt} of {execution} acts again: it had ended at {ended}, and its process died at {died}"
                ),
            ),
            _ => Ok(()),
        }
    }

    pub(crate) fn effect_ends(&mut self, input: &Input, now: Timestamp) {
        let key = (input.execution.to_string(), input.step.to_string(), input.attempt);
        if let Some((_, ended)) = self.last.get_mut(&key) {
            *ended = Some(now);
        }
        if let Some((_, many)) = self.under_way.get_mut(&key) {
            *many -= 1;
            if *many == 0 {
                self.under_way.remove(&key);
            }
        }
        // Where it is not too late already: its next move says it.
        self.moved(input.execution.as_str(), true, now).ok();
    }

    /// S7, S9, S18, L4: a row.
    pub(crate) fn row(
        &mut self,
        execution: &str,
        before: Option<&Item>,
        after: Option<&Item>,
        now: Timestamp,
    ) -> Checked {
        self.shown(execution, before, after, now)?;
        self.covered(execution, now)
    }

    fn shown(
        &mut self,
        execution: &str,
        before: Option<&Item>,
        after: Option<&Item>,
        now: Timestamp,
    ) -> Checked {
        let history = self.of(execution);
        let Some(item) = after else {
            history.row = None;
            let has_passed = before.is_some_and(|before| has_passed(expiry(before), now));
            return match history.is_acknowledged && !history.has_expired(now + SKEW) {
                true if !has_passed => {
                    violated("S9", format!("the row of {execution} was deleted"))
                }
                _ => Ok(()),
            };
        };
        let row = match Row::from_item(item) {
            Ok(row) => row,
            Err(error) => return violated("S7", format!("a row cannot be read: {error}")),
        };
        let before = history.row.replace(row.clone());
        let was_stalled = before.as_ref().is_some_and(|before| before.stalled.is_some());
        if let Some(reason) = row.stalled.as_ref().filter(|_| !was_stalled) {
            if is_damage(reason) {
                return violated(
                    "S18",
                    format!("{execution} is stalled, and nobody touched it: {reason}"),
                );
            }
            if reason.starts_with(DIED) {
                history.stalled += 1;
                if history.alone < DEATHS_MAX - 1 {
                    return violated("L6", format!("{execution} is stalled and killed nothing"));
                }
            }
        }
        let Some(view) = row.view else { return Ok(()) };
        let before = before.and_then(|before| before.view);
        if let Some(before) = &before
            && view.expires_at < before.created_at
        {
            return violated("S7", format!("the view of {execution} is that of an earlier life"));
        }
        if has_passed(view.expires_at, now) {
            let is_shown = before.is_none_or(|before| before != view);
            return match is_shown && view.expires_at + UNDER_WAY < now {
                true => violated("S18", format!("{execution} is shown, which has expired")),
                false => Ok(()),
            };
        }
        let shown = view.sequence;
        if let Some(before) = before
            && before.sequence > shown
            && !has_passed(before.expires_at, now + SKEW)
        {
            let before = before.sequence;
            return violated(
                "S7",
                format!("the view of {execution} went back from {before} to {shown}"),
            );
        }
        let place = usize::try_from(shown.get()).unwrap_or(usize::MAX);
        match history.views.get(place.wrapping_sub(1)) {
            Some(own) if view == *own => Ok(()),
            Some(own) => violated(
                "S7",
                format!(
                    "the view of {execution} at {shown} is not its history's: {view:?} instead of {own:?}"
                ),
            ),
            None => {
                violated("S7", format!("the view of {execution} shows {shown}, which is not there"))
            }
        }
    }

    /// S19: an execution is driven by one actor at a time in each process.
    pub(crate) fn drive_begins(&mut self, process: Process, execution: &ExecutionId) -> Checked {
        match self.driven.insert((process, execution.to_string())) {
            true => Ok(()),
            false => violated("S19", format!("{execution} is driven twice at once in one process")),
        }
    }

    /// That drive has ended.
    pub(crate) fn drive_ends(&mut self, process: Process, execution: &ExecutionId) {
        self.driven.remove(&(process, execution.to_string()));
    }

    /// An execution is driven because it is due.
    pub(crate) fn fired(&mut self, execution: &str) {
        self.of(execution).is_fired = true;
    }

    /// An execution is driven alone.
    pub(crate) fn driven_alone(&mut self, execution: &str) {
        self.of(execution).alone += 1;
    }

    /// Such a drive has ended. What was counted of one that had trouble with the tables may stand there later.
    pub(crate) fn survived_alone(&mut self, execution: &str) {
        let is_troubled = self.troubled.contains(&executor().current());
        let alone = &mut self.of(execution).alone;
        *alone -= u64::from(!is_troubled).min(*alone);
    }

    /// L6: an execution that kills what drives it is stalled soon, and no other is.
    pub(crate) fn kills(&mut self, input: &Input) -> Checked {
        let history = self.of(input.execution.as_str());
        let is_fired = std::mem::take(&mut history.is_fired);
        if is_fired && history.stalled == 0 {
            history.kills += 1;
        }
        match history.kills > KILLS_MAX {
            true => violated(
                "L6",
                format!(
                    "{} has killed {} processes and is not stalled",
                    input.execution, history.kills
                ),
            ),
            false => Ok(()),
        }
    }

    /// S2, S9: somebody was answered 202 to several events at once: that promises each of them.
    pub(crate) fn all_acknowledged(
        &mut self,
        deliveries: &[Meant],
        tokens: &[String],
        now: Timestamp,
    ) -> Checked {
        if deliveries.len() != tokens.len() {
            let (events, told) = (deliveries.len(), tokens.len());
            return violated("S9", format!("202 for {events} events, with {told} executions"));
        }
        let mut each = deliveries.iter().zip(tokens);
        each.try_for_each(|(meant, token)| match meant {
            Meant::Event(event) => self.acknowledged(event, token, now),
            Meant::Body { name, sent_at } => self.acknowledged_body(name, token, *sent_at, now),
        })
    }

    /// S9: an operator was told that a request is recorded that was refused at first. That promises as much.
    pub(crate) fn released(&mut self, execution: &str, now: Timestamp) -> Checked {
        let event = self.of(execution).state.as_ref().map(|state| {
            let Webhook { source, delivery_id, body_sha256, .. } = &*state.webhook;
            kit().event(source.as_str(), delivery_id.as_str(), body_sha256)
        });
        match event {
            Some(event) => self.acknowledged(&event, execution, now),
            None => violated("S9", format!("{execution} was released and is not there")),
        }
    }

    /// S9: somebody was answered 202.
    pub(crate) fn acknowledged(
        &mut self,
        delivery: &str,
        execution: &str,
        now: Timestamp,
    ) -> Checked {
        let token =
            self.deliveries.entry(delivery.to_owned()).or_insert_with(|| execution.to_owned());
        if token != execution {
            return violated(
                "S2",
                format!("{delivery} has two executions: {token} and {execution}"),
            );
        }
        let own = self.tokens.entry(execution.to_owned()).or_insert_with(|| delivery.to_owned());
        if own != delivery {
            return violated("S2", format!("{execution} is that of {own} and of {delivery}"));
        }
        self.promised(execution, now)
    }

    /// S17: somebody was answered 202 to a body that has no id. It has an execution of its own,
    /// or one that began within the window.
    pub(crate) fn acknowledged_body(
        &mut self,
        name: &str,
        execution: &str,
        sent_at: Timestamp,
        now: Timestamp,
    ) -> Checked {
        // The clock that stamped the first event, and the one that looked at it, may be off.
        let latest = WINDOW + SKEW * 2;
        if let Some(first) = self.of(execution).recorded.first()
            && sent_at.since(first.at) >= latest
        {
            let began = first.at;
            return violated(
                "S17",
                format!(
                    "{name}, sent at {sent_at}, was given to {execution}, which began at {began}"
                ),
            );
        }
        self.promised(execution, now)
    }

    /// S9: a 202 promises an execution.
    fn promised(&mut self, execution: &str, now: Timestamp) -> Checked {
        let history = self.of(execution);
        if history.recorded.is_empty() {
            return violated("S9", format!("202 for {execution}, whose first event is not there"));
        }
        if history.is_gone(now - REST) {
            return violated("S18", format!("202 for {execution}, which has expired"));
        }
        if history.has_expired(now) {
            // It was answered as long as it was there.
            return Ok(());
        }
        history.is_acknowledged = true;
        self.covered(execution, now)
    }

    /// S18: somebody outside was answered. Nothing that has expired is there, and nothing else is damaged.
    pub(crate) fn answered(
        &mut self,
        execution: &str,
        what: &str,
        status: i64,
        now: Timestamp,
    ) -> Checked {
        let is_gone = self.of(execution).is_gone(now);
        match status {
            500 => {
                violated("S18", format!("{what} of {execution}: damaged, and nobody touched it"))
            }
            // It did not answer, could not, or has nothing.
            0 | 503 | 404 => Ok(()),
            _ if is_gone => {
                violated("S18", format!("{what} of {execution}, which has expired: {status}"))
            }
            _ => Ok(()),
        }
    }

    /// An operator was told that an execution goes on. That says nothing of an answer that has just come.
    pub(crate) fn redrive_told(&mut self, execution: &str, now: Timestamp) -> Checked {
        self.of(execution).has_untold_redrive = false;
        self.covered(execution, now)
    }

    /// Somebody was told that a fact counts.
    pub(crate) fn fact_told(&mut self, execution: &str, now: Timestamp) -> Checked {
        self.of(execution).has_untold_fact = false;
        self.covered(execution, now)
    }

    /// Executions that go on, or have not been shown to have ended. Only in a world that `is_long` is the end awaited
    /// of what kills whatever drives it.
    pub(crate) fn unfinished(&self, is_long: bool, now: Timestamp) -> Option<String> {
        self.histories.iter().find_map(|(execution, history)| {
            if !history.is_acknowledged || history.has_expired(now) {
                return None;
            }
            // Nobody waits for the end of what came after the expiry to expire in turn.
            let is_long = is_long && history.lives == 0;
            let state = history.state.as_ref()?;
            let row = history.row.as_ref();
            if history.is_killer() && history.stalled > 0 && !is_long {
                return None;
            }
            let view = row.and_then(|row| row.view.as_ref());
            let shown = view.is_some_and(|view| view.sequence == state.sequence);
            let timers = self.timers_of(execution);
            (!state.status.is_terminal() || !shown || !timers.is_empty()).then(|| {
                let shown = view.map(|view| view.sequence);
                let (status, at) = (&state.status, state.sequence);
                format!(
                    "{execution} is {status:?} at {at}, its view {shown:?}, its timers {timers:?}"
                )
            })
        })
    }

    /// When each history expires.
    pub(crate) fn expiries(&self) -> BTreeMap<String, Timestamp> {
        let histories = self.histories.iter();
        let expiries = histories.filter_map(|(execution, history)| {
            Some((execution.clone(), history.state.as_ref()?.webhook.expires_at))
        });
        expiries.collect()
    }

    /// L1: nothing that was promised an end expires without one.
    pub(crate) fn nothing_is_forgotten(&self, now: Timestamp) -> Checked {
        self.all_awake(now)?;
        let forgotten = self.histories.iter().find(|(_, history)| {
            let goes_on =
                |state: &Execution| !state.status.is_terminal() && state.webhook.expires_at <= now;
            // What is redriven so late that nobody can come in time had ended.
            let redriven =
                history.redriven_at.is_some_and(|at| history.has_expired(at + AGAIN_MAX));
            history.is_acknowledged && !redriven && history.state.as_ref().is_some_and(goes_on)
        });
        match forgotten {
            Some((execution, _)) => {
                violated("L1", format!("the history of {execution} expires without an end"))
            }
            None => Ok(()),
        }
    }

    /// S17: of the executions of one body without an id, all but the first say whose repeat they are.
    fn repeats_are_told(&self) -> Checked {
        let mut first = BTreeMap::new();
        for (execution, history) in &self.histories {
            let (Some(state), Some(row)) = (&history.state, &history.row) else { continue };
            let webhook = &state.webhook;
            if webhook.delivery_id_from != IdOrigin::Body
                || !history.is_acknowledged
                || row.repeat_of.is_some()
                || webhook.source.as_str() != bodies::POKE
            {
                continue;
            }
            if let Some(other) = first.insert(webhook.delivery_id.clone(), execution) {
                return violated(
                    "S17",
                    format!("neither {execution} nor {other} says whose repeat it is"),
                );
            }
        }
        Ok(())
    }

    /// L2, L3: what is shown at the end.
    pub(crate) fn end(&self, now: Timestamp) -> Checked {
        self.repeats_are_told()?;
        for (execution, history) in &self.histories {
            let (Some(state), Some(row)) = (&history.state, &history.row) else { continue };
            let is_killer = history.is_killer() && history.stalled > 0;
            if !history.is_acknowledged || is_killer || history.has_expired(now) {
                continue;
            }
            let id = ExecutionId::parse(execution).expect("a history has an id");
            let view = View::of(&id, state);
            if row.view.as_ref() != Some(&view) {
                return violated(
                    "L2",
                    format!("{execution} is shown as {:?} and is {view:?}", row.view),
                );
            }
            if row.stalled.is_some() {
                return violated("L3", format!("{execution} has ended and is marked as stalled"));
            }
        }
        Ok(())
    }

    /// The source of an execution that has begun.
    pub(crate) fn source(&self, execution: &str) -> Option<SourceName> {
        Some(self.histories.get(execution)?.state.as_ref()?.webhook.source.clone())
    }

    /// Those that have failed, for an operator to redrive.
    pub(crate) fn failed(&self) -> Vec<String> {
        let failed = self.histories.iter().filter(|(_, history)| {
            history.state.as_ref().is_some_and(|it| matches!(it.status, Status::Failed { .. }))
        });
        failed.map(|(execution, _)| execution.clone()).collect()
    }

    /// All that were begun.
    pub(crate) fn executions(&self) -> Vec<String> {
        let begun = self.histories.iter().filter(|(_, history)| history.state.is_some());
        begun.map(|(execution, _)| execution.clone()).collect()
    }

    pub(crate) fn has_ended(&self, execution: &str) -> bool {
        let state = self.histories.get(execution).and_then(|history| history.state.as_ref());
        state.is_some_and(|state| state.status.is_terminal())
    }

    /// How executions ended: completed, failed, cancelled.
    pub(crate) fn ends(&self) -> [u64; 3] {
        let mut ends = [0; 3];
        for state in self.histories.values().filter_map(|history| history.state.as_ref()) {
            match state.status {
                Status::Completed { .. } => ends[0] += 1,
                Status::Failed { .. } => ends[1] += 1,
                Status::Cancelled { .. } => ends[2] += 1,
                Status::Running | Status::Failing { .. } => {}
            }
        }
        ends
    }
}
