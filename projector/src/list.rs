//! Pages of executions, the newest first.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use everhook_journal::executions::{Cursor, Listed, Row};
use everhook_journal::store::Unavailable;
use everhook_journal::view::ViewStatus;
use everhook_journal::{Executions, SourceName, Timestamp};

/// How many executions a page has if nothing is said.
pub const PAGE_DEFAULT: usize = 50;

/// How many executions a page has at most.
pub const PAGE_MAX: usize = 100;

/// How many reads one page may take when most executions do not fit the filter.
const READS_MAX: usize = 10;

/// How many unfinished executions are read to list some of them. Where there are more, they are
/// looked for among all.
const UNFINISHED_MAX: usize = 2_000;

/// Where a listing of unfinished executions goes on; no source is called that.
const UNFINISHED: &str = "unfinished:";

/// Where a listing goes on.
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
    executions: &Executions,
    sources: &[SourceName],
    filter: &Filter,
    limit: usize,
    cursor: Option<&str>,
) -> Result<Result<Page, BadCursor>, Unavailable> {
    let position = match cursor.map(decode) {
        None => Position::new(),
        Some(Ok(position)) => position,
        Some(Err(bad)) => return Ok(Err(bad)),
    };
    if let Some(page) = unfinished(executions, filter, limit, &position).await? {
        return Ok(Ok(page));
    }
    let mut listing = Listing { executions, filter, position };
    let mut rows = Vec::new();
    for _ in 0..READS_MAX {
        let wanted = limit - rows.len();
        let (listed, more) = listing.read(sources, wanted).await?;
        let ids: Vec<_> = listed.into_iter().map(|entry| entry.execution).collect();
        let found = executions.rows(&ids).await?;
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

/// A page of those executions that have not ended, which have an index of their own.
/// `None` if others are asked for, or there are so many that most of all executions are among them.
async fn unfinished(
    executions: &Executions,
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
    let (ids, is_more) = executions.unfinished_ids(UNFINISHED_MAX as i32).await?;
    if after.is_none() && (is_more || ids.len() > UNFINISHED_MAX) {
        return Ok(None);
    }
    let mut rows = executions.rows(&ids).await?;
    let place = |row: &Row| (row.view.created_at, row.view.execution.to_string());
    let after = after.and_then(Option::as_ref).and_then(|cursor| {
        Some((Timestamp::parse(cursor.get("created_at")?)?, cursor.get("execution")?.clone()))
    });
    rows.retain(|row| filter.fits(row) && after.as_ref().is_none_or(|after| place(row) < *after));
    rows.sort_by_key(|row| std::cmp::Reverse(place(row)));
    let is_more = rows.len() > limit;
    rows.truncate(limit);
    let cursor = rows.last().filter(|_| is_more).map(|row| {
        let (created_at, execution) = place(row);
        let cursor = Cursor::from([
            ("created_at".to_owned(), created_at.to_string()),
            ("execution".to_owned(), execution),
        ]);
        encode(&Position::from([(UNFINISHED.to_owned(), Some(cursor))]))
    });
    Ok(Some((rows, cursor)))
}

impl Filter {
    fn fits(&self, row: &Row) -> bool {
        let view = &row.view;
        self.status.is_none_or(|status| status == view.status)
            && self.source.as_ref().is_none_or(|source| *source == view.source)
            && self.from.is_none_or(|from| view.created_at >= from)
            && self.to.is_none_or(|to| view.created_at <= to)
    }
}

struct Listing<'l> {
    executions: &'l Executions,
    filter: &'l Filter,
    position: Position,
}

impl Listing<'_> {
    /// The next entries, and whether there are more after them.
    async fn read(
        &mut self,
        sources: &[SourceName],
        wanted: usize,
    ) -> Result<(Vec<Listed>, bool), Unavailable> {
        if let Some(status @ (ViewStatus::Failed | ViewStatus::Stalled)) = self.filter.status {
            return self.read_attention(status, wanted).await;
        }
        let of_filter = self.filter.source.clone().map(|source| vec![source]);
        let sources = of_filter.as_deref().unwrap_or(sources);
        let mut merged: Vec<(&SourceName, Listed)> = Vec::new();
        let mut ended = Vec::new();
        for source in sources {
            let start = match self.position.get(source.as_str()) {
                Some(None) => continue,
                Some(Some(cursor)) => Some(cursor.clone()),
                None => None,
            };
            let limit = i32::try_from(wanted).unwrap_or(i32::MAX);
            let Filter { from, to, .. } = *self.filter;
            let (listed, more) = self.executions.recent(source, from, to, limit, start).await?;
            if more.is_none() {
                ended.push((source, listed.len()));
            }
            merged.extend(listed.into_iter().map(|entry| (source, entry)));
        }
        // Each source's entries are in order already; the sort is stable and keeps them so.
        merged.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.created_at));
        merged.truncate(wanted);
        for (source, entry) in &merged {
            self.position.insert(source.to_string(), Some(entry.cursor.clone()));
        }
        for (source, entries) in ended {
            if merged.iter().filter(|(from, _)| *from == source).count() == entries {
                self.position.insert(source.to_string(), None);
            }
        }
        let open = |source: &SourceName| !matches!(self.position.get(source.as_str()), Some(None));
        let more = sources.iter().any(open);
        Ok((merged.into_iter().map(|(_, entry)| entry).collect(), more))
    }

    async fn read_attention(
        &mut self,
        status: ViewStatus,
        wanted: usize,
    ) -> Result<(Vec<Listed>, bool), Unavailable> {
        let start = self.position.get(status.as_str()).cloned().flatten();
        let limit = i32::try_from(wanted).unwrap_or(i32::MAX);
        let (listed, more) = self.executions.attention(status, limit, start).await?;
        let is_more = more.is_some();
        self.position.insert(status.as_str().to_owned(), more);
        Ok((listed, is_more))
    }
}

fn encode(position: &Position) -> String {
    BASE64.encode(serde_json::to_vec(position).expect("a position is JSON"))
}

fn decode(cursor: &str) -> Result<Position, BadCursor> {
    let bytes = BASE64.decode(cursor).map_err(|_| BadCursor)?;
    serde_json::from_slice(&bytes).map_err(|_| BadCursor)
}
