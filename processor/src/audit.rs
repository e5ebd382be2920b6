//! Finds executions that would be forgotten: unfinished ones without a timer, and ended ones whose view says otherwise.
//!
//! An execution that ends in its first drive never has a timer, so nothing is written for it that only says "look
//! again". Instead the audit reads the index of received webhooks from a cursor up to a horizon in the past. Of what has
//! not ended by its view it reads the last append, and sets the timer that is missing, or writes the view. Only then
//! the cursor moves. An index may lag, so it passes again after an hour and after a day.

use std::time::Duration;

use everhook_journal::executions::{Cursor, Listed, Pass};
use everhook_journal::guard::{self, Guard};
use everhook_journal::store::Unavailable;
use everhook_journal::table::{Last, Lifetime, ReadError, Span};
use everhook_journal::timers::Terms;
use everhook_journal::{
    Clock, Event, Execution, ExecutionId, Executions, Journal, Sequence, SourceName, Timer, Timers,
    Timestamp, View, failpoint, telemetry,
};
use futures_util::{StreamExt, stream};

/// How long after its receipt a webhook is audited first: longer than recording one may take, and clocks may differ.
pub const HORIZON: Duration = Duration::from_secs(20);

/// How far a cursor may be ahead of this process's clock; one that is further was moved by a clock that was wrong.
const AHEAD: Duration = Duration::from_secs(60);

/// How far it is then moved back.
const BACK: Duration = Duration::from_secs(24 * 3600);

/// How many entries of the index are read at once.
const PAGE: i32 = 100;

/// How many shards of sources are read at once, and how many executions of each are looked at at once.
const PARTS_AT_ONCE: usize = 8;
const LOOKED_AT_ONCE: usize = 8;

/// Looks after executions that would be forgotten.
#[derive(Debug, Clone)]
pub struct Audit {
    journal: Journal,
    executions: Executions,
    timers: Timers,
    clock: Clock,
}

/// What an audit came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Audited {
    /// How many entries it looked at.
    pub looked_at: usize,
    /// How many timers it set.
    pub timers: usize,
    /// How many views it wrote.
    pub views: usize,
    /// How far behind its horizon the first pass is.
    pub behind: Duration,
}

impl Audited {
    fn add(&mut self, other: Self) {
        self.looked_at += other.looked_at;
        self.timers += other.timers;
        self.views += other.views;
    }
}

/// One shard of one source, and how far it has been looked at.
struct Part {
    source: SourceName,
    shard: u64,
    start: Option<Cursor>,
    /// Up to when; none if nothing has been.
    reached: Option<Timestamp>,
}

/// What was found out about one execution.
enum Found {
    Well,
    TimerSet,
    ViewWritten,
}

impl Audit {
    /// An audit over these tables.
    pub fn new(journal: Journal, executions: Executions, timers: Timers, clock: Clock) -> Self {
        Self { journal, executions, timers, clock }
    }

    /// Goes on with all passes until `until`; what is left is looked at the next time.
    pub async fn run(&self, until: Timestamp) -> Result<Audited, Unavailable> {
        self.run_up_to(self.clock.now() - HORIZON, until).await
    }

    /// The same, but the first pass looks at everything up to this time.
    pub async fn run_up_to(
        &self,
        horizon: Timestamp,
        until: Timestamp,
    ) -> Result<Audited, Unavailable> {
        let sources = self.executions.sources().await?;
        let mut audited = Audited::default();
        for pass in Pass::ALL {
            let now = self.clock.now();
            let to = match pass {
                Pass::Soon => horizon,
                Pass::Hour => now - Duration::from_secs(3600),
                Pass::Day => now - Duration::from_secs(24 * 3600),
            };
            if pass != Pass::Soon && !guard::holds(Guard::AuditPassesAgain) {
                continue;
            }
            let reached = self.pass(pass, &sources, to, until, &mut audited).await?;
            if pass == Pass::Soon {
                audited.behind = to.since(reached);
                telemetry::audited(audited.behind, audited.timers, audited.views);
            }
        }
        Ok(audited)
    }

