//! A DynamoDB that fails: items with their past, indexes that lag, a stream of the journal's writes.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use everhook_journal::Timestamp;
use everhook_journal::item::number;
use everhook_journal::store::simulated::{Call, Page, Tables};
use everhook_journal::store::{Expression, Item, Query, Unavailable, WriteError};

use everhook_journal::ambient::simulated::Sleep;

use crate::executor::{WORLD, executor, never, roll, sleep};
use crate::expression::{change, holds};
use crate::faults::Fault;
use crate::focus::{Focus, Kind};
use crate::sizes::fits;
use crate::world::{World, world};

/// For how long the past of an item is known.
const PAST: Duration = Duration::from_secs(5);

/// A table's key: the partition, and the place in it.
pub(crate) type Key = (String, u64);

/// An item with its past.
#[derive(Default)]
struct Versions {
    now: Option<Arc<Item>>,
    /// What it was until these times, the oldest first.
    past: Vec<(Duration, Option<Arc<Item>>)>,
}

/// All items of the tables.
#[derive(Default)]
pub(crate) struct Items {
    journal: BTreeMap<Key, Versions>,
    executions: BTreeMap<Key, Versions>,
    timers: BTreeMap<Key, Versions>,
    /// The entries of the index of received webhooks, and from when on each of them is seen.
    received: BTreeMap<String, Vec<(Key, Duration)>>,
}

impl Versions {
    fn as_of(&self, time: Duration) -> Option<&Arc<Item>> {
        let then = self.past.iter().find(|(until, _)| *until > time);
        then.map_or(self.now.as_ref(), |(_, item)| item.as_ref())
    }

    fn set(&mut self, item: Option<Arc<Item>>, now: Duration) {
        self.past.retain(|(until, _)| *until + PAST > now);
        self.past.push((now, std::mem::replace(&mut self.now, item)));
    }
}

impl Items {
    fn table(&mut self, table: &str) -> &mut BTreeMap<Key, Versions> {
        match table {
            "journal" => &mut self.journal,
            "executions" => &mut self.executions,
            "timers" => &mut self.timers,
            _ => panic!("there is no table {table}"),
        }
    }

    /// Whether a view stands there whose history is gone.
    pub(crate) fn has_orphan(&self) -> bool {
        let recorded = |id: &String| {
            self.journal.get(&(id.clone(), 1)).is_some_and(|versions| versions.now.is_some())
        };
        let stands = |item: &Arc<Item>| item.contains_key("view");
        self.executions
            .iter()
            .any(|((id, _), versions)| versions.now.as_ref().is_some_and(stands) && !recorded(id))
    }

    /// What has expired and still stands, with its time.
    pub(crate) fn expired(&self, now: Timestamp) -> Vec<(&'static str, Key, Timestamp)> {
        let tables = [
            ("journal", &self.journal),
            ("executions", &self.executions),
            ("timers", &self.timers),
        ];
        let all = tables.into_iter().flat_map(|(name, table)| {
            table.iter().filter_map(move |(key, versions)| {
                let ttl = versions.now.as_ref()?.get("ttl")?.as_n().ok()?.parse::<i64>().ok()?;
                Some((name, key.clone(), Timestamp::from_millis(ttl * 1_000)))
            })
        });
        all.filter(|(_, _, expires_at)| *expires_at < now).collect()
    }

    /// When the next timer is to be handed over.
    pub(crate) fn first_due(&self) -> Option<Timestamp> {
        let timers = self.timers.values().filter_map(|versions| versions.now.as_ref());
        timers.filter_map(|item| due_of(item)).min()
    }
}

/// When a timer is to be handed over.
pub(crate) fn due_of(item: &Item) -> Option<Timestamp> {
    let again = item.get("again_at").and_then(|value| value.as_s().ok());
    let due = item.get("due")?.as_s().ok()?.split('#').next();
    Timestamp::parse(again.map(String::as_str).or(due)?)
}

