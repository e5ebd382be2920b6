//! Where a world is weak: which calls are slow or fail all along, and what some worlds are about.
//!
//! What happens between two others then takes long enough for anything else to come between.

use everhook_journal::guard::Guard;

use crate::dice::Dice;
use crate::faults::Fault;
use crate::kit::{KILLER, SOURCES};

/// A kind of call: what it does, and to which table.
pub(crate) type Kind = (&'static str, &'static str);

/// What ingest and the processor append.
const APPEND: Kind = ("put", "journal");

/// A view is written.
const VIEW: Kind = ("update", "executions");

/// A timer is set, handed over, and deleted.
const TIMER: Kind = ("put", "timers");
const CLAIM: Kind = ("update", "timers");
const CLEARING: Kind = ("delete", "timers");

/// The stream is read.
pub(crate) const STREAM: Kind = ("read", "stream");

/// The local event source's file.
pub(crate) const DISK: Kind = ("write", "disk");

/// The kinds of call in which a world may be weak.
const CALLS: [Kind; 10] = [
    APPEND,
    ("query", "journal"),
    VIEW,
    TIMER,
    CLAIM,
    CLEARING,
    ("query", "timers"),
    ("get", "executions"),
    ("batch get", "executions"),
    STREAM,
];

/// What a world is about, if it is about one thing: a few rare events that only matter together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Focus {
    /// Processes that die between two writes, and a stream that tells nothing.
    Handovers,
    /// An audit that dies, comes late, and reads an index that lags.
    Audits,
    /// Facts that come while an execution is being put to rest.
    Facts,
    /// Two drivers of one execution.
    Drivers,
    /// Webhooks that kill whatever drives them.
    Killers,
    /// Targets that hang, and sources that have nothing to do with them. Nothing else excuses a delay.
    Hanging,
    /// Executions that cannot move, until their histories expire, and those who come back afterwards.
    Weeks,
    /// Lists whose results each just fit into an event. No world is about them by chance.
    Wide,
    /// Several drivers of one execution, answers near their expiry, and appends that take a while.
    Races,
    /// A stream of which no record arrives. Nothing else goes wrong.
    Unheard,
}

impl Focus {
    /// All of them. The last is no world's by chance.
    pub const ALL: [Self; 10] = [
        Self::Handovers,
        Self::Audits,
        Self::Facts,
        Self::Drivers,
        Self::Killers,
        Self::Hanging,
        Self::Weeks,
        Self::Races,
        Self::Unheard,
        Self::Wide,
    ];

