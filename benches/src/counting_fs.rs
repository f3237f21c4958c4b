//! [`CountingFs`]: the operating system's file system, with what is written and read counted where the
//! engine calls it, but for stores to mapped files. The kernel's own count comes later, and in whole pages.
//! It can be made as slow as a slower disk, and tells when the last sync returned.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use stratalog_base::Result;
use stratalog_base::fs::{File, Fs, Lock, Mapping, OsFs};

/// Counts what goes through it.
#[derive(Clone, Debug, Default)]
pub struct CountingFs(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    written_bytes: AtomicU64,
    reads: AtomicU64,
    /// A write takes at least a second for so many bytes.
    bytes_per_second: f64,
    made: Instant,
    /// When the last sync returned, in nanoseconds since `made`.
    synced_at: AtomicU64,
}

impl Default for Counts {
    fn default() -> Counts {
        Counts {
            written_bytes: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            bytes_per_second: f64::INFINITY,
            made: Instant::now(),
            synced_at: AtomicU64::new(0),
        }
    }
}

impl Counts {
    fn write(&self, bytes: u64) {
        self.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        let least = bytes as f64 / self.bytes_per_second;
        if least > 0.0 {
            thread::sleep(Duration::from_secs_f64(least));
        }
    }
}

impl CountingFs {
    /// One that writes no more than so many bytes a second for each thread.
    pub fn slowed(bytes_per_second: f64) -> CountingFs {
        CountingFs(Arc::new(Counts { bytes_per_second, ..Counts::default() }))
    }

    /// How long ago the last sync of any file returned.
    pub fn since_sync(&self) -> Duration {
        let at = Duration::from_nanos(self.0.synced_at.load(Ordering::Acquire));
        self.0.made.elapsed().saturating_sub(at)
    }

    /// Bytes written so far.
    pub fn written_bytes(&self) -> u64 {
        self.0.written_bytes.load(Ordering::Relaxed)
    }

    /// How often a file was read so far.
    pub fn reads(&self) -> u64 {
        self.0.reads.load(Ordering::Relaxed)
    }

    fn counting(&self, file: Result<Arc<dyn File>>) -> Result<Arc<dyn File>> {
        let counts = Arc::clone(&self.0);
        file.map(|file| Arc::new(CountingFile { file, counts }) as Arc<dyn File>)
    }
}

impl Fs for CountingFs {
    fn create(&self, path: &Path) -> Result<Arc<dyn File>> {
        self.counting(OsFs.create(path))
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn File>> {
        self.counting(OsFs.open(path))
    }

    fn open_mapped(&self, path: &Path) -> Result<Arc<dyn File>> {
        self.counting(OsFs.open_mapped(path))
    }

    fn max_open_files(&self) -> Option<usize> {
        OsFs.max_open_files()
    }

    fn open_write(&self, path: &Path) -> Result<Arc<dyn File>> {
        self.counting(OsFs.open_write(path))
    }

    fn map(&self, path: &Path, len: usize) -> Result<Option<Box<dyn Mapping>>> {
        OsFs.map(path, len)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        OsFs.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        OsFs.remove(path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        OsFs.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> Result<()> {
        OsFs.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        OsFs.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>> {
        OsFs.lock(path)
    }
}

#[derive(Debug)]
struct CountingFile {
    file: Arc<dyn File>,
    counts: Arc<Counts>,
}

impl File for CountingFile {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.counts.reads.fetch_add(1, Ordering::Relaxed);
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.counts.write(buf.len() as u64);
        self.file.write_at(buf, offset)
    }

    fn write_parts_at(&self, parts: &[IoSlice<'_>], offset: u64) -> Result<()> {
        self.counts.write(parts.iter().map(|part| part.len() as u64).sum());
        self.file.write_parts_at(parts, offset)
    }

    fn len(&self) -> Result<u64> {
        self.file.len()
    }

    fn sync(&self) -> Result<()> {
        self.file.sync()?;
        let now = self.counts.made.elapsed().as_nanos() as u64;
        self.counts.synced_at.fetch_max(now, Ordering::Release);
        Ok(())
    }
}
