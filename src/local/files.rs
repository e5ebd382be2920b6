//! The files of this process: how many may be open at once, and that the data folder is for its owner alone.

use std::io;
use std::path::Path;

/// Enough for all connections of the door and of the steps, and the engine's own; more is refused by some systems.
#[cfg(unix)]
const FILES: u64 = 8_192;

/// Lets this process have as many files open as a server needs, if the system allows it:
/// what a shell hands on is often 1,024, or 256.
#[cfg(unix)]
pub(super) fn allow_many() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(FILES, |most| most.min(FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::debug!("no more files may be open than before: {error}");
        }
    }
}

/// Elsewhere there is no such limit.
#[cfg(not(unix))]
pub(super) fn allow_many() {}

/// What the server itself writes into its data folder; names begin like this.
#[cfg(unix)]
const OURS: [&str; 6] = ["tables.db", "lock", "secrets", "objects", "processor-", "projector-"];

/// Makes the data folder, and what is in it, accessible to its owner alone; from now on all files that this
/// process makes are. It holds bodies and secrets.
///
/// In a folder that also holds other things only the server's own files are changed.
#[cfg(unix)]
pub(super) fn keep_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};

    use rustix::fs::Mode;

    // SQLite and the object store make files as this allows, now and later.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let found = std::fs::metadata(folder)?;
    let ours = rustix::process::geteuid();
    if found.uid() != ours.as_raw() {
        let owner = found.uid();
        if !ours.is_root() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!(
                    "it belongs to user {owner}, who could read and replace what is in it; \
                     name a folder of your own with --data-dir, or change its owner"
                ),
            ));
        }
        tracing::warn!(
            folder = %folder.display(), owner,
            "the data folder belongs to user {owner}, who can read and replace what is in it"
        );
    }
    let mode = found.permissions().mode();
    let is_open = is_open(mode);
    let owned = match is_open {
        true => is_ours_alone(folder, mode)?,
        false => true,
    };
    let mut mended = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_ours = OURS.iter().any(|ours| name.starts_with(ours));
        // Nobody gets at objects through a closed folder, and there may be very many of them.
        let is_deep = is_open || name != "objects";
        if owned || is_ours {
            mended += mend(&entry.path(), is_deep)?;
        }
    }
    // The folder comes last: after a crash its mode says that something is left to do.
    if is_open && owned {
        mended += usize::from(close(folder, mode)?);
    }
    if mended > 0 {
        tracing::warn!(
            folder = %folder.display(), mended,
            "other users could read or change {mended} files and folders of the data folder; now only their owner can"
        );
    }
    if is_open && !owned {
        let others = if mode & 0o002 == 0 { "read" } else { "change" };
        tracing::warn!(
            folder = %folder.display(),
            "others may {others} the data folder, and it also holds files that are not Everhook's: \
             give it a folder of its own with --data-dir"
        );
    }
    Ok(())
}

/// Elsewhere the folder has what its parent gives it.
#[cfg(not(unix))]
pub(super) fn keep_private(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)
}

#[cfg(unix)]
fn is_open(mode: u32) -> bool {
    mode & 0o077 != 0
}

/// Whether an open folder is Everhook's: it has the tables or nothing, and no other use.
#[cfg(unix)]
fn is_ours_alone(folder: &Path, mode: u32) -> io::Result<bool> {
    const STICKY: u32 = 0o1000;
    let folder = folder.canonicalize()?;
    let is = |other: Option<std::path::PathBuf>| {
        other.and_then(|other| other.canonicalize().ok()).is_some_and(|other| other == folder)
    };
    if mode & STICKY != 0
        || is(std::env::current_dir().ok())
        || is(std::env::home_dir())
        || folder.parent().is_none()
    {
        return Ok(false);
    }
    Ok(folder.join("tables.db").exists() || std::fs::read_dir(&folder)?.next().is_none())
}

/// Closes a file, or a folder with all that is in it; says how many were open.
#[cfg(unix)]
fn mend(path: &Path, is_deep: bool) -> io::Result<usize> {
    use std::os::unix::fs::PermissionsExt;

    let found = match std::fs::symlink_metadata(path) {
        // A draft that has its name by now.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        found => found?,
    };
    // What a link points at is not in the folder.
    if found.is_symlink() {
        return Ok(0);
    }
    let mut mended = 0;
    if found.is_dir() && is_deep {
        for entry in std::fs::read_dir(path)? {
            mended += mend(&entry?.path(), is_deep)?;
        }
    }
    Ok(mended + usize::from(close(path, found.permissions().mode())?))
}

/// Takes from everybody but the owner what they may do. Says whether they could do anything.
#[cfg(unix)]
fn close(path: &Path, mode: u32) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;

    if !is_open(mode) {
        return Ok(false);
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o700))?;
    Ok(true)
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    /// A folder of an earlier version, with these files beside the tables.
    fn old(names: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("data");
        for name in names {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            chmod(&path, 0o644);
            for above in path.ancestors().skip(1).take_while(|above| above.starts_with(&folder)) {
                chmod(above, 0o755);
            }
        }
        (parent, folder)
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn everything_in_an_earlier_folder_becomes_its_owners() {
        let names =
            ["tables.db", "tables.db-wal", "tables.db.backup", "secrets/a", "objects/payloads/b"];
        let (_parent, folder) = old(&names);

        keep_private(&folder).unwrap();

        for name in names {
            let path = folder.join(name);
            assert_eq!(mode(&path), 0o600, "{name}");
            assert_eq!(mode(path.parent().unwrap()), 0o700, "{name}");
        }
    }

    #[test]
    fn a_new_folder_and_new_files_are_the_owners() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        keep_private(&folder).unwrap();
        fs::write(folder.join("new"), "").unwrap();
        assert_eq!((mode(&folder), mode(&folder.join("new"))), (0o700, 0o600));
    }

    #[test]
    fn a_single_file_that_was_opened_is_closed_again() {
        let (_parent, folder) = old(&["tables.db", "secrets/a"]);
        keep_private(&folder).unwrap();
        chmod(&folder.join("secrets/a"), 0o640);
        keep_private(&folder).unwrap();
        assert_eq!(mode(&folder.join("secrets/a")), 0o600);
    }

    #[test]
    fn a_folder_with_other_files_keeps_its_mode_and_theirs() {
        let (_parent, folder) = old(&["letters.txt", "lock"]);
        keep_private(&folder).unwrap();
        assert_eq!((mode(&folder), mode(&folder.join("letters.txt"))), (0o755, 0o644));
        assert_eq!(mode(&folder.join("lock")), 0o600);
    }

    #[test]
    fn a_shared_folder_is_left_as_it_is() {
        let (_parent, folder) = old(&["tables.db", "letters.txt"]);
        chmod(&folder, 0o1777);
        keep_private(&folder).unwrap();
        assert_eq!((mode(&folder), mode(&folder.join("letters.txt"))), (0o1777, 0o644));
        assert_eq!(mode(&folder.join("tables.db")), 0o600);
    }

    #[test]
    fn what_a_link_points_at_is_left_as_it_is() {
        let (parent, folder) = old(&["tables.db"]);
        let outside = parent.path().join("outside");
        fs::write(&outside, "").unwrap();
        chmod(&outside, 0o644);
        std::os::unix::fs::symlink(&outside, folder.join("link")).unwrap();
        keep_private(&folder).unwrap();
        assert_eq!(mode(&outside), 0o644);
    }
}
