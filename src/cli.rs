//! What can be said on the command line.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// A durable webhook receiver: every webhook it answers with 202 is recorded first and carried to an end.
#[derive(Debug, Parser)]
// An option before a command would be for serving without one, and say nothing: it is refused.
#[command(version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; `serve` if nothing is said
    #[command(subcommand)]
    pub command: Option<Command>,

    /// How to serve when no command is given
    #[command(flatten)]
    pub serve: Serve,
}

const EXAMPLES: &str = "Examples:
  everhook                                     serve on http://127.0.0.1:8080, data in .everhook
  everhook send --event push payload.json      sign a body as a sender would, and post it
  everhook status TOKEN                        where an execution stands
  everhook replay TOKEN                        its history, event by event, running nothing
  everhook verify --all                        whether anything recorded was changed since
  everhook list --status failed                what needs a look
  everhook check                               whether config/everhook.toml is right
  everhook conformance vectors.json            whether signatures are judged as they must be";

/// One command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Receive webhooks and carry them to an end, on this machine
    Serve(Serve),
    /// Sign a body the way its sender would, and post it
    Send(Send),
    /// Show where an execution stands
    Status(Status),
    /// List executions, the newest first
    List(List),
    /// List who may send, and when each of their secrets was used last
    Sources(Sources),
    /// List workflows, and the older versions of them that unfinished executions still run
    Workflows(Workflows),
    /// List what a source's quarantine keeps, or empty it
    Quarantine(Quarantine),
    /// Verify what a source's quarantine keeps, as of its receipt, and release what fits
    Reverify(Reverify),
    /// End an execution
    Cancel(Cancel),
    /// Make executions go on that failed: one, or many at a rate
    Redrive(Redrive),
    /// Fold a history again and show what each event changed; runs nothing
    Replay(Replay),
    /// Say whether histories, bodies and results are still what was recorded
    Verify(Verify),
    /// Check config/everhook.toml
    Check(Check),
    /// Print the JSON Schema of everhook.toml, for editors
    Schema,
    /// Judge a file of vectors: signed requests to accept, and forged ones to refuse
    Conformance(Conformance),
    /// Evaluate expressions for a server, with limits; only servers start it
    #[command(hide = true)]
    ExpressionWorker,
}

/// `everhook serve`
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// The address to listen on; operators' queries are answered to this machine alone
    #[arg(long, env = "EVERHOOK_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub listen: SocketAddr,

    /// Where journal, payloads and generated secrets are kept
    #[arg(long, env = "EVERHOOK_DATA_DIR", default_value = ".everhook", value_name = "FOLDER")]
    pub data_dir: PathBuf,

    /// Go on with other keys than the tables were made with, where the old ones are lost
    #[arg(long)]
    pub new_keys: bool,

    /// Keep journal and payloads in memory only: everything is forgotten at the end
    #[arg(long)]
    pub in_memory: bool,

    #[expect(missing_docs, reason = "its own type says it")]
    #[command(flatten)]
    pub config: Configuration,

    /// Use this DynamoDB instead of the embedded engine (DynamoDB Local, AWS); missing tables are made
    #[arg(long, env = "EVERHOOK_DYNAMODB_ENDPOINT", value_name = "URL")]
    pub dynamodb_endpoint: Option<String>,

    #[expect(missing_docs, reason = "its own type says it")]
    #[command(flatten)]
    pub endpoints: Endpoints,
}

/// Where the services are that steps call, if not where AWS has them.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Services that steps call, if not where AWS has them")]
pub struct Endpoints {
    /// Lambda
    #[arg(long, env = "AWS_ENDPOINT_URL_LAMBDA", value_name = "URL")]
    pub endpoint_lambda: Option<String>,

    /// SQS
    #[arg(long, env = "AWS_ENDPOINT_URL_SQS", value_name = "URL")]
    pub endpoint_sqs: Option<String>,

    /// SNS
    #[arg(long, env = "AWS_ENDPOINT_URL_SNS", value_name = "URL")]
    pub endpoint_sns: Option<String>,

    /// EventBridge
    #[arg(long, env = "AWS_ENDPOINT_URL_EVENTBRIDGE", value_name = "URL")]
    pub endpoint_eventbridge: Option<String>,

    /// S3
    #[arg(long, env = "AWS_ENDPOINT_URL_S3", value_name = "URL")]
    pub endpoint_s3: Option<String>,
}

/// Where the configuration is.
#[derive(Debug, Clone, Args)]
pub struct Configuration {
    /// The configuration: sources and workflows
    #[arg(
        long = "config",
        env = "EVERHOOK_CONFIG",
        default_value = "config/everhook.toml",
        value_name = "FILE"
    )]
    pub path: PathBuf,
}

