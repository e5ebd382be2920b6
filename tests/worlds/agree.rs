//! The simulated tables answer as the embedded engine does, to every call that the executions table makes.

use everhook::local::Engine;
use everhook_journal::executions::{Due, Row};
use everhook_journal::schema::Tables;
use everhook_journal::store::Store;
use everhook_journal::view::ViewStatus;
use everhook_journal::{ExecutionId, Executions, Sequence, Timestamp, View};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::world::{BEGINNING, PLAIN, World, delivery};

/// How many calls are compared.
const CALLS: usize = 1_500;

/// A view as ingest makes it.
async fn view() -> View {
    let world = World::start(PLAIN).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;
    world.parts.ingest.executions.get(&token).await.unwrap().unwrap().view
}

fn at(seconds: u64) -> Timestamp {
    BEGINNING + std::time::Duration::from_secs(seconds)
}

/// What these calls are answered, and what is there afterwards.
async fn answers(store: Store, view: View) -> Vec<String> {
    let executions = Executions::new(store, Tables::default().executions);
    let mut random = StdRng::seed_from_u64(7);
    let mut seen: Vec<(ExecutionId, Due, Timestamp)> = Vec::new();
    let mut answers = Vec::new();
    for _ in 0..CALLS {
        let letter = ["A", "B", "C"][random.random_range(0..3)];
        let id = ExecutionId::parse(&letter.repeat(26)).unwrap();
        let own = View {
            execution: id.clone(),
            sequence: Sequence::new(random.random_range(1..6)),
            created_at: at(random.random_range(0..3)),
            expires_at: at(random.random_range(0..5)),
            status: [ViewStatus::Running, ViewStatus::Failed][random.random_range(0..2)],
            ..view.clone()
        };
        let soon = at(random.random_range(0..100));
        // What was read lately or long ago.
        let read =
            seen.len().checked_sub(1).map(|last| seen[random.random_range(0..=last)].clone());
        let answer = match (random.random_range(0..10), read) {
            (0, _) => format!("open {:?}", executions.open(&own, soon).await.unwrap()),
            (1, _) => format!("reopen {:?}", executions.reopen(&own, soon).await.unwrap()),
            (2, _) => format!("project {}", executions.project(&own, soon).await.unwrap()),
            (3, _) => format!("finish {}", executions.finish(&own).await.unwrap()),
            (4, _) => format!("hasten {}", executions.hasten(&id, soon).await.unwrap()),
            (5, Some((id, due, _))) => {
                format!("postpone {}", executions.postpone(&id, &due, soon).await.unwrap())
            }
            (6, Some((id, due, _))) => {
                format!("claim {}", executions.claim(&id, &due, soon).await.unwrap())
            }
            (7, Some((id, due, _))) => {
                format!("park {}", executions.park(&id, &due, "why", soon).await.unwrap())
            }
            (8, Some((id, due, created))) => {
                format!("discard {}", executions.discard(&id, &due, created).await.unwrap())
            }
            _ => format!("repeat {}", executions.mark_repeat(&id, &view.execution).await.unwrap()),
        };
        let row = executions.get(&id).await.unwrap();
        if let Some(Row { view, due: Some(due), .. }) = &row {
            seen.push((id.clone(), *due, view.created_at));
        }
        let mut due = Vec::new();
        for shard in 0..everhook_journal::executions::DUE_SHARDS {
            due.extend(executions.due(shard, soon, 10).await.unwrap());
        }
        answers.push(format!("{answer}: {row:?}, due {due:?}"));
    }
    answers
}

#[tokio::test]
async fn the_simulated_tables_answer_as_the_engine_does() {
    let view = view().await;
    let engine = Engine::in_memory().unwrap();
    let client = engine.dynamodb();
    Tables::default().create(&client).await.unwrap();

    let engines = answers(Store::new(client), view.clone()).await;
    let simulated = everhook_simulation::quietly(|store| answers(store, view)).unwrap();

    for (place, (one, two)) in engines.iter().zip(&simulated).enumerate() {
        assert_eq!(one, two, "call {place}");
    }
    assert_eq!(engines.len(), simulated.len());
    for kind in [
        "open", "reopen", "project", "finish", "hasten", "postpone", "claim", "park", "discard",
        "repeat",
    ] {
        let told = engines.iter().filter(|answer| answer.starts_with(&format!("{kind} ")));
        let met = told.filter(|answer| !answer.contains("false")).count();
        assert!(met > 3, "{kind} was met {met} times");
    }
}
