//! The file-system trait: every file call of every crate goes through it.
//!
//! Two implementations: [`OsFs`], the real one, and `SimFs` (feature `sim`), in memory, with power
//! cuts and faults for tests. Handles are positioned: no file has a shared offset.
//!
//! # What survives a power cut
//! - FS-1: bytes of a file survive once [`File::sync`] returned `Ok` after they were written, or stored
//!   to a [`Mapping`] of it.
//! - FS-2: creation, renaming and removal of a name survive once [`Fs::sync_dir`] of its directory
//!   returned `Ok` after them. A file whose name did not survive is gone, synced or not.
//! - FS-3: a rename is atomic: afterwards the target is the old or the new file, never neither.
//! - FS-4: after a failed [`File::sync`] nothing is known about the bytes written since the last
//!   good one, not even if a later sync succeeds.

use std::fmt::Debug;
use std::io::{self, IoSlice};
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

    /// Opens the existing file `path` for reading and writing.
    ///
    /// # Errors
    /// If it does not exist ([`crate::Error::is_not_found`]) or cannot be written.
    fn open_write(&self, path: &Path) -> Result<Arc<dyn File>>;

    /// Opens the existing file `path`, which nobody writes any more, for reading by way of a mapping: a
    /// read copies from memory and calls the system only for pages that are not there. The handle
    /// takes no file descriptor, but address space.
    ///
    /// The length is that at the time of opening, so a file that was cut short before reads as any
    /// short file. One that is cut short later, or a disk that fails, may end the process by a signal
    /// (SIGBUS): reads of [`Fs::open`] return an error then. Where files cannot be mapped, and by
    /// default, this is [`Fs::open`].
    ///
    /// # Errors
    /// As [`Fs::open`].
    fn open_mapped(&self, path: &Path) -> Result<Arc<dyn File>> {
        self.open(path)
    }

    /// How many files the process may have open; `None` if nothing limits it.
    fn max_open_files(&self) -> Option<usize> {
        None
    }

    /// Maps the first `len` bytes of the existing file `path` into memory, shared with all who read
    /// and write it. A store to the memory survives the death of the process as a
    /// [`File::write_at`] does, and a power cut only after [`File::sync`]; before, perhaps and in any
    /// part.
    ///
    /// The caller has written (not merely allocated) and synced all `len` bytes before, so that no
    /// store needs new space. `None` where a full disk or a short file could become a signal (SIGBUS)
    /// all the same, and for `len` 0: the caller then goes on without a mapping. A disk that breaks
    /// down under a mapping may still end the process by that signal.
    ///
    /// # Errors
    /// If the file does not exist ([`crate::Error::is_not_found`]) or the system refuses.
    fn map(&self, path: &Path, len: usize) -> Result<Option<Box<dyn Mapping>>>;

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

/// The memory of a mapped file, until it drops; see [`Fs::map`]. It stays mapped when the file's handles
/// are closed and its name is removed.
///
/// Who stores through the pointer keeps within `len`, and lets no two threads use a byte at once but by
/// atomics.
#[expect(clippy::len_without_is_empty, reason = "no mapping is empty")]
pub trait Mapping: Debug + Send + Sync {
    /// Where the memory starts, which is the start of the file: aligned to 8 bytes at least.
    fn as_ptr(&self) -> *mut u8;

    /// The length in bytes, as asked for.
    fn len(&self) -> usize;
}

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
    /// By default refused, for files that are opened for reading only.
    ///
    /// # Errors
    /// If the system refuses; then any part of `buf` may have been written.
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        let _ = (buf, offset);
        let why = io::Error::new(io::ErrorKind::PermissionDenied, "opened for reading only");
        Err(crate::Error::io("write", self.path(), why))
    }

    /// Writes the parts in a row at `offset`, else as [`File::write_at`], which is the default.
    ///
    /// # Errors
    /// If the system refuses; then any part of the bytes may have been written.
    fn write_parts_at(&self, parts: &[IoSlice<'_>], offset: u64) -> Result<()> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        self.write_at(&bytes, offset)
    }

    /// The length in bytes.
    ///
    /// # Errors
    /// If the system refuses.
    fn len(&self) -> Result<u64>;

    /// Makes every write that returned before this call durable (FS-1), with the length needed to
    /// read it, and every store to a [`Mapping`] of the file that happened before.
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
    let mut bytes = Vec::new();
    read_all_into(file, &mut bytes)?;
    Ok(bytes)
}

/// The same into `bytes`, in place of what is there. Memory that was touched before costs no page fault:
/// for many files of about one size.
///
/// # Errors
/// As [`read_all`].
pub fn read_all_into(file: &dyn File, bytes: &mut Vec<u8>) -> Result<()> {
    let len = file.len()?;
    let len = usize::try_from(len)
        .map_err(|_| crate::Error::corrupt(file.path(), 0, "file exceeds the address space"))?;
    bytes.resize(len, 0);
    let read = file.read_at(bytes, 0)?;
    bytes.truncate(read);
    Ok(())
}
