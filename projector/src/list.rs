//! Pages of executions, the newest first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use everhook_journal::executions::{Cursor, Listed, Row};
use everhook_journal::store::Unavailable;
use everhook_journal::table::Span;
use everhook_journal::view::ViewStatus;
use everhook_journal::{SourceName, Timestamp};

use crate::StatusApi;
use crate::current::listed;

/// How many executions a page has if nothing is said.
pub const PAGE_DEFAULT: usize = 50;

/// How many executions a page has at most.
pub const PAGE_MAX: usize = 100;

/// How many reads one page may take when most executions do not fit the filter.
const READS_MAX: usize = 10;

/// How many unfinished executions are read to list some of them. Where there are more, they are
/// looked for among all.
const UNFINISHED_MAX: usize = 2_000;

/// How long ago a webhook was received that may have no timer yet although it is unfinished.
const FIRST_DRIVE: Duration = Duration::from_secs(120);

/// Where a listing of unfinished executions goes on; no source is called that.
const UNFINISHED: &str = "unfinished:";

/// Where a listing goes on, by the part of an index that it reads. `None` where that part has ended.
type Position = BTreeMap<String, Option<Cursor>>;

/// Which executions to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this source only.
    pub source: Option<SourceName>,
    /// In this status only.
    pub status: Option<ViewStatus>,
    /// Created at or after.
    pub from: Option<Timestamp>,
    /// Created at or before.
    pub to: Option<Timestamp>,
}

/// A cursor that is none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not one that an earlier page gave")]
pub struct BadCursor;

/// A page of rows, and the cursor of the next.
pub type Page = (Vec<Row>, Option<String>);

/// Reads one page of at most `limit` rows.
pub async fn page(
    api: &StatusApi,
    filter: &Filter,
    limit: usize,
    cursor: Option<&str>,
) -> Result<Result<Page, BadCursor>, Unavailable> {
    let position = match cursor.map(decode) {
        None => Position::new(),
        Some(Ok(position)) => position,
        Some(Err(bad)) => return Ok(Err(bad)),
    };
    if let Some(page) = page_of_unfinished(api, filter, limit, &position).await? {
        return Ok(Ok(page));
    }
    let mut listing = Listing { api, filter, position };
    let mut rows = Vec::new();
    for _ in 0..READS_MAX {
        let wanted = limit - rows.len();
        let (found, more) = listing.read(wanted).await?;
        let ids: Vec<_> = found.into_iter().map(|entry| entry.execution).collect();
        let found = listed(&api.journal, &api.executions, &ids).await?;
        rows.extend(found.into_iter().filter(|row| filter.fits(row)));
        if !more {
            return Ok(Ok((rows, None)));
        }
        if rows.len() >= limit {
            break;
        }
    }
    Ok(Ok((rows, Some(encode(&listing.position)))))
}

/// Unfinished executions, about `limit` of them, and whether there may be more: those with timers, and those that were
/// received just now.
pub(crate) async fn unfinished(
    api: &StatusApi,
    limit: usize,
) -> Result<(Vec<Row>, bool), Unavailable> {
    let of_shard = limit / api.timers.shards().all().count() + 1;
    let of_shard = i32::try_from(of_shard).unwrap_or(i32::MAX);
    let (timers, mut is_more) = api.timers.first(of_shard).await?;
    let mut ids: BTreeSet<String> =
        timers.into_iter().map(|timer| timer.execution.to_string()).collect();
    let from = Some(api.journal.now() - FIRST_DRIVE);
    for source in &api.sources {
        for shard in api.journal.shards().all() {
            let span = Span { from, limit: Some(of_shard), ..Span::default() };
            let (found, more) = api.journal.received(source, shard, span).await?;
            is_more |= more.is_some();
            ids.extend(found.into_iter().map(|entry| entry.execution.to_string()));
        }
    }
    let ids: Vec<_> =
        ids.iter().filter_map(|id| everhook_journal::ExecutionId::parse(id)).collect();
    let mut rows = listed(&api.journal, &api.executions, &ids).await?;
    rows.retain(|row| !row.has_ended());
    Ok((rows, is_more))
}

/// A page of those executions that have not ended. `None` if others are asked for, or there are so many that most of all
/// executions are among them.
async fn page_of_unfinished(
    api: &StatusApi,
    filter: &Filter,
    limit: usize,
    position: &Position,
) -> Result<Option<Page>, Unavailable> {
    let is_open =
        |status| matches!(status, ViewStatus::Received | ViewStatus::Running | ViewStatus::Waiting);
    let after = position.get(UNFINISHED);
    if !filter.status.is_some_and(is_open) || (after.is_none() && !position.is_empty()) {
        return Ok(None);
    }
    let (mut rows, is_more) = unfinished(api, UNFINISHED_MAX).await?;
    if after.is_none() && is_more {
        return Ok(None);
    }
    let after = after.and_then(Option::as_ref).and_then(|cursor| {
        Some((Timestamp::parse(cursor.get("created_at")?)?, cursor.get("execution")?.clone()))
    });
    rows.retain(|row| {
        filter.fits(row) && after.as_ref().is_none_or(|after| place(row) < Some(after.clone()))
    });
    rows.sort_by_key(|row| std::cmp::Reverse(place(row)));
    let is_more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| is_more).and_then(place);
    let cursor = last.map(|(created_at, execution)| {
        let cursor = Cursor::from([
            ("created_at".to_owned(), created_at.to_string()),
            ("execution".to_owned(), execution),
        ]);
        encode(&Position::from([(UNFINISHED.to_owned(), Some(cursor))]))
    });
    Ok(Some((rows, cursor)))
}

