//! A deployment of the template on this machine.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use everhook::local::Doorbell;
use everhook::local::event_source::{EventSource, File};
use everhook_journal::environment;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Built;
use crate::dynamodb_local::DynamoDbLocal;
use crate::events::{self, Told, Webhook};
use crate::function::{Function, Lines, binary};
use crate::lambda_api;
use crate::proxy::Proxy;
use crate::queue::Queue;
use crate::target::Target;
use crate::template::Template;

/// What GitHub signs with.
pub(crate) const SECRET: &str = "canary-of-the-secret-0d3c2b1a";

/// What tokens derive from.
const EXECUTION_KEY: &str = "canary-of-the-execution-key-5f6e7d8c";

/// A deployment.
pub(crate) struct Deployment {
    /// It ends when this is dropped.
    _dynamodb: DynamoDbLocal,
    pub(crate) proxy: Proxy,
    pub(crate) target: Target,
    /// What wakes the processor when timers are due.
    pub(crate) queue: Queue,
    pub(crate) ingest: Arc<Function>,
    pub(crate) processor: Arc<Function>,
    pub(crate) projector: Arc<Function>,
    pub(crate) status: Arc<Function>,
    pub(crate) sweep: Arc<Function>,
    /// Everything that the functions wrote.
    pub(crate) lines: Lines,
    template: Template,
    binaries: std::path::PathBuf,
    /// Where configuration, payloads and positions are.
    folder: TempDir,
    streams: aws_sdk_dynamodbstreams::Client,
    stream_arn: String,
}

/// An event source mapping at work.
pub(crate) struct Mapping {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Mapping {
    /// Ends it when the batches in flight have ended.
    pub(crate) async fn stop(self) {
        self.stop.send(true).ok();
        self.task.await.unwrap();
    }
}

impl Deployment {
    /// Everything but the mappings, with so many processes of a function at most.
    pub(crate) async fn start(built: &Built, concurrency: usize) -> Self {
        let template = Template::load(&built.template);
        let dynamodb = DynamoDbLocal::start(None).await;
        dynamodb.make_tables(&template).await;
        let proxy = Proxy::start(&dynamodb.endpoint).await;
        let target = Target::start().await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("payloads")).unwrap();
        std::fs::write(folder.path().join("everhook.toml"), configuration(&target)).unwrap();
        let table = json!({ "TableName": Template::table("JournalTable") });
        let described = dynamodb.call("DescribeTable", &table).await;
        let stream_arn = described["Table"]["LatestStreamArn"].as_str().unwrap().to_owned();
        let streams = streams(&dynamodb.endpoint);
        let lines = Lines::default();
        let make = |name, more: &[(&str, &str)]| {
            // What is only asked is not counted.
            let dynamodb = match name {
                "StatusFunction" => &dynamodb.endpoint,
                _ => &proxy.endpoint,
            };
            let mut environment = environment(&template, name, folder.path(), dynamodb);
            environment.extend(more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
            let (binary, timeout) = (binary(&built.binaries, name), template.timeout(name));
            Arc::new(Function::new(name, binary, environment, timeout, concurrency, lines.clone()))
        };
        let invoked = lambda_api::Processor::default();
        let lambda = lambda_api::start(invoked.clone()).await;
        let queue = Queue::start(invoked.clone()).await;
        let calls = [
            ("AWS_ENDPOINT_URL_LAMBDA", lambda.as_str()),
            ("AWS_ENDPOINT_URL_SQS", queue.endpoint.as_str()),
        ];
        let processor = make("ProcessorFunction", &calls);
        invoked.get_or_init(|| processor.clone());
        Self {
            ingest: make("IngestFunction", &calls[..1]),
            projector: make("ProjectorFunction", &[]),
            status: make("StatusFunction", &[]),
            sweep: make("SweepFunction", &calls),
            processor,
            queue,
            _dynamodb: dynamodb,
            proxy,
            target,
            lines,
            binaries: built.binaries.clone(),
            folder,
            streams,
            stream_arn,
            template,
        }
    }

    /// An ingest of its own, which finds DynamoDB somewhere else.
    pub(crate) fn ingest_with(&self, endpoint: &str) -> Function {
        let name = "IngestFunction";
        let environment = environment(&self.template, name, self.folder.path(), endpoint);
        let (binary, timeout) = (binary(&self.binaries, name), self.template.timeout(name));
        Function::new(name, binary, environment, timeout, 1, self.lines.clone())
    }

