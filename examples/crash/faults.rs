//! Faults of the disk: a sync that fails, damaged pages, entries of folders that are lost.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::time::sleep;

use crate::audit;
use crate::lane::{Lane, Outcome};
use crate::server::{Start, data};

/// How long the senders pause, in milliseconds.
const PAUSE_MS: (u64, u64) = (50, 150);

/// How long a server lives before its disk fails, and after.
const LIFE: Duration = Duration::from_secs(2);

/// How long a server may take to end whose disk has failed.
const END_MAX: Duration = Duration::from_secs(10);

/// How large a page of the tables is.
const PAGE: usize = 4096;

/// Lets every sync fail as a broken disk does, as long as a file is there. It is loaded before the C library.
const FAILING_SYNC: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int is_broken(void) {
    const char *flag = getenv("CRASH_SYNC_FAILS");
    return flag != NULL && access(flag, F_OK) == 0;
}

int fsync(int file) {
    if (is_broken()) { errno = EIO; return -1; }
    return ((int (*)(int)) dlsym(RTLD_NEXT, "fsync"))(file);
}

int fdatasync(int file) {
    if (is_broken()) { errno = EIO; return -1; }
    return ((int (*)(int)) dlsym(RTLD_NEXT, "fdatasync"))(file);
}
"#;

/// The library that lets syncs fail, made by this machine's C compiler; none where there is no compiler for it.
pub(crate) fn failing_sync(root: &Path) -> io::Result<Option<PathBuf>> {
    let (source, library) = (root.join("sync.c"), root.join("sync.so"));
    std::fs::write(&source, FAILING_SYNC)?;
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl");
    let compiled = compiler.output().is_ok_and(|output| output.status.success());
    Ok(compiled.then_some(library))
}

/// Lets a sync fail while webhooks come. The server must end and say why, and its successor lack nothing.
pub(crate) async fn sync_fails(mut lane: Lane, library: PathBuf) -> io::Result<Outcome> {
    let flag = lane.folder.join("sync-fails");
    let start = Start { sync: Some((library, flag.clone())), ..lane.start() };
    let mut server = lane.serve(&start)?;
    lane.send(PAUSE_MS)?;
    sleep(LIFE).await;
    std::fs::write(&flag, "")?;
    let ended = tokio::task::block_in_place(|| server.ended_within(END_MAX))?;
    match ended {
        Some(status) if status.code() == Some(1) => {}
        Some(status) => {
            return Err(io::Error::other(format!("after a failed sync it ended with {status}")));
        }
        None => return Err(io::Error::other("after a failed sync it lives on")),
    }
    says_last(&lane.folder, "did not sync the tables")?;
    // As long as the disk is broken it does not start.
    let mut server = lane.spawn(&start)?;
    if tokio::task::block_in_place(|| server.is_ready())? {
        return Err(io::Error::other("it started on a disk that does not sync"));
    }
    drop(server);
    std::fs::remove_file(&flag)?;
    let server = lane.serve(&start)?;
    sleep(LIFE).await;
    lane.finish(server).await
}

/// A damage in words, what the server must say of it, and how it is done to a data folder.
type Damage = (&'static str, &'static str, fn(&Path) -> io::Result<()>);

/// Damages what a server has left, each time in another way: the next one must refuse it and say what to do.
/// Says in how many ways.
pub(crate) async fn damaged(mut lane: Lane) -> io::Result<(Outcome, usize)> {
    let server = lane.serve(&lane.start())?;
    lane.send(PAUSE_MS)?;
    sleep(LIFE).await;
    let (folder, start) = (lane.folder.clone(), lane.start());
    let outcome = lane.finish(server).await?;
    let damages: [Damage; 5] = [
        ("three pages are nonsense", "are damaged", |data| {
            over_pages(data, |page| {
                page.iter_mut().zip((0..=u8::MAX).cycle()).for_each(|(byte, n)| *byte = n ^ 0x5a)
            })
        }),
        ("three pages are zero", "are damaged", |data| over_pages(data, |page| page.fill(0))),
        ("the tables end early", "are damaged", |data| {
            let tables = data.join("tables.db");
            let bytes = std::fs::read(&tables)?;
            std::fs::write(&tables, &bytes[..bytes.len() / 2 / PAGE * PAGE])
        }),
        ("the entry of the tables is lost", "tables.db is missing", |data| {
            std::fs::remove_file(data.join("tables.db"))
        }),
        ("the entry of a key is lost", "execution-key is missing", |data| {
            std::fs::remove_file(data.join("secrets/execution-key"))
        }),
    ];
    let count = damages.len();
    for (number, (damage, wanted, spoil)) in damages.into_iter().enumerate() {
        let copy = folder.join(format!("damaged-{number}"));
        copy_all(&folder, &copy)?;
        spoil(&data(&copy))?;
        let mut server = Start { folder: copy.clone(), ..start.clone() }.spawn()?;
        if tokio::task::block_in_place(|| server.is_ready())? {
            return Err(io::Error::other(format!("{damage}, and it started")));
        }
        says_last(&copy, wanted)?;
        std::fs::remove_dir_all(copy)?;
    }
    Ok((outcome, count))
}

/// Whether the last line of a server's log has these words.
fn says_last(folder: &Path, wanted: &str) -> io::Result<()> {
    let log = std::fs::read_to_string(folder.join("server.log"))?;
    let last = log.lines().last().unwrap_or_default();
    match last.starts_with("everhook: ") && last.contains(wanted) {
        true => Ok(()),
        false => Err(io::Error::other(format!("its last line has no `{wanted}`: {last}"))),
    }
}

/// Changes three pages of the tables.
fn over_pages(data: &Path, change: impl Fn(&mut [u8])) -> io::Result<()> {
    let tables = data.join("tables.db");
    let mut bytes = std::fs::read(&tables)?;
    let pages = bytes.len() / PAGE;
    for page in [pages / 4, pages / 2, pages * 3 / 4] {
        change(&mut bytes[page * PAGE..(page + 1) * PAGE]);
    }
    std::fs::write(&tables, bytes)
}

fn copy_all(folder: &Path, to: &Path) -> io::Result<()> {
    audit::copy(folder, to)?;
    std::fs::copy(folder.join("everhook.toml"), to.join("everhook.toml"))?;
    for name in ["processor-position.json", "projector-position.json"] {
        std::fs::copy(data(folder).join(name), data(to).join(name))?;
    }
    let (from, to) = (data(folder).join("secrets"), data(to).join("secrets"));
    std::fs::create_dir_all(&to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
