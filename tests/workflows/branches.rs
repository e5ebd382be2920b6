//! Steps side by side.

use super::*;

const ORDER: &str = r#"
    [[workflows.default.steps]]
    name = "lines"
    run = "map"
    items = ".lines"
    concurrency = 3
    tolerate = "10%"

    [[workflows.default.steps.steps]]
    name = "double"
    run = "transform"
    jq = "$item.n * 2"

    [[workflows.default.steps.steps]]
    name = "reserve"
    run = "reserve"
"#;

/// Fails for the numbers that the item says, and gives what the step before gave.
async fn reserve(input: Input) -> Result<u64, StepError> {
    let item: Value = input.item()?;
    if item["broken"] == true {
        return Err(StepError::fatal("sold_out", "nothing is left"));
    }
    input.output("double")
}

fn lines(count: u64, broken: &[u64]) -> Value {
    let line = |n: u64| json!({ "n": n, "broken": broken.contains(&n) });
    json!({ "lines": (0..count).map(line).collect::<Vec<_>>() })
}

#[tokio::test]
async fn each_item_goes_through_the_steps_and_some_may_fail() {
    let world = world(ORDER, Steps::new().with("reserve", reserve)).await;
    let id = world.accepted(&order(lines(20, &[3, 11]))).await;
    world.settle().await;

    let result = result(&world, &id, "lines").await;
    assert_eq!((&result["completed"], &result["failed"]), (&json!(18), &json!(2)));
    assert_eq!(result["results"][5], 10);
    assert_eq!(result["results"][3], Value::Null);
    assert_eq!(result["errors"][0]["branch"], "3");
    assert_eq!(result["errors"][0]["kind"], "sold_out");
    assert_eq!(world.status(&id).await["status"], "completed");
}

#[tokio::test]
async fn too_many_failures_fail_the_step_and_a_redrive_goes_on_with_what_failed() {
    let runs = Counted::default();
    let counter = runs.0.clone();
    let reserve = move |input: Input| {
        let run = counter.fetch_add(1, Ordering::SeqCst);
        async move {
            let item: Value = input.item()?;
            match item["broken"] == true && run < 20 {
                true => Err(StepError::fatal("sold_out", "nothing is left")),
                false => Ok(input.idempotency_key()),
            }
        }
    };
    let world = world(ORDER, Steps::new().with("reserve", reserve)).await;
    let id = world.accepted(&order(lines(20, &[0, 1, 19]))).await;
    world.settle().await;

    let status = world.status(&id).await;
    assert_eq!(status["error"]["kind"], "branches_failed", "{status}");
    let first_time = runs.times();
    runs.0.store(100, Ordering::SeqCst);
    assert_eq!(post(&world, &format!("/executions/{id}/redrive"), "").await.0, 200);
    // A call that was in flight when too many had failed is made again when its claim has ended.
    world.live_through(MINUTE, 10 * SECOND).await;

    let result = result(&world, &id, "lines").await;
    assert_eq!((&result["completed"], &result["failed"]), (&json!(20), &json!(0)));
    assert_eq!(result["results"][19], format!("{id}:lines/19/reserve"));
    let again = runs.times() - 100;
    let all = first_time + again;
    assert!((20 + 3..=20 + 3 + 2).contains(&all), "what was done is not done again: {all}");
}

#[tokio::test]
async fn branches_go_on_by_themselves_and_their_waits_are_side_by_side() {
    let workflow = r#"
        [[workflows.default.steps]]
        name = "both"
        run = "parallel"

        [[workflows.default.steps.branches]]
        name = "slow"

        [[workflows.default.steps.branches.steps]]
        name = "hour"
        run = "wait"
        for = "1h"

        [[workflows.default.steps.branches.steps]]
        name = "late"
        run = "transform"
        jq = '"late"'

        [[workflows.default.steps.branches]]
        name = "quick"

        [[workflows.default.steps.branches.steps]]
        name = "half"
        run = "wait"
        for = "30m"

        [[workflows.default.steps.branches.steps]]
        name = "soon"
        run = "count"
    "#;
    let counted = Counted::default();
    let world = world(workflow, Steps::new().with("count", counted.count())).await;
    let id = world.accepted(&order(json!({}))).await;
    world.settle().await;
    world.pass(30 * MINUTE);
    world.settle().await;
    assert_eq!(counted.times(), 1);
    let step = world.status(&id).await["steps"][0].clone();
    assert_eq!(step["branches"], json!({ "total": 2, "completed": 1, "failed": 0 }));
    world.pass(30 * MINUTE);
    world.settle().await;

    assert_eq!(result(&world, &id, "both").await["results"], json!(["late", 1]));
}