    /// Starts the event source mapping of the processor or the projector, where the last one ended.
    pub(crate) fn map(&self, name: &str) -> Mapping {
        let function = match name {
            "ProcessorFunction" => &self.processor,
            "ProjectorFunction" => &self.projector,
            _ => panic!("{name} has no mapping"),
        };
        let (stop, stopped) = watch::channel(false);
        let source = EventSource {
            streams: Arc::new(self.streams.clone()),
            stream_arn: self.stream_arn.clone(),
            settings: self.template.mapping(name),
            function: function.as_consumer(),
            doorbell: Doorbell::new(),
            checkpoint: Some(File::at(self.folder.path().join(format!("{name}-position.json")))),
            failed_batches: Some(File::at(self.folder.path().join(format!("{name}-failed.jsonl")))),
        };
        Mapping { stop, task: tokio::spawn(source.run(stopped)) }
    }

    /// The records that a mapping gave up, one batch a line.
    pub(crate) fn given_up(&self, name: &str) -> String {
        let path = self.folder.path().join(format!("{name}-failed.jsonl"));
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// Sends a webhook.
    pub(crate) async fn deliver(&self, webhook: &Webhook) -> Told {
        events::call(&self.ingest, webhook.signed(SECRET)).await
    }

    /// The status of an execution.
    pub(crate) async fn status_of(&self, token: &str) -> Value {
        let event = events::get("/status/{executionToken}", &format!("/status/{token}"));
        events::call(&self.status, event).await.json()
    }

    /// What an operator is told of an execution.
    pub(crate) async fn part_of(&self, token: &str, part: &str) -> Told {
        let path = format!("/executions/{token}/{part}");
        events::call(&self.status, events::get("/executions/{id}/{part}", &path)).await
    }
}

/// A function's environment: the template's, with what is elsewhere here.
fn environment(
    template: &Template,
    function: &str,
    folder: &Path,
    dynamodb: &str,
) -> BTreeMap<String, String> {
    let mut environment = template.environment(function);
    let here = [
        ("EVERHOOK_CONFIG", folder.join("everhook.toml").display().to_string()),
        ("EVERHOOK_PAYLOADS", format!("file://{}", folder.join("payloads").display())),
    ];
    for (name, value) in here {
        if let Some(theirs) = environment.get_mut(name) {
            *theirs = value;
        }
    }
    environment.extend(
        [
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_ENDPOINT_URL_DYNAMODB", dynamodb),
            ("GITHUB_WEBHOOK_SECRET", SECRET),
            ("EXECUTION_KEY", EXECUTION_KEY),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    environment
}

/// A streams client for DynamoDB Local.
pub(crate) fn streams(endpoint: &str) -> aws_sdk_dynamodbstreams::Client {
    let config = aws_sdk_dynamodbstreams::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .http_client(environment::https())
        .endpoint_url(endpoint)
        .build();
    aws_sdk_dynamodbstreams::Client::from_conf(config)
}

fn configuration(target: &Target) -> String {
    let address = &target.address;
    let transforms: String = (1..=10)
        .map(|n| format!("[[workflows.computing.steps]]\nname = \"step-{n}\"\nrun = \"transform\"\njq = '{{n: {n}, ref: .ref}}'\n"))
        .collect();
    let calls: String = (1..=10)
        .map(|n| format!("[[workflows.calling.steps]]\nname = \"step-{n}\"\nrun = \"http\"\nurl = \"http://{address}/step-{n}\"\ntimeout = \"2s\"\n"))
        .collect();
    format!(
        r#"
[settings]
execution_key = "env:EXECUTION_KEY"
callback_key = "env:EXECUTION_KEY"
private_hosts = ["{address}"]

[sources.github]
scheme = "github"
secrets = ["env:GITHUB_WEBHOOK_SECRET"]

[sources.circleci]
scheme = "circleci"
secrets = ["env:GITHUB_WEBHOOK_SECRET"]

[sources.computing]
scheme = "github"
secrets = ["env:GITHUB_WEBHOOK_SECRET"]
workflow = "computing"

[sources.calling]
scheme = "github"
secrets = ["env:GITHUB_WEBHOOK_SECRET"]
workflow = "calling"

[sources.waiting]
scheme = "github"
secrets = ["env:GITHUB_WEBHOOK_SECRET"]
workflow = "waiting"

[[workflows.waiting.steps]]
name = "pause"
run = "wait"
for = "3s"

[[workflows.default.steps]]
name = "validate"
run = "validate"

[[workflows.default.steps]]
name = "process"
run = "transform"
jq = '{{eventType: $webhook.type, source: $webhook.source, keysProcessed: $keys, processedAt: $now}}'

[[workflows.default.steps]]
name = "finalize"
run = "transform"
jq = '{{status: "completed", receivedAt: $webhook.receivedAt, completedAt: $now}}'

{transforms}
{calls}
"#
    )
}
