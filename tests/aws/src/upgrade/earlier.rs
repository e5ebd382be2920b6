//! Tables, histories and rows as the version before the timers left them.

use std::fmt::Display;
use std::time::Duration;

use everhook_journal::{Clock, Execution, ExecutionId, Sequence, Timestamp, View};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use crate::Built;
use crate::deployment::Deployment;
use crate::dynamodb_local::{DynamoDbLocal, tables};
use crate::e2e::{completed, small};
use crate::events::Webhook;
use crate::target::Target;
use crate::template::Template;

/// How long an execution may take to come to where it is to be left.
const RESTS: Duration = Duration::from_secs(30);

/// After how many of its calls an execution is left in the next one.
const CALLED: usize = 4;

/// How an execution was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Story {
    /// Its webhook was recorded, and no step has run.
    Received,
    /// It waits for a time.
    Waiting,
    /// Its driver died in a call.
    Calling,
    /// It waits for an answer.
    Asked,
    Ended,
    Failed,
}

/// An execution as that version left it.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) story: Story,
    pub(super) token: String,
    /// Its items in the journal.
    items: Vec<Value>,
    /// Its events, as operators are shown them.
    pub(super) events: Vec<Value>,
    /// When its row says that it is due, if it is unfinished.
    pub(super) due: Option<Timestamp>,
    /// How many calls were made for it before.
    pub(super) called: usize,
    /// The paths that it still has to call.
    pub(super) owes: Vec<String>,
    /// Where its answer goes.
    pub(super) callback: Option<String>,
}

/// What that version left.
pub(super) struct Earlier {
    pub(super) left: Vec<Left>,
    /// The items of the definitions that histories are pinned to.
    pub(super) definitions: Vec<Value>,
    /// The host that was called.
    pub(super) target: Target,
}

impl Left {
    /// The webhook that caused it.
    pub(super) fn webhook(&self) -> Webhook {
        self.story.webhook()
    }
}

impl Story {
    const ALL: [Self; 6] =
        [Self::Received, Self::Waiting, Self::Calling, Self::Asked, Self::Ended, Self::Failed];

    fn webhook(self) -> Webhook {
        let source = match self {
            Self::Received | Self::Ended => "github",
            Self::Waiting => "waiting",
            Self::Calling => "calling",
            Self::Asked => "branching",
            // Its first step takes objects only.
            Self::Failed => return Webhook { body: b"[]".to_vec(), ..small("github", "failed") },
        };
        small(source, &format!("{self:?}"))
    }
}

/// Makes the tables as that version's template has them.
pub(super) async fn make_tables(dynamodb: &DynamoDbLocal) {
    let key = |hash: &str, range: &str| {
        json!([
            { "AttributeName": hash, "KeyType": "HASH" },
            { "AttributeName": range, "KeyType": "RANGE" },
        ])
    };
    let index = |name: &str, hash: &str, range: &str| {
        json!({
            "IndexName": name, "KeySchema": key(hash, range),
            "Projection": { "ProjectionType": "KEYS_ONLY" },
        })
    };
    let attributes = |all: &[(&str, &str)]| -> Value {
        all.iter()
            .map(|(name, kind)| json!({ "AttributeName": name, "AttributeType": kind }))
            .collect()
    };
    let journal = json!({
        "TableName": Template::table("JournalTable"),
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": attributes(&[("execution", "S"), ("sequence", "N")]),
        "KeySchema": key("execution", "sequence"),
        "StreamSpecification": { "StreamEnabled": true, "StreamViewType": "KEYS_ONLY" },
    });
    let executions = json!({
        "TableName": Template::table("ExecutionsTable"),
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": attributes(&[
            ("execution", "S"),
            ("due_shard", "N"),
            ("due_at", "S"),
            ("source", "S"),
            ("attention", "S"),
            ("created_at", "S"),
        ]),
        "KeySchema": [{ "AttributeName": "execution", "KeyType": "HASH" }],
        "GlobalSecondaryIndexes": [
            index("due", "due_shard", "due_at"),
            index("recent", "source", "created_at"),
            index("attention", "attention", "created_at"),
        ],
    });
    for table in [journal, executions] {
        let expire = json!({
            "TableName": table["TableName"],
            "TimeToLiveSpecification": { "AttributeName": "ttl", "Enabled": true },
        });
        dynamodb.call("CreateTable", &table).await;
        dynamodb.call("UpdateTimeToLive", &expire).await;
    }
}

/// Makes histories in a deployment of their own, and cuts them off where they are to be left.
pub(super) async fn histories(built: &Built) -> Earlier {
    let aws = Deployment::start(built, 2).await;
    let processor = aws.map("ProcessorFunction");
    let mut left = Vec::new();
    for story in Story::ALL {
        let token = aws.deliver(&story.webhook()).await.token();
        match story {
            Story::Asked => asked(&aws, &token).await,
            _ => drop(completed(&aws, &token).await),
        }
        left.push(leave(&aws, story, token).await);
    }
    processor.stop().await;
    let scan = json!({
        "TableName": Template::table("JournalTable"),
        "FilterExpression": "begins_with(execution, :workflow)",
        "ExpressionAttributeValues": { ":workflow": { "S": "workflow#" } },
    });
    let definitions = aws.dynamodb.call("Scan", &scan).await["Items"].as_array().cloned();
    Earlier { left, definitions: definitions.unwrap_or_default(), target: aws.target.clone() }
}

/// Waits until the execution rests on an answer, with both calls of its branches behind it.
async fn asked(aws: &Deployment, token: &str) {
    let latest = Instant::now() + RESTS;
    loop {
        sleep(Duration::from_millis(300)).await;
        let calls = aws.target.calls_for(token);
        let called = calls.iter().filter(|call| call.ended.is_some()).count();
        if called == 2 && aws.status_of(token).await["status"] == "waiting" {
            return;
        }
        assert!(Instant::now() < latest, "it does not come to rest: {token}, {calls:?}");
    }
}

