//! Which slots of a source are taken, and by whom, as one process knows it; and how often it tries to take one.
//!
//! Strangers must neither cost much nor push out what others sent. A free slot is taken at a bounded rate, of which
//! one address has half. The last free slots are for addresses that hold few. When all are taken, an address that
//! holds few takes one of the address that holds the most, by chance, and at a much lower rate.

use std::collections::HashMap;
use std::time::Duration;

use everhook_journal::quarantine::{Kept, SLOTS};
use everhook_journal::{Timestamp, ambient};

/// How many slots an address may hold once only so many are free.
const SHARE: usize = SLOTS / 4;

/// How long what is known of the table counts: other processes take and free slots as well.
const KNOWN_FOR: Duration = Duration::from_secs(600);

/// How many addresses are remembered.
const ADDRESSES_MAX: usize = 256;

/// How often something may be done: so many times at once, and once more each time that this has passed.
#[derive(Debug, Clone, Copy)]
struct Rate {
    at_once: u64,
    every: Duration,
}

const OF_SOURCE: Rate = Rate { at_once: 10, every: Duration::from_secs(1) };
const OF_ADDRESS: Rate = Rate { at_once: 5, every: Duration::from_secs(2) };
/// How often one address may displace another one's request.
const DISPLACING: Rate = Rate { at_once: 5, every: Duration::from_secs(30) };
/// How often an address may displace a request of its own.
const OWN: Rate = Rate { at_once: 2, every: Duration::from_secs(300) };

/// What a process knows of a source's slots.
#[derive(Debug)]
pub(super) struct Places {
    slots: [Option<Taken>; SLOTS],
    read_at: Option<Timestamp>,
    tries: Bucket,
    displaced: Bucket,
    by_address: HashMap<String, OfAddress>,
}

#[derive(Debug, Clone)]
struct Taken {
    name: String,
    address: String,
    until: Timestamp,
}

#[derive(Debug)]
struct OfAddress {
    tries: Bucket,
    displaced: Bucket,
}

/// A slot to try, which counts as taken from now on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) slot: usize,
    /// The request that it takes the place of.
    pub(super) instead_of: Option<String>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoPlace {
    #[error("requests are refused faster than they are kept")]
    TooFast,
    #[error("all slots are taken")]
    Full,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            slots: [const { None }; SLOTS],
            read_at: None,
            tries: Bucket::full(OF_SOURCE),
            displaced: Bucket::full(DISPLACING),
            by_address: HashMap::new(),
        }
    }
}

impl Places {
    /// Whether the table is to be read before anything is taken.
    pub(super) fn is_unknown(&self, now: Timestamp) -> bool {
        self.read_at.is_none_or(|read_at| now.since(read_at) >= KNOWN_FOR)
    }

    /// Says what the table holds.
    pub(super) fn know(&mut self, kept: Vec<Kept>, now: Timestamp) {
        self.read_at = Some(now);
        self.slots = [const { None }; SLOTS];
        for Kept { slot, name, address, expires_at, .. } in kept {
            if let Some(place) = self.slots.get_mut(slot) {
                *place = Some(Taken { name, address, until: expires_at });
            }
        }
    }

    /// Says that the table is not what was known of it.
    pub(super) fn forget(&mut self) {
        self.read_at = None;
    }

    /// A slot for this request of an address, which expires then.
    pub(super) fn take(
        &mut self,
        name: &str,
        address: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Place, NoPlace> {
        if self.by_address.len() >= ADDRESSES_MAX && !self.by_address.contains_key(address) {
            self.by_address.retain(|_, of| !of.tries.is_full(OF_ADDRESS, now));
            if self.by_address.len() >= ADDRESSES_MAX {
                return Err(NoPlace::TooFast);
            }
        }
        let full = OfAddress { tries: Bucket::full(OF_ADDRESS), displaced: Bucket::full(OWN) };
        let of_address = self.by_address.entry(address.to_owned()).or_insert(full);
        if !of_address.tries.take(OF_ADDRESS, now) || !self.tries.take(OF_SOURCE, now) {
            return Err(NoPlace::TooFast);
        }
        let mut held: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut free = Vec::new();
        for (slot, taken) in self.slots.iter().enumerate() {
            match taken {
                Some(taken) if taken.until > now => {
                    held.entry(&taken.address).or_default().push(slot)
                }
                Some(_) | None => free.push(slot),
            }
        }
        let own = held.get(address).map_or(&[][..], Vec::as_slice);
        let has_share = own.len() >= SHARE;
        let slot = if !free.is_empty() && (!has_share || free.len() > SHARE) {
            one_of(&free)
        } else if has_share {
            of_address.displaced.take(OWN, now).then(|| one_of(own)).flatten()
        } else {
            let most = held.values().max_by_key(|slots| slots.len());
            // Where no address holds more than this one, any request is as likely to go.
            let most = most.filter(|slots| slots.len() > own.len() + 1);
            let all: Vec<_> = (0..SLOTS).collect();
            let slots = most.unwrap_or(&all);
            self.displaced.take(DISPLACING, now).then(|| one_of(slots)).flatten()
        };
        let Some(slot) = slot else {
            // What finds no place costs nothing: otherwise two addresses would use up the tries of all.
            self.tries.give_back(OF_SOURCE);
            return Err(NoPlace::Full);
        };
        let (name, address) = (name.to_owned(), address.to_owned());
        let before = self.slots[slot].replace(Taken { name, address, until });
        let instead_of = before.filter(|taken| taken.until > now).map(|taken| taken.name);
        Ok(Place { slot, instead_of })
    }

    /// Says that a slot has been emptied.
    pub(super) fn free(&mut self, slot: usize) {
        self.slots[slot] = None;
    }
}

/// How often something may still be done.
#[derive(Debug)]
struct Bucket {
    left: u64,
    earned_at: Timestamp,
}

impl Bucket {
    fn full(rate: Rate) -> Self {
        Self { left: rate.at_once, earned_at: Timestamp::from_millis(0) }
    }