fn key_of(table: &str, item: &Item) -> Key {
    let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned();
    if table == "timers" {
        return (text("shard").zip(text("due")).map(timer_key).expect("an item has a key"), 0);
    }
    let sequence = item.get("sequence").and_then(|value| value.as_n().ok()?.parse().ok());
    let sequence = sequence.filter(|_| table == "journal").unwrap_or(0);
    (text("execution").expect("an item has a key"), sequence)
}

fn timer_key((shard, due): (String, String)) -> String {
    format!("{shard} {due}")
}

/// A write: what becomes of the item that stands there, if the condition holds.
#[derive(Clone)]
pub(crate) struct Write {
    table: &'static str,
    key: Key,
    key_item: Item,
    what: What,
    condition: Expression,
}

#[derive(Clone)]
enum What {
    Put(Item),
    Change(Expression),
    Delete,
}

impl Write {
    fn kind(&self) -> &'static str {
        match self.what {
            What::Put(_) => "put",
            What::Change(_) => "update",
            What::Delete => "delete",
        }
    }

    fn apply(&self) -> Result<(), WriteError> {
        let world = world();
        let now = executor().now();
        let mut items = world.items.borrow_mut();
        let versions = items.table(self.table).entry(self.key.clone()).or_default();
        let before = versions.now.clone();
        if !holds(&self.condition, before.as_deref()) {
            world.tell(|| format!("{} {} {}: refused", self.kind(), self.table, shown(&self.key)));
            let old = before.map(|item| Item::clone(&item));
            let asked = matches!(self.what, What::Put(_));
            return Err(WriteError::Condition(old.filter(|_| asked)));
        }
        let after = match &self.what {
            What::Put(item) => Some(Arc::new(item.clone())),
            What::Delete => None,
            What::Change(expression) => {
                let old = before.as_deref().unwrap_or(&self.key_item);
                let mut item = old.clone();
                change(expression, &mut item);
                Some(Arc::new(item))
            }
        };
        versions.set(after.clone(), now);
        if let Some(partition) = after.as_ref().and_then(|item| item.get("received")?.as_s().ok()) {
            let late = match world.strikes(Fault::IndexLags) {
                true => Duration::from_secs(roll(|dice| dice.between(20, 6_000))),
                false => Duration::ZERO,
            };
            let entries = items.received.entry(partition.clone()).or_default();
            entries.retain(|(key, _)| *key != self.key);
            entries.push((self.key.clone(), now + late));
            world.checks.borrow_mut().indexed(&self.key.0, world.now() + late);
        }
        drop(items);
        world.tell(|| {
            format!(
                "{} {} {}: {}",
                self.kind(),
                self.table,
                shown(&self.key),
                said(after.as_deref())
            )
        });
        world.written(self.table, &self.key, before.as_deref(), after.as_deref());
        Ok(())
    }
}

/// Deletes an item, as DynamoDB does it with what has expired.
pub(crate) fn delete_expired(table: &'static str, key: Key) {
    let now = number(world().now().as_millis() / 1_000);
    let condition = Expression::new("#ttl < :now", &["ttl"]).with(":now", now);
    let write = Write { table, key, key_item: Item::new(), what: What::Delete, condition };
    // What was written anew meanwhile stays.
    write.apply().ok();
}

/// What an item says, in short.
fn said(item: Option<&Item>) -> String {
    let Some(item) = item else { return "gone".into() };
    let names = ["sequence", "until", "fired", "again_at", "stalled", "repeat_of"];
    let said = names.iter().filter_map(|name| {
        let value = item.get(*name)?;
        let value = value.as_s().or_else(|_| value.as_n()).ok()?;
        Some(format!("{name}={value}"))
    });
    let events = everhook_journal::item::to_append(item).map(|append| append.recorded);
    let events = events.unwrap_or_default().into_iter();
    let events = events.map(|recorded| recorded.event.name().to_owned());
    events.chain(said).collect::<Vec<_>>().join(" ")
}

