//! Which executions this process is driving, in a file, so that the next process knows which ones to suspect
//! if this one dies.
//!
//! Whatever ends a process, be it a step that aborts, a stack overflow or the kernel out of memory, was most likely
//! done by an execution that the process was computing for. The file has a slot for each of these. A slot is one
//! small write without a sync: it outlives the process, and that is all it has to. What only waits for a network call
//! of a built-in step has no slot, so killing a server that waits makes nothing suspect.
//!
//! At the next start each execution with a slot has a death counted, and is suspect: from then on it is only driven
//! alone (see [`crate::alone`]), until one of its steps gets somewhere. Of one that has killed as many processes as
//! [`DEATHS_MAX`](everhook_journal::executions::DEATHS_MAX) says, an operator has to say that it is driven again.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use everhook_journal::ExecutionId;

/// The name of the file in the data folder.
const FILE: &str = "driving";

/// How long a slot is. One fits into a page, so a write of it is whole or not there.
const SLOT_BYTES: usize = 64;

/// How many slots a file has at first. Writing over them needs no room on the disk.
const SLOTS_AT_FIRST: usize = 256;

/// How many slots of an earlier process are read.
const SLOTS_READ_MAX: usize = 16 * 1024;

const DRIVING: &str = "driving";
const SUSPECT: &str = "suspect";

/// The executions that this process is driving. A clone is the same. Keeps nothing until it is told where.
#[derive(Debug, Clone, Default)]
pub struct Suspects {
    kept: Arc<OnceLock<Kept>>,
}

#[derive(Debug)]
struct Kept {
    file: File,
    slots: Mutex<Slots>,
    has_failed: AtomicBool,
}

#[derive(Debug, Default)]
struct Slots {
    /// What each slot holds.
    driven: Vec<Option<ExecutionId>>,
    free: Vec<usize>,
    /// The suspects, each with the slot that says so.
    suspects: HashMap<ExecutionId, Suspect>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Suspect {
    slot: usize,
    deaths: u64,
}

impl Suspects {
    /// Keeps them in this folder from now on, and counts a death of each that an earlier process was driving when it
    /// died. Returns all suspects, with how many processes each may have killed.
    ///
    /// A file that is missing or damaged is as good as empty; one that cannot be written is reported and not used.
    pub fn keep_in(&self, folder: &Path) -> Vec<(ExecutionId, u64)> {
        let path = folder.join(FILE);
        let kept = match Kept::open(&path) {
            Ok(opened) => opened,
            Err(error) => {
                let path = path.display();
                tracing::warn!("cannot keep which executions are driven in {path}: {error}");
                return Vec::new();
            }
        };
        let mut suspects: Vec<_> = kept
            .slots()
            .suspects
            .iter()
            .map(|(id, suspect)| (id.clone(), suspect.deaths))
            .collect();
        suspects.sort_by(|one, other| one.0.as_str().cmp(other.0.as_str()));
        match self.kept.set(kept) {
            Ok(()) => suspects,
            Err(_) => Vec::new(),
        }
    }

    /// Whether they are kept.
    pub fn are_kept(&self) -> bool {
        self.kept.get().is_some()
    }

    /// How many processes may have died of an execution.
    pub fn deaths(&self, id: &ExecutionId) -> u64 {
        let kept = self.kept.get();
        kept.and_then(|kept| kept.slots().suspects.get(id).copied()).map_or(0, |it| it.deaths)
    }

    /// Whether an execution may have killed a process.
    pub fn contains(&self, id: &ExecutionId) -> bool {
        self.kept.get().is_some_and(|kept| kept.slots().suspects.contains_key(id))
    }

    /// An execution is not suspect any more.
    pub fn clear(&self, id: &ExecutionId) {
        let Some(kept) = self.kept.get() else { return };
        let suspect = kept.slots().suspects.remove(id);
        if let Some(suspect) = suspect {
            kept.free(suspect.slot);
        }
    }

    /// Notes that this process computes for an execution, until the mark is dropped.
    pub fn mark(&self, id: &ExecutionId) -> Mark {
        let mut mark = Mark { suspects: self.clone(), id: id.clone(), slot: None };
        mark.set();
        mark
    }

    /// Notes that this process computes for an execution each time that the future is polled.
    pub async fn while_polled<F: Future>(&self, id: &ExecutionId, future: F) -> F::Output {
        if !self.are_kept() {
            return future.await;
        }
        let mut mark = Mark { suspects: self.clone(), id: id.clone(), slot: None };
        mark.rest(future).await
    }

    /// Whether this process computes for this execution now.
    pub fn is_driven(&self, id: &ExecutionId) -> bool {
        self.kept.get().is_some_and(|kept| kept.slots().driven.iter().flatten().any(|it| it == id))
    }