/// Where the running server is.
#[derive(Debug, Clone, Args)]
pub struct Server {
    /// The running server
    #[arg(
        long,
        env = "EVERHOOK_SERVER",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    pub server: String,
}

/// `everhook send`
#[derive(Debug, Clone, Args)]
pub struct Send {
    /// The body
    pub file: PathBuf,

    /// The source whose secret signs it
    #[arg(long, default_value = "default")]
    pub source: String,

    /// The type of event to say it is, where the sender's scheme has a header for that
    #[arg(long, value_name = "TYPE")]
    pub event: Option<String>,

    /// The delivery's id; a fresh one if nothing is said. Sending one id twice is a redelivery
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,

    #[expect(missing_docs, reason = "its own type says it")]
    #[command(flatten)]
    pub config: Configuration,

    /// Where generated secrets are kept
    #[arg(long, env = "EVERHOOK_DATA_DIR", default_value = ".everhook", value_name = "FOLDER")]
    pub data_dir: PathBuf,

    #[expect(missing_docs, reason = "its own type says it")]
    #[command(flatten)]
    pub server: Server,
}

/// `everhook status`
#[derive(Debug, Clone, Args)]
pub struct Status {
    /// The execution's token, from the answer to the webhook
    pub token: String,

    /// Wait until it has ended
    #[arg(long)]
    pub wait: bool,

    #[expect(missing_docs, reason = "its own type says it")]
    #[command(flatten)]
    pub server: Server,
}

/// `everhook list`
#[derive(Debug, Clone, Args)]
pub struct List {
    /// Of this source only
    #[arg(long)]
    pub source: Option<String>,

    /// In this status only: received, running, waiting, completed, failed, cancelled or stalled
    #[arg(long)]
    pub status: Option<String>,

    /// Created at or after this time (2026-11-24T12:00:00Z)
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,

    /// Created at or before this time
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,

    /// At most this many
    #[arg(long, default_value = "50")]
    pub limit: NonZeroUsize,

    /// As JSON
    #[arg(long)]
    pub json: bool,

    #[expect(missing_docs, reason = "its own type says it")]
    #[command(flatten)]
    pub server: Server,
}

/// `everhook sources`
#[derive(Debug, Clone, Args)]
pub struct Sources {
    #[expect(missing_docs, reason = "its own type says it")]
    #[command(flatten)]
    pub config: Configuration,

    /// As JSON
    #[arg(long)]
    pub json: bool,

    #[expect(missing_docs, reason = "its own type says it")]
    #[command(flatten)]
    pub server: Server,
}

/// `everhook reverify`
#[derive(Debug, Clone, Args)]
pub struct Reverify {
    /// The source whose kept requests are verified
    #[arg(long)]
    pub source: String,

    /// Only say what would be released
    #[arg(long)]
    pub dry_run: bool,

    /// As JSON
    #[arg(long)]
    pub json: bool,

    #[expect(missing_docs, reason = "its own type says it")]
    #[command(flatten)]
    pub server: Server,
}

/// `everhook quarantine`
#[derive(Debug, Clone, Args)]
pub struct Quarantine {
    /// The source whose refused requests are kept
    #[arg(long)]
    pub source: String,

    /// Remove all of them: none can be released afterwards
    #[arg(long)]
    pub clear: bool,

    /// As JSON
    #[arg(long)]
    pub json: bool,

    #[expect(missing_docs, reason = "its own type says it")]
    #[command(flatten)]
    pub server: Server,
}

/// `everhook workflows`
#[derive(Debug, Clone, Args)]
pub struct Workflows {
    #[expect(missing_docs, reason = "its own type says it")]
    #[command(flatten)]
    pub config: Configuration,

    /// As JSON
    #[arg(long)]
    pub json: bool,

    #[expect(missing_docs, reason = "its own type says it")]
    #[command(flatten)]
    pub server: Server,
}

/// `everhook cancel`
#[derive(Debug, Clone, Args)]
pub struct Cancel {
    /// The execution's token
    pub token: String,

    /// Why; it stands in the history
    #[arg(long, default_value = "by an operator")]
    pub reason: String,

    #[expect(missing_docs, reason = "its own type says it")]
    #[command(flatten)]
    pub server: Server,
}

/// `everhook redrive`
#[derive(Debug, Clone, Args)]
pub struct Redrive {
    /// The execution's token
    #[arg(required_unless_present = "failed", conflicts_with_all = ["failed", "source", "since"])]
    pub token: Option<String>,

    /// The step to go on from; the one that failed if it is not given
    #[arg(long, value_name = "STEP")]
    pub from: Option<String>,

