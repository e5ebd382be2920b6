//! The product's own event source at the simulated stream, in a process that dies and is started again.
//!
//! - `reading`: the stream's calls, which fail in every way they can; `disk`: what outlives the process

pub(crate) mod disk;
mod reading;

use std::sync::Arc;
use std::time::Duration;

use everhook::local::event_source::{BatchOutcome, EventSource, Filter, Function, Settings};
use everhook_journal::ambient;
use everhook_journal::stream::{Batch, BatchResponse};
use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::sync::{oneshot, watch};

use crate::executor::{Process, WORLD, executor, roll, sleep};
use crate::faults::Fault;
use crate::focus::Focus;
use crate::functions::Consumer;
use crate::stream::number_of;
use crate::world::world;
use disk::Place;
use reading::{ARN, Reading};

/// How long a process that was told to stop may take.
const STOPS_WITHIN: Duration = Duration::from_secs(300);

/// Keeps a process with the event sources of both consumers.
pub(crate) async fn keep() {
    let settings = Consumer::ALL.map(|_| settings());
    loop {
        let process = world().process("poller");
        let (stop, stopped) = watch::channel(false);
        let (is_alive, mut dead) = oneshot::channel::<()>();
        let sources = Consumer::ALL.map(|consumer| {
            let source = source(consumer, settings[consumer as usize].clone());
            Box::pin(source.run(stopped.clone()))
        });
        executor().spawn(process, async move {
            join_all(sources).await;
            drop(is_alive);
        });
        live(process, &stop, &mut dead).await;
        world().tell(|| "the poller is started again".into());
        world().stream.disk.restarted();
        let pause = match world().strikes(Fault::MappingOutage) {
            true => roll(|dice| dice.between(1_000, 600_000)),
            false => roll(|dice| dice.between(0, 3_000)),
        };
        sleep(Duration::from_millis(pause)).await;
    }
}

/// Waits for the end of a process, and brings it about now and then.
async fn live(process: Process, stop: &watch::Sender<bool>, dead: &mut oneshot::Receiver<()>) {
    loop {
        let while_calm = Duration::from_secs(100 * 3600);
        let turn = match world().is_calm() {
            true => while_calm,
            false => Duration::from_millis(roll(|dice| dice.between(100, 60_000))),
        };
        if ambient::timeout(turn, &mut *dead).await.is_ok() {
            return;
        }
        if world().strikes(Fault::PollerStopped) {
            stop.send_replace(true);
            if ambient::timeout(STOPS_WITHIN, &mut *dead).await.is_err() {
                world().kill(process);
            }
            return;
        }
        if world().strikes(Fault::PollerKilled) {
            world().kill(process);
            return;
        }
    }
}

/// Settings of every kind.
fn settings() -> Settings {
    // Where delays are measured, it does not dawdle itself.
    let (windows, fewest) = if world().is_about(Focus::Hanging) { (2, 15) } else { (4, 1) };
    roll(|dice| Settings {
        batch_size: dice.between(fewest, 25) as usize,
        batching_window: Duration::from_millis([0, 50, 300, 2_000][dice.below(windows)]),
        parallel: [1, 2, 10][dice.below(3)],
        bisect: dice.happens(0.7),
        retry_attempts: [None, Some(0), Some(1), Some(4)][dice.below(4)],
        record_age: [None, Some(60), Some(3_600)][dice.below(3)].map(Duration::from_secs),
        filters: vec![Filter::parse(r#"{"eventName":["INSERT"]}"#).expect("a pattern")],
        // What passes without any news in it takes time to simulate.
        idle_poll: Duration::from_secs(dice.between(10, 3_600)),
        idle_list: Duration::from_secs(dice.between(30, 7_200)),
        pending_max: [3, 50, 10_000][dice.below(3)],
        ..Settings::default()
    })
}

fn source(consumer: Consumer, settings: Settings) -> EventSource {
    EventSource {
        streams: Arc::new(Reading),
        stream_arn: ARN.to_owned(),
        settings,
        function: function(consumer),
        doorbell: world().stream.doorbell.clone(),
        checkpoint: Some(Arc::new(Place::Checkpoint(consumer))),
        failed_batches: Some(Arc::new(Place::FailedBatches(consumer))),
    }
}

/// Calls a consumer in processes of its own.
fn function(consumer: Consumer) -> Function {
    Arc::new(move |event| {
        let batch = Batch::from_event(event);
        let delivery = Delivery::begin(consumer, &batch);
        let (send, answer) = oneshot::channel();
        executor().spawn(WORLD, async move {
            send.send(consumer.invoke(batch).await).ok();
        });
        async move {
            let answer = answer.await.ok().flatten();
            delivery.end(answer.as_ref());
            answer.map(BatchOutcome::from).ok_or_else(|| "it died".to_owned())
        }
        .boxed()
    })
}

/// A batch under way, until its end or that of the process.
struct Delivery {
    consumer: Consumer,
    records: Vec<u64>,
}

impl Delivery {
    fn begin(consumer: Consumer, batch: &Batch) -> Self {
        let records: Vec<_> = batch.records.iter().map(number_of).collect();
        let world = world();
        world.tell(|| format!("{consumer:?} is given {records:?}"));
        world.given(consumer, &records);
        world.check(|_| world.stream.deliveries.borrow_mut().begins(consumer, &records));
        Self { consumer, records }
    }

    fn end(&self, answer: Option<&BatchResponse>) {
        let done = match answer {
            Some(BatchResponse::Complete) => &self.records[..],
            Some(BatchResponse::FailedFrom(failed)) => {
                let place = self.records.iter().position(|number| number.to_string() == *failed);
                &self.records[..place.unwrap_or(0)]
            }
            None => &[],
        };
        world().stream.deliveries.borrow_mut().done(self.consumer, done);
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        world().stream.deliveries.borrow_mut().ended(self.consumer, &self.records);
    }
}
