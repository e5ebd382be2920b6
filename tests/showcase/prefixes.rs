//! Every history of the showcase asks for exactly what was recorded, and can be gone on with from every append.

use everhook_journal::execution::{Execution, Stage};
use everhook_journal::{Event, Next, Recorded, Workflow};

use super::*;

/// A case that was gone through, with the definition it is pinned to.
struct Case {
    source: &'static str,
    id: ExecutionId,
    history: Vec<Recorded>,
    workflow: Workflow,
    status: Value,
}

async fn gone_through(world: &World, source: &'static str, id: ExecutionId) -> Case {
    let history = world.history(&id).await;
    let Event::WebhookReceived(webhook) = &history[0].event else { panic!("{:?}", history[0]) };
    let workflow = world.parts.ingest.journal.workflow(&webhook.workflow.hash).await.unwrap();
    let (workflow, status) = (workflow.unwrap(), world.status(&id).await);
    Case { source, id, history, workflow, status }
}

/// All cases, against a stand-in at this address.
async fn cases(address: &str, calls: &Calls) -> Vec<Case> {
    let mut cases = Vec::new();
    let world = world_at(address).await;
    let push = sent(&world, "github", &json!({ "ref": "refs/heads/main" })).await;
    cases.push(gone_through(&world, "github", push).await);
    let other = json!({ "ref": "refs/heads/other" });
    let world = world_at(address).await;
    let other = sent(&world, "github", &other).await;
    cases.push(gone_through(&world, "github", other).await);
    for end in ["", "/failure"] {
        let world = world_at(address).await;
        let id = sent(&world, "stripe", &invoice()).await;
        answer(&world, calls, end, &json!({ "approved": true })).await;
        cases.push(gone_through(&world, "stripe", id).await);
    }
    for broken in [1, 3] {
        let world = world_at(address).await;
        let id = sent(&world, "orders", &order(12, broken)).await;
        world.live_through(Duration::from_secs(10), Duration::from_secs(1)).await;
        cases.push(gone_through(&world, "orders", id).await);
    }
    cases
}

/// Whether what was recorded next is what the state asked for.
fn asked_for(before: &Execution, workflow: &Workflow, next: &Recorded) -> bool {
    let asked = before.next(workflow, next.at);
    match &next.event {
        // Whoever is outside is not asked.
        Event::CallbackReceived { .. } | Event::CallbackBeat { .. } => true,
        Event::TimerFired { .. } => matches!(asked, Next::Fire { .. }),
        Event::ExecutionCompleted { filtered } => {
            asked == Next::Complete { filtered: filtered.clone() }
        }
        Event::ExecutionFailing { cause } => asked == Next::GiveUp { cause: cause.clone() },
        Event::ExecutionFailed { cause } => asked == Next::Fail { cause: cause.clone() },
        event => {
            // What is claimed was asked for by its claim.
            let state = event.step().and_then(|path| before.step(path));
            let is_claimed = state.is_some_and(|it| matches!(it.stage, Stage::Claimed(_)));
            let is_asked = match asked {
                Next::Do { tasks, .. } => tasks.iter().any(|task| Some(&task.path) == event.step()),
                _ => false,
            };
            is_claimed || is_asked
        }
    }
}

#[tokio::test]
async fn a_replayed_history_asks_for_exactly_what_was_recorded() {
    let (address, calls) = stand_in(&[]).await;
    for case in cases(&address, &calls).await {
        let mut state = Execution::begin(&case.history[0]).unwrap();
        for next in &case.history[1..] {
            assert!(asked_for(&state, &case.workflow, next), "{}: {next:?}", case.source);
            state.apply(next).unwrap();
        }
        assert_eq!(state.next(&case.workflow, state.updated_at), Next::Nothing);
    }
}

/// What a status says, without when, and without how many branches were faster than a failure.
fn timeless(status: Value) -> Value {
    let steps = status["steps"].as_array().unwrap().iter();
    let steps: Vec<_> =
        steps.map(|step| json!([step["name"], step["status"], step["attempts"]])).collect();
    json!([status["status"], steps, status["error"]["kind"], status["filtered"]])
}

/// A world in which no more than these events has happened, and nobody was told of the last append.
async fn resumed(address: &str, case: &Case, prefix: &[Recorded]) -> World {
    let world = world_at(address).await;
    // The process that claimed what is in flight has died.
    world.parts.supervisor.driver().is_alone();
    world.append(&case.id, prefix.chunk_by(|one, other| one.first == other.first)).await;
    let last = prefix.last().unwrap();
    world.pass(last.at.since(world.now()));
    world.records().await;
    // The audit finds it.
    world.parts.audit.run_up_to(world.now(), world.now() + Duration::from_secs(60)).await.unwrap();
    world
}

#[tokio::test]
async fn an_execution_goes_on_from_every_append_to_the_same_end() {
    let (address, calls) = stand_in(&[]).await;
    for case in cases(&address, &calls).await {
        let appends: Vec<_> =
            case.history.chunk_by(|one, other| one.first == other.first).map(<[_]>::len).collect();
        // The last append ended it.
        let mut events = 0;
        for append in &appends[..appends.len() - 1] {
            events += append;
            let prefix = &case.history[..events];
            let world = resumed(&address, &case, prefix).await;
            world.settle().await;
            let end = match case.history.iter().find_map(|recorded| match &recorded.event {
                Event::CallbackReceived { answer, .. } => Some(answer.clone()),
                _ => None,
            }) {
                Some(everhook_journal::event::CallbackAnswer::Failed(_)) => "/failure",
                _ => "",
            };
            if world.status(&case.id).await["status"] == "waiting" {
                // The address that was sent out before holds: the key is the deployment's.
                answer(&world, &calls, end, &json!({ "approved": true })).await;
                world.settle().await;
            }
            let status = world.status(&case.id).await;
            assert_eq!(
                timeless(status),
                timeless(case.status.clone()),
                "{} from event {events}",
                case.source
            );
        }
    }
}
