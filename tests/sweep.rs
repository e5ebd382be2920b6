//! Timers that fire from a DynamoDB that is far away, partly broken, or asked shortly before a deadline; and executions
//! that kill the process that drives them.

use std::collections::BTreeSet;
use std::future::ready;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use everhook::local::Engine;
use everhook_journal::id::{Shards, fresh};
use everhook_journal::schema;
use everhook_journal::store::simulated::{Call, Page, Tables};
use everhook_journal::store::{Expression, Item, Query, Store, Unavailable, WriteError};
use everhook_journal::timers::{AGAIN, Pending, Terms};
use everhook_journal::{Clock, ExecutionId, Timer, Timers, Timestamp};
use everhook_processor::sweep::HandOver;
use everhook_processor::{Invocation, Sweep};

use crate::world::{BEGINNING, PLAIN, World, delivery};

/// How long a call takes.
const CALL: Duration = Duration::from_millis(70);

/// The embedded engine, so far away that each call takes a while.
#[derive(Debug)]
struct Distant {
    store: Store,
    call: Duration,
    /// A shard of the timers that cannot be read.
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
        let broken = self.broken.map(|shard| AttributeValue::S(format!("shard#{shard}")));
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

/// What keeps the timers, and the time.
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

/// What a timer says beside its time.
const TERMS: Terms = Terms {
    is_suspect: false,
    is_claim: false,
    is_stalled: false,
    expires_at: Timestamp::from_millis(BEGINNING.as_millis() + 30 * 24 * 3_600_000),
};

/// A sweep over so many due timers, the timers, the executions, and what keeps them.
async fn due_timers(
    many: usize,
    call: Duration,
    broken: Option<u64>,
) -> (Sweep, Timers, BTreeSet<ExecutionId>, Behind) {
    let engine = Engine::in_memory().unwrap();
    let tables = schema::Tables::default();
    tables.create(&engine.dynamodb()).await.unwrap();
    let store = Store::new(engine.dynamodb());
    let near = tables.timers_in(&store);
    let mut ids = BTreeSet::new();
    for number in 0..many {
        let bytes = (number as u128 * 0x9e37_79b9_7f4a_7c15).to_be_bytes();
        let letters = data_encoding::BASE32.encode(&bytes);
        let execution = ExecutionId::parse(&letters[..26]).unwrap();
        near.set(&Timer { due: BEGINNING, execution: execution.clone() }, TERMS).await.unwrap();
        ids.insert(execution);
    }
    let time = Arc::new(AtomicI64::new(BEGINNING.as_millis()));
    let clock = Clock::Manual(time.clone());
    let distant = Distant { store: store.clone(), call, broken };
    let distant = Store::simulated(Arc::new(distant));
    let sweep = Sweep::new(
        tables.timers_in(&distant),
        tables.executions_in(&distant),
        tables.journal_in(&distant, clock.clone()),
        clock,
    );
    (sweep, near, ids, Behind { store, time, _engine: engine })
}

/// All timers of these shards that are due by then.
async fn pending(timers: &Timers, shards: impl IntoIterator<Item = u64>) -> Vec<Pending> {
    let mut pending = Vec::new();
    for shard in shards {
        let (found, more) = timers.due(shard, BEGINNING, 1_000, None).await.unwrap();
        assert!(!more);
        pending.extend(found);
    }
    pending
}

/// Hands over nothing but what is due now.
const NOW: Duration = Duration::ZERO;

#[track_caller]
fn invocation(handed_over: HandOver) -> Invocation {
    match handed_over {
        HandOver::Now(invocation) => invocation,
        HandOver::OnTime(timers) => panic!("{timers:?}"),
    }
}

fn ids(invocations: &[Invocation]) -> Vec<ExecutionId> {
    let ids = |invocation: &Invocation| match invocation {
        Invocation::Due(fired) => fired.iter().map(|fired| fired.timer.execution.clone()).collect(),
        Invocation::Alone(fired) => vec![fired.timer.execution.clone()],
        other => panic!("{other:?}"),
    };
    invocations.iter().flat_map(ids).collect::<Vec<_>>()
}

#[tokio::test]
async fn eight_hundred_due_timers_are_handed_over_within_seconds_by_calls_of_70_ms() {
    let (sweep, _, due, tables) = due_timers(800, CALL, None).await;
    let began = Instant::now();
    let claimed_at_first = Mutex::new(None);
    let handed_over = Mutex::new(Vec::new());
    let hand_over = |handed: HandOver| async {
        tokio::time::sleep(CALL).await;
        claimed_at_first.lock().unwrap().get_or_insert_with(|| tables.updates());
        handed_over.lock().unwrap().push(invocation(handed));
        true
    };

    let until = BEGINNING + Duration::from_secs(60);
    let swept = sweep.look(NOW, until, &hand_over).await;

    let handed_over = handed_over.into_inner().unwrap();
    let many = ids(&handed_over);
    assert_eq!((swept.claimed, many.len()), (800, 800));
    assert!(many.into_iter().collect::<BTreeSet<_>>() == due, "each once");
    assert!(handed_over.iter().all(|invocation| (1..=10).contains(&invocation.many())));
    let at_first = claimed_at_first.into_inner().unwrap().unwrap();
    assert!(at_first <= 640, "{at_first} timers were claimed when the first were handed over");
    // One after the other would take 112 s.
    assert!(began.elapsed() < Duration::from_secs(15), "all after {:?}", began.elapsed());
}

#[tokio::test]
async fn a_shard_that_cannot_be_read_delays_no_other() {
    for broken in [0, Shards::default().all().end - 1] {
        let (sweep, near, due, _engine) = due_timers(80, Duration::ZERO, Some(broken)).await;

        let until = BEGINNING + Duration::from_secs(60);
        let swept = sweep.look(NOW, until, |_| ready(true)).await;

        let left = pending(&near, [broken]).await.len();
        assert_eq!((swept.shards_failed, swept.claimed + left), (1, due.len()));
        assert!((1..=40).contains(&left), "{left} timers in shard {broken}");
    }
}

#[tokio::test]
async fn no_timer_is_claimed_too_late_to_be_handed_over() {
    // More than are claimed at once.
    let (sweep, near, due, tables) = due_timers(800, Duration::ZERO, None).await;
    let handed_over = Mutex::new(Vec::new());
    let until = tables.now() + Duration::from_millis(450);
    let hand_over = |handed| {
        tables.pass(Duration::from_millis(100));
        handed_over.lock().unwrap().push(invocation(handed));
        ready(true)
    };

    let swept = sweep.look(NOW, until, hand_over).await;

    let handed_over: BTreeSet<_> = ids(&handed_over.into_inner().unwrap()).into_iter().collect();
    assert!((1..800).contains(&swept.claimed), "{swept:?}");
    let pending = pending(&near, near.shards().all()).await;
    assert_eq!(pending.len(), due.len());
    for Pending { timer, fired, .. } in pending {
        assert_eq!(fired, u64::from(handed_over.contains(&timer.execution)), "{timer}");
    }
}

#[tokio::test]
async fn a_claim_that_cannot_be_handed_over_is_given_back() {
    let (sweep, near, due, _engine) = due_timers(30, Duration::ZERO, None).await;
    let until = BEGINNING + Duration::from_secs(60);

    let swept = sweep.look(NOW, until, |_| ready(false)).await;

    assert_eq!(swept.claimed, 0);
    let soon = BEGINNING + Duration::from_secs(11);
    let pending = pending(&near, near.shards().all()).await;
    assert_eq!(pending.len(), due.len());
    for pending in pending {
        assert!(pending.fired == 0 && pending.at() < soon, "{pending:?}");
    }
}

#[tokio::test]
async fn timers_that_are_due_soon_are_handed_over_for_their_time_and_not_claimed() {
    let (sweep, near, due, tables) = due_timers(25, Duration::ZERO, None).await;
    tables.time.fetch_sub(30_000, Ordering::SeqCst);
    let handed_over = Mutex::new(BTreeSet::new());
    let hand_over = |handed| {
        let HandOver::OnTime(timers) = handed else { panic!("{handed:?}") };
        assert!((1..=10).contains(&timers.len()));
        handed_over.lock().unwrap().extend(timers.into_iter().map(|timer| timer.execution));
        ready(true)
    };

    let until = BEGINNING + Duration::from_secs(60);
    let none = sweep.look(Duration::from_secs(29), until, hand_over).await;
    let swept = sweep.look(Duration::from_secs(60), until, hand_over).await;

    assert_eq!((none.on_time, swept.on_time, swept.claimed), (0, 25, 0));
    assert_eq!(handed_over.into_inner().unwrap(), due);
    assert_eq!(tables.updates(), 0);
    assert!(pending(&near, near.shards().all()).await.iter().all(Pending::is_plain));
}

#[tokio::test]
async fn an_execution_that_made_no_progress_since_a_claim_is_handed_over_alone() {
    let world = World::start(PLAIN).await;
    for number in 0..5 {
        world.accepted(&delivery(&format!("d-{number}"), "{}")).await;
    }
    world.pass(Duration::from_secs(61));
    world.parts.audit.run(world.now() + AGAIN).await.unwrap();
    let claimed = ids(&world.claim().await).len();
    assert_eq!(world.claim().await, [], "not again at once");
    world.pass(AGAIN);
    let again = world.claim().await;

    assert_eq!((claimed, again.len()), (5, 5));
    for invocation in &again {
        assert!(matches!(invocation, Invocation::Alone(fired) if fired.fired == 2), "{again:?}");
        let payload = invocation.to_json().unwrap();
        assert_eq!(Invocation::from_json(payload), *invocation);
    }
}

#[tokio::test]
async fn raising_the_number_of_shards_orphans_no_timer() {
    const MANY: usize = 60;
    let (_, few, ids, tables) = due_timers(MANY, Duration::ZERO, None).await;
    assert_eq!(few.shards(), Shards::default());
    let names = schema::Tables { shards: Shards::new(64), ..schema::Tables::default() };
    let many = names.timers_in(&tables.store);

    let found = pending(&many, many.shards().all()).await;

    let found_ids: BTreeSet<_> = found.iter().map(|it| it.timer.execution.clone()).collect();
    assert_eq!((found.len(), &found_ids), (MANY, &ids));
    for pending in &found {
        let again_at = tables.now() + AGAIN;
        let fired = many.claim(pending, again_at, None).await.unwrap().unwrap();
        assert!(many.clear(&fired).await.unwrap());
    }
    assert_eq!(few.first(1_000).await.unwrap().0, []);
}

/// Sets the timer that a process leaves that died last of three while it drove this execution.
pub(crate) async fn killed_three_processes(world: &World, token: &ExecutionId) {
    died(world, token, 3).await;
}

async fn died(world: &World, token: &ExecutionId, deaths: u64) {
    let timer = Timer { due: world.now(), execution: token.clone() };
    let terms = Terms { is_suspect: true, ..TERMS };
    world.parts.status.timers.set(&timer, terms).await.unwrap();
    for _ in 0..deaths {
        dies(world, token).await;
    }
}

/// A drive alone begins, and its process dies.
async fn dies(world: &World, token: &ExecutionId) {
    let executions = &world.parts.ingest.executions;
    executions.begin_alone(token, &fresh(), world.now(), TERMS.expires_at).await.unwrap();
}

/// Lets the sweep hand over, and processes die while they drive: their deaths are counted, nothing else happens.
/// Returns how many had died before, of each that was handed over alone.
async fn die(world: &World, token: &ExecutionId) -> Vec<u64> {
    let mut deaths = Vec::new();
    for invocation in world.claim().await {
        let Invocation::Alone(fired) = invocation else { panic!("{invocation:?}") };
        assert_eq!(fired.timer.execution, *token);
        let executions = &world.parts.ingest.executions;
        let before = executions.get(token).await.unwrap().map_or(0, |row| row.deaths);
        dies(world, token).await;
        deaths.push(before);
    }
    deaths
}

#[tokio::test]
async fn after_three_deaths_an_execution_is_stalled_and_says_why() {
    let world = World::start(PLAIN).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;
    died(&world, &token, 1).await;
    for deaths in 1..3 {
        assert_eq!(die(&world, &token).await, [deaths]);
        world.pass(Duration::from_secs(3_600));
    }

    assert_eq!(die(&world, &token).await, [0; 0]);
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
    assert_eq!(die(&world, &token).await, [0; 0]);
    world.pass(Duration::from_secs(10));
    assert_eq!(die(&world, &token).await.len(), 1);
    world.pass(Duration::from_secs(3_500));
    assert_eq!(die(&world, &token).await, [0; 0]);

    // It gets further, and is as any other.
    world.pass(Duration::from_secs(6 * 3_600));
    assert_eq!(world.fire().await, 1);
    world.settle().await;
    assert_eq!(world.status(&token).await["status"], "completed");
    assert_eq!(world.timers().await, []);
}

#[tokio::test]
async fn an_operator_may_redrive_what_is_stalled() {
    let world = World::start(PLAIN).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;
    killed_three_processes(&world, &token).await;
    assert_eq!(world.claim().await, []);
    assert_eq!(world.status(&token).await["status"], "stalled");

    let mut call = everhook_call(&format!("/executions/{token}/redrive"));
    call.request_context.http.method = "POST".parse().unwrap();
    let answer = everhook_ingest::operators::handle(&world.parts.ingest, call).await;

    assert_eq!(answer.status_code, 200);
    assert_eq!(world.fire().await, 1);
    assert_eq!(world.status(&token).await["status"], "completed");
}

fn everhook_call(path: &str) -> aws_lambda_events::apigw::ApiGatewayV2httpRequest {
    let mut request = aws_lambda_events::apigw::ApiGatewayV2httpRequest::default();
    request.raw_path = Some(path.to_owned());
    request
}
