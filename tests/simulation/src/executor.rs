//! Runs futures on one thread, in an order that the dice give, in a time that only passes when all of them wait.
//!
//! A future belongs to a process. When a process dies, its futures are dropped at the await they stand at.

use std::cell::{Cell, RefCell};
use std::collections::BinaryHeap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use everhook_journal::ambient::simulated::{self, Sleep, Surroundings};
use everhook_journal::guard::Guard;

use crate::dice::Dice;

/// A process: what dies together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Process(pub(crate) u32);

/// The world itself, which does not die.
pub(crate) const WORLD: Process = Process(0);

type Task = Pin<Box<dyn Future<Output = ()>>>;

struct Slot {
    process: Process,
    task: Option<Task>,
    waker: Arc<TaskWaker>,
}

struct TaskWaker {
    slot: usize,
    queued: AtomicBool,
    ready: Arc<Mutex<Vec<usize>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.ready.lock().unwrap_or_else(PoisonError::into_inner).push(self.slot);
        }
    }
}

struct Timer {
    at: u64,
    order: u64,
    waker: Arc<Mutex<Option<Waker>>>,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    // The earliest is the greatest, so that the heap gives it first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// A clock of a process: the world's, a little off.
struct Skewed {
    millis: Arc<AtomicI64>,
    skew: i64,
    process: Process,
}

/// One world's executor.
pub(crate) struct Executor {
    /// Microseconds since the world began.
    now: Cell<u64>,
    beginning: i64,
    order: Cell<u64>,
    timers: RefCell<BinaryHeap<Timer>>,
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
    ready: Arc<Mutex<Vec<usize>>>,
    dead: RefCell<Vec<Process>>,
    clocks: RefCell<Vec<Skewed>>,
    current: Cell<Process>,
    stopped: Cell<bool>,
    off: Option<Guard>,
    pub(crate) dice: RefCell<Dice>,
}

/// How often the tasks of one world are polled at most. No world that keeps the rules has come near it.
const POLLS_MAX: usize = 10_000_000;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Executor>>> = const { RefCell::new(None) };
}

/// The executor of this thread's world.
pub(crate) fn executor() -> Rc<Executor> {
    CURRENT.with_borrow(Clone::clone).expect("called inside a world")
}

/// Rolls this world's dice.
pub(crate) fn roll<R>(ask: impl FnOnce(&mut Dice) -> R) -> R {
    ask(&mut executor().dice.borrow_mut())
}

/// Lets so much time pass.
pub(crate) fn sleep(duration: Duration) -> Sleep {
    Box::pin(Sleeping { duration: micros(duration), until: None, waker: Arc::default() })
}