    /// Whether this process computes for no execution now.
    pub fn is_quiet(&self) -> bool {
        self.kept.get().is_none_or(|kept| kept.slots().driven.iter().flatten().next().is_none())
    }
}

/// Says that this process computes for an execution.
#[derive(Debug)]
pub struct Mark {
    suspects: Suspects,
    id: ExecutionId,
    slot: Option<usize>,
}

impl Mark {
    /// Waits for what other tasks or other machines do: the execution is marked only while the future is polled.
    pub async fn rest<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        std::future::poll_fn(|context| {
            self.set();
            let polled = future.as_mut().poll(context);
            if polled.is_pending() {
                self.unset();
            }
            polled
        })
        .await
    }

    fn set(&mut self) {
        if self.slot.is_none()
            && let Some(kept) = self.suspects.kept.get()
        {
            self.slot = Some(kept.drive(&self.id));
        }
    }

    fn unset(&mut self) {
        if let Some(slot) = self.slot.take()
            && let Some(kept) = self.suspects.kept.get()
        {
            kept.free(slot);
        }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.unset();
    }
}

impl Kept {
    fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        let mut bytes = Vec::new();
        (&file).take((SLOTS_READ_MAX * SLOT_BYTES) as u64).read_to_end(&mut bytes)?;
        let many = (bytes.len() / SLOT_BYTES).max(SLOTS_AT_FIRST);
        let mut driven = HashSet::new();
        let mut suspects: HashMap<ExecutionId, Suspect> = HashMap::new();
        for (slot, bytes) in bytes.chunks_exact(SLOT_BYTES).enumerate() {
            match read(bytes) {
                Some(Slot::Driving(id)) => {
                    suspects.entry(id.clone()).or_insert(Suspect { slot, deaths: 0 });
                    driven.insert(id);
                }
                Some(Slot::Suspect(id, deaths)) => {
                    let known = suspects.entry(id).or_insert(Suspect { slot, deaths });
                    known.deaths = known.deaths.max(deaths);
                }
                None => {}
            }
        }
        for id in &driven {
            suspects.entry(id.clone()).and_modify(|suspect| suspect.deaths += 1);
        }
        let taken: HashSet<_> = suspects.values().map(|suspect| suspect.slot).collect();
        let mut slots = Slots { suspects: suspects.clone(), ..Slots::default() };
        slots.driven.resize(many, None);
        slots.free = (0..many).rev().filter(|slot| !taken.contains(slot)).collect();
        let kept = Self { file, slots: Mutex::new(slots), has_failed: AtomicBool::new(false) };
        // Counted first, and only then what says that it was driven is blanked.
        for (id, Suspect { slot, deaths }) in &suspects {
            kept.write(*slot, &format!("{SUSPECT} {id} {deaths}"));
        }
        for slot in (0..many).filter(|slot| !taken.contains(slot)) {
            kept.write_bytes(slot, &blank());
        }
        Ok(kept)
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drive(&self, id: &ExecutionId) -> usize {
        let slot = {
            let mut slots = self.slots();
            let slot = slots.free.pop().unwrap_or(slots.driven.len());
            if slot == slots.driven.len() {
                slots.driven.push(None);
            }
            slots.driven[slot] = Some(id.clone());
            slot
        };
        self.write(slot, &format!("{DRIVING} {id}"));
        slot
    }

    fn free(&self, slot: usize) {
        self.write_bytes(slot, &blank());
        let mut slots = self.slots();
        slots.driven[slot] = None;
        slots.free.push(slot);
    }

    fn write(&self, slot: usize, text: &str) {
        let mut bytes = blank();
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        self.write_bytes(slot, &bytes);
    }

    fn write_bytes(&self, slot: usize, bytes: &[u8; SLOT_BYTES]) {
        let written = write_at(&self.file, bytes, (slot * SLOT_BYTES) as u64);
        if let Err(error) = written
            && !self.has_failed.swap(true, Ordering::Relaxed)
        {
            tracing::warn!("cannot note which executions are driven: {error}");
        }
    }
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, offset).map(drop)
}

/// A slot that holds nothing: a line of blanks.
fn blank() -> [u8; SLOT_BYTES] {
    let mut bytes = [b' '; SLOT_BYTES];
    bytes[SLOT_BYTES - 1] = b'\n';
    bytes
}

/// What a slot says.
enum Slot {
    /// A process was computing for this execution.
    Driving(ExecutionId),
    /// So many processes may have died of this one.
    Suspect(ExecutionId, u64),
}

