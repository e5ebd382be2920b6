//! What outlives the process: files, or what a simulation has in their place.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use everhook_journal::ambient;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// Something that outlives the process.
pub trait Kept: fmt::Debug + Send + Sync {
    /// Its contents.
    fn read(&self) -> BoxFuture<'_, io::Result<Vec<u8>>>;
    /// Has other contents from now on: all of them, or, after a crash, perhaps still the old ones.
    fn replace(&self, contents: Vec<u8>) -> BoxFuture<'_, io::Result<()>>;
    /// Has this behind its contents.
    fn append(&self, line: String) -> BoxFuture<'_, io::Result<()>>;
}

/// A file.
#[derive(Debug)]
pub struct File(PathBuf);

impl File {
    /// The file at this path, which need not be there yet.
    pub fn at(path: impl Into<PathBuf>) -> Arc<dyn Kept> {
        Arc::new(File(path.into()))
    }

    fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> BoxFuture<'_, io::Result<T>> {
        let path = self.0.clone();
        async move {
            match ambient::away(move || work(&path)).await {
                Ok(Some(worked)) => worked,
                Ok(None) => Err(io::Error::other("the process is ending")),
                Err(panicked) => Err(io::Error::other(panicked)),
            }
        }
        .boxed()
    }
}

impl Kept for File {
    fn read(&self) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        self.with(|path| std::fs::read(path))
    }

    fn replace(&self, contents: Vec<u8>) -> BoxFuture<'_, io::Result<()>> {
        self.with(move |path| {
            // A rename replaces the file in one go, so a crash leaves the old one or the new one.
            let mut fresh = path.as_os_str().to_owned();
            fresh.push(".tmp");
            std::fs::write(&fresh, contents)?;
            std::fs::rename(&fresh, path)
        })
    }

    fn append(&self, line: String) -> BoxFuture<'_, io::Result<()>> {
        self.with(move |path| {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
            file.write_all(line.as_bytes())
        })
    }
}