#[tokio::test]
async fn the_first_of_several_is_enough_if_the_workflow_says_so() {
    let workflow = r#"
        [[workflows.default.steps]]
        name = "race"
        run = "parallel"
        complete = "any"

        [[workflows.default.steps.branches]]
        name = "never"

        [[workflows.default.steps.branches.steps]]
        name = "day"
        run = "wait"
        for = "1d"

        [[workflows.default.steps.branches]]
        name = "broken"

        [[workflows.default.steps.branches.steps]]
        name = "fails"
        run = "broken"

        [[workflows.default.steps.branches]]
        name = "now"

        [[workflows.default.steps.branches.steps]]
        name = "quick"
        run = "transform"
        jq = "1"
    "#;
    let broken = Counted::default();
    let world = world(workflow, Steps::new().with("broken", broken.failing(9))).await;
    let id = world.accepted(&order(json!({}))).await;
    world.settle().await;

    let result = result(&world, &id, "race").await;
    assert_eq!((&result["ended"], &result["results"]), (&json!("enough"), &json!([null, null, 1])));
}

#[tokio::test]
async fn attempts_of_several_branches_run_at_once_and_never_more_than_allowed() {
    let (now, most) = (Counted::default(), Counted::default());
    let (running, seen) = (now.0.clone(), most.0.clone());
    let reserve = move |_: Input| {
        let (running, seen) = (running.clone(), seen.clone());
        async move {
            let count = running.fetch_add(1, Ordering::SeqCst) + 1;
            seen.fetch_max(count, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, StepError>(())
        }
    };
    let world = world(ORDER, Steps::new().with("reserve", reserve)).await;
    let id = world.accepted(&order(lines(12, &[]))).await;
    world.settle().await;

    assert_eq!(world.status(&id).await["status"], "completed");
    assert_eq!(most.times(), 3);
}

#[tokio::test]
async fn a_list_that_is_empty_completes_and_what_is_no_list_fails() {
    let world = world(ORDER, Steps::new().with("reserve", reserve)).await;
    let empty = world.accepted(&delivery("d-1", r#"{"lines": []}"#)).await;
    let none = world.accepted(&delivery("d-2", r#"{"lines": 7}"#)).await;
    let many = world.accepted(&delivery("d-3", &lines(1001, &[]).to_string())).await;
    world.settle().await;

    assert_eq!(result(&world, &empty, "lines").await["total"], 0);
    assert_eq!(world.status(&none).await["error"]["kind"], "invalid");
    assert_eq!(world.status(&many).await["error"]["kind"], "too_many");
}

#[tokio::test]
async fn a_thousand_items_take_few_appends() {
    let workflow = ORDER.replace("concurrency = 3", "concurrency = 100");
    let world = world(&workflow, Steps::new().with("reserve", reserve)).await;
    let id = world.accepted(&order(lines(1000, &[]))).await;
    world.settle().await;

    let history = world.history(&id).await;
    let appends: std::collections::BTreeSet<_> = history.iter().map(|it| it.first).collect();
    assert_eq!(world.status(&id).await["status"], "completed");
    // Two steps an item, of which one acts and is claimed.
    assert_eq!(history.len(), 1 + 1 + 3000 + 2);
    assert!(appends.len() <= 60, "{} appends", appends.len());
}

/// Text that compresses as badly as text can, of about so many bytes.
fn noise(bytes: usize) -> String {
    let mut state = 1u64;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'#' + (state >> 33) as u8 % 57)
    };
    (0..bytes).map(|_| letter()).collect()
}

#[tokio::test]
async fn results_that_end_together_and_are_too_much_for_one_item_are_appended_apart() {
    let workflow = ORDER.replace("concurrency = 3", "concurrency = 40");
    let reserve = |_: Input| async { Ok::<_, StepError>(noise(36 * 1024)) };
    let world = world(&workflow, Steps::new().with("reserve", reserve)).await;
    let id = world.accepted(&order(lines(40, &[]))).await;
    world.settle().await;

    assert_eq!(world.status(&id).await["status"], "completed");
    let mut appends = std::collections::BTreeMap::<_, usize>::new();
    for recorded in world.history(&id).await {
        if let Event::StepCompleted { output, .. } = &recorded.event {
            *appends.entry(recorded.first).or_default() += output.inline_bytes();
        }
    }
    let largest = appends.values().max().copied().unwrap_or_default();
    assert!((100_000..300_000).contains(&largest), "{appends:?}");
}

#[tokio::test]
async fn a_failure_is_kept_in_few_words_however_many_a_step_has() {
    let reserve = |_: Input| async {
        Err::<(), _>(StepError::fatal("x".repeat(500_000), "y".repeat(500_000)))
    };
    let world = world(ORDER, Steps::new().with("reserve", reserve)).await;
    let id = world.accepted(&order(lines(1, &[]))).await;
    world.settle().await;

    assert_eq!(world.status(&id).await["status"], "failed");
    let history = world.history(&id).await;
    let failure = history.iter().find_map(|recorded| match &recorded.event {
        Event::StepFailed { error, .. } => Some(error),
        _ => None,
    });
    let failure = failure.expect("the step failed");
    assert!(failure.kind.len() < 200 && failure.message.len() < 600);
}

/// A list of which so many items work, and so many fail.
fn some(well: u64, broken: u64) -> Value {
    let line = |n: u64| json!({ "n": n, "broken": n >= well });
    json!({ "lines": (0..well + broken).map(line).collect::<Vec<_>>() })
}

#[tokio::test]
async fn too_few_completed_branches_have_a_word_of_their_own() {
    for (complete, tolerate, well, broken, ended) in [
        ("3", "\"90%\"", 2, 2, "too_few_completed"),
        ("3", "1", 2, 2, "too_many_failed"),
        ("3", "\"90%\"", 3, 2, "enough"),
        ("3", "\"90%\"", 2, 0, "all"),
        ("3", "\"90%\"", 0, 0, "all"),
        ("3", "\"90%\"", 1, 1, "too_few_completed"),
        ("\"any\"", "\"100%\"", 0, 2, "too_few_completed"),
        ("\"any\"", "\"90%\"", 0, 0, "all"),
    ] {
        let more = format!("complete = {complete}\nfailure = \"result\"\ntolerate = {tolerate}");
        let workflow = ORDER.replace("tolerate = \"10%\"", &more);
        let world = world(&workflow, Steps::new().with("reserve", reserve)).await;
        let id = world.accepted(&order(some(well, broken))).await;
        world.settle().await;
        let result = result(&world, &id, "lines").await;
        assert_eq!(result["ended"], ended, "{complete} {tolerate} {well} {broken}: {result}");
    }
}

#[tokio::test]
async fn too_few_completed_branches_fail_the_step_and_say_so() {
    let workflow = ORDER.replace("tolerate = \"10%\"", "complete = 3\ntolerate = 3");
    let world = world(&workflow, Steps::new().with("reserve", reserve)).await;
    let id = world.accepted(&order(some(2, 2))).await;
    world.settle().await;
    let error = world.status(&id).await["error"].clone();
    assert_eq!(error["kind"], "branches_failed");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.starts_with("too few of the 4 branches of lines completed: 2; 2 failed"),
        "{message}"
    );
}

#[tokio::test]
async fn no_branches_and_no_items_complete_alike() {
    let empty = r#"
        [[workflows.default.steps]]
        name = "none"
        run = "parallel"
        branches = []

        [[workflows.default.steps]]
        name = "each"
        run = "map"
        items = "[]"

        [[workflows.default.steps.steps]]
        name = "same"
        run = "transform"
        jq = "$item"
    "#;
    let world = world(empty, Steps::new()).await;
    let id = world.accepted(&order(json!({}))).await;
    world.settle().await;
    let (none, each) = (result(&world, &id, "none").await, result(&world, &id, "each").await);
    assert_eq!(none, each);
    assert_eq!(none["ended"], "all");
    assert_eq!(world.status(&id).await["status"], "completed");
}
