//! What must hold, and mistakes that the protocol could make. Each mistake removes one of its safety checks.

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Property {
    /// 202 is answered only when event 1 is durable.
    EventBefore202,
    /// An append changes nothing that was recorded before.
    HistoryUnchanged,
    /// An execution that has not ended, or whose view does not say so, has a timer, or the audit ahead of it. A living
    /// driver is not enough.
    NeverForgotten,
    /// The timer of an execution that wants something is due in time: once the audit is over, and once a signal is
    /// answered.
    TimerInTime,
    /// From every state, what happens without luck leads to an end that the view shows, with no timer left. So a state
    /// in which nothing more happens is such an end.
    Ends,
    /// No attempt is called twice without a crash of its driver.
    CalledOnce,
    /// No attempt of a step that acts at most once is called twice.
    AtMostOnce,
    /// The view never goes backwards, and is never ahead of the history.
    ViewForward,
}

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutant {
    /// Ingest answers 202 before event 1 is durable.
    AcknowledgedBeforeEvent,
    /// An append overwrites what is at its position.
    AppendWithoutCondition,
    /// The audit's cursor moves before the timer is set.
    CursorBeforeTimers,
    /// The audit passes once.
    NoSecondPass,
    /// The audit takes an execution without a view for one that has ended.
    MissingViewMeansEnded,
    /// The audit does not write the view of an execution that has ended.
    AuditShowsNoEnds,
    /// The sweep never runs.
    NoSweep,
    /// A timer is deleted when a driver receives it, before the driver has done anything.
    TimerDeletedOnReceipt,
    /// A driver deletes the timer that woke it and returns; the next timer is set after that.
    NextTimerAfterReturn,
    /// A driver deletes a timer by its time alone, also one that was set again since it was handed over.
    DeletesAnyTimer,
    /// A driver deletes the timer that woke it before it has written the view of the end.
    TimerDeletedBeforeEndShown,
    /// Neither drivers nor the audit write the view of an execution that has ended.
    EndNeverShown,
    /// A caller gets its answer before the timer is set.
    AnsweredBeforeTimer,
    /// A caller that repeats a signal gets its answer without a timer.
    RepeatedSignalSetsNoTimer,
    /// A redrive of an execution that has ended sets no timer ahead of its append.
    NoTimerBeforeRedrive,
    /// An attempt is made without a claim.
    NoClaim,
    /// A driver replaces another driver's claim that has not expired.
    ClaimOfAnotherIgnored,
    /// A driver makes the attempt although another driver's append came before its claim.
    ActsOnRefusedClaim,
    /// A driver does not look again, right before the call, whether its claim has expired.
    ClaimNotLookedAtAgain,
    /// The outcome of an attempt is dropped when another append came first.
    OutcomeDroppedOnConflict,
    /// A view is written over a newer one.
    ViewWithoutNewer,
}