    fn take(&mut self, rate: Rate, now: Timestamp) -> bool {
        self.earn(rate, now);
        let had = self.left;
        self.left = had.saturating_sub(1);
        had > 0
    }

    fn give_back(&mut self, rate: Rate) {
        self.left = (self.left + 1).min(rate.at_once);
    }

    fn is_full(&mut self, rate: Rate, now: Timestamp) -> bool {
        self.earn(rate, now);
        self.left == rate.at_once
    }

    fn earn(&mut self, rate: Rate, now: Timestamp) {
        let earned = now.since(self.earned_at).as_secs() / rate.every.as_secs();
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(rate.at_once);
            self.earned_at = now;
        }
    }
}

/// Several processes that look for a place should not all try the same one, and nobody knows which one goes.
fn one_of(slots: &[usize]) -> Option<usize> {
    let mut bytes = [0; 4];
    ambient::fill(&mut bytes);
    slots.get(u32::from_le_bytes(bytes) as usize % slots.len().max(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_795_486_845_000 + seconds * 1000)
    }

    fn take(places: &mut Places, address: &str, second: i64) -> Result<Place, NoPlace> {
        places.take("name", address, at(second), at(second + 86_400))
    }

    /// How many slots each of these addresses holds.
    fn held<const N: usize>(places: &Places, addresses: [&str; N]) -> [usize; N] {
        let taken = places.slots.iter().flatten();
        addresses.map(|address| taken.clone().filter(|taken| taken.address == address).count())
    }

    /// Places that these addresses have filled as far as they could.
    fn filled(addresses: &[&str]) -> Places {
        let mut places = Places::default();
        for second in 0..1_000 {
            addresses.iter().for_each(|address| drop(take(&mut places, address, second * 2).ok()));
        }
        places
    }

    #[test]
    fn tries_are_bounded_at_once_and_in_the_long_run() {
        let mut places = Places::default();
        let taken = |places: &mut Places, second| {
            (0..50).filter(|n| take(places, &format!("{}", n % 3), second).is_ok()).count()
        };
        assert_eq!(taken(&mut places, 0), 10);
        assert_eq!(take(&mut places, "another", 0), Err(NoPlace::TooFast));
        assert_eq!(taken(&mut places, 3), 3);
        assert_eq!(taken(&mut places, 60), 10);
    }

    #[test]
    fn one_address_has_half_of_the_rate() {
        let mut places = Places::default();
        let greedy = (0..50).filter(|_| take(&mut places, "greedy", 0).is_ok()).count();
        assert_eq!(greedy, 5);
        assert!(take(&mut places, "modest", 0).is_ok());
    }

    #[test]
    fn one_address_does_not_fill_all_slots() {
        let mut places = filled(&["greedy"]);
        assert_eq!(held(&places, ["greedy"]), [SLOTS - SHARE]);
        let taken = (0..20).filter(|n| take(&mut places, "modest", 2_000 + n * 2).is_ok()).count();
        assert_eq!((taken, held(&places, ["greedy", "modest"])), (20, [SLOTS - SHARE, 20]));
    }

    #[test]
    fn a_full_quarantine_has_room_for_an_address_that_holds_few() {
        let mut places = filled(&["a", "b", "c", "d", "e"]);
        assert_eq!(places.slots.iter().flatten().count(), SLOTS);
        for n in 0..5 {
            let place = take(&mut places, "modest", 3_000 + n * 40).unwrap();
            assert_eq!(place.instead_of.as_deref(), Some("name"));
        }
        assert_eq!(held(&places, ["modest"]), [5]);
    }

    #[test]
    fn displacing_is_bounded_in_the_long_run() {
        let mut places = filled(&["a", "b", "c", "d", "e"]);
        let day = (0..86_400).step_by(2);
        let displaced = day
            .filter(|second| take(&mut places, &format!("{}", second % 7), 3_000 + second).is_ok())
            .count();
        assert!(displaced <= 86_400 / 30 + 5 + 7 * (86_400 / 300 + 2), "{displaced}");
    }

    #[test]
    fn what_has_expired_or_was_freed_is_free() {
        let mut places = filled(&["a", "b", "c", "d", "e"]);
        assert_eq!(take(&mut places, "a", 100_000).unwrap().instead_of, None);
        places.free(7);
        assert_eq!(places.slots.iter().flatten().count(), SLOTS - 1);
    }

    #[test]
    fn what_the_table_holds_counts() {
        let mut places = Places::default();
        assert!(places.is_unknown(at(0)));
        let kept = |slot| Kept {
            slot,
            name: format!("{slot}"),
            address: "before".into(),
            received_at: at(0),
            expires_at: at(86_400),
            reason: String::new(),
            bytes: 0,
        };
        places.know((0..SLOTS - 1).map(kept).collect(), at(0));
        assert!(!places.is_unknown(at(599)) && places.is_unknown(at(600)));
        assert_eq!(take(&mut places, "new", 0), Ok(Place { slot: SLOTS - 1, instead_of: None }));
        let displaced = take(&mut places, "new", 0).unwrap();
        assert_eq!(displaced.instead_of, Some(displaced.slot.to_string()));
        places.forget();
        assert!(places.is_unknown(at(1)));
    }
}
