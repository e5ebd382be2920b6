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
    /// A due time is postponed only if it is still the one that was read.
    PostponeGeneration,
    /// A due row is claimed only if it is still the one that was read.
    ClaimGeneration,
    /// A view is shown only if it is newer.
    NewerView,
    /// An end is shown only if nothing later is.
    EndNotPast,
    /// The row of a new execution is made only where there is none.
    OpenOnce,
    /// The row of an earlier try is made anew beside a new first event.
    ReopenAnew,
    /// The row of another try is made anew before a redelivery is answered.
    ReopenStranger,
    /// 202 is said only when the row is durable.
    RowBeforeAnswer,
    /// 202 is said only when the first event is durable.
    EventBeforeAnswer,
    /// A fact makes its execution due after it was appended, not before.
    HastenAfterAppend,
    /// A fact is acknowledged only when its execution is due.
    HastenBeforeAnswer,
    /// An answer that was given before makes its execution due again.
    RepeatedAnswerHastens,
    /// A redrive that was asked for before makes its execution due again.
    RepeatedRedriveHastens,
    /// Making an execution due makes its obligation another one.
    HastenGeneration,
    /// Whoever redrives an execution makes it owed again.
    RedriveOwes,
    /// Whoever postpones reads the row before the history.
    RowBeforeHistory,
    /// Whoever postpones looks for news first.
    NewsBeforePostpone,
    /// A wake-up acts only if its append is the last one.
    LastAppendActs,
    /// Only the row itself says what is due, not the index.
    RowSaysDue,
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
    /// The lease of a due row lasts longer than an invocation.
    LeaseOutlastsInvocation,
    /// A lease is extended before an attempt that may outlast it.
    LeaseExtended,
    /// All attempts of a step carry the same key.
    StableKey,
    /// A timer ends when its time has come, not before.
    TimersOnTime,
    /// What is waited for is looked at again after an append.
    WaitAfterAppend,
    /// A wait is appended before the due time is postponed.
    AppendBeforePostpone,
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
    /// A row without an execution is left for a while.
    GraceForRows,
    /// A row without an execution is removed only if it is still the one that was read.
    DiscardUnchanged,
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