    /// The one of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|focus| format!("{focus:?}").eq_ignore_ascii_case(name))
    }

    /// The worlds in which this guard is missed soonest, if they are about one thing.
    pub(crate) fn of(guard: Guard) -> Option<Self> {
        match guard {
            Guard::NextTimerFirst
            | Guard::AppendBeforeTimer
            | Guard::ClearsOwnTimer
            | Guard::EndShown => Some(Self::Handovers),
            Guard::TimersBeforeCursor
            | Guard::AuditPassesAgain
            | Guard::NoViewIsUnfinished
            | Guard::AuditShowsEnds => Some(Self::Audits),
            Guard::TimerBeforeAnswer | Guard::RepeatedFactSetsTimer | Guard::TimerBeforeRedrive => {
                Some(Self::Facts)
            }
            Guard::ClaimIsOwn | Guard::ClaimStillLong => Some(Self::Drivers),
            Guard::OnlyOutcomesSurvive | Guard::EndBeforeLettingGo => Some(Self::Races),
            Guard::SuspectsAlone => Some(Self::Killers),
            Guard::TogetherFits => Some(Self::Wide),
            Guard::EndsBeforeExpiry | Guard::ExpiredIsDeleted | Guard::ExpiredMakesRoom => {
                Some(Self::Weeks)
            }
            Guard::PlacesApart | Guard::BatchesHandOver => Some(Self::Hanging),
            _ => None,
        }
    }

    /// Now and then a world has one.
    pub(crate) fn draw(dice: &mut Dice) -> Option<Self> {
        dice.happens(0.3).then(|| Self::ALL[dice.below(Self::ALL.len() - 1)])
    }

    /// Which webhooks there are.
    pub(crate) fn sources(focus: Option<Self>) -> &'static [&'static str] {
        match focus {
            Some(Self::Handovers) => &["wait", "hour", "ask", "rescue", "fork", "attempt"],
            Some(Self::Facts) => &["ask", "rescue"],
            Some(Self::Drivers) => &["once", "attempt", "fork", "claims"],
            Some(Self::Killers) => &["plain", "once", "wait", KILLER, KILLER],
            Some(Self::Weeks) => &["plain", "once", "rescue", "ask", KILLER],
            Some(Self::Hanging) => &["plain", "once", "wait", "attempt", "look"],
            Some(Self::Wide) => &["list"],
            Some(Self::Races) => &["race", "race", "look", "beat", "claims"],
            Some(Self::Unheard | Self::Audits) | None => &SOURCES,
        }
    }

    /// What happens so often that it meets.
    pub(crate) fn faults(self) -> &'static [(Fault, f64)] {
        match self {
            Self::Handovers => &[
                (Fault::CrashBefore, 0.03),
                (Fault::CrashAfter, 0.04),
                (Fault::KilledBeforeTimer, 0.1),
                (Fault::RecordLost, 0.5),
                (Fault::SweepOutage, 0.2),
            ],
            Self::Audits => &[
                (Fault::RecordLost, 0.7),
                (Fault::IndexLags, 0.4),
                (Fault::CrashBefore, 0.02),
                (Fault::CrashAfter, 0.02),
                (Fault::AuditKilled, 0.1),
                (Fault::SweepOutage, 0.1),
            ],
            Self::Facts => &[
                (Fault::SlowCall, 0.5),
                (Fault::CallbackEarly, 0.2),
                (Fault::CallbackNever, 0.0),
                (Fault::InvocationLost, 0.5),
                (Fault::CrashAfter, 0.03),
                (Fault::KilledBeforeTimer, 0.25),
                (Fault::SweepOutage, 0.0),
                (Fault::AuditKilled, 0.0),
                (Fault::CrashAnywhere, 0.05),
                (Fault::Throttled, 0.005),
                (Fault::Stall, 0.001),
                (Fault::TargetRefuses, 0.15),
                (Fault::Redriven, 0.9),
            ],
            // Deaths that nothing is guilty of are another matter.
            Self::Killers => &[
                (Fault::CrashAnywhere, 0.0),
                (Fault::CrashBefore, 0.0),
                (Fault::CrashAfter, 0.0),
                (Fault::KilledBeforeTimer, 0.0),
                (Fault::TargetSlow, 0.0),
                (Fault::NewVersion, 0.0),
            ],
            Self::Weeks => &[
                (Fault::CrashAnywhere, 0.0),
                (Fault::CrashBefore, 0.0),
                (Fault::CrashAfter, 0.0),
                (Fault::KilledBeforeTimer, 0.0),
                (Fault::TargetSlow, 0.0),
                (Fault::NewVersion, 0.0),
                (Fault::TargetRefuses, 0.3),
            ],
            Self::Hanging => &[
                (Fault::CrashBefore, 0.0),
                (Fault::CrashAfter, 0.0),
                (Fault::CrashAnywhere, 0.0),
                (Fault::KilledBeforeTimer, 0.0),
                (Fault::AppendLate, 0.0),
                (Fault::ThrottledBriefly, 0.0),
                (Fault::Throttled, 0.0),
                (Fault::RequestLost, 0.0),
                (Fault::ReplyLost, 0.0),
                (Fault::ReplyLostAgain, 0.0),
                (Fault::AppliedLate, 0.0),
                (Fault::Stall, 0.0),
                (Fault::SlowCall, 0.0),
                (Fault::FailedCall, 0.0),
                (Fault::PayloadFails, 0.0),
                (Fault::RecordLost, 0.0),
                (Fault::MappingOutage, 0.0),
                (Fault::InvocationLost, 0.0),
                (Fault::InvocationRefused, 0.0),
                (Fault::PollerKilled, 0.0),
                (Fault::PollerStopped, 0.0),
                (Fault::IteratorExpired, 0.0),
                (Fault::UnreadTrimmed, 0.0),
                (Fault::ShardSplit, 0.0),
                (Fault::ShortPage, 0.0),
                (Fault::DoorbellUnheard, 0.0),
                (Fault::DiskFails, 0.0),
                (Fault::TargetSlow, 0.0),
                (Fault::Redriven, 0.02),
            ],
            Self::Wide => &[(Fault::ResultsWide, 0.9), (Fault::SlowCall, 0.4)],
            Self::Races => &[
                (Fault::SlowCall, 0.5),
                (Fault::AppendLate, 0.03),
                (Fault::Stall, 0.0),
                (Fault::CrashAnywhere, 0.0),
                (Fault::CrashBefore, 0.0),
                (Fault::CrashAfter, 0.0),
                (Fault::KilledBeforeTimer, 0.0),
                (Fault::RecordRepeated, 0.4),
                (Fault::RecordsSideBySide, 0.6),
                (Fault::CallbackLate, 0.7),
                (Fault::CallbackNever, 0.02),
                (Fault::CallbackEarly, 0.05),
            ],
            Self::Unheard => &[
                (Fault::RecordLost, 1.0),
                (Fault::CrashBefore, 0.0),
                (Fault::CrashAfter, 0.0),
                (Fault::CrashAnywhere, 0.0),
                (Fault::KilledBeforeTimer, 0.0),
                (Fault::AuditKilled, 0.0),
                (Fault::Throttled, 0.0),
                (Fault::RequestLost, 0.0),
                (Fault::ReplyLost, 0.0),
                (Fault::ReplyLostAgain, 0.0),
                (Fault::AppliedLate, 0.0),
                (Fault::AppendLate, 0.0),
                (Fault::Stall, 0.0),
                (Fault::SlowCall, 0.0),
                (Fault::FailedCall, 0.0),
                (Fault::PayloadFails, 0.0),
                (Fault::IndexLags, 0.0),
                (Fault::SweepOutage, 0.0),
                (Fault::InvocationLost, 0.0),
                (Fault::InvocationRefused, 0.0),
                (Fault::MessageLost, 0.0),
                (Fault::MessageLate, 0.0),
            ],
            Self::Drivers => &[
                (Fault::SlowCall, 0.5),
                (Fault::AppendLate, 0.1),
                (Fault::RecordRepeated, 0.4),
                (Fault::RecordsSideBySide, 0.6),
            ],
        }
    }
}

/// Which calls are slow all along in a world, and which fail.
pub(crate) struct Weak {
    pub(crate) slow: Kind,
    /// For how long at most, in milliseconds.
    pub(crate) slow_most: u64,
    pub(crate) failing: Kind,
}

impl Weak {
    /// Draws where a world is weak.
    pub(crate) fn draw(focus: Option<Focus>, dice: &mut Dice) -> Self {
        let drawn = Self {
            slow: CALLS[dice.below(CALLS.len())],
            slow_most: [100, 1_000, 10_000, 25_000][dice.below(4)],
            failing: CALLS[dice.below(CALLS.len())],
        };
        match focus {
            Some(Focus::Facts) => Self { slow: [TIMER, CLEARING][dice.below(2)], ..drawn },
            Some(Focus::Drivers | Focus::Wide) => Self { slow: APPEND, ..drawn },
            Some(Focus::Races) => {
                Self { slow: APPEND, slow_most: [900, 900, 25_000][dice.below(3)], ..drawn }
            }
            Some(
                Focus::Handovers
                | Focus::Audits
                | Focus::Killers
                | Focus::Hanging
                | Focus::Weeks
                | Focus::Unheard,
            )
            | None => drawn,
        }
    }
}
