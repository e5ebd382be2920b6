//! The calls that read the simulated stream.

use std::rc::Rc;
use std::time::Duration;

use aws_sdk_dynamodbstreams::primitives::DateTime;
use aws_sdk_dynamodbstreams::types::{self, AttributeValue, OperationType, StreamRecord};
use everhook::local::event_source::{Call, Descent, Page, StreamError, Streams};
use everhook_journal::stream::Record;
use futures_util::FutureExt;

use crate::executor::{executor, roll};
use crate::faults::Fault;
use crate::focus::STREAM;
use crate::stream::{Shard, number_of};
use crate::tables::read;
use crate::world::World;

/// The stream's name.
pub(super) const ARN: &str = "arn:simulated:stream";
/// What a shard is called, before its number.
pub(super) const SHARD: &str = "shard-";

/// How long an iterator is good for.
const ITERATOR: Duration = Duration::from_secs(15 * 60);

/// The calls that read the stream of the world of this thread.
#[derive(Debug)]
pub(super) struct Reading;

/// Asks the stream, if the call gets there and back.
async fn ask<T>(look: impl FnOnce(&World) -> Result<T, StreamError>) -> Result<T, StreamError> {
    read(STREAM, look).await.map_err(|error| StreamError::Unavailable(error.to_string()))?
}

fn name(shard: &Shard) -> String {
    // So that names are in the order of numbers.
    format!("{SHARD}{:05}", shard.number)
}

fn find(world: &World, shard: &str) -> Result<Rc<Shard>, StreamError> {
    let shards = world.stream.shards.borrow();
    let number = shard[SHARD.len()..].parse::<usize>().expect("a shard's number");
    let found = shards.get(number).filter(|shard| !shard.is_gone.get()).cloned();
    found.ok_or_else(|| StreamError::Gone("simulated".into()))
}

/// A page of a list: all there is, or less.
fn page_of(world: &World, limit: usize) -> usize {
    match world.strikes(Fault::ShortPage) {
        true => limit.min(roll(|dice| dice.below(4))),
        false => limit,
    }
}

fn shards(world: &World, after: Option<&str>) -> (Vec<Descent>, Option<String>) {
    let now = executor().now();
    let shards = world.stream.shards.borrow();
    let there = shards.iter().filter(|it| !it.is_gone.get() && it.listed_at <= now);
    let left: Vec<_> = there
        .map(|shard| Descent { shard: name(shard), parent: shard.parent.as_deref().map(name) })
        .filter(|descent| after.is_none_or(|after| *descent.shard > *after))
        .collect();
    let many = page_of(world, left.len()).max(1).min(left.len());
    let more = (many < left.len()).then(|| left[many - 1].shard.clone());
    (left.into_iter().take(many).collect(), more)
}

/// Where a shard goes on after a record, by how many come before that.
fn place(shard: &Shard, after: Option<&str>) -> Result<usize, StreamError> {
    let Some(after) = after else { return Ok(shard.trimmed.get()) };
    let after: u64 = after.parse().expect("a record's number");
    let records = shard.records.borrow();
    let place = records.partition_point(|record| number_of(record) <= after);
    match (1..=shard.trimmed.get()).contains(&place) {
        // Other engines than AWS say it in another way.
        true if roll(|dice| dice.happens(0.3)) => Err(StreamError::Refused("simulated".into())),
        true => Err(StreamError::Trimmed("simulated".into())),
        false => Ok(place),
    }
}

fn iterator(shard: &Shard, place: usize) -> String {
    format!("{}/{place}/{}", name(shard), executor().now().as_micros())
}

fn records(world: &World, iterator_: &str, limit: usize) -> Result<Page, StreamError> {
    let mut parts = iterator_.split('/');
    let shard = find(world, parts.next().unwrap_or_default())?;
    let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok());
    let (place, made) = number().zip(number()).expect("an iterator of ours");
    let age = executor().now().saturating_sub(Duration::from_micros(made));
    if age > ITERATOR || world.strikes(Fault::IteratorExpired) {
        return Err(StreamError::Expired);
    }
    let place = place as usize;
    if place < shard.trimmed.get() {
        return Err(StreamError::Trimmed("simulated".into()));
    }
    let all = shard.records.borrow();
    let many = page_of(world, limit.min(all.len() - place));
    let made = shard.made.borrow();
    let records = all.iter().zip(made.iter()).skip(place).take(many);
    let records = records.map(|(record, made)| to_sdk(record, *made)).collect();
    let is_end = shard.is_closed.get() && place + many == all.len();
    Ok(Page { records, next: (!is_end).then(|| iterator(&shard, place + many)) })
}

/// As the SDK has it.
fn to_sdk(record: &Record, made: i64) -> types::Record {
    let body = StreamRecord::builder()
        .approximate_creation_date_time(DateTime::from_secs(made))
        .keys("execution", AttributeValue::S(record.execution.to_string()))
        .keys("sequence", AttributeValue::N(record.sequence.to_string()))
        .sequence_number(&record.stream_sequence)
        .size_bytes(42);
    types::Record::builder()
        .event_id(&record.stream_sequence)
        .event_name(OperationType::Insert)
        .event_source("aws:dynamodb")
        .aws_region("simulated")
        .dynamodb(body.build())
        .build()
}

impl Streams for Reading {
    fn shards<'c>(
        &'c self,
        _: &'c str,
        after: Option<String>,
    ) -> Call<'c, (Vec<Descent>, Option<String>)> {
        ask(move |world| Ok(shards(world, after.as_deref()))).boxed()
    }

    fn iterator<'c>(
        &'c self,
        _: &'c str,
        shard: &'c str,
        after: Option<&'c str>,
    ) -> Call<'c, Option<String>> {
        let look = move |world: &World| {
            let shard = find(world, shard)?;
            Ok(Some(iterator(&shard, place(&shard, after)?)))
        };
        ask(look).boxed()
    }

    fn records<'c>(&'c self, iterator: &'c str, limit: usize) -> Call<'c, Page> {
        ask(move |world| records(world, iterator, limit)).boxed()
    }
}