fn place(row: &Row) -> Option<(Timestamp, String)> {
    row.view.as_ref().map(|view| (view.created_at, row.execution.to_string()))
}

impl Filter {
    fn fits(&self, row: &Row) -> bool {
        let Some(view) = &row.view else { return false };
        let is_stalled = row.stalled.is_some() && !view.status.is_terminal();
        let status = if is_stalled { ViewStatus::Stalled } else { view.status };
        self.status.is_none_or(|wanted| wanted == status)
            && self.source.as_ref().is_none_or(|source| *source == view.source)
            && self.from.is_none_or(|from| view.created_at >= from)
            && self.to.is_none_or(|to| view.created_at <= to)
    }
}

/// A part of an index that is read by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Webhooks of a source, in one shard.
    Received(SourceName, u64),
    /// Webhooks of a source that an earlier version received.
    Earlier(SourceName),
    /// Executions that an operator should look at, in one shard or where an earlier version put them.
    Attention(ViewStatus, Option<u64>),
}

impl Part {
    /// Its name in a cursor.
    fn name(&self) -> String {
        match self {
            Self::Received(source, shard) => format!("{source}#{shard}"),
            Self::Earlier(source) => source.to_string(),
            Self::Attention(status, Some(shard)) => format!("{}#{shard}:", status.as_str()),
            Self::Attention(status, None) => format!("{}:", status.as_str()),
        }
    }
}

struct Listing<'l> {
    api: &'l StatusApi,
    filter: &'l Filter,
    position: Position,
}

impl Listing<'_> {
    fn parts(&self) -> Vec<Part> {
        if let Some(status @ (ViewStatus::Failed | ViewStatus::Stalled)) = self.filter.status {
            let shards = self.api.executions.shards().all().map(Some).chain([None]);
            return shards.map(|shard| Part::Attention(status, shard)).collect();
        }
        let of_filter = self.filter.source.clone().map(|source| vec![source]);
        let sources = of_filter.unwrap_or_else(|| self.api.sources.clone());
        let parts = |source: SourceName| {
            let received = self.api.journal.shards().all();
            let earlier = Part::Earlier(source.clone());
            received.map(move |shard| Part::Received(source.clone(), shard)).chain([earlier])
        };
        sources.into_iter().flat_map(parts).collect()
    }

    /// The next entries, and whether there are more after them.
    async fn read(&mut self, wanted: usize) -> Result<(Vec<Listed>, bool), Unavailable> {
        let limit = i32::try_from(wanted).unwrap_or(i32::MAX);
        let mut merged: Vec<(String, Listed)> = Vec::new();
        let mut ended = Vec::new();
        for part in self.parts() {
            let name = part.name();
            let start = match self.position.get(&name) {
                Some(None) => continue,
                Some(Some(cursor)) => Some(cursor.clone()),
                None => None,
            };
            let (listed, more) = self.read_part(&part, limit, start).await?;
            if more.is_none() {
                ended.push((name.clone(), listed.len()));
            }
            merged.extend(listed.into_iter().map(|entry| (name.clone(), entry)));
        }
        // Each part's entries are in order already; the sort is stable and keeps them so.
        merged.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.created_at));
        merged.truncate(wanted);
        for (name, entry) in &merged {
            self.position.insert(name.clone(), Some(entry.cursor.clone()));
        }
        for (name, entries) in ended {
            if merged.iter().filter(|(from, _)| *from == name).count() == entries {
                self.position.insert(name, None);
            }
        }
        let is_open = |part: &Part| !matches!(self.position.get(&part.name()), Some(None));
        let more = self.parts().iter().any(is_open);
        Ok((merged.into_iter().map(|(_, entry)| entry).collect(), more))
    }

    async fn read_part(
        &self,
        part: &Part,
        limit: i32,
        start: Option<Cursor>,
    ) -> Result<(Vec<Listed>, Option<Cursor>), Unavailable> {
        let Filter { from, to, .. } = *self.filter;
        let (journal, executions) = (&self.api.journal, &self.api.executions);
        match part {
            Part::Received(source, shard) => {
                let span = Span { from, to, descending: true, limit: Some(limit), start };
                journal.received(source, *shard, span).await
            }
            Part::Earlier(source) => executions.recent(source, (from, to), limit, start).await,
            Part::Attention(status, shard) => {
                executions.attention(*status, *shard, limit, start).await
            }
        }
    }
}

fn encode(position: &Position) -> String {
    BASE64.encode(serde_json::to_vec(position).expect("a position is JSON"))
}

fn decode(cursor: &str) -> Result<Position, BadCursor> {
    let bytes = BASE64.decode(cursor).map_err(|_| BadCursor)?;
    serde_json::from_slice(&bytes).map_err(|_| BadCursor)
}