async fn leave(aws: &Deployment, story: Story, token: String) -> Left {
    let mut items = items(&aws.dynamodb, &token).await;
    let shown = aws.part_of(&token, "events").await.json();
    let shown = shown["events"].as_array().cloned().unwrap_or_default();
    let calls: Vec<_> = aws.target.calls_for(&token);
    let now = Clock::System.now();
    let (appends, due, owes) = match story {
        Story::Received => (1, Some(now), Vec::new()),
        // The webhook, and that it waits.
        Story::Waiting => (2, Some(now), Vec::new()),
        // The last append that is kept has the claim of a call that nothing is known of.
        Story::Calling => {
            let paths = (CALLED + 1..=10).map(|step| format!("/step-{step}")).collect();
            (CALLED + 1, Some(now), paths)
        }
        Story::Asked => {
            let due = now + Duration::from_secs(60);
            (items.len(), Some(due), vec!["/after".to_owned()])
        }
        Story::Ended | Story::Failed => (items.len(), None, Vec::new()),
    };
    if story == Story::Calling {
        // The claim of the first call may be an append of its own.
        let own = items.len() - 11;
        items.truncate(appends + own);
    } else {
        items.truncate(appends);
    }
    let callback = calls.iter().find_map(|call| call.body["answerTo"].as_str().map(str::to_owned));
    let after = items.len();
    let last = sequence(&items[after - 1]);
    let next = self::next(aws, &token, last).await;
    let events = shown.into_iter().take(next).collect();
    // That version's items had neither a place in an index nor a time until which they rest.
    for item in &mut items {
        let item = item.as_object_mut().unwrap();
        item.remove("received");
        item.remove("until");
    }
    Left { story, token, items, events, due, called: calls.len(), owes, callback }
}

/// How many events a history has up to and with the append at this sequence.
async fn next(aws: &Deployment, token: &str, last: u64) -> usize {
    let journal = tables().journal_in(&aws.dynamodb.store(), Clock::System);
    let id = ExecutionId::parse(token).unwrap();
    let history = journal.read(&id, Sequence::START).await.unwrap();
    history.iter().filter(|recorded| recorded.first.get() <= last).count()
}

fn sequence(item: &Value) -> u64 {
    item["sequence"]["N"].as_str().unwrap().parse().unwrap()
}

/// The items of a history, in order.
async fn items(dynamodb: &DynamoDbLocal, token: &str) -> Vec<Value> {
    let query = json!({
        "TableName": Template::table("JournalTable"),
        "KeyConditionExpression": "execution = :id",
        "ExpressionAttributeValues": { ":id": { "S": token } },
    });
    dynamodb.call("Query", &query).await["Items"].as_array().cloned().unwrap_or_default()
}

/// Puts histories, the definitions that they are pinned to, and rows into the tables of that version.
pub(super) async fn put(dynamodb: &DynamoDbLocal, all: &[Left], definitions: &[Value]) {
    let put = async |table: &str, item: &Value| {
        let put = json!({ "TableName": Template::table(table), "Item": item });
        dynamodb.call("PutItem", &put).await;
    };
    for definition in definitions {
        put("JournalTable", definition).await;
    }
    for left in all {
        for item in &left.items {
            put("JournalTable", item).await;
        }
        let journal = tables().journal_in(&dynamodb.store(), Clock::System);
        let id = ExecutionId::parse(&left.token).unwrap();
        let history = journal.read(&id, Sequence::START).await.unwrap();
        let execution = Execution::fold(&history).unwrap().unwrap();
        put("ExecutionsTable", &row(&View::of(&id, &execution), left.due)).await;
    }
}

/// The row of an execution as that version wrote it; with a due time while it is unfinished.
fn row(view: &View, due: Option<Timestamp>) -> Value {
    let text = |text: &str| json!({ "S": text });
    let as_json = |value: Value| text(&value.to_string());
    let mut row = Map::from_iter([
        ("execution".to_owned(), text(view.execution.as_str())),
        ("status".to_owned(), text(view.status.as_str())),
        ("source".to_owned(), text(view.source.as_str())),
        ("delivery_id".to_owned(), text(view.delivery_id.as_str())),
        ("workflow".to_owned(), text(view.workflow.as_str())),
        ("created_at".to_owned(), text(&view.created_at.to_string())),
        ("updated_at".to_owned(), text(&view.updated_at.to_string())),
        ("keys".to_owned(), as_json(json!(view.keys))),
        ("key_count".to_owned(), number(view.key_count)),
        ("steps".to_owned(), as_json(json!(view.steps))),
        ("sequence".to_owned(), number(view.sequence.get())),
        ("ttl".to_owned(), number(view.expires_at.to_ttl_seconds())),
    ]);
    let mut optional = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            row.insert(name.to_owned(), value);
        }
    };
    optional("current_step", view.current_step.as_ref().map(|step| text(step.as_str())));
    optional("workflow_hash", view.workflow_hash.as_ref().map(|hash| text(hash.as_str())));
    optional("head", view.head.as_ref().map(|head| text(&head.to_string())));
    optional("event_type", view.event_type.as_deref().map(text));
    optional("error", view.error.as_ref().map(|error| as_json(json!(error))));
    optional("attention", view.error.as_ref().map(|_| text(view.status.as_str())));
    optional("due_at", due.map(|due| text(&due.to_string())));
    optional("due_shard", due.map(|_| number(3)));
    optional("generation", due.map(|_| number(1)));
    Value::Object(row)
}

fn number(number: impl Display) -> Value {
    json!({ "N": number.to_string() })
}