fn read(bytes: &[u8]) -> Option<Slot> {
    let mut words = std::str::from_utf8(bytes).ok()?.trim().split(' ');
    let (word, id) = (words.next()?, ExecutionId::parse(words.next()?)?);
    match (word, words.next()) {
        (DRIVING, None) => Some(Slot::Driving(id)),
        // Earlier versions counted the deaths elsewhere.
        (SUSPECT, None) => Some(Slot::Suspect(id, 1)),
        (SUSPECT, Some(deaths)) => Some(Slot::Suspect(id, deaths.parse().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn id(letter: char) -> ExecutionId {
        ExecutionId::parse(&letter.to_string().repeat(26)).unwrap()
    }

    /// A process over this folder, and what the one before was driving.
    fn start(folder: &Path) -> (Suspects, Vec<(ExecutionId, u64)>) {
        let suspects = Suspects::default();
        let known = suspects.keep_in(folder);
        (suspects, known)
    }

    #[test]
    fn only_what_was_driven_at_the_death_is_suspect() {
        let folder = tempfile::tempdir().unwrap();
        let (suspects, known) = start(folder.path());
        assert_eq!(known, []);
        drop(suspects.mark(&id('A')));
        std::mem::forget(suspects.mark(&id('B')));

        let (suspects, known) = start(folder.path());

        assert_eq!(known, [(id('B'), 1)]);
        assert!(suspects.contains(&id('B')) && !suspects.contains(&id('A')));
        assert!(suspects.is_quiet() && !suspects.is_driven(&id('B')));
    }

    #[test]
    fn deaths_are_counted_until_the_suspect_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        std::mem::forget(start(folder.path()).0.mark(&id('A')));
        assert_eq!(start(folder.path()).1, [(id('A'), 1)]);
        // It is not driven, so it is not counted again.
        let (suspects, known) = start(folder.path());
        assert_eq!((known, suspects.deaths(&id('A'))), (vec![(id('A'), 1)], 1));
        std::mem::forget(suspects.mark(&id('A')));
        let (suspects, known) = start(folder.path());
        assert_eq!((known, suspects.contains(&id('A'))), (vec![(id('A'), 2)], true));

        suspects.clear(&id('A'));
        let (suspects, known) = start(folder.path());
        assert_eq!((known, suspects.contains(&id('A'))), (vec![], false));
    }

    #[test]
    fn many_marks_at_once_have_slots_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let (suspects, _) = start(folder.path());
        let letters = || ('A'..='Z').filter(|letter| id_is_valid(*letter));
        for _ in 0..20 {
            letters().for_each(|letter| std::mem::forget(suspects.mark(&id(letter))));
        }

        let (_, known) = start(folder.path());

        assert_eq!(known, letters().map(|letter| (id(letter), 1)).collect::<Vec<_>>());
    }

    fn id_is_valid(letter: char) -> bool {
        ExecutionId::parse(&letter.to_string().repeat(26)).is_some()
    }

    #[test]
    fn a_damaged_file_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let whole = format!("{:<63}\n", format!("driving {}", id('A')));
        for damage in [
            String::new(),
            "\0".repeat(5_000),
            "driving \n".repeat(9),
            format!("{whole}driving {}", id('B')),
            format!("{whole}{:<63}\n", "driving AAAA"),
            format!("{whole}{:<63}\n", format!("dancing {}", id('B'))),
        ] {
            fs::write(folder.path().join(FILE), &damage).unwrap();
            let (suspects, known) = start(folder.path());
            let expected = if damage.starts_with(&whole) { vec![(id('A'), 1)] } else { vec![] };
            assert_eq!(known, expected, "{damage:?}");
            std::mem::forget(suspects.mark(&id('C')));
            assert!(start(folder.path()).1.contains(&(id('C'), 1)));
        }
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_no_error() {
        let suspects = Suspects::default();
        assert_eq!(suspects.keep_in(Path::new("/nowhere/at/all")), []);
        drop(suspects.mark(&id('A')));
        assert!(!suspects.are_kept() && !suspects.contains(&id('A')));
    }

    #[tokio::test]
    async fn what_waits_is_not_marked() {
        let folder = tempfile::tempdir().unwrap();
        let (suspects, _) = start(folder.path());
        let (send, receive) = tokio::sync::oneshot::channel::<()>();
        let mut mark = suspects.mark(&id('A'));

        let seen = tokio::join!(mark.rest(async { receive.await.ok() }), async {
            let seen = suspects.is_driven(&id('A'));
            send.send(()).ok();
            seen
        });

        assert_eq!(seen, (Some(()), false));
        assert!(suspects.is_driven(&id('A')), "computing goes on after the wait");
        drop(mark);
        assert!(suspects.is_quiet());
    }
}
