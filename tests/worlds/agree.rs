//! The simulated tables answer as the embedded engine does, to every call that executions, timers and the journal make.

use std::collections::BTreeSet;
use std::time::Duration;

use everhook::local::Engine;
use everhook_journal::event::{Event, Webhook};
use everhook_journal::executions::Pass;
use everhook_journal::id::BodyKey;
use everhook_journal::schema::Tables;
use everhook_journal::store::Store;
use everhook_journal::table::{Draft, Span};
use everhook_journal::timers::{Fired, Pending, Terms};
use everhook_journal::view::ViewStatus;
use everhook_journal::{
    Clock, Execution, ExecutionId, ExecutionKey, Head, Sequence, SourceName, Timer, Timestamp, View,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::world::{BEGINNING, PLAIN, World, delivery};

/// How many calls are compared.
const CALLS: usize = 1_500;

/// A webhook as ingest records it, and the view of its execution.
async fn begun() -> (std::sync::Arc<Webhook>, View) {
    let world = World::start(PLAIN).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;
    let history = world.history(&token).await;
    let Event::WebhookReceived(webhook) = &history[0].event else { panic!("{history:?}") };
    (webhook.clone(), View::of(&token, &Execution::begin(&history[0]).unwrap()))
}

fn at(seconds: u64) -> Timestamp {
    BEGINNING + Duration::from_secs(seconds)
}

/// The executions that calls are about.
const IDS: [char; 5] = ['A', 'B', 'C', 'D', 'E'];

fn of(letter: char) -> ExecutionId {
    ExecutionId::parse(&letter.to_string().repeat(26)).unwrap()
}

fn id(random: &mut StdRng) -> ExecutionId {
    of(IDS[random.random_range(0..IDS.len())])
}

fn is_heads(random: &mut StdRng) -> bool {
    random.random_range(0..2) == 0
}

/// One of those that were read lately or long ago.
fn any<T: Clone>(read: &[T], random: &mut StdRng) -> Option<T> {
    (!read.is_empty()).then(|| read[random.random_range(0..read.len())].clone())
}

/// What calls of the executions are answered, and what is there afterwards.
async fn of_executions(store: Store, view: View) -> Vec<String> {
    let executions = Tables::default().executions_in(&store);
    let mut random = StdRng::seed_from_u64(7);
    let key = ExecutionKey::new(b"0123456789abcdef").unwrap();
    let mut answers = Vec::new();
    for number in 0..CALLS as u64 {
        let random = &mut random;
        let id = id(random);
        let own = View {
            execution: id.clone(),
            sequence: Sequence::new(random.random_range(1..6)),
            // Now and then others begin in the places of those that have expired.
            created_at: at(number / 40 + random.random_range(0..2)),
            expires_at: at(random.random_range(0..5)),
            status: [ViewStatus::Running, ViewStatus::Failed][random.random_range(0..2)],
            ..view.clone()
        };
        let soon = at(random.random_range(0..100));
        let names = [SourceName::new(["a", "b", "c"][random.random_range(0..3)])];
        let pass = Pass::ALL[random.random_range(0..3)];
        let drive = ["one", "two", "three"][random.random_range(0..3)];
        let answer = match random.random_range(0..11) {
            0 | 1 => format!("show {}", executions.show(&own).await.unwrap()),
            2 => format!("reopen {}", executions.reopen(&own).await.unwrap()),
            3 => format!("stall {}", executions.stall(&id, "why", soon, soon).await.unwrap()),
            4 => format!("unstall {}", executions.unstall(&id).await.unwrap()),
            5 => {
                let marked = executions.mark_repeat(&id, &view.execution, soon).await;
                format!("repeat {}", marked.unwrap())
            }
            6 => {
                let until = at(random.random_range(0..10_000));
                let ahead = until + Duration::from_secs(5_000);
                let moved = executions.set_audited(pass, until, ahead).await.unwrap();
                format!("audited {moved} {:?}", executions.audited(pass).await.unwrap())
            }
            8 => {
                executions
                    .begin_alone(&id, drive, at(random.random_range(0..50)), soon)
                    .await
                    .unwrap();
                "begin true".to_owned()
            }
            9 => {
                executions.end_alone(&id, drive).await.unwrap();
                "end true".to_owned()
            }
            7 => {
                executions.add_sources(&names).await.unwrap();
                format!("sources {:?}", executions.sources().await.unwrap())
            }
            _ => {
                let body = BodyKey::derive(&key, &names[0], "hash");
                let first = executions.first_with(&body, &id, soon, at(0)).await.unwrap();
                format!("body {first}")
            }
        };
        let row = executions.get(&id).await.unwrap();
        let mut attention = Vec::new();
        for status in [ViewStatus::Failed, ViewStatus::Stalled] {
            let shard = Some(executions.shards().of(&id));
            let found = executions.attention(status, shard, 10, None).await.unwrap().0;
            attention.extend(found.into_iter().map(|it| (it.created_at, it.execution.to_string())));
        }
        // Of those of one time either may be first.
        attention.sort();
        answers.push(format!("{answer}: {row:?}, {attention:?}"));
    }
    answers
}

/// A timer without the name of its write, which is another one in each store.
fn unnamed(pending: &Pending) -> Pending {
    Pending { name: String::new(), ..pending.clone() }
}

/// What calls of the timers are answered, and what is there afterwards.
async fn of_timers(store: Store) -> Vec<String> {
    let timers = Tables::default().timers_in(&store);
    let mut random = StdRng::seed_from_u64(8);
    let (mut seen, mut handed): (Vec<Pending>, Vec<Fired>) = (Vec::new(), Vec::new());
    let mut answers = Vec::new();
    for number in 0..CALLS {
        let random = &mut random;
        let timer = Timer { due: at(random.random_range(0..3)), execution: id(random) };
        let terms = Terms {
            is_suspect: is_heads(random),
            is_claim: is_heads(random),
            is_stalled: is_heads(random),
            expires_at: at(1_000),
        };
        let soon = at(random.random_range(0..6));
        let process = is_heads(random).then_some("process");
        let (read, fired) = (any(&seen, random), any(&handed, random));
        let answer = match (random.random_range(0..9), read, fired) {
            (0, _, _) => {
                timers.set(&timer, terms).await.unwrap();
                "set true".to_owned()
            }
            (1, _, _) => format!("add {}", timers.set_if_missing(&timer, terms).await.unwrap()),
            (2, Some(read), _) => {
                let fired = timers.claim(&read, soon, process).await.unwrap();
                handed.extend(fired.clone());
                format!("claim {}", fired.is_some())
            }
            (3, _, _) => {
                let fired = timers.claim_unfired(&timer, soon, process).await.unwrap();
                handed.extend(fired.clone());
                format!("message {}", fired.is_some())
            }
            (4, _, Some(fired)) => {
                let again = timers.again(&fired, soon, fired.fired - 1, terms.is_stalled).await;
                format!("again {}", again.unwrap())
            }
            (7, Some(read), _) => format!("withdraw {}", timers.withdraw(&read).await.unwrap()),
            (5 | 6, _, Some(fired)) => format!("clear {}", timers.clear(&fired).await.unwrap()),
            _ => format!("has {}", timers.get(&timer).await.unwrap().is_some()),
        };
        let mut due = Vec::new();
        for shard in BTreeSet::from(IDS.map(|id| timers.shards().of(&of(id)))) {
            // What is read goes on after a timer of the same shard.
            let is_here = timers.shards().of(&timer.execution) == shard && timer.due <= soon;
            let start = (is_here && is_heads(random)).then_some(&timer);
            let limit = random.random_range(1..4);
            // Whether there is more may be said too often.
            due.extend(timers.due(shard, soon, limit, start).await.unwrap().0);
        }
        seen.extend(due.clone());
        let due: Vec<_> = due.iter().map(unnamed).collect();
        let first = match number % 8 {
            0 => timers.first(2).await.unwrap().0,
            _ => Vec::new(),
        };
        answers.push(format!("{answer}: {due:?}, {first:?}"));
    }
    answers
}

/// What is listed of webhooks that were received at some times, in pages of either direction.
async fn of_received(store: Store, webhook: std::sync::Arc<Webhook>) -> Vec<String> {
    let journal = Tables::default().journal_in(&store, Clock::System);
    let mut random = StdRng::seed_from_u64(9);
    let mut answers = Vec::new();
    for number in 0..60 {
        let letters = data_encoding::BASE32.encode(&u128::to_be_bytes(number * 0x9e37_79b9));
        let execution = ExecutionId::parse(&letters[..26]).unwrap();
        let source = SourceName::new(["default", "other"][random.random_range(0..2)]);
        let webhook = Webhook { source, ..(*webhook).clone() };
        let draft = Draft {
            after: Head::START,
            expires_at: webhook.expires_at,
            events: Event::WebhookReceived(std::sync::Arc::new(webhook)).into(),
            at: at(random.random_range(0..8)),
            until: None,
            name: number.to_string(),
        };
        answers.push(format!("append {}", journal.append(&execution, draft).await.is_ok()));
    }
    let name = SourceName::new("default");
    for _ in 0..CALLS / 50 {
        let random = &mut random;
        let from = is_heads(random).then(|| at(random.random_range(0..8)));
        // An engine refuses a span that ends before it begins.
        let to = is_heads(random).then(|| at(random.random_range(8..10)));
        let (descending, limit) = (is_heads(random), Some(random.random_range(1..5)));
        for shard in journal.shards().all() {
            let (mut start, mut times) = (None, Vec::new());
            loop {
                let span = Span { from, to, descending, limit, start };
                let (found, more) = journal.received(&name, shard, span).await.unwrap();
                // Of those of one time either may be first.
                times.extend(found.iter().map(|it| it.created_at));
                let Some(cursor) = more else { break };
                start = Some(cursor);
            }
            answers.push(format!("received {} {times:?}", times.len()));
        }
    }
    answers
}

#[track_caller]
fn assert_agree(engine: &[String], simulated: &[String], kinds: &[&str]) {
    for (place, (one, two)) in engine.iter().zip(simulated).enumerate() {
        assert_eq!(one, two, "call {place}");
    }
    assert_eq!(engine.len(), simulated.len());
    for kind in kinds {
        let told = engine.iter().filter(|answer| answer.starts_with(&format!("{kind} ")));
        let met = told.filter(|answer| !answer.starts_with(&format!("{kind} false"))).count();
        assert!(met > 3, "{kind} was met {met} times");
    }
}

async fn engine() -> (Engine, Store) {
    let engine = Engine::in_memory().unwrap();
    Tables::default().create(&engine.dynamodb()).await.unwrap();
    let store = Store::new(engine.dynamodb());
    (engine, store)
}

#[tokio::test]
async fn the_simulated_executions_answer_as_the_engines_do() {
    let (_, view) = begun().await;
    let (_engine, store) = engine().await;

    let engines = of_executions(store, view.clone()).await;
    let simulated = everhook_simulation::quietly(|store| of_executions(store, view)).unwrap();

    let kinds = [
        "show", "reopen", "stall", "unstall", "repeat", "audited", "sources", "body", "begin",
        "end",
    ];
    assert_agree(&engines, &simulated, &kinds);
}

#[tokio::test]
async fn the_simulated_timers_answer_as_the_engines_do() {
    let (_engine, store) = engine().await;

    let engines = of_timers(store).await;
    let simulated = everhook_simulation::quietly(of_timers).unwrap();

    let kinds = ["set", "add", "claim", "message", "again", "withdraw", "clear", "has"];
    assert_agree(&engines, &simulated, &kinds);
}

#[tokio::test]
async fn the_simulated_index_of_received_webhooks_answers_as_the_engines_does() {
    let (webhook, _) = begun().await;
    let (_engine, store) = engine().await;

    let engines = of_received(store, webhook.clone()).await;
    let simulated = everhook_simulation::quietly(|store| of_received(store, webhook)).unwrap();

    assert_agree(&engines, &simulated, &["append", "received"]);
}
