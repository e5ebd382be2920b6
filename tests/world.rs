//! A deployment in memory, whose time only moves when a test says so.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use aws_lambda_events::encodings::Body;
use aws_lambda_events::http::{HeaderMap, HeaderName, HeaderValue, Method};
use aws_sdk_dynamodbstreams::types::{AttributeValue, ShardIteratorType};
use everhook::Steps;
use everhook::local::{Engine, Parts};
use everhook_ingest::Sources;
use everhook_ingest::signature::Key;
use everhook_journal::config::Config;
use everhook_journal::event::Events;
use everhook_journal::schema::Tables;
use everhook_journal::secret::Secret;
use everhook_journal::store::{Item, Store};
use everhook_journal::stream::{Batch, BatchResponse};
use everhook_journal::table::Draft;
use everhook_journal::{
    Clock, Event, ExecutionId, Head, Payloads, Recorded, Secrets, Sequence, SourceName, Timer,
    Timestamp, id,
};
use everhook_processor::advance::unknown_lane;
use everhook_processor::expression::worker;
use everhook_processor::sweep::{HandOver, SWEEP_EVERY};
use everhook_processor::{Cause, Invocation, Wake};
use object_store::memory::InMemory;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::hooked::{Hook, hooked};

/// When every world begins.
pub(crate) const BEGINNING: Timestamp = Timestamp::from_millis(1_795_486_845_000);

/// The secret of every source in a test's configuration.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A source and a workflow of one step that only looks.
pub(crate) const PLAIN: &str = r#"
    [sources.default]
    scheme = "hmac-sha256"
    secrets = ["file:secret"]

    [[workflows.default.steps]]
    name = "validate"
    run = "validate"
"#;

/// How long an invocation lasts at most.
const INVOCATION: Duration = Duration::from_secs(60);

/// How many rounds a world may need to come to rest.
const ROUNDS_MAX: usize = 200;

pub(crate) struct World {
    pub(crate) parts: Parts,
    pub(crate) engine: Engine,
    pub(crate) objects: Arc<InMemory>,
    time: Arc<AtomicI64>,
    /// When the audit has run last.
    audited_at: AtomicI64,
    sources: Sources,
    iterator: tokio::sync::Mutex<Option<String>>,
    _folder: TempDir,
}

/// What a sender sends.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) source: &'static str,
    pub(crate) id: String,
    pub(crate) event_type: Option<&'static str>,
    pub(crate) body: Vec<u8>,
}

/// What a sender is told.
#[derive(Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) status: i64,
    pub(crate) body: Value,
}

impl Told {
    #[track_caller]
    pub(crate) fn token(&self) -> ExecutionId {
        assert_eq!(self.status, 202, "{:?}", self.body);
        ExecutionId::parse(self.body["executionToken"].as_str().unwrap()).unwrap()
    }
}

pub(crate) fn delivery(id: &str, body: &str) -> Delivery {
    Delivery { source: "default", id: id.into(), event_type: None, body: body.into() }
}

impl World {
    pub(crate) async fn start(config: &str) -> Self {
        Self::with_steps(config, Steps::new()).await
    }

    pub(crate) async fn with_steps(config: &str, steps: Steps) -> Self {
        Self::over(Engine::in_memory().unwrap(), config, steps).await
    }

    /// A world over an engine that may hold an earlier world's tables.
    pub(crate) async fn over(engine: Engine, config: &str, steps: Steps) -> Self {
        Self::with_secrets(engine, config, steps, |secrets| secrets).await
    }

    /// A world whose secrets are changed by `with` before anything reads them.
    pub(crate) async fn with_secrets(
        engine: Engine,
        config: &str,
        steps: Steps,
        with: impl FnOnce(Secrets) -> Secrets,
    ) -> Self {
        Self::build(engine, |store| store, config, steps, with).await
    }

    /// A world in which something happens right before an append.
    pub(crate) async fn hooked(config: &str, steps: Steps, hook: Hook) -> Self {
        let engine = Engine::in_memory().unwrap();
        Self::build(engine, |store| hooked(store, hook), config, steps, |secrets| secrets).await
    }

