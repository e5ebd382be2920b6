//! A deployment of the template on this machine.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

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
use crate::target::{FLAKY, Target};
use crate::template::Template;

/// What GitHub signs with.
pub(crate) const SECRET: &str = "canary-of-the-secret-0d3c2b1a";

/// What tokens derive from.
pub(crate) const EXECUTION_KEY: &str = "canary-of-the-execution-key-5f6e7d8c";

/// How long the callback of the source `stripe-answered` may take.
pub(crate) const CALLBACK_EXPIRES: Duration = Duration::from_secs(6);

/// A deployment.
pub(crate) struct Deployment {
    /// It ends when this is dropped.
    pub(crate) dynamodb: DynamoDbLocal,
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
    pub(crate) template: Template,
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
        Self::over(built, template, dynamodb, Target::start().await, concurrency).await
    }

    /// The same over tables that are there, with a target that may have been called before.
    pub(crate) async fn over(
        built: &Built,
        template: Template,
        dynamodb: DynamoDbLocal,
        target: Target,
        concurrency: usize,
    ) -> Self {
        let proxy = Proxy::start(&dynamodb.endpoint).await;
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
            dynamodb,
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

    /// A function of its own, for which some variables have other values.
    pub(crate) fn function_with(&self, name: &str, variables: &[(&str, &str)]) -> Function {
        let mut environment =
            environment(&self.template, name, self.folder.path(), &self.proxy.endpoint);
        environment.extend(variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
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

    /// Calls a callback's address with this answer.
    pub(crate) async fn call_back(&self, url: &str, answer: &Value) -> Told {
        let (_, token) = url.rsplit_once("/callbacks/").expect("it is the address of a callback");
        let path = format!("/callbacks/{token}");
        let body = serde_json::to_vec(answer).unwrap();
        events::call(&self.ingest, events::post("/callbacks/{token}", &path, &body)).await
    }

    /// Asks for a redrive of an execution.
    pub(crate) async fn redrive(&self, token: &str) -> Told {
        let path = format!("/executions/{token}/redrive");
        events::call(&self.ingest, events::post("/executions/{id}/redrive", &path, b"")).await
    }

    /// The status of an execution.
    pub(crate) async fn status_of(&self, token: &str) -> Value {
        let event = events::get("/status/{executionToken}", &format!("/status/{token}"));
        events::call(&self.status, event).await.json()
    }

    /// The newest executions.
    pub(crate) async fn list(&self) -> Value {
        events::call(&self.status, events::get("/executions", "/executions")).await.json()
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
    // Three steps, of which the one in the middle computes nothing.
    let between = |name: &str, step: &str| {
        let steps = [
            "name = \"validate\"\nrun = \"validate\"",
            step,
            "name = \"finalize\"\nrun = \"transform\"\njq = '{completedAt: $now}'",
        ];
        steps.map(|step| format!("[[workflows.between-{name}.steps]]\n{step}\n\n")).concat()
    };
    let call = |path: &str, more: &str| {
        format!(
            "name = \"call\"\nrun = \"http\"\nurl = \"http://{address}{path}\"\ntimeout = \"2s\"\n{more}"
        )
    };
    let expires = CALLBACK_EXPIRES.as_secs();
    let retry = "retry = { attempts = 2, backoff = \"fixed\", first = \"1s\" }";
    let between = [
        between("acting", &call("/between", "")),
        between("retrying", &call(FLAKY, retry)),
        between("waiting", "name = \"pause\"\nrun = \"wait\"\nfor = \"2s\""),
        between(
            "answered",
            &format!("name = \"approval\"\nrun = \"callback\"\nexpires = \"{expires}s\""),
        ),
    ]
    .concat();
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

# What costs.rs counts.

[sources.forgetful]
scheme = "github"
secrets = ["env:GITHUB_WEBHOOK_SECRET"]
remember_bodies = false

[sources.stripe]
scheme = "stripe"
secrets = ["env:GITHUB_WEBHOOK_SECRET"]

[sources.stripe-acting]
scheme = "stripe"
secrets = ["env:GITHUB_WEBHOOK_SECRET"]
workflow = "between-acting"

[sources.stripe-retrying]
scheme = "stripe"
secrets = ["env:GITHUB_WEBHOOK_SECRET"]
workflow = "between-retrying"

[sources.stripe-waiting]
scheme = "stripe"
secrets = ["env:GITHUB_WEBHOOK_SECRET"]
workflow = "between-waiting"

[sources.stripe-answered]
scheme = "stripe"
secrets = ["env:GITHUB_WEBHOOK_SECRET"]
workflow = "between-answered"

{between}
# What in_flight.rs and upgrade.rs look at.

[sources.branching]
scheme = "github"
secrets = ["env:GITHUB_WEBHOOK_SECRET"]
workflow = "branching"

[[workflows.branching.steps]]
name = "both"
run = "parallel"

[[workflows.branching.steps.branches]]
name = "slow"

[[workflows.branching.steps.branches.steps]]
name = "call"
run = "http"
url = "http://{address}/slow"
timeout = "20s"

[[workflows.branching.steps.branches]]
name = "asked"

[[workflows.branching.steps.branches.steps]]
name = "approval"
run = "callback"
expires = "2m"

[[workflows.branching.steps.branches.steps.steps]]
name = "ask"
run = "http"
url = "http://{address}/ask"
jq = '{{answerTo: $callback.url}}'
timeout = "20s"

[[workflows.branching.steps.branches.steps]]
name = "after"
run = "http"
url = "http://{address}/after"
timeout = "20s"

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
