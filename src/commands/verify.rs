//! `everhook verify`: whether what was recorded is what stands there.

use std::io::{IsTerminal, Write};

use everhook_journal::config::Config;
use everhook_journal::executions::Cursor;
use everhook_journal::schema::Tables;
use everhook_journal::store::Store;
use everhook_journal::table::Span;
use everhook_journal::verify::{SeenAppend, Touched, Verified, verify};
use everhook_journal::{
    Clock, ExecutionId, Executions, Journal, Payloads, SourceName, environment,
};
use everhook_projector::shown::ShownPage;
use futures_util::{StreamExt, TryStreamExt};

use super::client::Client;
use super::{Failure, print, print_json, print_line};
use crate::aws;
use crate::cli::Verify;

/// How many executions are listed at once.
const PAGE: i32 = 100;

/// How many histories are read at once.
const AT_ONCE: usize = 8;

/// What to do about a history that was touched.
const ADVICE: &str = "leave it as it is, and compare it with a backup of the tables";

pub(super) async fn run(command: Verify) -> Result<(), Failure> {
    let reach = Reach::new(&command).await?;
    match &command.token {
        Some(token) => one(&reach, token, command.json).await,
        None => all(&reach, command.source.map(SourceName::new)).await,
    }
}

/// One history, append by append.
async fn one(reach: &Reach, token: &str, json: bool) -> Result<(), Failure> {
    let id = ExecutionId::parse(token)
        .ok_or_else(|| Failure(format!("`{token}` is not an execution's token")))?;
    let verified = reach.verify(&id).await?;
    let verified = verified
        .ok_or_else(|| Failure(format!("there is no execution {id}, or it has expired")))?;
    if json {
        print_json(&verified)?;
    } else {
        print(&format!("execution {id}"));
        verified.appends.iter().for_each(|append| print_line(&line(append)));
        verified.touched.iter().for_each(|touched| print_line(&format!("touched: {touched}")));
        let mut sum = Sum::default();
        sum.add(&verified);
        print(&sum.words());
    }
    match verified.touched.as_slice() {
        [] => Ok(()),
        [first, rest @ ..] => Err(Failure(format!("{}; {ADVICE}", told(&id, first, rest.len())))),
    }
}

/// All histories that have a row: a line for each that was touched, and one at the end.
async fn all(reach: &Reach, source: Option<SourceName>) -> Result<(), Failure> {
    let mut sum = Sum::default();
    let mut position = Position::Beginning;
    while let Some(ids) = reach.page(source.as_ref(), &mut position).await? {
        let verified = futures_util::stream::iter(&ids).map(|id| reach.verify(id));
        let mut verified = verified.buffered(AT_ONCE);
        // What has expired since it was listed is gone.
        while let Some(verified) = verified.try_next().await? {
            let Some(verified) = verified else { continue };
            sum.add(&verified);
            if let [first, rest @ ..] = verified.touched.as_slice() {
                sum.clear();
                print_line(&told(&verified.execution_token, first, rest.len()));
            }
            sum.progress();
        }
    }
    sum.clear();
    print(&sum.words());
    match sum.touched {
        0 => Ok(()),
        1 => Err(Failure(format!("1 history was touched; {ADVICE}"))),
        touched => Err(Failure(format!("{touched} histories were touched; {ADVICE}"))),
    }
}

fn told(id: &ExecutionId, first: &Touched, more: usize) -> String {
    let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
    format!("execution {id} was touched at {first}{more}")
}

fn line(append: &SeenAppend) -> String {
    let digest = append.digest.map_or("no digest".to_owned(), |digest| digest.to_string());
    let follows = if append.chained { "" } else { "  (an older version's: it carries no digest)" };
    format!("{:>4}  {digest}  {}{follows}", append.sequence, append.names)
}

/// What was counted.
#[derive(Default)]
struct Sum {
    histories: u64,
    events: u64,
    bodies: u64,
    unseen: u64,
    touched: u64,
}

impl Sum {
    fn add(&mut self, verified: &Verified) {
        self.histories += 1;
        self.events += verified.events();
        self.bodies += verified.bodies;
        self.unseen += verified.unseen;
        self.touched += u64::from(!verified.touched.is_empty());
    }

    fn words(&self) -> String {
        let count = |count: u64, one: &str, many: &str| match count {
            1 => format!("1 {one}"),
            count => format!("{count} {many}"),
        };
        let unseen = match self.unseen {
            0 => String::new(),
            unseen => format!(" ({unseen} not looked at: name their place with --payloads)"),
        };
        format!(
            "{}, {}, {} verified{unseen}, {} touched",
            count(self.histories, "history", "histories"),
            count(self.events, "event", "events"),
            count(self.bodies, "body", "bodies"),
            self.touched
        )
    }