    async fn build(
        engine: Engine,
        through: impl FnOnce(Store) -> Store,
        config: &str,
        steps: Steps,
        with: impl FnOnce(Secrets) -> Secrets,
    ) -> Self {
        worker::offer_program(env!("CARGO_BIN_EXE_everhook"), [worker::ARGUMENT]);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), SECRET).unwrap();
        std::fs::write(folder.path().join("other-secret"), "another secret").unwrap();
        let config = Config::parse(config, folder.path().to_owned()).unwrap();
        let secrets = Secrets::new(folder.path().to_owned(), Some(folder.path().to_owned()));
        let secrets = with(secrets);
        let time = Arc::new(AtomicI64::new(BEGINNING.as_millis()));
        let client = engine.dynamodb();
        let objects = Arc::new(InMemory::new());
        Tables::default().create(&client).await.unwrap();
        // One key for all worlds, so that one delivery has one token in all of them.
        for name in ["execution-key", "callback-key"] {
            std::fs::write(folder.path().join(name), "the key of every world").unwrap();
        }
        let mut parts = Parts::new(
            &config,
            &secrets,
            steps,
            through(Store::new(client)),
            Payloads::new(objects.clone()),
            Clock::Manual(time.clone()),
            "https://hooks.example.com",
        )
        .await
        .unwrap();
        // Records and timers wake executions when a test says so, and nothing else does.
        Arc::get_mut(&mut parts.ingest).unwrap().teller = None;
        parts.ingest.publish().await.unwrap();
        let sources = Sources::from_config(&config, &secrets).unwrap();
        let iterator = tokio::sync::Mutex::new(None);
        let audited_at = AtomicI64::new(0);
        Self { parts, engine, objects, time, audited_at, sources, iterator, _folder: folder }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.time.load(Ordering::SeqCst))
    }

    /// The clock of another process, which is so far behind.
    pub(crate) fn turn_back(&self, duration: Duration) {
        self.time.fetch_sub(i64::try_from(duration.as_millis()).unwrap(), Ordering::SeqCst);
    }

    pub(crate) fn pass(&self, duration: Duration) {
        self.time.fetch_add(i64::try_from(duration.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// The request with which the sender would send this.
    pub(crate) fn signed(&self, delivery: &Delivery) -> ApiGatewayV2httpRequest {
        let scheme = &self.sources.find(&SourceName::new(delivery.source)).scheme;
        let headers = scheme.sign(&delivery.id, delivery.event_type, &delivery.body, self.now());
        request(delivery.source, &headers, &delivery.body)
    }

    /// Sends it as the sender would.
    pub(crate) async fn deliver(&self, delivery: &Delivery) -> Told {
        self.send(self.signed(delivery)).await
    }

    /// Sends it and returns its execution.
    pub(crate) async fn accepted(&self, delivery: &Delivery) -> ExecutionId {
        self.deliver(delivery).await.token()
    }

    pub(crate) async fn send(&self, request: ApiGatewayV2httpRequest) -> Told {
        told(everhook_ingest::handle(&self.parts.ingest, request).await)
    }

    /// The stream's records that nobody has taken yet.
    pub(crate) async fn records(&self) -> Vec<Value> {
        let streams = self.engine.streams();
        let mut iterator = self.iterator.lock().await;
        if iterator.is_none() {
            let listed = streams.list_streams().table_name("journal").send().await.unwrap();
            let arn = listed.streams()[0].stream_arn().unwrap().to_owned();
            let stream = streams.describe_stream().stream_arn(&arn).send().await.unwrap();
            let shard = stream.stream_description().unwrap().shards()[0].shard_id().unwrap();
            let first = streams
                .get_shard_iterator()
                .stream_arn(&arn)
                .shard_id(shard)
                .shard_iterator_type(ShardIteratorType::TrimHorizon)
                .send()
                .await
                .unwrap();
            *iterator = first.shard_iterator;
        }
        let page = streams.get_records().set_shard_iterator(iterator.clone()).send().await.unwrap();
        *iterator = page.next_shard_iterator;
        page.records.unwrap_or_default().into_iter().map(to_json).collect()
    }

    pub(crate) async fn process(&self, records: &[Value]) -> BatchResponse {
        let invocation = Invocation::from_json(json!({ "Records": records }));
        let deadline = self.now() + INVOCATION;
        everhook_processor::handle(&self.parts.supervisor, invocation, deadline).await
    }

    pub(crate) async fn project(&self, records: &[Value]) -> BatchResponse {
        let batch = Batch::from_json(json!({ "Records": records }));
        everhook_projector::handle(&self.parts.projector, batch).await
    }

    /// Claims the timers that are due now, and says with which invocations they are handed over.
    pub(crate) async fn claim(&self) -> Vec<Invocation> {
        let claimed = Mutex::new(Vec::new());
        let hand_over = |handed_over| {
            if let HandOver::Now(invocation) = handed_over {
                claimed.lock().unwrap().push(invocation);
            }
            ready(true)
        };
        self.parts.sweep.look(Duration::ZERO, self.now() + INVOCATION, hand_over).await;
        claimed.into_inner().unwrap()
    }

    /// Looks for what would be forgotten, each minute, then fires what is due now; says how many timers that were.
    pub(crate) async fn sweep(&self) -> usize {
        let now = self.now().as_millis();
        let every = i64::try_from(SWEEP_EVERY.as_millis()).unwrap();
        if self.audited_at.load(Ordering::SeqCst) + every <= now {
            self.audited_at.store(now, Ordering::SeqCst);
            self.parts.audit.run(self.now() + INVOCATION).await.unwrap();
        }
        self.fire().await
    }

    /// Fires what is due now; says how many timers that were.
    pub(crate) async fn fire(&self) -> usize {
        let invocations = self.claim().await;
        let fired = invocations.iter().map(Invocation::many).sum();
        for invocation in invocations {
            let payload = invocation.to_json().unwrap();
            let invocation = Invocation::from_json(payload);
            let deadline = self.now() + INVOCATION;
            everhook_processor::handle(&self.parts.supervisor, invocation, deadline).await;
        }
        fired
    }

    /// Fires what is due now, and waits for none of the drives: a drive that is under way is only told.
    pub(crate) async fn tell(&self) {
        for invocation in self.claim().await {
            let Invocation::Due(fired) = invocation else { panic!("{invocation:?}") };
            for fired in fired {
                let wake = Wake::fired(fired, Cause::Due);
                self.parts.supervisor.hand_over(wake, &unknown_lane());
            }
        }
    }

    /// All timers.
    pub(crate) async fn timers(&self) -> Vec<Timer> {
        let mut timers = self.parts.status.timers.first(1_000).await.unwrap().0;
        timers.sort();
        timers
    }

    /// Appends these events, those of one part together, as drivers did that have died since.
    pub(crate) async fn append<'e>(
        &self,
        execution: &ExecutionId,
        parts: impl IntoIterator<Item = &'e [Recorded]>,
    ) {
        let before = self.history(execution).await;
        let mut head = before.last().map_or(Head::START, Recorded::head);
        let mut first = before.into_iter().next();
        for part in parts {
            let first = first.get_or_insert_with(|| part[0].clone());
            let Event::WebhookReceived(webhook) = &first.event else { panic!("{first:?}") };
            let events = part.iter().map(|recorded| recorded.event.clone()).collect();
            let draft = Draft {
                after: head,
                events: Events::new(events).unwrap(),
                at: part[0].at,
                expires_at: webhook.expires_at,
                until: None,
                name: id::fresh(),
            };
            let recorded = self.parts.ingest.journal.append(execution, draft).await.unwrap();
            head = recorded.last().unwrap().head();
        }
    }

    /// Delivers records and fires what is due, until nothing moves. Time stands still.
    pub(crate) async fn settle(&self) {
        for _ in 0..ROUNDS_MAX {
            let records = self.records().await;
            assert_eq!(self.process(&records).await, BatchResponse::Complete);
            assert_eq!(self.parts.supervisor.busy(), 0, "drives outlived their invocation");
            assert_eq!(self.project(&records).await, BatchResponse::Complete);
            if self.sweep().await == 0 && records.is_empty() {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    /// Lets time pass in steps, settling after each.
    pub(crate) async fn live_through(&self, duration: Duration, step: Duration) {
        let end = self.now() + duration;
        while self.now() < end {
            self.settle().await;
            self.pass(step);
        }
        self.settle().await;
    }

    pub(crate) async fn get(&self, path: &str) -> Told {
        told(self.parts.status.handle(query(path)).await)
    }

    /// The status. Whatever a test did to an execution, nobody touched its history.
    pub(crate) async fn status(&self, id: &ExecutionId) -> Value {
        let told = self.get(&format!("/executions/{id}/verification")).await;
        assert_eq!((told.status, &told.body["touched"]), (200, &json!([])));
        let appends = told.body["appends"].as_array().unwrap();
        assert!(appends.iter().all(|append| append["chained"] == true), "{appends:?}");
        let told = self.get(&format!("/status/{id}")).await;
        assert_eq!(told.status, 200, "{:?}", told.body);
        told.body
    }

    pub(crate) async fn history(&self, id: &ExecutionId) -> Vec<Recorded> {
        self.parts.ingest.journal.read(id, Sequence::START).await.unwrap()
    }

    /// The history in short: `StepFailed flaky 1`. Every attempt that acts is claimed: that is left out.
    pub(crate) async fn story(&self, id: &ExecutionId) -> Vec<String> {
        story(&self.history(id).await)
    }

    /// How many attempts were claimed.
    pub(crate) async fn claims(&self, id: &ExecutionId) -> usize {
        let history = self.history(id).await;
        history.iter().filter(|it| matches!(it.event, Event::StepClaimed { .. })).count()
    }
}

/// A history in short, without its claims.
pub(crate) fn story(history: &[Recorded]) -> Vec<String> {
    let told = history.iter().filter(|it| !matches!(it.event, Event::StepClaimed { .. }));
    told.map(|recorded| in_short(&recorded.event)).collect()
}

/// An event in short, without its times.
pub(crate) fn in_short(event: &Event) -> String {
    match event {
        Event::StepCompleted { step, attempt, .. } => format!("StepCompleted {step} {attempt}"),
        Event::StepFailed { step, attempt, error, .. } => {
            format!("StepFailed {step} {attempt} {}", error.kind)
        }
        Event::ExecutionFailed { cause } => format!("ExecutionFailed {}", cause.kind),
        event => event.name().to_owned(),
    }
}

/// The request of somebody who signs with this secret, whatever the source knows.
pub(crate) fn signed_with(secret: &str, delivery: &Delivery) -> ApiGatewayV2httpRequest {
    let key = Key::new(&Secret::new("a sender's", secret), secret.as_bytes()).unwrap();
    let digits = data_encoding::HEXLOWER.encode(&key.sign(&[&delivery.body]));
    let headers = [
        ("x-webhook-signature".to_owned(), format!("sha256={digits}")),
        ("x-github-delivery".to_owned(), delivery.id.clone()),
    ];
    request(delivery.source, &headers, &delivery.body)
}

/// A wake-up as the record of a first append causes it.
pub(crate) fn woken(execution: &ExecutionId) -> Wake {
    Wake::new(execution.clone(), Cause::Received)
}

/// The size of an item as DynamoDB bills it: its names and values.
pub(crate) fn item_bytes(item: &Item) -> usize {
    use aws_sdk_dynamodb::types::AttributeValue;
    let value = |value: &AttributeValue| match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::Bool(_) => 1,
        AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        value => panic!("{value:?}"),
    };
    item.iter().map(|(name, it)| name.len() + value(it)).sum()
}

/// A client for a server on this machine.
pub(crate) fn client() -> reqwest::Client {
    everhook_journal::environment::prepare_tls();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// A request with these headers, as API Gateway hands it over.
pub(crate) fn request(
    source: &str,
    headers: &[(String, String)],
    body: &[u8],
) -> ApiGatewayV2httpRequest {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::try_from(name.as_str()).unwrap();
        map.append(name, HeaderValue::from_str(value).unwrap());
    }
    let mut request = ApiGatewayV2httpRequest::default();
    request.raw_path = Some(format!("/webhook/{source}"));
    request.headers = map;
    request.request_context.http.method = Method::POST;
    request.request_context.request_id = Some("request-1".into());
    match std::str::from_utf8(body) {
        Ok(text) => request.body = Some(text.to_owned()),
        Err(_) => {
            request.body = Some(data_encoding::BASE64.encode(body));
            request.is_base64_encoded = true;
        }
    }
    request
}

fn query(path: &str) -> ApiGatewayV2httpRequest {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut request = ApiGatewayV2httpRequest::default();
    request.raw_path = Some(path.to_owned());
    request.raw_query_string = Some(query.to_owned());
    request.request_context.http.method = Method::GET;
    request
}

fn told(response: ApiGatewayV2httpResponse) -> Told {
    let body = match response.body {
        Some(Body::Text(text)) => serde_json::from_str(&text).unwrap(),
        Some(Body::Binary(bytes)) => json!(data_encoding::HEXLOWER.encode(&bytes)),
        _ => Value::Null,
    };
    Told { status: response.status_code, body }
}

/// A record as Lambda hands it over.
fn to_json(record: aws_sdk_dynamodbstreams::types::Record) -> Value {
    let change = record.dynamodb.unwrap();
    let keys: BTreeMap<_, _> = change
        .keys
        .unwrap()
        .into_iter()
        .map(|(name, value)| match value {
            AttributeValue::S(text) => (name, json!({ "S": text })),
            AttributeValue::N(digits) => (name, json!({ "N": digits })),
            value => panic!("no key of ours is {value:?}"),
        })
        .collect();
    json!({
        "eventID": record.event_id,
        "eventName": record.event_name.unwrap().as_str(),
        "awsRegion": "local",
        "dynamodb": {
            "ApproximateCreationDateTime": 0.0,
            "Keys": keys,
            "SequenceNumber": change.sequence_number,
            "SizeBytes": change.size_bytes,
            "StreamViewType": "KEYS_ONLY",
        }
    })
}
