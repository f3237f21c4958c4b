//! [`Handles`]: files that are open only while they are read often, so that a store may have more of
//! them than the process may have open.
//!
//! A file opened by way of [`Handles`] is a [`File`] like any other. Behind it the handle is closed when
//! too many are open and it was not used of late, and opened again by its path at the next read. Which
//! one goes is decided by a clock, as in the block cache.
//!
//! The path must lead to the file for as long as it may be read: who removes files waits until nobody
//! holds them. If it leads elsewhere, a table's checksums tell, since they cover its number.
//!
//! # Invariants
//! - HANDLE-1: at most `limit` handles are open, and those of reads that are under way.
//! - HANDLE-2: locks are taken in the order clock, handle. A handle is put in place only under both.
//! - HANDLE-3: a file with an open handle has exactly one place in the clock.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use stratalog_base::Result;
use stratalog_base::fs::{File, Fs};
use stratalog_base::sync::{AtomicBool, Mutex, Ordering};

/// Assumed where the system does not say.
const DEFAULT_MAX_OPEN: usize = 1024;

/// How files are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadBy {
    /// By positioned reads. A file that is cut short, or a disk that fails, is an error. The default.
    #[default]
    Call,
    /// From a mapping: see [`Fs::open_mapped`] for what that risks.
    Mapping,
}

/// Opens files for reading and limits how many are open.
#[derive(Debug)]
pub struct Handles {
    fs: Arc<dyn Fs>,
    limit: usize,
    read_by: ReadBy,
    /// Files with an open handle, oldest first.
    clock: Mutex<VecDeque<Weak<Managed>>>,
}

impl Handles {
    /// At most `limit` files open at a time, at least 1. Default: half of what the process may have open. Each
    /// `Handles` counts its own: two of them with the default may take all.
    pub fn new(fs: Arc<dyn Fs>, limit: Option<usize>, read_by: ReadBy) -> Arc<Handles> {
        let half = || fs.max_open_files().unwrap_or(DEFAULT_MAX_OPEN) / 2;
        let limit = limit.unwrap_or_else(half).max(1);
        Arc::new(Handles { fs, limit, read_by, clock: Mutex::default() })
    }

    /// Opens the existing file `path` for reading.
    ///
    /// # Errors
    /// As [`Fs::open`]. Later reads may meet the same errors.
    pub fn open(self: &Arc<Self>, path: &Path) -> Result<Arc<dyn File>> {
        let file = Arc::new(Managed {
            handles: self.clone(),
            path: path.to_owned(),
            handle: Mutex::new(None),
            used: AtomicBool::new(false),
        });
        self.open_again(&file)?;
        Ok(Arc::new(ManagedFile(file)))
    }

    /// How many files are open now, but for those that only a read under way holds.
    pub fn open_count(&self) -> usize {
        let clock = self.clock.lock();
        let is_open = |file: &Arc<Managed>| file.handle.lock().is_some();
        clock.iter().filter_map(Weak::upgrade).filter(is_open).count()
    }

    /// Opens a file that is closed, closing others as needed.
    fn open_again(&self, file: &Arc<Managed>) -> Result<Arc<dyn File>> {
        let mut clock = self.clock.lock();
        if let Some(handle) = &*file.handle.lock() {
            return Ok(handle.clone()); // another reader was faster
        }
        self.make_room(&mut clock);
        let handle = match self.read_by {
            ReadBy::Call => self.fs.open(&file.path)?,
            ReadBy::Mapping => self.fs.open_mapped(&file.path)?,
        };
        *file.handle.lock() = Some(handle.clone()); // HANDLE-2
        clock.push_back(Arc::downgrade(file));
        Ok(handle)
    }

    /// Closes handles until one more may be opened.
    fn make_room(&self, clock: &mut VecDeque<Weak<Managed>>) {
        if clock.len() < self.limit {
            return;
        }
        clock.retain(|file| file.strong_count() > 0);
        // Readers may mark files as fast as they are spared: one round, then no mercy.
        let mut mercies = clock.len();
        while clock.len() >= self.limit {
            let Some(place) = clock.pop_front() else { return };
            let Some(file) = place.upgrade() else { continue };
            if mercies > 0 && file.used.swap(false, Ordering::Relaxed) {
                mercies -= 1;
                clock.push_back(place);
            } else {
                *file.handle.lock() = None; // HANDLE-3
            }
        }
    }
}

/// A file that is open or not.
#[derive(Debug)]
struct Managed {
    handles: Arc<Handles>,
    path: PathBuf,
    handle: Mutex<Option<Arc<dyn File>>>,
    /// Since the clock last came by.
    used: AtomicBool,
}

/// A [`Managed`] file as its readers see it.
#[derive(Debug)]
struct ManagedFile(Arc<Managed>);

impl ManagedFile {
    fn handle(&self) -> Result<Arc<dyn File>> {
        let file = &self.0;
        let open = file.handle.lock().clone();
        match open {
            Some(handle) => {
                file.used.store(true, Ordering::Relaxed);
                Ok(handle)
            }
            // What is read only once does not count as used, or all would.
            None => file.handles.open_again(file),
        }
    }
}

impl File for ManagedFile {
    fn path(&self) -> &Path {
        &self.0.path
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.handle()?.read_at(buf, offset)
    }

    fn len(&self) -> Result<u64> {
        self.handle()?.len()
    }

    fn sync(&self) -> Result<()> {
        self.handle()?.sync()
    }
}
