//! What the protocol could get wrong: each takes one of its guards away.

/// A mistake, made on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutant {
    /// An append puts its item whatever is there.
    AppendWithoutCondition,
    /// An outcome that met a conflict is appended after whatever came first, without deciding it again.
    ConflictNotDecidedAgain,
    /// An append whose reply was lost takes its own item for somebody else's.
    OwnAppendNotKnown,
    /// 202 as soon as event 1 is durable.
    AcknowledgedBeforeRow,
    /// 202 as soon as the row is durable.
    AcknowledgedBeforeEvent,
    /// A row that stands there already is left as it is.
    RowNotMadeAnew,
    /// The same, only when event 1 is there already as well.
    RowOfAnotherTryTrusted,
    /// A row without an execution is removed whatever became of it.
    DiscardWithoutCondition,
    /// A row without an execution is removed by its generation, whenever it was made.
    DiscardByGenerationAlone,
    /// The obligation is moved whatever its generation.
    PostponeWithoutGeneration,
    /// The history is not looked at again between reading the generation and waiting.
    WaitWithoutLookingAgain,
    /// The sweep claims a row whatever became of it.
    ClaimWithoutGeneration,
    /// There is no sweep.
    NoSweep,
    /// The sweep removes the due time when it hands an execution over.
    ClaimTakesDueAway,
    /// The end is shown before it is appended.
    EndShownBeforeAppend,
    /// The end is shown, and the row stays due.
    EndShownStillDue,
    /// A driver stops after the last append and shows nothing.
    EndNotShown,
    /// An attempt that must not be made twice is not claimed.
    ActWithoutClaim,
    /// Whoever lost the claim makes the attempt as well.
    ActAfterLostClaim,
    /// A claimed attempt has no time limit.
    ActAfterLimit,
    /// Each attempt has an idempotency key of its own.
    KeyOfAttempt,
    /// The next step begins before the outcome of the one before is appended.
    RunAheadOfAppend,
    /// An answer is acknowledged before the execution is made due.
    AnsweredBeforeDue,
    /// A step that may take long does not keep the sweep away.
    NoExtension,
}
