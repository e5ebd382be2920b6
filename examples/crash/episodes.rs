//! What else befalls a server: its first start, a freeze, a full disk, a clock that jumps.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use dynoxide::storage::Storage;
use tokio::time::sleep;

use crate::chance::Chance;
use crate::failpoints::FIRST_START;
use crate::lane::{Lane, Outcome};
use crate::sender::Sender;
use crate::server::{Server, Start, data, died_at_failpoint};

/// How long the senders pause, in milliseconds.
const PAUSE_MS: (u64, u64) = (100, 300);

/// How long a server lives between two things that befall it.
const LIFE: Duration = Duration::from_secs(2);

/// How long a server is frozen: longer than any of its own patience but the watchdog's.
const FROZEN: Duration = Duration::from_secs(40);

/// How many first starts of an empty folder are interrupted at any time, beside those at failpoints.
const FIRST_STARTS: u64 = 8;

/// How much larger the files may become on a full disk, in KiB.
const ROOM_KIB: u64 = 400;

/// How long a disk may take to be full.
const FULL_MAX: Duration = Duration::from_secs(30);

/// How many refusals are enough.
const REFUSALS: u64 = 10;

/// How far a clock jumps, in seconds.
const HOUR: i64 = 3_600;

/// How many tables have items that expire: the journal, the views and the timers.
const EXPIRING: usize = 3;

/// Interrupts the first start of a server: the next one must become ready and lack nothing.
pub(crate) async fn first_starts(root: &Path, seed: u64) -> io::Result<u64> {
    let mut chance = Chance::new(seed, "first starts");
    let mut ends: Vec<Option<(&'static str, u64)>> = vec![None; FIRST_STARTS as usize];
    for (name, passes) in FIRST_START {
        ends.extend((0..passes).map(|pass| Some((name, pass))));
    }
    let count = ends.len() as u64;
    for (number, failpoint) in ends.into_iter().enumerate() {
        let folder = root.join(format!("first-{number}"));
        std::fs::create_dir(&folder)?;
        let lane = Lane::new(&folder, seed).await?;
        let mut server = lane.spawn(&Start { failpoint, ..lane.start() })?;
        match failpoint {
            None => {
                sleep(chance.between_ms(1, 150)).await;
                server.kill()?;
            }
            Some((name, pass)) => {
                tokio::task::block_in_place(|| server.is_ready())?;
                let ended = server.ended_within(LIFE)?;
                if !ended.is_some_and(died_at_failpoint) {
                    return Err(io::Error::other(format!("no server died at {name}:{pass}")));
                }
            }
        }
        let server = lane.serve(&lane.start()).map_err(|error| {
            io::Error::other(format!("after a first start that ended at {failpoint:?}: {error}"))
        })?;
        server.kill()?;
        let tables = Storage::new(&data(&folder).join("tables.db").to_string_lossy());
        let expiring =
            tables.and_then(|it| it.list_ttl_enabled_tables()).map_err(io::Error::other)?;
        if expiring.len() != EXPIRING {
            let text = format!("after {failpoint:?}, items of {} tables expire", expiring.len());
            return Err(io::Error::other(text));
        }
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(count)
}

/// Stops a server for longer than everybody's patience, as a function is frozen, and lets it go on.
pub(crate) async fn freeze(mut lane: Lane) -> io::Result<Outcome> {
    let server = lane.serve(&lane.start())?;
    lane.send(PAUSE_MS)?;
    sleep(LIFE).await;
    server.signal("STOP")?;
    sleep(FROZEN).await;
    server.signal("CONT")?;
    sleep(LIFE).await;
    lane.finish(server).await
}

/// Lets the disk be full, then kills the server and gives it room again. Says how many posts were refused.
pub(crate) async fn full_disk(mut lane: Lane) -> io::Result<(Outcome, u64)> {
    let server = lane.serve(&lane.start())?;
    lane.send(PAUSE_MS)?;
    sleep(LIFE).await;
    kill(server)?;
    let file_kib_max = Some(largest_kib(&data(&lane.folder))? + ROOM_KIB);
    let server = lane.serve(&Start { file_kib_max, ..lane.start() })?;
    let refused = |lane: &Lane| lane.ledger.answers().by_status.get(&503).copied().unwrap_or(0);
    let mut waited = Duration::ZERO;
    while refused(&lane) < REFUSALS {
        if waited > FULL_MAX {
            return Err(io::Error::other("the disk was full, and nothing was refused"));
        }
        sleep(Duration::from_millis(100)).await;
        waited += Duration::from_millis(100);
    }
    kill(server)?;
    let server = lane.serve(&lane.start())?;
    sleep(LIFE).await;
    let refused = refused(&lane);
    Ok((lane.finish(server).await?, refused))
}

/// Where a library is that changes a process's clock, if this machine has one.
pub(crate) fn clock_library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut libraries = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    libraries.find(|library| library.exists())
}

/// Lets a server's clock jump ahead and back by an hour, while it runs and while it is down.
pub(crate) async fn clock(mut lane: Lane, library: PathBuf) -> io::Result<Outcome> {
    let file = lane.folder.join("clock");
    std::fs::write(&file, "+0")?;
    let start = Start { clock: Some((library, file.clone())), ..lane.start() };
    let mut server = lane.serve(&start)?;
    let sender = lane.send(PAUSE_MS)?;
    sender.jumps.store(true, Ordering::Relaxed);
    for ahead in [0, HOUR, 0, -HOUR, 0] {
        jump(&file, &sender, ahead)?;
        sleep(LIFE).await;
        kill(server)?;
        server = lane.serve(&start)?;
        sleep(LIFE / 2).await;
    }
    // What was put off by a clock that was ahead is due once it is that late again.
    jump(&file, &sender, 2 * HOUR)?;
    lane.finish(server).await
}

/// The senders' signatures are as of the server's time.
fn jump(file: &Path, sender: &Sender, ahead: i64) -> io::Result<()> {
    let draft = file.with_extension("draft");
    std::fs::write(&draft, format!("{ahead:+}"))?;
    // The server reads it at any time: it is never half written.
    std::fs::rename(&draft, file)?;
    sender.ahead.store(ahead, Ordering::Relaxed);
    Ok(())
}

fn kill(server: Server) -> io::Result<()> {
    tokio::task::block_in_place(|| server.kill())
}

fn largest_kib(folder: &Path) -> io::Result<u64> {
    let mut largest = 0;
    for entry in std::fs::read_dir(folder)? {
        largest = largest.max(entry?.metadata()?.len());
    }
    Ok(largest.div_ceil(1024))
}
