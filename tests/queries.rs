//! What readers and operators ask.

use std::collections::HashSet;
use std::time::Duration;

use everhook_journal::{Event, ExecutionId, Recorded};
use serde_json::json;

use crate::world::{Delivery, World, delivery};

const TWO_SOURCES: &str = r#"
    [sources.default]
    scheme = "hmac-sha256"
    secrets = ["file:secret"]

    [sources.other]
    scheme = "hmac-sha256"
    secrets = ["file:secret"]

    [[workflows.default.steps]]
    name = "validate"
    run = "validate"
"#;

/// Seven executions of two sources, one a second; the third one failed.
async fn seven() -> World {
    let world = World::start(TWO_SOURCES).await;
    for n in 0..7 {
        let body = if n == 2 { "[]" } else { "{}" };
        let source = if n % 3 == 0 { "other" } else { "default" };
        world.accepted(&Delivery { source, ..delivery(&format!("d-{n}"), body) }).await;
        world.pass(Duration::from_secs(1));
    }
    world.settle().await;
    world
}

async fn ids(world: &World, path: &str) -> Vec<String> {
    let told = world.get(path).await;
    assert_eq!(told.status, 200, "{:?}", told.body);
    let executions = told.body["executions"].as_array().unwrap().clone();
    executions.iter().map(|shown| shown["deliveryId"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn executions_are_listed_the_newest_first() {
    let world = seven().await;
    let all = ids(&world, "/executions").await;
    assert_eq!(all, ["d-6", "d-5", "d-4", "d-3", "d-2", "d-1", "d-0"]);
}

#[tokio::test]
async fn a_listing_is_filtered_by_source_status_and_time() {
    let world = seven().await;
    assert_eq!(ids(&world, "/executions?source=other").await, ["d-6", "d-3", "d-0"]);
    assert_eq!(ids(&world, "/executions?status=failed").await, ["d-2"]);
    assert_eq!(ids(&world, "/executions?status=failed&source=other").await, Vec::<String>::new());
    assert_eq!(
        ids(&world, "/executions?status=completed&source=default").await,
        ["d-5", "d-4", "d-1"]
    );
    let from = crate::world::BEGINNING + Duration::from_secs(5);
    assert_eq!(ids(&world, &format!("/executions?from={from}")).await, ["d-6", "d-5"]);
    let to = crate::world::BEGINNING + Duration::from_secs(1);
    assert_eq!(ids(&world, &format!("/executions?to={to}")).await, ["d-1", "d-0"]);
}

#[tokio::test]
async fn pages_cover_everything_once() {
    let world = seven().await;
    for limit in 1..=8 {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        for _ in 0..20 {
            let page = world.get(&format!("/executions?limit={limit}{cursor}")).await.body;
            let executions = page["executions"].as_array().unwrap();
            assert!(executions.len() <= limit);
            seen.extend(executions.iter().map(|shown| shown["deliveryId"].clone()));
            match page["cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen.len(), 7, "pages of {limit}");
        assert_eq!(seen.iter().map(ToString::to_string).collect::<HashSet<_>>().len(), 7);
    }
}

#[tokio::test]
async fn a_history_is_read_in_pages() {
    let world = seven().await;
    let listed = world.get("/executions?limit=1").await.body;
    let token = listed["executions"][0]["executionToken"].as_str().unwrap().to_owned();

    let first = world.get(&format!("/executions/{token}/events?limit=2")).await.body;
    let cursor = first["cursor"].as_str().unwrap();
    let second =
        world.get(&format!("/executions/{token}/events?limit=2&cursor={cursor}")).await.body;

    let names = |page: &serde_json::Value| -> Vec<String> {
        let events = page["events"].as_array().unwrap();
        events
            .iter()
            .flat_map(|event| event["event"].as_object().unwrap().keys().cloned())
            .collect()
    };
    assert_eq!(names(&first), ["WebhookReceived", "StepCompleted"]);
    assert_eq!(names(&second), ["ExecutionCompleted"]);
    assert_eq!(second["cursor"], json!(null));
}

#[tokio::test]
async fn what_does_not_exist_is_404_and_what_makes_no_sense_is_400() {
    let world = seven().await;
    for path in [
        "/status/AAAAAAAAAAAAAAAAAAAAAAAAAA",
        "/status/1763000000000",
        "/status/workflow%230123",
        "/executions/AAAAAAAAAAAAAAAAAAAAAAAAAA/events",
        "/executions/AAAAAAAAAAAAAAAAAAAAAAAAAA/body",
        "/elsewhere",
    ] {
        let told = world.get(path).await;
        assert_eq!(told.status, 404, "{path}");
        assert!(told.body["error"].is_string());
    }
    for query in ["status=odd", "from=yesterday", "limit=0", "limit=x", "cursor=!!", "colour=red"] {
        assert_eq!(world.get(&format!("/executions?{query}")).await.status, 400, "{query}");
    }
}

#[tokio::test]
async fn the_story_of_an_execution_is_told_event_by_event() {
    let world = World::start(TWO_SOURCES).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;
    world.settle().await;

    let told = everhook::replay::tell(&world.history(&token).await).unwrap();
    let transcript = everhook::replay::transcript(&token, &told);

    // Attempts take real time; everything else in a world is a number.
    let durations = transcript.split(" in ").map(|part| {
        part.split_once(" ms")
            .filter(|(n, _)| n.parse::<u32>().is_ok())
            .map_or(part, |(_, rest)| rest)
    });
    insta::assert_snapshot!(durations.collect::<Vec<_>>().join(" in "));
}

#[tokio::test]
async fn definitions_that_unfinished_executions_run_are_listed() {
    let waiting = |name: &str| {
        format!(
            "[sources.default]\nscheme = \"hmac-sha256\"\nsecrets = [\"file:secret\"]\n\
             [[workflows.default.steps]]\nname = \"{name}\"\nrun = \"wait\"\nfor = \"1h\"\n"
        )
    };
    let older = World::start(&waiting("one")).await;
    older.accepted(&delivery("d-1", "{}")).await;
    older.settle().await;
    let world = World::over(older.engine.clone(), &waiting("two"), everhook::Steps::new()).await;
    world.accepted(&delivery("d-2", "{}")).await;
    world.accepted(&delivery("d-3", "{}")).await;
    world.settle().await;

    let told = world.get("/workflows").await.body;

    assert_eq!((&told["lookedAt"], &told["more"]), (&json!(3), &json!(false)));
    let versions = told["versions"].as_array().unwrap();
    let mut counts: Vec<_> = versions.iter().map(|version| &version["unfinished"]).collect();
    counts.sort_by_key(|count| count.as_u64());
    assert_eq!(counts, [&json!(1), &json!(2)]);
    assert!(versions.iter().all(|version| version["hash"].as_str().unwrap().len() == 32));

    world.live_through(Duration::from_secs(3_700), Duration::from_secs(600)).await;

    let told = world.get("/workflows").await.body;
    assert_eq!(told, json!({ "versions": [], "lookedAt": 0, "more": false }));
}

#[tokio::test]
async fn unfinished_executions_are_listed_in_pages_without_the_others() {
    let world = World::start(
        r#"
        [sources.default]
        scheme = "hmac-sha256"
        secrets = ["file:secret"]

        [[workflows.default.steps]]
        name = "later"
        run = "wait"
        for = "1h"
        when = ".wait"
        "#,
    )
    .await;
    for n in 0..30 {
        let body = if n % 3 == 0 { r#"{"wait": true}"# } else { "{}" };
        world.accepted(&delivery(&format!("d-{n}"), body)).await;
        // Several have the same time.
        if n % 2 == 0 {
            world.pass(Duration::from_millis(1));
        }
    }
    world.settle().await;
    let expected: HashSet<_> = (0..30).step_by(3).map(|n| format!("d-{n}")).collect();

    for limit in [1, 3, 10, 100] {
        let (mut seen, mut cursor, mut times) = (Vec::new(), String::new(), Vec::new());
        loop {
            let path = format!("/executions?status=waiting&limit={limit}{cursor}");
            let page = world.get(&path).await.body;
            for shown in page["executions"].as_array().unwrap() {
                assert_eq!(shown["status"], "waiting");
                seen.push(shown["deliveryId"].as_str().unwrap().to_owned());
                times.push(shown["createdAt"].as_str().unwrap().to_owned());
            }
            match page["cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen.len(), expected.len(), "pages of {limit}");
        assert_eq!(seen.into_iter().collect::<HashSet<_>>(), expected);
        assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
    }
    assert_eq!(ids(&world, "/executions?status=running").await, Vec::<String>::new());
    assert_eq!(ids(&world, "/executions?status=waiting&source=other").await, Vec::<String>::new());
    let later = crate::world::BEGINNING + Duration::from_secs(60);
    assert_eq!(
        ids(&world, &format!("/executions?status=waiting&from={later}")).await,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn what_was_redriven_by_a_call_that_died_is_not_shown_as_failed() {
    let world = seven().await;
    let failed = world.get("/executions?status=failed").await.body;
    let token = failed["executions"][0]["executionToken"].as_str().unwrap();
    let id = ExecutionId::parse(token).unwrap();
    let last = world.history(&id).await.pop().unwrap();
    let sequence = last.sequence.next();
    let event = Event::ExecutionRedriven { from: None };
    let redriven = Recorded { sequence, first: sequence, at: world.now(), event, digest: None };

    world.append(&id, [&[redriven][..]]).await;
    let records = world.records().await;
    world.project(&records).await;

    assert_eq!(ids(&world, "/executions?status=failed").await, [""; 0]);
}
