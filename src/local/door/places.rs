//! Who holds the door's connections. When all are taken, the address that holds the most gives one up:
//! the one that has waited longest for a request.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

/// The connections that are open, and whose they are. A clone is the same.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max: usize,
    held: Mutex<Held>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    by_number: HashMap<u64, Connection>,
}

#[derive(Debug)]
struct Connection {
    caller: IpAddr,
    /// Since when a request is waited for, or the rest of one; none while it is answered.
    waits_since: Option<Instant>,
    given_up: Arc<Notify>,
}

/// The right to hold a connection, while this value lives.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    number: u64,
    given_up: Arc<Notify>,
}

impl Places {
    pub(super) fn new(max: usize) -> Self {
        let held = Mutex::default();
        Self(Arc::new(Shared { max, held, freed: Notify::new() }))
    }

    /// A place for a caller. If all are taken, one is given up for it;
    /// if all of them are being answered, it waits for the first that is free.
    pub(super) async fn take(&self, caller: IpAddr) -> Place {
        loop {
            let freed = self.0.freed.notified();
            if let Some(place) = self.try_take(caller) {
                return place;
            }
            freed.await;
        }
    }

    fn try_take(&self, caller: IpAddr) -> Option<Place> {
        let mut held = self.lock();
        if held.by_number.len() >= self.0.max {
            let number = held.least_worth()?;
            let connection = held.by_number.remove(&number)?;
            connection.given_up.notify_one();
        }
        let number = held.next;
        held.next += 1;
        let given_up = Arc::new(Notify::new());
        let waits_since = Some(Instant::now());
        let connection =
            Connection { caller: network(caller), waits_since, given_up: given_up.clone() };
        held.by_number.insert(number, connection);
        Some(Place { places: self.clone(), number, given_up })
    }

    /// How many connections are open, and how many of them the address with the most holds.
    pub(super) fn count(&self) -> (usize, usize) {
        let held = self.lock();
        (held.by_number.len(), held.by_caller().into_values().max().unwrap_or(0))
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn by_caller(&self) -> HashMap<IpAddr, usize> {
        let mut counts = HashMap::new();
        for connection in self.by_number.values() {
            *counts.entry(connection.caller).or_default() += 1;
        }
        counts
    }

    /// Of the callers with the most connections among those that wait, the connection that waits longest.
    fn least_worth(&self) -> Option<u64> {
        let counts = self.by_caller();
        let waiting = self.by_number.iter().filter_map(|(number, connection)| {
            let since = connection.waits_since?;
            Some((counts[&connection.caller], std::cmp::Reverse(since), *number))
        });
        waiting.max().map(|(_, _, number)| number)
    }
}

impl Place {
    /// A whole request is there, and is being answered: the connection is not given up.
    pub(super) fn answers(&self) {
        self.set(None);
    }

    /// The next request is waited for.
    pub(super) fn waits(&self) {
        self.set(Some(Instant::now()));
        // One who waits for a place may have this one.
        self.places.0.freed.notify_one();
    }

    /// Returns once the place is somebody else's.
    pub(super) async fn given_up(&self) {
        self.given_up.notified().await;
    }

    fn set(&self, waits_since: Option<Instant>) {
        if let Some(connection) = self.places.lock().by_number.get_mut(&self.number) {
            connection.waits_since = waits_since;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.places.lock().by_number.remove(&self.number).is_some() {
            self.places.0.freed.notify_one();
        }
    }
}

/// Whose an address is: one caller often has all addresses of an IPv6 network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const GREEDY: &str = "192.0.2.1";
    const MODEST: &str = "192.0.2.2";

    fn take(places: &Places, caller: &str) -> Option<Place> {
        places.take(caller.parse().unwrap()).now_or_never()
    }

    fn is_given_up(place: &Place) -> bool {
        place.given_up().now_or_never().is_some()
    }

    #[test]
    fn the_address_with_the_most_gives_up_the_one_that_waits_longest() {
        let places = Places::new(4);
        let modest = take(&places, MODEST).unwrap();
        let greedy: Vec<_> = (0..3).map(|_| take(&places, GREEDY).unwrap()).collect();

        let _third = take(&places, "192.0.2.3").unwrap();

        assert!(!is_given_up(&modest), "it waits longest, and its address has one only");
        assert_eq!(greedy.iter().map(is_given_up).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(places.count(), (4, 2));
    }

    #[test]
    fn an_address_that_goes_on_knocking_displaces_itself() {
        let places = Places::new(4);
        let modest = take(&places, MODEST).unwrap();
        let greedy: Vec<_> = (0..1_000).map(|_| take(&places, GREEDY).unwrap()).collect();
        assert!(!is_given_up(&modest));
        assert_eq!(greedy.iter().filter(|place| !is_given_up(place)).count(), 3);
        drop(greedy);
        assert_eq!(places.count(), (1, 1));
    }

    #[test]
    fn one_address_alone_has_all_places() {
        let places = Places::new(4);
        let proxied: Vec<_> = (0..4).map(|_| take(&places, GREEDY).unwrap()).collect();
        assert!(!proxied.iter().any(is_given_up));
    }

    #[test]
    fn what_is_being_answered_is_not_given_up() {
        let places = Places::new(2);
        let held: Vec<_> = (0..2).map(|_| take(&places, GREEDY).unwrap()).collect();
        held.iter().for_each(Place::answers);
        assert!(take(&places, MODEST).is_none());

        held[1].waits();

        assert!(take(&places, MODEST).is_some());
        assert_eq!((is_given_up(&held[0]), is_given_up(&held[1])), (false, true));
    }

    #[tokio::test]
    async fn whoever_waits_has_the_first_place_that_is_free() {
        let places = Places::new(1);
        let held = take(&places, GREEDY).unwrap();
        held.answers();
        let waiting = tokio::spawn({
            let places = places.clone();
            async move { places.take(MODEST.parse().unwrap()).await }
        });
        tokio::task::yield_now().await;

        drop(held);

        waiting.await.unwrap();
    }

    #[test]
    fn a_network_of_ipv6_is_one_caller() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), network("2001:db8:1:2:ffff::1"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:192.0.2.1"), "192.0.2.1");
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}