fn shown((execution, sequence): &Key) -> String {
    if execution.starts_with("shard#") {
        return execution.clone();
    }
    let short: String = execution.chars().take(12).collect();
    if *sequence == 0 { short } else { format!("{short} {sequence}") }
}

/// What becomes of a call.
#[derive(Clone, Copy)]
enum Fate {
    Well,
    CrashBefore,
    CrashAfter,
    Throttled,
    RequestLost,
    ReplyLost,
    ReplyLostAgain,
    AppliedLate,
}

const FATES: [(Fault, Fate); 7] = [
    (Fault::CrashBefore, Fate::CrashBefore),
    (Fault::CrashAfter, Fate::CrashAfter),
    (Fault::Throttled, Fate::Throttled),
    (Fault::RequestLost, Fate::RequestLost),
    (Fault::ReplyLost, Fate::ReplyLost),
    (Fault::ReplyLostAgain, Fate::ReplyLostAgain),
    (Fault::AppliedLate, Fate::AppliedLate),
];

/// A page of the index of received webhooks is read.
const INDEX: Kind = ("query", "index");

/// Whether a call goes well for sure. An audit reads a hundred pages, and none may fail: it would hardly ever come to
/// its end.
fn is_spared(call: Kind) -> bool {
    call == INDEX && roll(|dice| dice.happens(0.95))
}

fn fate(call: Kind) -> Fate {
    let world = world();
    if is_spared(call) {
        return Fate::Well;
    }
    if world.weak.failing == call && world.strikes(Fault::FailedCall) {
        return FATES[roll(|dice| dice.below(FATES.len()))].1;
    }
    let fate = FATES.into_iter().find(|(fault, _)| world.strikes(*fault));
    fate.map_or(Fate::Well, |(_, fate)| fate)
}

/// How slow a call may be without any risk that a claim runs out meanwhile: a few of them fit into its margin.
const SLOW: u64 = 1_000;

/// The same of a call that has to do with an execution.
fn travel_for(call: Kind, execution: &str) -> Sleep {
    let millis = travels(call);
    if millis > SLOW {
        world().checks.borrow_mut().disturbed(execution);
    }
    sleep(Duration::from_millis(millis))
}

/// The way there or back: a few milliseconds, now and then much longer.
pub(crate) fn travel(call: Kind) -> Sleep {
    sleep(Duration::from_millis(travels(call)))
}

fn travels(call: Kind) -> u64 {
    let world = world();
    match () {
        () if is_spared(call) => roll(|dice| dice.between(1, 12)),
        () if world.strikes(Fault::Stall) => roll(|dice| dice.between(5_000, 45_000)),
        () if world.weak.slow == call && world.strikes(Fault::SlowCall) => {
            roll(|dice| dice.between(0, world.weak.slow_most))
        }
        () => roll(|dice| dice.between(1, 12)),
    }
}

fn unavailable(why: &str) -> Unavailable {
    Unavailable(format!("simulated: {why}"))
}

/// Kills whoever makes the call.
pub(crate) async fn die<T>() -> T {
    kill_current();
    never().await
}

fn kill_current() {
    let executor = executor();
    assert_ne!(executor.current(), WORLD, "the world does not die");
    world().tell(|| "dies".into());
    // Also if its answer is on the way already: it is asked no more.
    world().kill(executor.current());
}

/// Whether a process dies now because of what it is about to write.
fn is_killed_before(call: Kind, key: &Key) -> bool {
    let world = world();
    match call {
        // The audit appends nothing, and dies in its own way.
        ("put", "timers") if !world.runs("sweep") => world.strikes(Fault::KilledBeforeTimer),
        ("update", "executions") if key.0.starts_with("audit#") => {
            world.strikes(Fault::AuditKilled)
        }
        _ => false,
    }
}

