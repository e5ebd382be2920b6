//! Which shards may be read: a parent is drained before its children begin.

use std::collections::{BTreeMap, HashSet};

use everhook_journal::guard::{self, Guard};

/// A shard and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descent {
    /// The shard.
    pub shard: String,
    /// The shard that it was split off from.
    pub parent: Option<String>,
}

/// The shards of a stream as last listed, and how far each is.
#[derive(Debug, Default)]
pub(super) struct Lineage {
    parents: BTreeMap<String, Option<String>>,
    /// The parents of shards that have been trimmed, as long as one of these is still being read.
    trimmed: BTreeMap<String, Option<String>>,
    reading: HashSet<String>,
    finished: HashSet<String>,
}

impl Lineage {
    /// Takes in the complete list of shards; those no longer listed have been trimmed.
    pub(super) fn observe(&mut self, shards: Vec<Descent>) {
        let listed = shards.into_iter().map(|descent| (descent.shard, descent.parent)).collect();
        let before = std::mem::replace(&mut self.parents, listed);
        self.trimmed.extend(before.into_iter().filter(|(it, _)| !self.parents.contains_key(it)));
        if self.reading.iter().all(|shard| self.parents.contains_key(shard)) {
            self.trimmed.clear();
        }
        self.finished.retain(|shard| self.parents.contains_key(shard));
    }

    /// Whether the stream still has this shard.
    pub(super) fn lists(&self, shard: &str) -> bool {
        self.parents.contains_key(shard)
    }

    /// The shards whose turn has come; each is handed out once.
    pub(super) fn take_ready(&mut self) -> Vec<String> {
        let ready: Vec<String> = self
            .parents
            .iter()
            .filter(|(shard, _)| !self.reading.contains(*shard) && !self.finished.contains(*shard))
            .filter(|(_, parent)| parent.as_ref().is_none_or(|parent| self.is_past(parent)))
            .map(|(shard, _)| shard.clone())
            .collect();
        self.reading.extend(ready.iter().cloned());
        ready
    }

    /// The shard is closed and all its records are done.
    pub(super) fn finish(&mut self, shard: &str) {
        self.reading.remove(shard);
        self.finished.insert(shard.to_owned());
    }

    /// The shard was left before its end; if it is still listed its turn comes again.
    pub(super) fn put_back(&mut self, shard: &str) {
        self.reading.remove(shard);
    }

    /// A parent that was trimmed has nothing left to wait for,
    /// unless somebody still works on its records, or on those of what it was split off from.
    fn is_past(&self, parent: &str) -> bool {
        let mut ancestor = Some(parent);
        while let Some(shard) = ancestor {
            if self.finished.contains(shard) {
                return true;
            }
            if self.lists(shard) || self.reading.contains(shard) {
                return !guard::holds(Guard::ParentFirst);
            }
            ancestor = self.trimmed.get(shard).and_then(Option::as_deref);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descent(shard: &str, parent: Option<&str>) -> Descent {
        Descent { shard: shard.to_owned(), parent: parent.map(str::to_owned) }
    }

    fn parent_and_children() -> Vec<Descent> {
        vec![
            descent("child-1", Some("parent")),
            descent("child-2", Some("parent")),
            descent("parent", None),
        ]
    }

    #[test]
    fn children_wait_until_their_parent_is_finished() {
        let mut lineage = Lineage::default();
        lineage.observe(parent_and_children());

        assert_eq!(lineage.take_ready(), ["parent"]);
        assert!(lineage.take_ready().is_empty());

        lineage.finish("parent");
        assert_eq!(lineage.take_ready(), ["child-1", "child-2"]);
    }

    #[test]
    fn grandchildren_wait_for_a_trimmed_shard_that_is_still_being_read() {
        let mut lineage = Lineage::default();
        let of = |shard: &str, parent: Option<&str>| descent(shard, parent);
        lineage.observe(vec![of("1", None), of("2", Some("1")), of("3", Some("2"))]);
        assert_eq!(lineage.take_ready(), ["1"]);

        lineage.observe(vec![of("3", Some("2"))]);
        assert!(lineage.take_ready().is_empty());

        lineage.finish("1");
        assert_eq!(lineage.take_ready(), ["3"]);
        lineage.observe(vec![of("3", Some("2"))]);
        assert!(lineage.trimmed.is_empty());
    }

    #[test]
    fn children_of_a_trimmed_parent_do_not_wait() {
        let mut lineage = Lineage::default();
        lineage.observe(vec![descent("child", Some("long-gone"))]);

        assert_eq!(lineage.take_ready(), ["child"]);
    }

    #[test]
    fn a_parent_that_is_trimmed_while_its_batches_run_still_comes_first() {
        let mut lineage = Lineage::default();
        lineage.observe(parent_and_children());
        lineage.take_ready();

        lineage.observe(vec![descent("child-1", Some("parent"))]);
        assert!(lineage.take_ready().is_empty());

        lineage.finish("parent");
        assert_eq!(lineage.take_ready(), ["child-1"]);
    }

    #[test]
    fn grandchildren_wait_for_their_own_parent() {
        let mut lineage = Lineage::default();
        lineage.observe(vec![descent("a", None), descent("b", Some("a")), descent("c", Some("b"))]);
        lineage.take_ready();

        lineage.finish("a");

        assert_eq!(lineage.take_ready(), ["b"]);
    }

    #[test]
    fn a_shard_that_was_left_early_is_read_again() {
        let mut lineage = Lineage::default();
        lineage.observe(vec![descent("only", None)]);
        lineage.take_ready();

        lineage.put_back("only");

        assert_eq!(lineage.take_ready(), ["only"]);
    }

    #[test]
    fn a_finished_shard_is_not_read_again() {
        let mut lineage = Lineage::default();
        lineage.observe(parent_and_children());
        lineage.take_ready();
        lineage.finish("parent");
        lineage.take_ready();

        lineage.observe(parent_and_children());

        assert!(lineage.take_ready().is_empty());
    }
}
