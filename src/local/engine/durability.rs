//! When an answer may leave: only once everything it rests on would survive a power cut.
//!
//! SQLite runs in WAL mode with `synchronous = NORMAL`: a commit appends its frames to the `-wal` file and syncs
//! nothing. One thread here syncs that file for all answers that wait, whatever their number. That is enough, because
//! a committed write is always in one of two places:
//!
//! - in the `-wal` file, which the sync that begins after the commit puts on disk along with all frames before it, so
//!   that recovery, which stops at the first frame that does not match, reaches it;
//! - in the database, when a checkpoint came in between: SQLite syncs the log before it copies pages, and the database
//!   before it begins the log anew, whose header it syncs before the first frame.
//!
//! The log is begun anew in place. It is the same file for as long as a connection is open. What is written to a file
//! that was removed or replaced meanwhile would be gone with the process, however well it is synced: after each sync
//! it is looked for by its name.

use std::fs::{File, OpenOptions};
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use super::fault::Fault;
use super::operation::Answer;

/// How many answers share a sync at most. More would save little and make the first of them wait.
const BATCH: usize = 32;

/// How many batches may wait for the disk before the engine does.
const BATCHES_WAITING: usize = 4;

/// An answer that waits for the disk.
pub(super) struct Held {
    pub(super) answer: Answer,
    pub(super) reply: oneshot::Sender<Answer>,
}

impl Held {
    fn release(self) {
        // The caller may have gone, and is owed nothing then.
        drop(self.reply.send(self.answer));
    }
}

/// The engine thread's side: counts writes and holds answers back.
pub(super) struct Durability {
    disk: Option<Disk>,
}

struct Disk {
    progress: Arc<Progress>,
    fault: Fault,
    batch: Vec<Held>,
    batches: SyncSender<Vec<Held>>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Progress {
    written: AtomicU64,
    synced: AtomicU64,
}

impl Durability {
    /// For tables in memory, which promise nothing.
    pub(super) fn none() -> Self {
        Self { disk: None }
    }

    /// For the database at `path`, which must be open already so that its log exists.
    /// A sync that fails is reported as a fault.
    pub(super) fn of_file(path: &Path, fault: Fault) -> io::Result<Self> {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        // Some systems sync only what is open for writing.
        let names = Names::of([path.to_owned(), log.clone().into()])?;
        let log = OpenOptions::new().write(true).open(log)?;
        sync_folder(path)?;

        let progress = Arc::new(Progress::default());
        let (batches, waiting) = sync_channel(BATCHES_WAITING);
        let thread = thread::Builder::new().name("engine-sync".to_owned()).spawn({
            let (progress, fault) = (Arc::clone(&progress), fault.clone());
            move || sync(&log, &names, &progress, &fault, &waiting)
        })?;
        Ok(Self { disk: Some(Disk { progress, fault, batch: Vec::new(), batches, thread }) })
    }

    /// Notes that a write may have been committed.
    pub(super) fn wrote(&self) {
        if let Some(disk) = &self.disk {
            disk.progress.written.fetch_add(1, Ordering::Release);
        }
    }

    /// Takes an answer that may leave as soon as every write noted so far is on disk.
    pub(super) fn hold(&mut self, held: Held) {
        let Some(disk) = &mut self.disk else { return held.release() };
        let progress = &disk.progress;
        if progress.synced.load(Ordering::Acquire) == progress.written.load(Ordering::Relaxed) {
            return held.release();
        }
        disk.batch.push(held);
        if disk.batch.len() == BATCH {
            disk.hand_over();
        }
    }

    /// Lets the answers held so far go to the disk, which the engine asks for whenever it has nothing else to do.
    pub(super) fn flush(&mut self) {
        if let Some(disk) = &mut self.disk
            && !disk.batch.is_empty()
        {
            disk.hand_over();
        }
    }

    /// Waits until every held answer has left.
    pub(super) fn finish(&mut self) {
        self.flush();
        if let Some(Disk { batches, thread, .. }) = self.disk.take() {
            drop(batches);
            if thread.join().is_err() {
                tracing::error!("the embedded engine's sync thread panicked");
            }
        }
    }
}

impl Disk {
    fn hand_over(&mut self) {
        let batch = mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        if self.batches.send(batch).is_err() {
            self.fault.report("the thread that syncs the tables has ended; start again");
        }
    }
}

/// The files of the tables, by their names.
struct Names(Vec<(PathBuf, Identity)>);

impl Names {
    fn of(paths: [PathBuf; 2]) -> io::Result<Self> {
        let known = paths.into_iter().map(|path| identity(&path).map(|identity| (path, identity)));
        known.collect::<io::Result<_>>().map(Self)
    }

    /// The first name that no longer leads to its file.
    fn lost(&self) -> Option<&Path> {
        let is_lost = |(path, known): &&(PathBuf, Identity)| match identity(path) {
            Ok(found) => found != *known,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        self.0.iter().find(is_lost).map(|(path, _)| path.as_path())
    }
}

/// What a file is known by, whatever its name.
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(path: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;

    path.metadata().map(|file| (file.dev(), file.ino()))
}

// Elsewhere a file that is open keeps its name.
#[cfg(not(unix))]
fn identity(path: &Path) -> io::Result<Identity> {
    path.metadata().map(|_| (0, 0))
}

fn sync(
    log: &File,
    names: &Names,
    progress: &Progress,
    fault: &Fault,
    waiting: &Receiver<Vec<Held>>,
) {
    while let Ok(mut batch) = waiting.recv() {
        batch.extend(waiting.try_iter().flatten());

        // Read before the sync begins: what is counted here was committed before it.
        let written = progress.written.load(Ordering::Acquire);
        if progress.synced.load(Ordering::Relaxed) < written {
            if let Err(error) = log.sync_data() {
                // The system may have thrown away the pages it could not write, so that a second try would succeed
                // and prove nothing. The waiting are left without an answer, and the engine takes no more requests.
                fault.report(format!(
                    "the disk did not sync the tables ({error}): what was not answered may be lost; \
                     check the disk, then start again"
                ));
                return;
            }
            if let Some(lost) = names.lost() {
                fault.report(format!(
                    "{} was removed or replaced while it was in use: what was not answered is lost; \
                     put it back, or restore the data folder from a backup, then start again",
                    lost.display()
                ));
                return;
            }
            progress.synced.store(written, Ordering::Release);
        }
        batch.into_iter().for_each(Held::release);
    }
}

// New files are found again after a power cut only once their folder is on disk too.
#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    File::open(folder)?.sync_all()?;
    match folder.canonicalize()?.parent() {
        Some(above) => File::open(above)?.sync_all(),
        None => Ok(()),
    }
}

// Elsewhere a folder cannot be opened, and the file system orders this itself.
#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}
