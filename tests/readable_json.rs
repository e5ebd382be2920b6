//! What is JSON is decided once, before anything is recorded: every later reader can read what was accepted.

use everhook::{Input, StepError, Steps};
use everhook_journal::ExecutionId;
use everhook_journal::json;
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::workflows::{callback, post, result};
use crate::world::{Delivery, World, delivery};

/// Every kind of reader, one after the other.
const READERS: &str = r#"
    [sources.default]
    scheme = "hmac-sha256"
    secrets = ["file:secret"]

    [[workflows.default.steps]]
    name = "schema"
    run = "validate"
    schema = {}

    [[workflows.default.steps]]
    name = "whole"
    run = "transform"
    jq = "."

    [[workflows.default.steps]]
    name = "again"
    run = "transform"
    input = "previous"
    jq = ". as $it | $steps.whole | tojson | length"

    [[workflows.default.steps]]
    name = "rust"
    run = "rust"

    [[workflows.default.steps]]
    name = "items"
    run = "map"
    items = '[.]'
    label = 'tojson'

    [[workflows.default.steps.steps]]
    name = "item"
    run = "transform"
    when = '$item == $item'
    jq = '$item'
"#;

async fn read(input: Input) -> Result<Value, StepError> {
    input.json()
}

fn readers() -> Steps {
    Steps::new().with("rust", read)
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

fn sent(id: usize, body: &[u8]) -> Delivery {
    Delivery { body: body.to_vec(), ..delivery(&format!("d-{id}"), "") }
}

#[tokio::test]
async fn a_body_that_no_step_could_read_is_answered_400_and_recorded_nowhere() {
    let world = World::with_steps(READERS, readers()).await;
    let deep = nested(128);
    let long = "7".repeat(1_001);
    let bodies: [&[u8]; 17] = [
        br#"{"a":"\ud83d"}"#,
        br#"{"\ude00":1}"#,
        br#"["\ud83d\ud83d\ude00"]"#,
        b"{\"a\":\"\xff\"}",
        b"{\"a\":\"\xed\xa0\xbd\"}",
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\0}\0",
        b"NaN",
        b"[Infinity]",
        b"{\"a\":1e400}",
        b"{\"a\":\"\n\"}",
        b"{} x",
        b"{}\0",
        b"a=1&b=2",
        b"",
        deep.as_bytes(),
        long.as_bytes(),
    ];
    for (n, body) in bodies.into_iter().enumerate() {
        let told = world.deliver(&sent(n, body)).await;
        assert_eq!(told.status, 400, "{n}: {:?}", told.body);
        let error = told.body["error"].as_str().unwrap();
        assert!(error.contains("the body ") && error.contains("expect = \"any\""), "{error}");
    }
    assert_eq!(world.get("/executions").await.body["executions"], json!([]));
}

#[test]
fn every_reader_reads_whatever_was_accepted() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(World::with_steps(READERS, readers()));
    let fixed = [
        nested(122),
        r#"{"a":1,"a":2,"b":{"c":"\ud83d\ude00","c":"\u0000\u001f\uffff"}}"#.into(),
        format!("[{},1.50,-0.0,1e308,12345678901234567890123,1e-400]", "7".repeat(300)),
        "  \"x\"\r\n".into(),
        "null".into(),
    ];
    let mut n = 0;
    let mut read = |body: &str| {
        n += 1;
        runtime.block_on(async {
            let told = world.deliver(&sent(n, body.as_bytes())).await;
            assert_eq!(told.status == 202, json::check(body.as_bytes()).is_ok(), "{body}");
            if told.status != 202 {
                return;
            }
            world.settle().await;
            let status = world.status(&told.token()).await;
            assert_eq!(status["status"], "completed", "{body}: {}", status["error"]);
            let history = world.history(&told.token()).await;
            let shown = serde_json::to_string(&history).unwrap();
            let shown: Vec<everhook_journal::Recorded> = serde_json::from_str(&shown).unwrap();
            assert!(everhook::replay::tell(&shown).is_ok(), "{body}");
        });
    };
    fixed.iter().for_each(|body| read(body));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 12,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let runs = std::cell::RefCell::new(read);
    runner
        .run(&near_json(), |body| {
            runs.borrow_mut()(&body);
            Ok(())
        })
        .unwrap();
}

