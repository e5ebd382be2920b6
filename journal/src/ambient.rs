//! What the code takes from its surroundings beside DynamoDB: the passing of time, chance, and tasks of its own.
//!
//! A simulation puts its own in their place, for its thread; that takes the feature `simulation`,
//! which no shipped program has.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// A future did not end within its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no end within its time")]
pub struct Elapsed;

/// A task panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it panicked")]
pub struct Panicked;

/// Measures how long something takes.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Started);

#[derive(Debug, Clone, Copy)]
enum Started {
    At(std::time::Instant),
    #[cfg(feature = "simulation")]
    Simulated(Duration),
}

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        #[cfg(feature = "simulation")]
        if let Some(now) = simulated::with(|it| it.now()) {
            return Self(Started::Simulated(now));
        }
        Self(Started::At(std::time::Instant::now()))
    }

    /// How long ago that was.
    pub fn elapsed(&self) -> Duration {
        match self.0 {
            Started::At(instant) => instant.elapsed(),
            #[cfg(feature = "simulation")]
            Started::Simulated(then) => {
                simulated::with(|it| it.now()).map_or(Duration::ZERO, |now| now - then)
            }
        }
    }
}

/// Waits for a future, so long at most.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    #[cfg(feature = "simulation")]
    let future = Box::pin(future);
    #[cfg(feature = "simulation")]
    if let Some(sleep) = simulated::with(|it| it.sleep(limit)) {
        return match futures_util::future::select(future, sleep).await {
            futures_util::future::Either::Left((output, _)) => Ok(output),
            futures_util::future::Either::Right(_) => Err(Elapsed),
        };
    }
    tokio::time::timeout(limit, future).await.map_err(|_| Elapsed)
}

/// Waits so long.
pub async fn sleep(duration: Duration) {
    #[cfg(feature = "simulation")]
    if let Some(sleep) = simulated::with(|it| it.sleep(duration)) {
        return sleep.await;
    }
    tokio::time::sleep(duration).await;
}

/// The time since the Unix epoch, as the system's clock has it.
pub fn since_epoch() -> Duration {
    #[cfg(feature = "simulation")]
    if let Some(time) = simulated::with(|it| it.since_epoch()) {
        return time;
    }
    std::time::UNIX_EPOCH.elapsed().unwrap_or_default()
}

/// Begins a task of its own, which ends when nobody waits for it any more.
pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Task<T> {
    #[cfg(feature = "simulation")]
    let future = Box::pin(future);
    #[cfg(feature = "simulation")]
    if simulated::with(|_| ()).is_some() {
        return Task(Running::Simulated(simulated::spawn(future)));
    }
    Task(Running::Spawned(tokio::spawn(future)))
}

/// Whether a simulation has put its own surroundings in their place.
pub fn is_simulated() -> bool {
    #[cfg(feature = "simulation")]
    return simulated::with(|_| ()).is_some();
    #[cfg(not(feature = "simulation"))]
    false
}

/// Computes something in a thread that may be kept busy; `None` if the process is ending.
pub async fn away<T: Send + 'static>(
    compute: impl FnOnce() -> T + Send + 'static,
) -> Result<Option<T>, Panicked> {
    #[cfg(feature = "simulation")]
    if simulated::with(|_| ()).is_some() {
        let computed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(compute));
        return computed.map(Some).map_err(|_| Panicked);
    }
    match tokio::task::spawn_blocking(compute).await {
        Ok(computed) => Ok(Some(computed)),
        Err(error) if error.is_panic() => Err(Panicked),
        Err(_) => Ok(None),
    }
}

/// A task that ends when nobody waits for it any more.
#[derive(Debug)]
pub struct Task<T>(Running<T>);

#[derive(Debug)]
enum Running<T> {
    Spawned(tokio::task::JoinHandle<T>),
    #[cfg(feature = "simulation")]
    Simulated(simulated::Task<T>),
}

impl<T> Future for Task<T> {
    type Output = Result<T, Panicked>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().0 {
            Running::Spawned(task) => {
                Pin::new(task).poll(context).map(|ended| ended.map_err(|_| Panicked))
            }
            #[cfg(feature = "simulation")]
            Running::Simulated(task) => Pin::new(task).poll(context),
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        match &self.0 {
            Running::Spawned(task) => task.abort(),
            #[cfg(feature = "simulation")]
            Running::Simulated(task) => task.abort(),
        }
    }
}