/// Waits for ever: whoever gets here is about to die.
pub(crate) async fn never<T>() -> T {
    std::future::pending().await
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Executor {
    /// Runs a world from its beginning (milliseconds since 1970) until it stops, or nothing is left to happen.
    pub(crate) fn run(
        dice: Dice,
        beginning: i64,
        off: Option<Guard>,
        begin: impl FnOnce(&Rc<Self>),
    ) {
        let executor = Rc::new(Self {
            now: Cell::new(0),
            beginning,
            order: Cell::new(0),
            timers: RefCell::default(),
            slots: RefCell::default(),
            free: RefCell::default(),
            ready: Arc::default(),
            dead: RefCell::default(),
            clocks: RefCell::default(),
            current: Cell::new(WORLD),
            stopped: Cell::new(false),
            off,
            dice: RefCell::new(dice),
        });
        let before = CURRENT.replace(Some(executor.clone()));
        simulated::within(Rc::new(Ambient(executor.clone())), || {
            begin(&executor);
            executor.turn();
            // Futures may hold what holds the executor.
            let left: Vec<_> = executor.slots.take();
            drop(left);
        });
        CURRENT.set(before);
    }

    fn turn(&self) {
        // A world that goes round in circles stops too, and is told to be unfinished.
        for _ in 0..POLLS_MAX {
            if self.stopped.get() {
                return;
            }
            self.bury();
            let next = {
                let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
                match ready.len() {
                    0 => None,
                    1 => ready.pop(),
                    many => {
                        // What wakes several at once may do so in any order.
                        ready.sort_unstable();
                        Some(ready.swap_remove(self.dice.borrow_mut().below(many)))
                    }
                }
            };
            match next {
                Some(slot) => self.poll(slot),
                None if self.pass() => {}
                None => return,
            }
        }
    }

    fn poll(&self, slot: usize) {
        let taken = {
            let mut slots = self.slots.borrow_mut();
            let Some(found) = slots.get_mut(slot) else { return };
            found.waker.queued.store(false, Ordering::Relaxed);
            found.task.take().map(|task| (task, found.process, found.waker.clone()))
        };
        let Some((mut task, process, waker)) = taken else { return };
        self.current.set(process);
        let waker = Waker::from(waker);
        let polled = task.as_mut().poll(&mut Context::from_waker(&waker));
        self.current.set(WORLD);
        match polled {
            Poll::Pending => self.slots.borrow_mut()[slot].task = Some(task),
            Poll::Ready(()) => {
                drop(task);
                self.free.borrow_mut().push(slot);
            }
        }
    }

    /// Goes on to the next time at which something happens; says whether there is one.
    fn pass(&self) -> bool {
        let Some(next) = self.timers.borrow_mut().pop() else { return false };
        let waker = next.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Nobody waits for it any more.
        let Some(waker) = waker else { return true };
        if next.at > self.now.get() {
            self.now.set(next.at);
            let now = self.true_millis();
            for clock in self.clocks.borrow().iter() {
                clock.millis.store(now + clock.skew, Ordering::Relaxed);
            }
        }
        waker.wake();
        true
    }

    /// Drops what belongs to processes that have died.
    fn bury(&self) {
        let dead = self.dead.take();
        if dead.is_empty() {
            return;
        }
        let mut dropped = Vec::new();
        for (place, slot) in self.slots.borrow_mut().iter_mut().enumerate() {
            if dead.contains(&slot.process) && slot.task.is_some() {
                dropped.push(slot.task.take());
                self.free.borrow_mut().push(place);
            }
        }
        self.clocks.borrow_mut().retain(|clock| !dead.contains(&clock.process));
        drop(dropped);
    }

    /// Begins a task of a process.
    pub(crate) fn spawn(&self, process: Process, task: impl Future<Output = ()> + 'static) {
        let task: Task = Box::pin(task);
        let mut slots = self.slots.borrow_mut();
        let place = match self.free.borrow_mut().pop() {
            Some(free) => free,
            None => slots.len(),
        };
        let (queued, ready) = (AtomicBool::new(false), self.ready.clone());
        let waker = Arc::new(TaskWaker { slot: place, queued, ready });
        let slot = Slot { process, task: Some(task), waker: waker.clone() };
        match slots.get_mut(place) {
            Some(old) => *old = slot,
            None => slots.push(slot),
        }
        drop(slots);
        waker.wake_by_ref();
    }

    /// A clock for a process that is off by so many milliseconds.
    pub(crate) fn clock(&self, process: Process, skew: i64) -> Arc<AtomicI64> {
        let millis = Arc::new(AtomicI64::new(self.true_millis() + skew));
        self.clocks.borrow_mut().push(Skewed { millis: millis.clone(), skew, process });
        millis
    }

    /// Kills a process: its futures end where they stand.
    pub(crate) fn kill(&self, process: Process) {
        self.dead.borrow_mut().push(process);
    }

    /// The process whose future is being polled.
    pub(crate) fn current(&self) -> Process {
        self.current.get()
    }

    /// Ends the world.
    pub(crate) fn stop(&self) {
        self.stopped.set(true);
    }

    /// The time since the world began.
    pub(crate) fn now(&self) -> Duration {
        Duration::from_micros(self.now.get())
    }

    /// The true time, in milliseconds since 1970.
    pub(crate) fn true_millis(&self) -> i64 {
        self.beginning + (self.now.get() / 1000) as i64
    }

    /// The guard that is switched off.
    pub(crate) fn off(&self) -> Option<Guard> {
        self.off
    }
}

/// What the product's code asks for.
#[derive(Debug)]
struct Ambient(Rc<Executor>);

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor").field("now", &self.now()).finish_non_exhaustive()
    }
}

impl Surroundings for Ambient {
    fn now(&self) -> Duration {
        self.0.now()
    }

    fn since_epoch(&self) -> Duration {
        Duration::from_millis(self.0.true_millis().unsigned_abs())
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        sleep(duration)
    }

    fn spawn(&self, task: Sleep) {
        self.0.spawn(self.0.current(), task);
    }

    fn fill(&self, bytes: &mut [u8]) {
        self.0.dice.borrow_mut().fill(bytes);
    }

    fn is_off(&self, guard: Guard) -> bool {
        self.0.off() == Some(guard)
    }
}

struct Sleeping {
    duration: u64,
    until: Option<u64>,
    /// Whom the timer wakes: nobody once this is dropped.
    waker: Arc<Mutex<Option<Waker>>>,
}

impl Future for Sleeping {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let executor = executor();
        let now = executor.now.get();
        if self.until.is_some_and(|until| until <= now) {
            return Poll::Ready(());
        }
        let waker = Some(context.waker().clone());
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = waker;
        if self.until.is_none() {
            let at = now.saturating_add(self.duration);
            self.until = Some(at);
            let order = executor.order.get();
            executor.order.set(order + 1);
            executor.timers.borrow_mut().push(Timer { at, order, waker: self.waker.clone() });
        }
        Poll::Pending
    }
}

impl Drop for Sleeping {
    fn drop(&mut self) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