/// Waits as a client does that was throttled and tries again by itself.
async fn retried() {
    if world().strikes(Fault::ThrottledBriefly) {
        sleep(Duration::from_millis(roll(|dice| dice.between(25, 400)))).await;
    }
}

async fn write(write: Write) -> Result<(), WriteError> {
    let call = (write.kind(), write.table);
    let execution = execution_of(write.table, &write.key).to_owned();
    if is_killed_before(call, &write.key) {
        return die().await;
    }
    let fate = fate(call);
    if !matches!(fate, Fate::Well) {
        world().checks.borrow_mut().disturbed(&execution);
    }
    retried().await;
    travel_for(call, &execution).await;
    match fate {
        Fate::Well => {
            let result = write.apply();
            if call == ("put", "journal") && world().strikes(Fault::AppendLate) {
                world().checks.borrow_mut().disturbed(&execution);
                sleep(Duration::from_millis(roll(|dice| dice.between(9_000, 40_000)))).await;
            }
            travel_for(call, &execution).await;
            result
        }
        Fate::CrashBefore => die().await,
        Fate::CrashAfter => {
            write.apply().ok();
            die().await
        }
        Fate::Throttled => Err(unavailable("throttled").into()),
        Fate::RequestLost => {
            sleep(Duration::from_secs(1)).await;
            Err(unavailable("no connection").into())
        }
        // The client tries again by itself, and meets its own write.
        Fate::ReplyLost => {
            write.apply().ok();
            sleep(Duration::from_millis(500)).await;
            let result = write.apply();
            travel_for(call, &execution).await;
            result
        }
        Fate::ReplyLostAgain => {
            write.apply().ok();
            sleep(Duration::from_secs(2)).await;
            Err(unavailable("no reply").into())
        }
        Fate::AppliedLate => {
            let later = Duration::from_millis(roll(|dice| dice.between(10, 8_000)));
            executor().spawn(WORLD, async move {
                sleep(later).await;
                write.apply().ok();
            });
            Err(unavailable("no reply").into())
        }
    }
}

/// The execution that an item belongs to.
fn execution_of<'k>(table: &str, key: &'k Key) -> &'k str {
    match table {
        "timers" => key.0.rsplit('#').next().unwrap_or_default(),
        _ => &key.0,
    }
}

/// Reads something of an execution.
async fn read_of<T>(
    call: Kind,
    execution: &str,
    look: impl FnOnce(&World) -> T,
) -> Result<T, Unavailable> {
    let fate = fate(call);
    if !matches!(fate, Fate::Well) {
        world().checks.borrow_mut().disturbed(execution);
    }
    retried().await;
    travel_for(call, execution).await;
    match fate {
        Fate::Well => {
            let result = look(&world());
            travel_for(call, execution).await;
            Ok(result)
        }
        Fate::CrashBefore | Fate::CrashAfter => die().await,
        Fate::Throttled => Err(unavailable("throttled")),
        Fate::RequestLost | Fate::ReplyLost | Fate::ReplyLostAgain | Fate::AppliedLate => {
            sleep(Duration::from_secs(1)).await;
            Err(unavailable("no reply"))
        }
    }
}

/// Reads something that belongs to no execution.
pub(crate) async fn read<T>(call: Kind, look: impl FnOnce(&World) -> T) -> Result<T, Unavailable> {
    read_of(call, "", look).await
}

/// The time as of which something that may be behind is read.
fn behind(world: &World, fault: Fault, most: u64) -> Duration {
    let now = executor().now();
    match world.strikes(fault) {
        true => now.saturating_sub(Duration::from_millis(roll(|dice| dice.between(1, most)))),
        false => now,
    }
}

/// The tables of the world of this thread.
#[derive(Debug)]
pub(crate) struct SimulatedTables;

