//! A stack of a version before the timers is upgraded in place, in the updates that docs/deploy.md lists.
//!
//! DynamoDB Local has the tables as that version's template made them, with histories and rows as that version left
//! them. Each update changes the tables as CloudFormation would; the functions are those of this version.

mod earlier;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::Built;
use crate::checks::Checks;
use crate::deployment::Deployment;
use crate::dynamodb_local::DynamoDbLocal;
use crate::e2e::{completed_within, small};
use crate::template::{TABLES, Template};

use earlier::{Earlier, Left, Story};

/// The page, and the section of it, that says how to upgrade.
const PAGE: &str = include_str!("../../../docs/deploy.md");
const SECTION: &str = "### Upgrading from rows to timers\n";

/// The parameter that each update sets.
const PARAMETER: &str = "EarlierIndexes";

/// How long an index may take to be made or removed.
const INDEXED: Duration = Duration::from_secs(30);

/// How long an execution may take whose earlier driver died in a call: its claim has to end, then it is driven alone.
const ENDS: Duration = Duration::from_secs(60);

/// How often the sweep is started here.
const SWEPT: Duration = Duration::from_secs(1);

/// How long a sweep may take.
const SWEEP: Duration = Duration::from_secs(20);

pub(crate) async fn run(built: &Built, checks: &mut Checks) {
    let updates = updates();
    let expected = ["due-and-recent", "recent", "none"];
    checks.that("docs/deploy.md lists three updates", updates == expected, format!("{updates:?}"));

    let Earlier { left, definitions, target } = earlier::histories(built).await;
    let dynamodb = DynamoDbLocal::start(None).await;
    earlier::make_tables(&dynamodb).await;
    earlier::put(&dynamodb, &left, &definitions).await;
    let template = |value: &str| Template::load(&built.template).with(PARAMETER, value);

    let at_once = Update::of(&dynamodb, &template("none")).await;
    let (refused, error) = at_once.is_refused(&dynamodb).await;
    checks.that("DynamoDB refuses to remove both indexes at once", refused, error);

    let first = Update::of(&dynamodb, &template(&updates[0])).await;
    one_index(&first, checks);
    first.apply(&dynamodb).await;
    let aws = Deployment::over(built, template(&updates[0]), dynamodb, target, 2).await;
    aws.sweep.invoke_within(minute(), SWEEP).await.unwrap();
    let owed = left.iter().filter(|left| left.due.is_some()).count();
    let line = format!("took over {owed} rows of an earlier version");
    let told = aws.lines.lock().unwrap().iter().any(|it| it.contains(&line));
    checks.that(&format!("the sweep's log says `{line}`"), told, "it does not");
    let due = still_due(&aws).await;
    checks.that("the index `due` is empty then", due == 0, due);
    unfinished_executions_end(&aws, &left, checks).await;
    histories_are_whole(&aws, &left, checks).await;
    // Only now: the records of what was put here are none of the earlier version's, whose processor had taken them.
    let mappings = [aws.map("ProcessorFunction"), aws.map("ProjectorFunction")];
    let new = aws.deliver(&small("waiting", "after-the-first-update")).await.token();
    ends(&aws, "a new webhook", &new, checks).await;
    let ended = find(&left, Story::Ended);
    let again = aws.deliver(&ended.webhook()).await.json();
    let known = again["duplicate"] == true && again["executionToken"] == ended.token.as_str();
    checks.that("a redelivery of an earlier webhook is known", known, &again);
    are_listed(&aws, &left, &new, checks).await;

    let second = Update::of(&aws.dynamodb, &template(&updates[1])).await;
    one_index(&second, checks);
    second.apply(&aws.dynamodb).await;
    let new = aws.deliver(&small("waiting", "after-the-second-update")).await.token();
    ends(&aws, "without the index `due` a new webhook", &new, checks).await;
    are_listed(&aws, &left, &new, checks).await;

    let third = Update::of(&aws.dynamodb, &template(&updates[2])).await;
    one_index(&third, checks);
    third.apply(&aws.dynamodb).await;
    let new = aws.deliver(&small("waiting", "after-the-third-update")).await.token();
    ends(&aws, "without the index `recent` a new webhook", &new, checks).await;
    let status = aws.status_of(&ended.token).await;
    checks.that(
        "earlier executions are shown all the same",
        status["status"] == "completed",
        &status,
    );
    let rest = Update::of(&aws.dynamodb, &template("none")).await;
    checks.that("the tables are those of a new stack", rest.is_empty(), format!("{rest:?}"));
    for mapping in mappings {
        mapping.stop().await;
    }
    no_errors(&aws, checks);
}