    /// Shows how far it got, to whoever looks on.
    fn progress(&self) {
        let mut out = std::io::stderr();
        if out.is_terminal() && self.histories.is_multiple_of(10) {
            write!(out, "\r\u{1b}[K{} histories, {} touched", self.histories, self.touched).ok();
            out.flush().ok();
        }
    }

    fn clear(&self) {
        let mut out = std::io::stderr();
        if out.is_terminal() {
            write!(out, "\r\u{1b}[K").ok();
        }
    }
}

/// How tables and payloads are reached.
enum Reach {
    /// A running server has them.
    Server(Client),
    /// They are there for everybody who may.
    Tables {
        journal: Journal,
        executions: Executions,
        payloads: Option<Payloads>,
        config: std::path::PathBuf,
    },
}

/// Where a listing goes on.
enum Position {
    Beginning,
    /// At the server's cursor.
    Cursor(String),
    /// In the first of these sources and shards, there; without a shard where earlier versions listed them.
    Parts(Vec<(SourceName, Option<u64>)>, Option<Cursor>),
    End,
}

impl Reach {
    async fn new(command: &Verify) -> Result<Self, Failure> {
        let Some(endpoint) = &command.dynamodb_endpoint else {
            return Ok(Self::Server(Client::new(&command.server.server)?));
        };
        let store = Store::new(aws_sdk_dynamodb::Client::new(&aws::at(endpoint).await));
        let tables = Tables::from_env();
        let payloads = command.payloads.as_deref().map(environment::payloads_at).transpose();
        Ok(Self::Tables {
            journal: tables.journal_in(&store, Clock::System),
            executions: tables.executions_in(&store),
            payloads: payloads.map_err(Failure::of)?,
            config: command.config.path.clone(),
        })
    }

    async fn verify(&self, id: &ExecutionId) -> Result<Option<Verified>, Failure> {
        match self {
            Self::Server(client) => client.find(&format!("/executions/{id}/verification")).await,
            Self::Tables { journal, executions, payloads, .. } => {
                verify(journal, executions, payloads.as_ref(), id).await.map_err(Failure::of)
            }
        }
    }

    /// The next executions, the newest first; `None` at the end.
    async fn page(
        &self,
        source: Option<&SourceName>,
        position: &mut Position,
    ) -> Result<Option<Vec<ExecutionId>>, Failure> {
        match self {
            Self::Server(client) => listed(client, source, position).await,
            Self::Tables { journal, executions, config, .. } => {
                if matches!(position, Position::Beginning) {
                    let sources = match source {
                        Some(source) => vec![source.clone()],
                        None => {
                            let config = Config::load(config).map_err(Failure::of)?;
                            config.sources.keys().cloned().collect()
                        }
                    };
                    let parts = |source: SourceName| {
                        let earlier = (source.clone(), None);
                        let shards = journal.shards().all();
                        let shards = shards.map(move |shard| (source.clone(), Some(shard)));
                        shards.chain([earlier])
                    };
                    *position =
                        Position::Parts(sources.into_iter().flat_map(parts).collect(), None);
                }
                let Position::Parts(parts, cursor) = position else { return Ok(None) };
                let Some((of, shard)) = parts.first() else { return Ok(None) };
                let page = match shard {
                    Some(shard) => {
                        let (limit, start) = (Some(PAGE), cursor.take());
                        let span = Span { descending: true, limit, start, ..Span::default() };
                        journal.received(of, *shard, span).await
                    }
                    None => executions.recent(of, (None, None), PAGE, cursor.take()).await,
                };
                let (entries, more) = page.map_err(Failure::of)?;
                if more.is_none() {
                    parts.remove(0);
                }
                *cursor = more;
                Ok(Some(entries.into_iter().map(|entry| entry.execution).collect()))
            }
        }
    }
}

/// The next executions that a server lists.
async fn listed(
    client: &Client,
    source: Option<&SourceName>,
    position: &mut Position,
) -> Result<Option<Vec<ExecutionId>>, Failure> {
    let mut query = vec![("limit", PAGE.to_string())];
    query.extend(source.map(|source| ("source", source.to_string())));
    match std::mem::replace(position, Position::End) {
        Position::Beginning => {}
        Position::Cursor(cursor) => query.push(("cursor", cursor)),
        Position::Parts(..) | Position::End => return Ok(None),
    }
    let page: ShownPage = client.get("/executions", &query).await?;
    if let Some(cursor) = page.cursor {
        *position = Position::Cursor(cursor);
    }
    Ok(Some(page.executions.into_iter().map(|shown| shown.execution_token).collect()))
}
