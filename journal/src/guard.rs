//! The guards of the protocol, by name.
//!
//! Each of them holds, always. A simulation switches one off to see that it would be missed;
//! that takes the feature `simulation`, which no shipped program has.

macro_rules! guards {
    ($($(#[$documentation:meta])* $name:ident,)*) => {
        /// A guard of the protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Guard {
            $($(#[$documentation])* $name,)*
        }

        #[cfg(feature = "simulation")]
        impl Guard {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The guard of this name.
            pub fn parse(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|guard| format!("{guard:?}") == name)
            }
        }
    };
}

guards! {
    /// An append is made only where nothing stands yet.
    AppendCondition,
    /// What has expired makes room for an append, whether it was deleted or not.
    ExpiredMakesRoom,
    /// What has expired is not read, whether it was deleted or not.
    ExpiredIsDeleted,
    /// An append that meets itself has succeeded.
    OwnAppend,
    /// A history is read as of the last acknowledged append.
    ConsistentHistory,
    /// A history is read to its last page.
    WholeHistory,
    /// An append names the digest of the one before.
    LinkedHistory,
    /// A view is shown only if it is newer.
    NewerView,
    /// The next timer is set before those that woke the execution are deleted.
    NextTimerFirst,
    /// A wait is appended before its timer is set.
    AppendBeforeTimer,
    /// A timer is deleted only if it is still the one that was handed over.
    ClearsOwnTimer,
    /// A fact has its timer before it is acknowledged.
    TimerBeforeAnswer,
    /// A fact that was recorded before has its timer set again.
    RepeatedFactSetsTimer,
    /// An execution that had ended has a timer before it is redriven.
    TimerBeforeRedrive,
    /// The audit sets timers before its cursor moves.
    TimersBeforeCursor,
    /// The audit passes again, over an index that lagged.
    AuditPassesAgain,
    /// An execution without a view counts as unfinished.
    NoViewIsUnfinished,
    /// The audit writes the views of what has ended.
    AuditShowsEnds,
    /// The audit leaves alone what rests and has its timer.
    AuditLetsRest,
    /// 202 is said only when the first event is durable.
    EventBeforeAnswer,
    /// Every attempt that acts is claimed before it acts.
    ClaimBeforeActing,
    /// An attempt is claimed wherever it stands, not only beside others.
    ClaimEverywhere,
    /// A claim is looked at again right before the attempt.
    ClaimStillLong,
    /// An outcome is appended as soon as it is known, whatever else is under way.
    OutcomeAtOnce,
    /// No source takes the places of all others.
    PlacesApart,
    /// A batch of the stream does not wait for steps that act.
    BatchesHandOver,
    /// Only whoever has claimed an attempt makes it.
    ClaimIsOwn,
    /// A claim lasts longer than the attempt.
    ClaimOutlastsAttempt,
    /// All attempts of a step carry the same key.
    StableKey,
    /// A timer ends when its time has come, not before.
    TimersOnTime,
    /// What is waited for is looked at again after an append.
    WaitAfterAppend,
    /// What acted is appended before what follows it acts.
    AppendBeforeNext,
    /// An execution's id derives from its delivery.
    DerivedId,
    /// An id that does not name one event for sure is completed by its body.
    BodyCompletesId,
    /// A body without an id counts as a redelivery for a while only.
    WindowEnds,
    /// What this process remembers is brought up to date from the journal.
    JournalDecides,
    /// An outcome is decided again after a conflict.
    OutcomeSurvivesConflict,
    /// Only outcomes are: whatever else was decided is decided anew.
    OnlyOutcomesSurvive,
    /// An end is appended before calls under way are let go of.
    EndBeforeLettingGo,
    /// What cannot follow is not decided.
    DecideRefuses,
    /// A large payload is stored before the event that names it.
    PayloadBeforeEvent,
    /// An execution goes through the definition that it began with.
    PinnedDefinition,
    /// The end is shown before the obligation is let go of.
    EndShown,
    /// The end is appended before it is shown.
    AppendBeforeEnd,
    /// What is due is looked for.
    SweepComes,
    /// What may have killed a process is driven alone, and its deaths are counted.
    SuspectsAlone,
    /// What has not ended ends as failed before its history expires.
    EndsBeforeExpiry,
    /// 202 is said to a request of several events only when each of them is durable.
    WholeRequest,
    /// What is decided is appended before it is too much for one item.
    TogetherFits,
    /// A result that is larger than may be kept fails its step.
    LargeResultFails,
    /// The checkpoint of a shard stands before whatever is not done.
    CheckpointBehindDone,
    /// A shard is read when its parent is done.
    ParentFirst,
    /// What a batch did not do is tried again, or given up by name.
    FailedAgain,
    /// No two batches under way share a key.
    KeysApart,
}

/// Whether this guard holds.
#[cfg(not(feature = "simulation"))]
#[inline(always)]
pub const fn holds(_guard: Guard) -> bool {
    true
}

/// Whether this guard holds.
#[cfg(feature = "simulation")]
#[inline]
pub fn holds(guard: Guard) -> bool {
    crate::ambient::simulated::with(|it| !it.is_off(guard)).unwrap_or(true)
}