    /// All that failed, as far as the other options mean them
    #[arg(long)]
    pub failed: bool,

    /// Only those of this source
    #[arg(long, requires = "failed")]
    pub source: Option<String>,

    /// Only those received since: 2h, 7d, or a moment such as 2026-11-24T12:00:00Z
    #[arg(long, requires = "failed", value_name = "WHEN")]
    pub since: Option<String>,

    /// Only say which ones are meant
    #[arg(long, requires = "failed")]
    pub dry_run: bool,

    /// How many a second
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rate: u32,

    #[expect(missing_docs, reason = "its own type says it")]
    #[command(flatten)]
    pub server: Server,
}

/// `everhook replay`
#[derive(Debug, Clone, Args)]
pub struct Replay {
    /// The execution's token
    pub token: String,

    /// Stop after this event
    #[arg(long, value_name = "SEQUENCE")]
    pub until: Option<u64>,

    /// As JSON: an array with an entry an event
    #[arg(long)]
    pub json: bool,

    /// Read the journal there, without a running server
    #[arg(long, env = "EVERHOOK_DYNAMODB_ENDPOINT", value_name = "URL")]
    pub dynamodb_endpoint: Option<String>,

    #[expect(missing_docs, reason = "its own type says it")]
    #[command(flatten)]
    pub server: Server,
}

/// `everhook verify`
#[derive(Debug, Clone, Args)]
#[command(after_help = VERIFY)]
pub struct Verify {
    /// The execution's token
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub token: Option<String>,

    /// All executions that have a row, one source after the other
    #[arg(long)]
    pub all: bool,

    /// Only those of this source
    #[arg(long, requires = "all")]
    pub source: Option<String>,

    /// As JSON: what was found out about the execution
    #[arg(long, conflicts_with = "all")]
    pub json: bool,

    /// Read the tables there, without a running server
    #[arg(long, env = "EVERHOOK_DYNAMODB_ENDPOINT", value_name = "URL")]
    pub dynamodb_endpoint: Option<String>,

    /// With --dynamodb-endpoint: where large bodies are, s3://BUCKET or file:///FOLDER; without it they are not looked at
    #[arg(long, env = "EVERHOOK_PAYLOADS", value_name = "PLACE")]
    pub payloads: Option<String>,

    #[expect(missing_docs, reason = "its own type says it")]
    #[command(flatten)]
    pub config: Configuration,

    #[expect(missing_docs, reason = "its own type says it")]
    #[command(flatten)]
    pub server: Server,
}

const VERIFY: &str = "Each append carries the digest of the one before it, and the row of an execution that of the last one.
What was changed, moved or removed afterwards does not add up, and the event is named.
The webhook's body is compared with the SHA-256 of its receipt, results outside of the history with theirs.
Whoever may write all appends after an event, and the row, can make it add up again: keep the last digest elsewhere.

Exits with 1 if anything was touched, or could not be read. Nothing is changed and nothing runs.

Examples:
  everhook verify TOKEN                        one execution, append by append, with the digests
  everhook verify --all                        all of them: what was touched, and a line at the end
  everhook verify --all --dynamodb-endpoint https://dynamodb.eu-central-1.amazonaws.com --payloads s3://BUCKET";

/// `everhook check`
#[derive(Debug, Clone, Args)]
pub struct Check {
    /// Say in words what each workflow does, step by step
    #[arg(long)]
    pub explain: bool,

    #[expect(missing_docs, reason = "its own type says it")]
    #[command(flatten)]
    pub config: Configuration,
}

/// `everhook conformance`
#[derive(Debug, Clone, Args)]
pub struct Conformance {
    /// The vectors and handshakes, in JSON
    pub file: PathBuf,

    /// Send them to this running receiver instead, whose sources are named like the schemes:
    /// those that pin no clock and whose secret its source would have
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,

    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_option_before_a_command_is_refused() {
        for line in [
            "everhook --listen 127.0.0.1:1 --in-memory serve",
            "everhook --in-memory serve",
            "everhook --config a.toml check",
            "everhook --data-dir a send --source b c.json",
            "everhook --server http://127.0.0.1:1 list",
        ] {
            let refused = Cli::try_parse_from(line.split(' ')).unwrap_err().to_string();
            assert!(refused.contains("--"), "{line}: {refused}");
        }
        let behind = Cli::parse_from("everhook serve --listen 127.0.0.1:1 --in-memory".split(' '));
        assert!(matches!(behind.command, Some(Command::Serve(serve)) if serve.in_memory));
    }

    #[test]
    fn nothing_means_serve() {
        let cli = Cli::parse_from(["everhook", "--in-memory"]);
        assert!(cli.command.is_none());
        assert!(cli.serve.in_memory);
    }
}
