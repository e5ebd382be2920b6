//! What goes wrong in a world, how often, and how often it did.

use std::cell::{Cell, RefCell};

use crate::dice::Dice;
use crate::focus::Focus;

macro_rules! faults {
    ($($name:ident $probability:literal $words:literal,)*) => {
        /// Something that goes wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the words below are their documentation")]
        pub enum Fault { $($name,)* }

        impl Fault {
            /// All of them, in words.
            pub const ALL: &'static [(Fault, f64, &'static str)] = &[$((Fault::$name, $probability, $words),)*];
        }
    };
}

faults! {
    CrashBefore 0.004 "crash before a call is applied",
    CrashAfter 0.006 "crash after a call is applied",
    CrashAnywhere 0.25 "crash at some other await",
    Throttled 0.015 "call throttled until its client gave up",
    ThrottledBriefly 0.03 "call throttled at first",
    RequestLost 0.004 "request lost on its way",
    ReplyLost 0.008 "reply lost, the write applied",
    ReplyLostAgain 0.004 "reply lost, and of the retry too",
    AppliedLate 0.003 "write applied after its caller gave up",
    Stall 0.004 "stall of 5 to 45 s",
    AppendLate 0.004 "append answered when its claim has run out",
    KilledBeforeTimer 0.003 "process killed between its append and the next timer",
    AuditKilled 0.02 "audit killed between its timers and its cursor",
    SlowCall 0.1 "call of a kind that is slow in its world",
    FailedCall 0.05 "call of a kind that fails in its world",
    StaleIndex 0.3 "index up to 4 s behind",
    IndexLags 0.03 "index entry up to 100 min late",
    StaleRead 0.2 "eventually consistent read behind",
    ShortPage 0.05 "page of a query cut short",
    RecordLost 0.03 "stream record lost",
    RecordRepeated 0.04 "stream record delivered again",
    RecordsReordered 0.1 "stream records in another order",
    RecordsSideBySide 0.2 "batches of one shard delivered side by side",
    ShardSplit 0.02 "shard split",
    MappingOutage 0.01 "event source mapping out for up to 10 min",
    InvocationLost 0.02 "asynchronous invocation lost",
    InvocationRepeated 0.02 "asynchronous invocation delivered twice",
    InvocationRefused 0.02 "asynchronous invocation refused",
    MessageLost 0.05 "message of a timer lost",
    MessageRepeated 0.05 "message of a timer delivered twice",
    MessageEarly 0.05 "message of a timer delivered early",
    MessageLate 0.05 "message of a timer up to 2 min late",
    SweepOutage 0.02 "sweep out for up to 45 min",
    SecondSweep 0.1 "two sweeps at once",
    TargetFails 0.08 "target fails",
    TargetAsksLater 0.02 "target that says when to come again",
    TargetRefuses 0.01 "target refuses for good",
    TargetSlow 0.05 "target slower than the step's timeout",
    TargetPanics 0.01 "step panics",
    NotThereYet 0.4 "look at what is not there yet",
    PayloadFails 0.03 "payload store does not answer",
    LargePayload 0.02 "payload in the object store",
    SenderPauses 0.1 "sender that pauses for about 16 min",
    WebhookAgain 0.2 "webhook sent again after its 202",
    WebhookTwice 0.15 "webhook sent twice at once",
    OtherBody 0.05 "same delivery id with another body",
    Captured 0.2 "another body sent by an attacker under an id that is to come",
    CallbackEarly 0.15 "callback before the call that asked has ended",
    CallbackLate 0.1 "callback near its expiry",
    CallbackTwice 0.2 "callback made twice",
    CallbackNever 0.08 "callback never made",
    CallbackLostReply 0.1 "callback's reply lost, and called again",
    Cancelled 0.05 "cancelled by an operator",
    Redriven 0.6 "redriven by an operator",
    NewVersion 0.15 "new version of the workflow under way",
    Skewed 0.5 "clock up to 2 s off",
    BatchLarge 0.1 "request with 4 to 30 events",
    BatchRegrouped 0.15 "events sent again in another order and other requests",
    BatchRepeats 0.1 "event twice in one request",
    ResultsWide 0.06 "results that each just fit into an event",
    ResultTooLarge 0.003 "result larger than may be kept",
    FailureLong 0.01 "failure told at length",
    CallbackFails 0.08 "callback that says it failed",
    BeatsCease 0.05 "signs of life cease",
    CallbackLarge 0.05 "callback's answer in the object store",
    CallbackTooLarge 0.03 "callback's answer larger than may be kept",
    PollerKilled 0.1 "local poller killed",
    PollerStopped 0.03 "local poller stopped in good order",
    IteratorExpired 0.02 "iterator expired",
    StreamTrimmed 0.05 "records trimmed that all were given",
    UnreadTrimmed 0.004 "records trimmed that somebody was never given",
    ShardListedLate 0.2 "shard listed late",
    DoorbellUnheard 0.05 "record that nobody rings for",
    CheckpointOld 0.2 "checkpoint older than what was written last",
    CheckpointDamaged 0.05 "checkpoint damaged",
    DiskFails 0.02 "disk fails",
}

/// How much more than usual something may go wrong in a world.
const INTENSITIES: [f64; 6] = [0.0, 0.3, 1.0, 1.0, 4.0, 12.0];

/// One world's faults.
#[derive(Debug)]
pub(crate) struct Faults {
    probabilities: Vec<f64>,
    counts: RefCell<Vec<u64>>,
    calm: Cell<bool>,
}

impl Faults {
    /// Draws how much of everything goes wrong in this world.
    pub(crate) fn draw(focus: Option<Focus>, dice: &mut Dice) -> Self {
        let probabilities = Fault::ALL.iter().map(|(_, probability, _)| {
            (probability * INTENSITIES[dice.below(INTENSITIES.len())]).min(0.9)
        });
        let mut probabilities: Vec<_> = probabilities.collect();
        for (fault, probability) in focus.into_iter().flat_map(Focus::faults) {
            probabilities[*fault as usize] = *probability;
        }
        Self {
            probabilities,
            counts: RefCell::new(vec![0; Fault::ALL.len()]),
            calm: Cell::new(false),
        }
    }

    /// Whether it happens now.
    pub(crate) fn strikes(&self, fault: Fault, dice: &mut Dice) -> bool {
        let strikes = dice.happens(self.probabilities[fault as usize]) && !self.calm.get();
        if strikes {
            self.counts.borrow_mut()[fault as usize] += 1;
        }
        strikes
    }

    /// From now on nothing goes wrong any more.
    pub(crate) fn cease(&self) {
        self.calm.set(true);
    }

    /// From now on things go wrong again.
    pub(crate) fn resume(&self) {
        self.calm.set(false);
    }

    pub(crate) fn have_ceased(&self) -> bool {
        self.calm.get()
    }

    /// How often each happened, in the order of [`Fault::ALL`].
    pub(crate) fn counts(&self) -> Vec<u64> {
        self.counts.borrow().clone()
    }
}
