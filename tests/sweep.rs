//! The sweep over a DynamoDB that is far away, partly broken, or asked shortly before a deadline; and executions that
//! kill the process that drives them.

use std::collections::BTreeSet;
use std::future::ready;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use everhook::local::Engine;
use everhook_journal::executions::{DUE_SHARDS, Opened};
use everhook_journal::store::simulated::{Call, Page, Tables};
use everhook_journal::store::{Expression, Item, Query, Store, Unavailable, WriteError};
use everhook_journal::{Clock, ExecutionId, Executions, Timestamp, View};
use everhook_processor::{Invocation, Sweep};

use crate::world::{BEGINNING, PLAIN, World, delivery};

/// How long a call takes.
const CALL: Duration = Duration::from_millis(70);

/// The embedded engine, so far away that each call takes a while.
#[derive(Debug)]
struct Distant {
    store: Store,
    call: Duration,
    /// A shard of the index of due rows that cannot be read.
    broken: Option<u64>,
}

impl Tables for Distant {
    fn put<'c>(
        &'c self,
        table: &'c str,
        item: Item,
        condition: Expression,
    ) -> Call<'c, Result<(), WriteError>> {
        Box::pin(async move {
            tokio::time::sleep(self.call).await;
            self.store.put(table, item, condition).await
        })
    }

    fn update<'c>(
        &'c self,
        table: &'c str,
        key: Item,
        change: Expression,
        condition: Expression,
    ) -> Call<'c, Result<(), WriteError>> {
        Box::pin(async move {
            tokio::time::sleep(self.call).await;
            self.store.update(table, key, change, condition).await
        })
    }

    fn delete<'c>(
        &'c self,
        table: &'c str,
        key: Item,
        condition: Expression,
    ) -> Call<'c, Result<(), WriteError>> {
        Box::pin(async move {
            tokio::time::sleep(self.call).await;
            self.store.delete(table, key, condition).await
        })
    }

    fn get<'c>(&'c self, table: &'c str, key: Item) -> Call<'c, Result<Option<Item>, Unavailable>> {
        Box::pin(async move {
            tokio::time::sleep(self.call).await;
            self.store.get(table, key).await
        })
    }

    fn batch_get<'c>(
        &'c self,
        table: &'c str,
        keys: Vec<Item>,
    ) -> Call<'c, Result<Vec<Item>, Unavailable>> {
        Box::pin(async move {
            tokio::time::sleep(self.call).await;
            self.store.batch_get(table, keys, &[]).await
        })
    }

    fn query<'c>(&'c self, table: &'c str, query: Query) -> Call<'c, Result<Page, Unavailable>> {
        let shard = query.key.parts().2.iter().find(|(name, _)| *name == ":shard");
        let broken = self.broken.map(|shard| AttributeValue::N(shard.to_string()));
        let is_broken = broken.is_some() && shard.map(|(_, value)| value) == broken.as_ref();
        Box::pin(async move {
            tokio::time::sleep(self.call).await;
            match is_broken {
                true => Err(Unavailable("throttled".into())),
                false => self.store.query(table, query).await,
            }
        })
    }
}

/// What keeps the rows, and the time.
struct Behind {
    store: Store,
    time: Arc<AtomicI64>,
    _engine: Engine,
}