/// Objects that are JSON, or almost.
fn near_json() -> impl Strategy<Value = String> {
    let parts = [
        "1",
        "1.5e3",
        "1e400",
        "-0",
        "\"\\ud83d\\ude00\"",
        "\"\\ud83d\"",
        "\"\\n\"",
        "\"é\"",
        "null",
        "[]",
        "{}",
        "[1,[2]]",
        "{\"a\":{\"a\":1}}",
        "{\"a\":1,\"a\":2}",
        "\"\\u0000\"",
        "12345678901234567890",
    ];
    let part = proptest::sample::select(parts.to_vec());
    proptest::collection::vec(part, 0..5).prop_map(|parts| {
        let pairs: Vec<_> =
            parts.iter().enumerate().map(|(n, part)| format!("\"k{n}\":{part}")).collect();
        format!("{{{}}}", pairs.join(","))
    })
}

#[tokio::test]
async fn a_bad_event_of_a_batch_takes_no_good_one_with_it() {
    let world = World::start(
        r#"
        [sources.default]
        scheme = "hmac-sha256"
        secrets = ["file:secret"]
        items = "/events"
        item_id = ["/id"]

        [[workflows.default.steps]]
        name = "read"
        run = "transform"
        jq = '.n'
        "#,
    )
    .await;
    let listed =
        async || world.get("/executions").await.body["executions"].as_array().unwrap().len();

    let deep = format!(r#"{{"id":"c","n":{}}}"#, nested(200));
    for (n, bad) in
        [r#"{"id":"b","n":"\ud83d"}"#, r#"{"id":"b","n":1e400}"#, &deep].iter().enumerate()
    {
        let body = format!(r#"{{"events":[{{"id":"a{n}","n":1}},{bad},{{"id":"z{n}","n":2}}]}}"#);
        let told = world.deliver(&sent(n, body.as_bytes())).await;
        assert_eq!(told.status, 400, "{:?}", told.body);
        let error = told.body["error"].as_str().unwrap();
        assert!(error.starts_with("event 2 of the body "), "{error}");
        assert_eq!(listed().await, 2 * (n + 1), "{bad}");
    }
    world.settle().await;
    let shown = world.get("/executions").await.body["executions"].clone();
    let all = shown.as_array().unwrap().iter().all(|shown| shown["status"] == "completed");
    assert!(all, "{shown}");

    // What is around the events is read by nobody later.
    let around = br#"{"note":"\ud83d","events":[{"id":"n","n":1}]}"#;
    assert_eq!(world.deliver(&sent(10, around)).await.status, 202);
    // A batch whose parts cannot be told apart has none.
    let torn = b"{\"events\":[{\"id\":\"q\",\"n\":1},{\"id\":\"\xff\"}]}";
    assert_eq!(world.deliver(&sent(11, torn)).await.status, 400);
    let only = br#"{"events":[{"id":"o","n":"\ud83d"}]}"#;
    assert_eq!(world.deliver(&sent(12, only)).await.status, 400);
    assert_eq!(listed().await, 7);
}

#[tokio::test]
async fn a_source_that_takes_anything_takes_what_is_not_json() {
    let config = READERS.replace("secrets =", "expect = \"any\"\nsecrets =");
    let world = World::with_steps(&config, readers()).await;
    for (n, body) in [&br#""\ud83d""#[..], b"\xff", b"a=1", b""].into_iter().enumerate() {
        let token = world.accepted(&sent(n, body)).await;
        world.settle().await;
        assert_eq!(world.status(&token).await["error"]["kind"], "invalid");
    }
}

/// The second step's result, of a workflow whose first one waits for this answer.
async fn answered(answer: &str) -> (u16, Value) {
    let workflow = r#"
        [sources.default]
        scheme = "hmac-sha256"
        secrets = ["file:secret"]

        [[workflows.default.steps]]
        name = "ask"
        run = "callback"

        [[workflows.default.steps]]
        name = "told"
        run = "transform"
        jq = '{previous: $previous, step: $steps.ask, flag: ($previous | type == "object" and has("notJson"))}'
    "#;
    let world = World::start(workflow).await;
    let id: ExecutionId = world.accepted(&delivery("d", "{}")).await;
    world.settle().await;
    let (status, _) = post(&world, &callback(&world, &id, "ask", 1).await, answer).await;
    world.settle().await;
    assert_eq!(world.status(&id).await["status"], "completed", "{answer}");
    (u16::try_from(status).unwrap(), result(&world, &id, "told").await)
}

#[tokio::test]
async fn an_answer_that_is_no_readable_json_is_kept_as_text_and_breaks_no_later_step() {
    for answer in [r#"{"a":"\ud83d"}"#, r#"["\ude00"]"#, "1e400", &nested(200)] {
        let (status, told) = answered(answer).await;
        assert_eq!((status, &told["flag"]), (200, &json!(true)), "{answer}: {told}");
        assert_eq!(told["previous"]["text"], answer);
        assert_eq!(told["step"], told["previous"]);
    }
    for (answer, kept) in [
        (r#"{"a":"\ud83d\ude00"}"#, json!({ "a": "😀" })),
        ("yes", json!("yes")),
        ("\u{feff}{}", json!("\u{feff}{}")),
        ("", json!(null)),
    ] {
        let (status, told) = answered(answer).await;
        assert_eq!(
            (status, &told["flag"], &told["previous"]),
            (200, &json!(false), &kept),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_result_that_is_no_readable_json_is_kept_as_text() {
    async fn raw(input: Input) -> Result<Box<RawValue>, StepError> {
        let text = input.options["raw"].as_str().unwrap().to_owned();
        Ok(RawValue::from_string(text).unwrap())
    }
    let deep = nested(200);
    for text in [r#""\ud83d""#, "1e400", &deep] {
        let workflow = format!(
            r#"
            [sources.default]
            scheme = "hmac-sha256"
            secrets = ["file:secret"]

            [[workflows.default.steps]]
            name = "raw"
            run = "raw"
            raw = '{text}'

            [[workflows.default.steps]]
            name = "told"
            run = "transform"
            jq = '[$previous.text, ($previous | has("notJson"))]'
            "#
        );
        let world = World::with_steps(&workflow, Steps::new().with("raw", raw)).await;
        let id = world.accepted(&delivery("d", "{}")).await;
        world.settle().await;
        assert_eq!(result(&world, &id, "told").await, json!([text, true]));
    }
}

#[tokio::test]
async fn results_of_branches_that_are_too_deep_together_are_kept_as_text() {
    let workflow = r#"
        [sources.default]
        scheme = "hmac-sha256"
        secrets = ["file:secret"]

        [[workflows.default.steps]]
        name = "each"
        run = "map"
        items = '[., 1]'

        [[workflows.default.steps.steps]]
        name = "same"
        run = "transform"
        jq = '$item'

        [[workflows.default.steps]]
        name = "told"
        run = "transform"
        jq = '[$previous.ended, ($steps.each.results[0] | type), $previous.results[1]]'
    "#;
    let world = World::start(workflow).await;
    for (n, (depth, kind)) in
        [(10, "array"), (125, "array"), (126, "object")].into_iter().enumerate()
    {
        let id = world.accepted(&sent(n, nested(depth).as_bytes())).await;
        world.settle().await;
        assert_eq!(result(&world, &id, "told").await, json!(["all", kind, 1]), "{depth}");
    }
}

#[tokio::test]
async fn a_key_that_occurs_twice_is_read_alike_by_every_reader() {
    #[derive(serde::Deserialize)]
    struct Order {
        id: u32,
    }
    async fn typed(input: Input) -> Result<u32, StepError> {
        Ok(input.json::<Order>()?.id)
    }
    let workflow = r#"
        [sources.default]
        scheme = "hmac-sha256"
        secrets = ["file:secret"]

        [[workflows.default.steps]]
        name = "typed"
        run = "typed"

        [[workflows.default.steps]]
        name = "told"
        run = "transform"
        jq = '[.id, $previous]'
    "#;
    let world = World::with_steps(workflow, Steps::new().with("typed", typed)).await;
    let id = world.accepted(&delivery("d", r#"{"id": 1, "id": 2}"#)).await;
    world.settle().await;
    assert_eq!(result(&world, &id, "told").await, json!([2, 2]));
}