impl Tables for SimulatedTables {
    fn put<'c>(
        &'c self,
        table: &'c str,
        item: Item,
        condition: Expression,
    ) -> Call<'c, Result<(), WriteError>> {
        if let Err(refused) = fits(table, &item) {
            return Box::pin(std::future::ready(Err(refused)));
        }
        let key = key_of(table, &item);
        let what = What::Put(item);
        Box::pin(write(Write { table: named(table), key, key_item: Item::new(), what, condition }))
    }

    fn update<'c>(
        &'c self,
        table: &'c str,
        key: Item,
        change: Expression,
        condition: Expression,
    ) -> Call<'c, Result<(), WriteError>> {
        // Both are one request, with the same values.
        let values = change.parts().2.iter();
        let condition = values.fold(condition, |it, (name, value)| it.with(name, value.clone()));
        let what = What::Change(change);
        let key_item = key.clone();
        Box::pin(write(Write {
            table: named(table),
            key: key_of(table, &key),
            key_item,
            what,
            condition,
        }))
    }

    fn delete<'c>(
        &'c self,
        table: &'c str,
        key: Item,
        condition: Expression,
    ) -> Call<'c, Result<(), WriteError>> {
        let key = key_of(table, &key);
        let what = What::Delete;
        Box::pin(write(Write { table: named(table), key, key_item: Item::new(), what, condition }))
    }

    fn get<'c>(&'c self, table: &'c str, key: Item) -> Call<'c, Result<Option<Item>, Unavailable>> {
        let (table, key) = (named(table), key_of(table, &key));
        let execution = execution_of(table, &key).to_owned();
        Box::pin(async move {
            let look = |world: &World| {
                let mut items = world.items.borrow_mut();
                let found = items.table(table).get(&key).and_then(|versions| versions.now.as_ref());
                found.map(|item| Item::clone(item))
            };
            read_of(("get", table), &execution, look).await
        })
    }

    fn batch_get<'c>(
        &'c self,
        table: &'c str,
        keys: Vec<Item>,
    ) -> Call<'c, Result<Vec<Item>, Unavailable>> {
        let keys: Vec<_> = keys.iter().map(|key| key_of(table, key)).collect();
        let table = named(table);
        Box::pin(read(("batch get", table), move |world| {
            let as_of = behind(world, Fault::StaleRead, 1_000);
            let mut items = world.items.borrow_mut();
            let table = items.table(table);
            let found = keys.iter().filter_map(|key| table.get(key)?.as_of(as_of));
            found.map(|item| Item::clone(item)).collect()
        }))
    }

    fn query<'c>(&'c self, table: &'c str, query: Query) -> Call<'c, Result<Page, Unavailable>> {
        let table = named(table);
        if query.index.is_some_and(|index| ["due", "recent"].contains(&index)) {
            let gone = "The table does not have the specified index".to_owned();
            return Box::pin(std::future::ready(Err(Unavailable(gone))));
        }
        Box::pin(async move {
            let values = &query.key.parts().2;
            let execution = values.iter().find(|(name, _)| *name == ":execution");
            let execution = execution.and_then(|(_, value)| value.as_s().ok()).cloned();
            let look = |world: &World| match query.index {
                Some("received") => received(world, &query),
                _ => look(world, table, &query),
            };
            let call = if query.index == Some("received") { INDEX } else { ("query", table) };
            read_of(call, execution.as_deref().unwrap_or_default(), look).await
        })
    }
}

