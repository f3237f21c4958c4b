//! The operating system's files.

use std::fs::{self, File as StdFile, OpenOptions, TryLockError};
use std::io::IoSlice;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::{Errno, pwritev};

use super::{File, Fs, Lock, Mapping, parent};
use crate::{Error, Result};

#[cfg(target_os = "linux")]
mod map;
#[cfg(target_os = "linux")]
mod mapped_file;

/// How many parts the system takes at once (`IOV_MAX`).
const MAX_PARTS: usize = 1024;

/// The real file system, by positioned reads and writes and `fdatasync`. Maps files on Linux only, where
/// `fdatasync` covers what was stored to a mapping (FS-1), and there on ext2/3/4 and tmpfs.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFs;

impl OsFs {
    /// A shared handle, as options take it.
    pub fn shared() -> Arc<dyn Fs> {
        Arc::new(OsFs)
    }
}

impl Fs for OsFs {
    fn create(&self, path: &Path) -> Result<Arc<dyn File>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|e| Error::io("create", path, e))?;
        Ok(Arc::new(OsFile { file, path: path.to_owned() }))
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn File>> {
        let file = StdFile::open(path).map_err(|e| Error::io("open", path, e))?;
        Ok(Arc::new(OsFile { file, path: path.to_owned() }))
    }

    fn open_write(&self, path: &Path) -> Result<Arc<dyn File>> {
        Ok(Arc::new(OsFile { file: open_write(path)?, path: path.to_owned() }))
    }

    fn open_mapped(&self, path: &Path) -> Result<Arc<dyn File>> {
        #[cfg(target_os = "linux")]
        {
            let file = StdFile::open(path).map_err(|e| Error::io("open", path, e))?;
            let mapped = map::map_to_read(&file).map_err(|e| Error::io("map", path, e))?;
            if let Some(mapped) = mapped {
                return Ok(Arc::new(mapped_file::MappedFile::new(mapped, path)));
            }
        }
        self.open(path)
    }

    fn max_open_files(&self) -> Option<usize> {
        use rustix::process::{Resource, getrlimit};
        getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok())
    }

    fn map(&self, path: &Path, len: usize) -> Result<Option<Box<dyn Mapping>>> {
        let file = open_write(path)?;
        #[cfg(target_os = "linux")]
        let mapping = map::map(&file, len).map_err(|e| Error::io("map", path, e))?;
        #[cfg(not(target_os = "linux"))]
        let mapping = {
            let _ = (file, len);
            None
        };
        Ok(mapping)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to).map_err(|e| Error::io("rename", from, e))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        fs::remove_file(path).map_err(|e| Error::io("remove", path, e))
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir).map_err(|e| Error::io("list", dir, e))? {
            let entry = entry.map_err(|e| Error::io("list", dir, e))?;
            let is_dir = entry.file_type().map_err(|e| Error::io("list", dir, e))?.is_dir();
            // A name that is not UTF-8 is not one of ours.
            if let (false, Ok(name)) = (is_dir, entry.file_name().into_string()) {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir(&self, dir: &Path) -> Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        let parent = parent(dir);
        self.create_dir(parent)?;
        match fs::DirBuilder::new().mode(0o700).create(dir) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
            Err(e) => Err(Error::io("create directory", dir, e)),
            Ok(()) => self.sync_dir(parent),
        }
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        StdFile::open(dir)
            .and_then(|handle| handle.sync_all())
            .map_err(|e| Error::io("sync directory", dir, e))
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|e| Error::io("lock", path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(OsLock { file })),
            Err(TryLockError::WouldBlock) => Err(Error::Locked { path: parent(path).to_owned() }),
            Err(TryLockError::Error(e)) => Err(Error::io("lock", path, e)),
        }
    }
}

fn open_write(path: &Path) -> Result<StdFile> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    file.map_err(|e| Error::io("open", path, e))
}

#[derive(Debug)]
struct OsLock {
    file: StdFile,
}

impl Lock for OsLock {}

impl Drop for OsLock {
    fn drop(&mut self) {
        // Closing alone would leave it held by a child of this process that was begun meanwhile and has not got
        // so far as to close what it inherited.
        _ = self.file.unlock();
    }
}

#[derive(Debug)]
struct OsFile {
    file: StdFile,
    path: PathBuf,
}

impl File for OsFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.file.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("read", &self.path, e)),
            }
        }
        Ok(done)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.file.write_all_at(buf, offset).map_err(|e| Error::io("write", &self.path, e))
    }

    fn write_parts_at(&self, mut parts: &[IoSlice<'_>], mut offset: u64) -> Result<()> {
        while !parts.is_empty() {
            let batch = &parts[..parts.len().min(MAX_PARTS)];
            let mut written = match pwritev(&self.file, batch, offset) {
                Ok(written) => written,
                Err(Errno::INTR) => continue,
                Err(e) => return Err(Error::io("write", &self.path, e.into())),
            };
            let mut whole = 0;
            while whole < batch.len() && batch[whole].len() <= written {
                written -= batch[whole].len();
                offset += batch[whole].len() as u64;
                whole += 1;
            }
            if let Some(cut) = batch.get(whole) {
                self.write_at(&cut[written..], offset + written as u64)?;
                offset += cut.len() as u64;
                whole += 1;
            }
            parts = &parts[whole..];
        }
        Ok(())
    }

    fn len(&self) -> Result<u64> {
        Ok(self.file.metadata().map_err(|e| Error::io("stat", &self.path, e))?.len())
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::io("sync", &self.path, e))
    }
}