/// The values that the page tells to deploy, in its order.
fn updates() -> Vec<String> {
    let (_, section) = PAGE.split_once(SECTION).expect("docs/deploy.md has the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let commands = section.split('`').filter(|code| code.contains("sam deploy"));
    let value = |command: &str| {
        let (_, value) = command.split_once(&format!("{PARAMETER}="))?;
        Some(value.split_whitespace().next()?.to_owned())
    };
    commands.filter_map(value).collect()
}

/// What an update of the stack changes in the tables.
#[derive(Debug)]
struct Update {
    /// The calls, in order; of an existing table one, with all its indexes.
    calls: Vec<(&'static str, Value)>,
    /// The indexes that are made or removed, by table.
    indexes: BTreeMap<&'static str, Vec<String>>,
}

impl Update {
    /// The way from the tables as they are to those of a template.
    async fn of(dynamodb: &DynamoDbLocal, template: &Template) -> Self {
        let (mut calls, mut indexes) = (Vec::new(), BTreeMap::new());
        let listed = dynamodb.call("ListTables", &json!({})).await;
        for table in TABLES {
            let [create, expire] = template.table_calls(table);
            let name = Value::String(Template::table(table));
            if !listed["TableNames"].as_array().is_some_and(|names| names.contains(&name)) {
                calls.extend([create, expire]);
                continue;
            }
            let described = dynamodb.call("DescribeTable", &json!({ "TableName": name })).await;
            let is: BTreeSet<_> = index_names(&described["Table"]);
            let wanted = index_names(&create.1);
            let removed = is
                .difference(&wanted)
                .map(|index| (format!("-{index}"), json!({ "Delete": { "IndexName": index } })));
            let made = wanted.difference(&is).map(|index| {
                let mut indexes =
                    create.1["GlobalSecondaryIndexes"].as_array().into_iter().flatten();
                let found = indexes.find(|it| it["IndexName"] == index.as_str()).cloned();
                (format!("+{index}"), json!({ "Create": found }))
            });
            let (names, changes): (Vec<_>, Vec<_>) = removed.chain(made).unzip();
            if !changes.is_empty() {
                indexes.insert(table, names);
                let update = json!({
                    "TableName": name,
                    "AttributeDefinitions": create.1["AttributeDefinitions"],
                    "GlobalSecondaryIndexUpdates": changes,
                });
                calls.push(("UpdateTable", update));
            }
        }
        Self { calls, indexes }
    }

    fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Makes the calls, and waits for the indexes.
    async fn apply(&self, dynamodb: &DynamoDbLocal) {
        for (operation, body) in &self.calls {
            dynamodb.call(operation, body).await;
            let latest = Instant::now() + INDEXED;
            while !is_active(dynamodb, &body["TableName"]).await {
                assert!(Instant::now() < latest, "{} does not come to rest", body["TableName"]);
                sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// Whether a call of it changes two indexes of a table, and is refused; with the error.
    async fn is_refused(&self, dynamodb: &DynamoDbLocal) -> (bool, String) {
        let two = self.calls.iter().find(|(_, body)| {
            body["GlobalSecondaryIndexUpdates"].as_array().is_some_and(|all| all.len() > 1)
        });
        let Some((operation, body)) = two else { return (false, format!("{self:?}")) };
        let error = dynamodb.refused(operation, body).await;
        (error.is_some(), error.unwrap_or_else(|| "it was accepted".to_owned()))
    }
}

fn index_names(table: &Value) -> BTreeSet<String> {
    let indexes = table["GlobalSecondaryIndexes"].as_array().into_iter().flatten();
    indexes.filter_map(|index| index["IndexName"].as_str().map(str::to_owned)).collect()
}

/// Whether a table and all its indexes are in use.
async fn is_active(dynamodb: &DynamoDbLocal, name: &Value) -> bool {
    let table = dynamodb.call("DescribeTable", &json!({ "TableName": name })).await;
    let table = &table["Table"];
    let mut indexes = table["GlobalSecondaryIndexes"].as_array().into_iter().flatten();
    table["TableStatus"] == "ACTIVE" && indexes.all(|index| index["IndexStatus"] == "ACTIVE")
}

/// CloudFormation makes or removes one index of a table in an update.
fn one_index(update: &Update, checks: &mut Checks) {
    let told: Vec<_> = update.indexes.values().map(|changes| changes.join(" ")).collect();
    let one = update.indexes.values().all(|changes| changes.len() == 1);
    let name = format!("an update changes one index of a table at most: {}", told.join(", "));
    checks.that(&name, one && !update.indexes.is_empty(), format!("{:?}", update.indexes));
}

/// What the page tells to look for before the index `due` is removed.
async fn still_due(aws: &Deployment) -> u64 {
    let mut count = 0;
    for shard in 0..8 {
        let query = json!({
            "TableName": Template::table("ExecutionsTable"),
            "IndexName": "due",
            "Select": "COUNT",
            "KeyConditionExpression": "due_shard = :s",
            "ExpressionAttributeValues": { ":s": { "N": shard.to_string() } },
        });
        count += aws.dynamodb.call("Query", &query).await["Count"].as_u64().unwrap_or_default();
    }
    count
}

fn minute() -> Value {
    json!({ "time": "2026-11-25T12:00:00Z" })
}

fn find(left: &[Left], story: Story) -> &Left {
    left.iter().find(|left| left.story == story).expect("every story is there")
}

async fn unfinished_executions_end(aws: &Deployment, left: &[Left], checks: &mut Checks) {
    let asked = find(left, Story::Asked);
    let answer = json!({ "ok": true });
    let told = aws.call_back(asked.callback.as_deref().unwrap_or_default(), &answer).await;
    checks.that("a callback of an earlier execution is answered", told.status == 200, told.status);
    let swept = async {
        loop {
            sleep(SWEPT).await;
            aws.sweep.invoke_within(minute(), SWEEP).await.ok();
        }
    };
    let ended = async {
        let mut unfinished = Vec::new();
        for left in left.iter().filter(|left| left.due.is_some()) {
            let status = completed_within(aws, &left.token, ENDS).await;
            if status["status"] != "completed" {
                unfinished.push(format!("{:?}: {status}", left.story));
            }
        }
        unfinished
    };
    let unfinished = tokio::select! {
        unfinished = ended => unfinished,
        () = swept => unreachable!("it is swept without an end"),
    };
    let name = "executions that were received, waited, called or asked come to their end";
    checks.that(name, unfinished.is_empty(), format!("{unfinished:?}"));
    let mut wrong = Vec::new();
    for left in left {
        let calls = aws.target.calls_for(&left.token);
        let called: Vec<_> = calls[left.called..].iter().map(|call| call.path.as_str()).collect();
        if called != left.owes {
            wrong.push(format!("{:?} owed {:?} and called {called:?}", left.story, left.owes));
        }
    }
    let name = "no call is made whose outcome was recorded, and every other one once";
    checks.that(name, wrong.is_empty(), format!("{wrong:?}"));
}

async fn histories_are_whole(aws: &Deployment, left: &[Left], checks: &mut Checks) {
    let (mut wrong, mut touched) = (Vec::new(), Vec::new());
    for left in left {
        let events = aws.part_of(&left.token, "events").await.json();
        let events = events["events"].as_array().cloned().unwrap_or_default();
        if events.len() < left.events.len() || events[..left.events.len()] != left.events[..] {
            wrong.push(format!("{:?}: {events:?}", left.story));
        }
        let verified = aws.part_of(&left.token, "verification").await.json();
        if verified["touched"] != json!([]) {
            touched.push(format!("{:?}: {verified}", left.story));
        }
    }
    let name = "every earlier event is in its history as it was";
    checks.that(name, wrong.is_empty(), format!("{wrong:?}"));
    let name = "and every history adds up";
    checks.that(name, touched.is_empty(), format!("{touched:?}"));
}

async fn ends(aws: &Deployment, what: &str, token: &str, checks: &mut Checks) {
    aws.sweep.invoke_within(minute(), SWEEP).await.unwrap();
    let status = completed_within(aws, token, ENDS).await;
    checks.that(&format!("{what} comes to its end"), status["status"] == "completed", &status);
}

/// Earlier executions and new ones are in one list.
async fn are_listed(aws: &Deployment, left: &[Left], new: &str, checks: &mut Checks) {
    let listed = aws.list().await;
    let listed = listed["executions"].as_array().cloned().unwrap_or_default();
    let tokens: BTreeSet<_> =
        listed.iter().filter_map(|shown| shown["executionToken"].as_str()).collect();
    let wanted = left.iter().map(|left| left.token.as_str()).chain([new]);
    let missing: Vec<_> = wanted.filter(|token| !tokens.contains(token)).collect();
    let name = format!("all {} earlier executions are listed with the new ones", left.len());
    checks.that(&name, missing.is_empty(), format!("{missing:?} of {listed:?}"));
}

/// No function logs an error: each takes the tables as it finds them.
fn no_errors(aws: &Deployment, checks: &mut Checks) {
    let lines = aws.lines.lock().unwrap();
    let error = lines.iter().find(|line| line.contains("\"level\":\"ERROR\""));
    checks.that("no function logs an error", error.is_none(), error.cloned().unwrap_or_default());
}
