//! The news that there is something to read.

use tokio::sync::watch;

/// Tells every event source that listens to read its stream at once; rings that nobody has heard yet become one.
#[derive(Debug, Clone)]
pub struct Doorbell(watch::Sender<()>);

impl Doorbell {
    /// A doorbell nobody has rung.
    pub fn new() -> Self {
        Doorbell(watch::Sender::new(()))
    }

    /// Makes all who listen read at once; never waits.
    pub fn ring(&self) {
        self.0.send_replace(());
    }

    /// Hears the rings from now on.
    pub(super) fn listen(&self) -> Listener {
        Listener(self.0.subscribe())
    }
}

impl Default for Doorbell {
    fn default() -> Self {
        Doorbell::new()
    }
}

/// One who hears a doorbell.
#[derive(Debug)]
pub(super) struct Listener(watch::Receiver<()>);

impl Listener {
    /// Returns once the bell has rung since the last time.
    pub(super) async fn rung(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody is left to ring.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn one_ring_is_heard_by_all_even_if_they_listen_late_and_only_once() {
        let doorbell = Doorbell::new();
        let (mut processor, mut projector) = (doorbell.listen(), doorbell.listen());

        doorbell.clone().ring();
        doorbell.ring();

        processor.rung().await;
        projector.rung().await;
        assert!(timeout(Duration::from_millis(5), processor.rung()).await.is_err());
    }
}
