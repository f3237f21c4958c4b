//! The file-system trait: every file call of every crate goes through it.
//!
//! Two implementations: [`OsFs`], the real one, and `SimFs` (feature `sim`), in memory, with power
//! cuts and faults for tests. Handles are positioned: no file has a shared offset.
//!
//! # What survives a power cut
//! - FS-1: bytes of a file survive once [`File::sync`] returned `Ok` after they were written.
//! - FS-2: creation, renaming and removal of a name survive once [`Fs::sync_dir`] of its directory
//!   returned `Ok` after them. A file whose name did not survive is gone, synced or not.
//! - FS-3: a rename is atomic: afterwards the target is the old or the new file, never neither.
//! - FS-4: after a failed [`File::sync`] nothing is known about the bytes written since the last
//!   good one, not even if a later sync succeeds.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use crate::Result;

mod os;
#[cfg(feature = "sim")]
mod sim;

pub use os::OsFs;
#[cfg(feature = "sim")]
pub use sim::{Fault, FaultKind, On, Op, SimFs, SimRng};

/// A file system.
pub trait Fs: Debug + Send + Sync + 'static {
    /// Creates `path`, which must not exist, for reading and writing, with access for its owner only.
    ///
    /// # Errors
    /// If the name exists (a planted link counts), or the system refuses.
    fn create(&self, path: &Path) -> Result<Arc<dyn File>>;

    /// Opens the existing file `path` for reading.
    ///
    /// # Errors
    /// If it does not exist ([`crate::Error::is_not_found`]) or cannot be read.
    fn open(&self, path: &Path) -> Result<Arc<dyn File>>;

    /// Renames `from` to `to` in the same directory, replacing `to` (FS-3; durable by FS-2).
    ///
    /// # Errors
    /// If the system refuses; then either name may be in force.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Removes the name `path`. Open handles go on reading.
    ///
    /// # Errors
    /// If it does not exist or the system refuses.
    fn remove(&self, path: &Path) -> Result<()>;

    /// The names of the files (not directories) in `dir`, sorted.
    ///
    /// # Errors
    /// If `dir` does not exist or cannot be read.
    fn list(&self, dir: &Path) -> Result<Vec<String>>;

    /// Creates `dir` and its missing parents, with access for the owner only, and syncs the parent of
    /// each directory that it created. Succeeds if `dir` exists.
    ///
    /// # Errors
    /// If the system refuses, or `dir` is a file.
    fn create_dir(&self, dir: &Path) -> Result<()>;

    /// Makes every earlier creation, rename and removal in `dir` durable (FS-2).
    ///
    /// # Errors
    /// If the system refuses; then nothing is known about those names.
    fn sync_dir(&self, dir: &Path) -> Result<()>;

    /// Takes the exclusive lock on the file `path`, creating it if absent. The lock ends when the
    /// value drops or the process dies.
    ///
    /// # Errors
    /// [`crate::Error::Locked`], naming the directory, if another handle or process holds it.
    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>>;
}

/// A held lock; see [`Fs::lock`].
pub trait Lock: Debug + Send + Sync {}

/// An open file. All methods may be called from several threads at once.
#[expect(clippy::len_without_is_empty, reason = "a file's length is asked for, not its emptiness")]
pub trait File: Debug + Send + Sync {
    /// The path it was opened by, for errors.
    fn path(&self) -> &Path;

    /// Reads up to `buf.len()` bytes at `offset`; fewer only at the end of the file. Returns how many.
    ///
    /// # Errors
    /// If the system refuses. A read error is neither damage nor the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize>;

    /// Writes all of `buf` at `offset`, extending the file if it ends before. Survives the death of
    /// the process when it returns; a power cut only after [`File::sync`].
    ///
    /// # Errors
    /// If the system refuses; then any part of `buf` may have been written.
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// If the system refuses.
    fn len(&self) -> Result<u64>;

    /// Makes every write that returned before this call durable (FS-1), with the length needed to
    /// read it.
    ///
    /// # Errors
    /// If the system refuses; then FS-4 holds.
    fn sync(&self) -> Result<()>;
}

/// The directory that holds `path`: `.` for a name alone, and for nothing.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None if path.as_os_str().is_empty() => Path::new("."),
        None => path,
    }
}

/// Reads exactly `buf.len()` bytes at `offset`.
///
/// # Errors
/// [`crate::Error::Corrupt`] if the file ends before, or as [`File::read_at`].
pub fn read_exact_at(file: &dyn File, buf: &mut [u8], offset: u64) -> Result<()> {
    let read = file.read_at(buf, offset)?;
    if read == buf.len() {
        return Ok(());
    }
    let what = format!("file ends after {} of {} bytes", read, buf.len());
    Err(crate::Error::corrupt(file.path(), offset, what))
}

/// Reads the whole file.
///
/// # Errors
/// As [`File::len`] and [`File::read_at`].
pub fn read_all(file: &dyn File) -> Result<Vec<u8>> {
    let len = file.len()?;
    let len = usize::try_from(len)
        .map_err(|_| crate::Error::corrupt(file.path(), 0, "file exceeds the address space"))?;
    let mut bytes = vec![0; len];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}