/// Fills these bytes with chance.
pub fn fill(bytes: &mut [u8]) {
    #[cfg(feature = "simulation")]
    if simulated::with(|it| it.fill(bytes)).is_some() {
        return;
    }
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}

/// A number from 0 up to 1.
pub fn fraction() -> f64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    // As many bits as the number has digits.
    (u64::from_le_bytes(bytes) >> 11) as f64 / (1u64 << 53) as f64
}

/// What a simulation puts in the place of the surroundings.
#[cfg(feature = "simulation")]
pub mod simulated {
    use std::cell::RefCell;
    use std::fmt;
    use std::panic::AssertUnwindSafe;
    use std::pin::Pin;
    use std::rc::Rc;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use futures_util::FutureExt;
    use futures_util::future::{AbortHandle, abortable};
    use tokio::sync::oneshot;

    use super::Panicked;

    /// A wait that ends when the simulated time has passed.
    pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Surroundings of a simulation.
    pub trait Surroundings: fmt::Debug {
        /// The time since the simulation began.
        fn now(&self) -> Duration;
        /// The time since the Unix epoch.
        fn since_epoch(&self) -> Duration;
        /// Waits so long.
        fn sleep(&self, duration: Duration) -> Sleep;
        /// Runs a task of the process that is running.
        fn spawn(&self, task: Sleep);
        /// Fills these bytes with what only looks like chance.
        fn fill(&self, bytes: &mut [u8]);
        /// Whether this guard of the protocol is switched off.
        fn is_off(&self, guard: crate::guard::Guard) -> bool;
    }

    /// Begins a task of the process that is running.
    pub(super) fn spawn<T: Send + 'static>(
        future: Pin<Box<impl Future<Output = T> + Send + 'static>>,
    ) -> Task<T> {
        let (send, ended) = oneshot::channel();
        let (task, abort) = abortable(AssertUnwindSafe(future).catch_unwind());
        with(|it| {
            it.spawn(Box::pin(async move {
                if let Ok(ended) = task.await {
                    send.send(ended.map_err(|_| Panicked)).ok();
                }
            }));
        });
        Task { ended, abort }
    }

    /// A task, and how it is ended.
    #[derive(Debug)]
    pub(super) struct Task<T> {
        ended: oneshot::Receiver<Result<T, Panicked>>,
        abort: AbortHandle,
    }

    impl<T> Task<T> {
        /// Ends it where it stands.
        pub(super) fn abort(&self) {
            self.abort.abort();
        }
    }

    impl<T> Future for Task<T> {
        type Output = Result<T, Panicked>;

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
            Pin::new(&mut self.ended).poll(context).map(|ended| ended.unwrap_or(Err(Panicked)))
        }
    }

    thread_local! {
        static CURRENT: RefCell<Option<Rc<dyn Surroundings>>> = const { RefCell::new(None) };
    }

    /// Runs something in these surroundings, on this thread.
    pub fn within<R>(surroundings: Rc<dyn Surroundings>, run: impl FnOnce() -> R) -> R {
        let before = CURRENT.replace(Some(surroundings));
        let result = run();
        CURRENT.set(before);
        result
    }

    /// Asks the surroundings of this thread, if they are simulated.
    pub fn with<R>(ask: impl FnOnce(&dyn Surroundings) -> R) -> Option<R> {
        let current = CURRENT.with_borrow(Clone::clone);
        current.map(|current| ask(&*current))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_stays_in_its_task() {
        assert_eq!(spawn(async { 7 }).await, Ok(7));
        assert_eq!(spawn(async { panic!("on purpose") }).await, Err::<(), _>(Panicked));
    }

    #[test]
    fn a_fraction_is_less_than_one() {
        let fractions: Vec<f64> = std::iter::repeat_with(fraction).take(1000).collect();
        assert!(fractions.iter().all(|it| (0.0..1.0).contains(it)));
        assert!(fractions.iter().any(|it| *it < 0.2) && fractions.iter().any(|it| *it > 0.8));
    }
}