impl Behind {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.time.load(Ordering::SeqCst))
    }

    fn pass(&self, duration: Duration) {
        self.time.fetch_add(i64::try_from(duration.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// How many updates were made: each is a claim, or gives one back.
    fn updates(&self) -> u64 {
        self.store.calls().updates.load(Ordering::SeqCst)
    }
}

/// A sweep over so many due rows, the rows, their ids, and what keeps them.
async fn due_rows(
    many: usize,
    call: Duration,
    broken: Option<u64>,
) -> (Sweep, Executions, BTreeSet<ExecutionId>, Behind) {
    let world = World::start(PLAIN).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;
    let view = world.parts.ingest.executions.get(&token).await.unwrap().unwrap().view;
    let engine = Engine::in_memory().unwrap();
    everhook_journal::schema::Tables::default().create(&engine.dynamodb()).await.unwrap();
    let store = Store::new(engine.dynamodb());
    let near = Executions::new(store.clone(), "executions");
    let mut ids = BTreeSet::new();
    for number in 0..many {
        let bytes = (number as u128 * 0x9e37_79b9_7f4a_7c15).to_be_bytes();
        let letters = data_encoding::BASE32.encode(&bytes);
        let execution = ExecutionId::parse(&letters[..26]).unwrap();
        let view = View { execution: execution.clone(), ..view.clone() };
        assert_eq!(near.open(&view, BEGINNING).await.unwrap(), Opened::Made);
        ids.insert(execution);
    }
    let time = Arc::new(AtomicI64::new(BEGINNING.as_millis()));
    let clock = Clock::Manual(time.clone());
    let distant = Distant { store: store.clone(), call, broken };
    let distant = Store::simulated(Arc::new(distant));
    let sweep = Sweep::new(Executions::new(distant, "executions"), clock);
    (sweep, near, ids, Behind { store, time, _engine: engine })
}

fn ids(invocations: &[Invocation]) -> Vec<ExecutionId> {
    let ids = |invocation: &Invocation| match invocation {
        Invocation::Due(ids) | Invocation::Acting(ids) => ids.clone(),
        Invocation::Alone { execution, .. } => vec![execution.clone()],
        Invocation::Stream(_) => Vec::new(),
    };
    invocations.iter().flat_map(ids).collect()
}

#[tokio::test]
async fn eight_hundred_due_rows_are_handed_over_within_seconds_by_calls_of_70_ms() {
    let (sweep, _, due, tables) = due_rows(800, CALL, None).await;
    let began = Instant::now();
    let claimed_at_first = Mutex::new(None);
    let handed_over = Mutex::new(Vec::new());
    let hand_over = |invocation| async {
        let invocation: Invocation = invocation;
        tokio::time::sleep(CALL).await;
        claimed_at_first.lock().unwrap().get_or_insert_with(|| tables.updates());
        handed_over.lock().unwrap().push(invocation);
        true
    };

    // One look takes 100 rows of each shard.
    let until = BEGINNING + Duration::from_secs(60);
    let mut claimed = 0;
    while claimed < 800 && began.elapsed() < Duration::from_secs(20) {
        claimed += sweep.look(until, &hand_over).await.claimed;
    }

    let handed_over = handed_over.into_inner().unwrap();
    let many = ids(&handed_over);
    assert_eq!(many.len(), 800);
    assert!(many.into_iter().collect::<BTreeSet<_>>() == due, "each once");
    assert!(handed_over.iter().all(|invocation| (1..=10).contains(&invocation.many())));
    let at_first = claimed_at_first.into_inner().unwrap().unwrap();
    assert!(at_first <= 320, "{at_first} rows were claimed when the first were handed over");
    // One after the other would take 112 s.
    assert!(began.elapsed() < Duration::from_secs(15), "all after {:?}", began.elapsed());
}

#[tokio::test]
async fn a_shard_that_cannot_be_read_delays_no_other() {
    for broken in [0, DUE_SHARDS - 1] {
        let (sweep, near, due, _engine) = due_rows(80, Duration::ZERO, Some(broken)).await;

        let until = BEGINNING + Duration::from_secs(60);
        let swept = sweep.look(until, |_| ready(true)).await;

        let left = near.due(broken, BEGINNING, 100).await.unwrap().len();
        assert_eq!((swept.shards_failed, swept.claimed + left), (1, due.len()));
        assert!((1..=40).contains(&left), "{left} rows in shard {broken}");
    }
}

#[tokio::test]
async fn no_row_is_claimed_too_late_to_be_handed_over() {
    let (sweep, near, due, tables) = due_rows(200, Duration::ZERO, None).await;
    let handed_over = Mutex::new(Vec::new());
    let until = tables.now() + Duration::from_millis(450);
    let hand_over = |invocation: Invocation| {
        tables.pass(Duration::from_millis(100));
        handed_over.lock().unwrap().push(invocation);
        ready(true)
    };

    let swept = sweep.look(until, hand_over).await;

    let handed_over: BTreeSet<_> = ids(&handed_over.into_inner().unwrap()).into_iter().collect();
    assert!((1..200).contains(&swept.claimed), "{swept:?}");
    for id in due {
        let redrives = near.get(&id).await.unwrap().unwrap().due.unwrap().redrives;
        assert_eq!(redrives, u64::from(handed_over.contains(&id)), "{id}");
    }
}

#[tokio::test]
async fn a_claim_that_cannot_be_handed_over_is_given_back() {
    let (sweep, near, due, _engine) = due_rows(30, Duration::ZERO, None).await;
    let until = BEGINNING + Duration::from_secs(60);

    let swept = sweep.look(until, |_| ready(false)).await;

    assert_eq!(swept.claimed, 0);
    let soon = BEGINNING + Duration::from_secs(11);
    for id in due {
        let owed = near.get(&id).await.unwrap().unwrap().due.unwrap();
        assert!(owed.redrives == 0 && owed.at < soon, "{owed:?}");
    }
}

#[tokio::test]
async fn what_made_no_progress_since_a_claim_is_handed_over_alone() {
    let world = World::start(PLAIN).await;
    let sweep = world.parts.sweep.clone().suspecting_unmoved();
    let mut tokens = Vec::new();
    for number in 0..5 {
        tokens.push(world.accepted(&delivery(&format!("d-{number}"), "{}")).await);
    }
    world.pass(Duration::from_secs(61));
    let claimed = ids(&sweep.claim().await).len();
    world.pass(Duration::from_secs(61));
    let again = sweep.claim().await;

    assert_eq!((claimed, again.len()), (5, 5));
    for invocation in &again {
        assert!(matches!(invocation, Invocation::Alone { deaths: 0, .. }), "{invocation:?}");
        let payload = invocation.to_json().unwrap();
        assert_eq!(Invocation::from_json(payload), *invocation);
    }
}

/// Lets the sweep hand over, and processes die while they drive: their deaths are counted, nothing else happens.
async fn die(world: &World, token: &ExecutionId) -> Vec<Invocation> {
    let handed_over = world.parts.sweep.claim().await;
    for invocation in &handed_over {
        if let Invocation::Alone { execution, deaths } = invocation {
            assert_eq!(execution, token);
            let counted = world.parts.ingest.executions.count_deaths(execution, deaths + 1).await;
            assert!(counted.unwrap());
        }
    }
    handed_over
}

#[tokio::test]
async fn after_three_deaths_an_execution_is_stalled_and_says_why() {
    let world = World::start(PLAIN).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;
    world.parts.sweep.count_deaths(std::slice::from_ref(&token)).await.unwrap();
    for deaths in 1..3 {
        let alone = Invocation::Alone { execution: token.clone(), deaths };
        assert_eq!(die(&world, &token).await, [alone]);
        world.pass(Duration::from_secs(3_600));
    }

    assert_eq!(die(&world, &token).await, []);
    let status = world.status(&token).await;
    assert_eq!(
        (&status["status"], &status["error"]["kind"]),
        (&"stalled".into(), &"stalled".into())
    );
    let message = status["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("the process died 3 times while it drove this execution;"),
        "{message}"
    );

    // Not tried before its time, then alone, and hardly ever after that.
    world.pass(Duration::from_secs(6 * 3_600 - 5));
    assert_eq!(die(&world, &token).await, []);
    world.pass(Duration::from_secs(10));
    assert_eq!(die(&world, &token).await.len(), 1);
    world.pass(Duration::from_secs(3_500));
    assert_eq!(die(&world, &token).await, []);

    // It gets further, and is as any other.
    world.pass(Duration::from_secs(200));
    assert_eq!(world.sweep().await, 1);
    world.settle().await;
    assert_eq!(world.status(&token).await["status"], "completed");
    assert_eq!(world.parts.ingest.executions.get(&token).await.unwrap().unwrap().deaths, 0);
}

#[tokio::test]
async fn an_operator_may_redrive_what_is_stalled() {
    let world = World::start(PLAIN).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;
    for _ in 0..3 {
        world.parts.sweep.count_deaths(std::slice::from_ref(&token)).await.unwrap();
    }
    assert_eq!(world.parts.sweep.claim().await, []);
    assert_eq!(world.status(&token).await["status"], "stalled");

    let mut call = everhook_call(&format!("/executions/{token}/redrive"));
    call.request_context.http.method = "POST".parse().unwrap();
    let answer = everhook_ingest::operators::handle(&world.parts.ingest, call).await;

    assert_eq!(answer.status_code, 200);
    let alone = Invocation::Alone { execution: token, deaths: 3 };
    assert_eq!(world.parts.sweep.claim().await, [alone]);
}

fn everhook_call(path: &str) -> aws_lambda_events::apigw::ApiGatewayV2httpRequest {
    let mut request = aws_lambda_events::apigw::ApiGatewayV2httpRequest::default();
    request.raw_path = Some(path.to_owned());
    request
}