/// A page of the index of received webhooks, by time.
fn received(world: &World, query: &Query) -> Page {
    let most = if world.is_about(Focus::Unheard) { 2_000 } else { 4_000 };
    let as_of = behind(world, Fault::StaleIndex, most);
    let limit = query.limit.map_or(usize::MAX, |limit| limit.unsigned_abs() as usize);
    let limit = match world.strikes(Fault::ShortPage) {
        true => limit.min(roll(|dice| dice.between(1, 4) as usize)),
        false => limit,
    };
    let partition = query.key.parts().2.iter().find(|(name, _)| *name == ":received");
    let partition = partition.and_then(|(_, value)| value.as_s().ok()).expect("a partition");
    let items = world.items.borrow();
    let entries = items.received.get(partition).into_iter().flatten();
    let seen = entries.filter(|(_, from)| *from <= as_of);
    let found = seen.filter_map(|(key, _)| items.journal.get(key)?.as_of(as_of));
    let mut found: Vec<_> = found.filter(|item| holds(&query.key, Some(item))).collect();
    let place = |item: &Item| {
        let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned();
        (text("at"), text("execution"))
    };
    found.sort_by_key(|item| place(item));
    if query.descending {
        found.reverse();
    }
    if let Some(start) = &query.start {
        let start = place(start);
        found.retain(|item| match query.descending {
            true => place(item) < start,
            false => place(item) > start,
        });
    }
    let names = ["execution", "sequence", "received", "at"];
    let key = |item: &Item| -> Item {
        let own = item.iter().filter(|(name, _)| names.contains(&name.as_str()));
        own.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let process = executor().current();
    for item in found.iter().take(limit) {
        if let Some(execution) = item.get("execution").and_then(|value| value.as_s().ok()) {
            world.checks.borrow_mut().listed(process, execution);
        }
    }
    // A page that is full says that there may be more.
    let more = (found.len() >= limit).then(|| key(found[limit - 1]));
    (found.into_iter().take(limit).map(|item| key(item)).collect(), more)
}

fn look(world: &World, table: &str, query: &Query) -> Page {
    let as_of = match (query.index, query.consistent) {
        (Some(_), _) => behind(world, Fault::StaleIndex, 4_000),
        (None, true) => executor().now(),
        (None, false) => behind(world, Fault::StaleRead, 1_000),
    };
    let limit = match world.strikes(Fault::ShortPage) {
        true => roll(|dice| dice.between(1, 4) as usize),
        false => query.limit.map_or(usize::MAX, |limit| limit.unsigned_abs() as usize),
    };
    let mut items = world.items.borrow_mut();
    let is_partition =
        |(name, _): &&(&str, AttributeValue)| [":execution", ":shard"].contains(name);
    let partition = query.key.parts().2.iter().find(is_partition);
    let partition = partition.and_then(|(_, value)| value.as_s().ok());
    // A timer's key begins with its shard.
    let partition = partition.map(|name| match table {
        "timers" => format!("{name} "),
        _ => name.clone(),
    });
    let first = match (&query.start, &partition) {
        (Some(start), _) => Bound::Excluded(key_of(table, start)),
        (None, Some(partition)) => Bound::Included((partition.clone(), 0)),
        (None, _) => Bound::Unbounded,
    };
    let is_in = |key: &str| match (&partition, table) {
        (Some(partition), "timers") => key.starts_with(partition.as_str()),
        (Some(partition), _) => key == partition,
        (None, _) => true,
    };
    let range = items.table(table).range((first, Bound::Unbounded));
    let range = range.take_while(|((key, _), _)| is_in(key));
    let mut found: Vec<&Arc<Item>> = range
        .filter_map(|(_, versions)| versions.as_of(as_of))
        .filter(|item| holds(&query.key, Some(item)))
        .collect();
    if query.descending {
        found.reverse();
    }
    let more = (found.len() >= limit && query.index.is_none())
        .then(|| {
            found[limit - 1].iter().filter(|(name, _)| {
                ["execution", "sequence", "shard", "due"].contains(&name.as_str())
            })
        })
        .map(|key| key.map(|(name, value)| (name.clone(), value.clone())).collect());
    let page = found.into_iter().take(limit).map(|item| Item::clone(item)).collect();
    (page, more)
}

fn named(table: &str) -> &'static str {
    match table {
        "journal" => "journal",
        "timers" => "timers",
        _ => "executions",
    }
}