    /// Looks at everything between the cursor and `to`, and moves the cursor; says how far it came.
    async fn pass(
        &self,
        pass: Pass,
        sources: &[SourceName],
        to: Timestamp,
        until: Timestamp,
        audited: &mut Audited,
    ) -> Result<Timestamp, Unavailable> {
        let mut from = self.executions.audited(pass).await?;
        let ahead = to + AHEAD;
        if let Some(cursor) = from.filter(|from| *from > ahead) {
            // The clock that moved it was ahead: what is recorded now would be passed by.
            tracing::warn!("the audit goes back to {}: it had come to {cursor}", to - BACK);
            from = Some(to - BACK);
        }
        if from.is_some_and(|from| from >= to) {
            return Ok(to);
        }
        if !guard::holds(Guard::TimersBeforeCursor) {
            self.executions.set_audited(pass, to, ahead).await?;
        }
        let mut open = Vec::new();
        for source in sources {
            for shard in self.journal.shards().all() {
                open.push(Part { source: source.clone(), shard, start: None, reached: from });
            }
        }
        let mut failed = None;
        // A page of each in turn, so that a long part keeps no other from being looked at.
        while !open.is_empty() {
            let pages: Vec<_> = open.drain(..).map(|part| self.page(part, (from, to))).collect();
            let mut looked = stream::iter(pages).buffer_unordered(PARTS_AT_ONCE);
            while let Some(page) = looked.next().await {
                match page {
                    Ok((more, found)) => {
                        audited.add(found);
                        open.extend(more);
                    }
                    // The trouble of one part keeps no other from being looked at; but the cursor stays.
                    Err(error) => failed = Some(error),
                }
            }
            if self.clock.now() >= until {
                break;
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let Some(reached) = open.iter().map(|part| part.reached).min().unwrap_or(Some(to)) else {
            return Ok(from.unwrap_or(to));
        };
        failpoint::reached("audit.before-cursor");
        if from.is_none_or(|from| from < reached) {
            self.executions.set_audited(pass, reached, ahead).await?;
        }
        Ok(reached)
    }

    /// Looks at the next page of one shard of one source; returns what is left of it.
    async fn page(
        &self,
        mut part: Part,
        (from, to): (Option<Timestamp>, Timestamp),
    ) -> Result<(Option<Part>, Audited), Unavailable> {
        let start = part.start.take();
        let span = Span { from, to: Some(to), limit: Some(PAGE), start, ..Span::default() };
        let (listed, more) = self.journal.received(&part.source, part.shard, span).await?;
        let mut audited = Audited::default();
        self.look_at(&listed, &mut audited).await?;
        // What was recorded at the same millisecond may be on the next page.
        part.reached = listed.last().map(|last| last.created_at).or(part.reached);
        part.start = more;
        Ok((part.start.is_some().then_some(part), audited))
    }

    async fn look_at(&self, listed: &[Listed], audited: &mut Audited) -> Result<(), Unavailable> {
        let ids: Vec<_> = listed.iter().map(|entry| entry.execution.clone()).collect();
        let rows = self.executions.rows(&ids).await?;
        let mut open = Vec::new();
        for (entry, row) in listed.iter().zip(rows) {
            let is_open = match &row.view {
                // Another execution may have begun in the place of one that has expired.
                Some(view) => !view.status.is_terminal() || view.created_at < entry.created_at,
                None => guard::holds(Guard::NoViewIsUnfinished),
            };
            if is_open {
                // One that may have killed a process is driven alone.
                let is_suspect = row.deaths > 0;
                open.push(self.look_after(row.execution, is_suspect));
            }
        }
        audited.looked_at += listed.len();
        let mut found = stream::iter(open).buffer_unordered(LOOKED_AT_ONCE);
        let mut failed = None;
        while let Some(found) = found.next().await {
            match found {
                Ok(Found::Well) => {}
                Ok(Found::TimerSet) => audited.timers += 1,
                Ok(Found::ViewWritten) => audited.views += 1,
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Sees to it that an execution is not forgotten.
    async fn look_after(&self, id: ExecutionId, is_suspect: bool) -> Result<Found, Unavailable> {
        let (id, now) = (&id, self.clock.now());
        let terms =
            |is_claim, expires_at| Terms { is_suspect, is_claim, is_stalled: false, expires_at };
        let last = match self.journal.last(id).await {
            Ok(Some(last)) => last,
            // It has expired.
            Ok(None) => return Ok(Found::Well),
            Err(ReadError::Unavailable(error)) => return Err(error),
            // The driver that this timer wakes marks it.
            Err(_) => {
                return self.set(id, now, terms(false, Lifetime::unknown(now).expires_at)).await;
            }
        };
        if has_ended(&last) {
            return self.show(id).await;
        }
        match last.until.filter(|_| guard::holds(Guard::AuditLetsRest)) {
            Some(due) => self.set(id, due, terms(is_claim(&last, due), last.expires_at)).await,
            None => self.set(id, now, terms(false, last.expires_at)).await,
        }
    }

    async fn set(
        &self,
        id: &ExecutionId,
        due: Timestamp,
        terms: Terms,
    ) -> Result<Found, Unavailable> {
        let timer = Timer { due, execution: id.clone() };
        // A read costs less than a write that is refused.
        if self.timers.get(&timer).await?.is_some() {
            return Ok(Found::Well);
        }
        failpoint::reached("audit.set");
        let is_new = self.timers.set_if_missing(&timer, terms).await?;
        Ok(if is_new { Found::TimerSet } else { Found::Well })
    }

    /// Writes the view of an execution that has ended.
    async fn show(&self, id: &ExecutionId) -> Result<Found, Unavailable> {
        if !guard::holds(Guard::AuditShowsEnds) {
            return Ok(Found::Well);
        }
        let history = match self.journal.read(id, Sequence::START).await {
            Ok(history) => history,
            Err(ReadError::Unavailable(error)) => return Err(error),
            Err(error) => {
                tracing::error!(execution.id = %id, "{error}");
                return Ok(Found::Well);
            }
        };
        let Ok(Some(execution)) = Execution::fold(&history) else { return Ok(Found::Well) };
        let is_new = self.executions.show(&View::of(id, &execution)).await?;
        Ok(if is_new { Found::ViewWritten } else { Found::Well })
    }
}

fn has_ended(last: &Last) -> bool {
    last.events.last().is_some_and(|last| last.event.ends_execution())
}

/// Whether that time is the end of a claim that the last append holds.
fn is_claim(last: &Last, due: Timestamp) -> bool {
    last.events
        .iter()
        .any(|recorded| matches!(recorded.event, Event::StepClaimed { until, .. } if until == due))
}
