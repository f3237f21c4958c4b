//! The baseline `raw`: the least that could be called a log, to tell what the device and the kernel take
//! from what a log adds.
//!
//! | class asked for | what an append does | class |
//! |---|---|---|
//! | `None`, `Process`, `Interval` | one write, in turn | `Process` |
//! | `Sync` | waits for the sync of its batch | `Sync` |
//!
//! Records lie one behind the other in one file, each behind its length (4 bytes, little-endian; 0: no
//! more). There are no checksums, no positions, no second file. The file is written full of zeros when it
//! is made, so no sync has to make a new size or new blocks durable, as in a recycled segment. It grows
//! if more comes than was announced.
//!
//! Class `Sync` commits in batches. Who brings the first record of a batch leads it: waits for the end of
//! the batch before, writes with one call what has come until then, and syncs. One thread thus costs one
//! write and one `fdatasync` a record.
//!
//! Each batch has a [`OnceLock`] for its end, the cheapest waking found: one call to the kernel wakes all
//! who wait, and they take no lock. Who leads the next batch waits for another one and is woken before.
//! With 64 threads on two processors that made 1.09 times the records of one [`OnceLock`] for all, 1.09 times
//! those of a condition variable for each batch, and 1.33 times those of a thread parked for each record.

use std::fs::File as StdFile;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use stratalog_base::fs::{File, Fs};
use stratalog_base::sync::Mutex;

use super::{Access, Durability, Each, Log};
use crate::Outcome;
use crate::counting_fs::CountingFs;

/// What it is called.
pub const NAME: &str = "raw";

/// How it is used.
pub const ACCESS: Access = Access { create, replay };

const FILE: &str = "log";
const LENGTH_BYTES: usize = 4;
/// Bytes of the smallest records for whose lengths there is room.
const LEAST_RECORD_BYTES: u64 = 128;
/// Bytes of a write or read of many records.
const MANY_BYTES: usize = 1 << 20;

/// The log.
pub struct Raw {
    fs: CountingFs,
    file: Arc<dyn File>,
    class: Durability,
    filling: Mutex<Filling>,
    /// What a leader is writing. Kept for its memory: only one leads at a time.
    writing: Mutex<Vec<u8>>,
}

/// The batch that takes records.
struct Filling {
    /// Records and their lengths.
    bytes: Vec<u8>,
    /// Where in the file they belong.
    offset: u64,
    batch: Arc<Batch>,
    before: Arc<Batch>,
}

/// Records that are synced together. What they end with is told twice.
#[derive(Default)]
struct Batch {
    /// First to who leads the next batch,
    over: OnceLock<End>,
    /// then to who appended.
    durable: OnceLock<End>,
}

/// After a failure nothing more is written.
type End = Result<(), String>;

fn create(dir: &Path, class: Durability, bytes: u64) -> Outcome<Box<dyn Log>> {
    Ok(Box::new(Raw::create(&CountingFs::default(), dir, class, bytes)?))
}

fn replay(dir: &Path, mut each: Each) -> Outcome<()> {
    let file = StdFile::open(dir.join(FILE))?;
    let mut left = file.metadata()?.len();
    let mut file = BufReader::with_capacity(MANY_BYTES, file);
    let (mut length, mut record) = ([0; LENGTH_BYTES], Vec::new());
    while left > LENGTH_BYTES as u64 {
        file.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        left -= LENGTH_BYTES as u64;
        if length == 0 {
            break;
        }
        left = left.checked_sub(u64::from(length)).ok_or("a record ends behind the file")?;
        record.resize(length as usize, 0);
        file.read_exact(&mut record)?;
        each(&record)?;
    }
    Ok(())
}

impl Raw {
    /// Creates one in an existing, empty directory, to take records of about so many bytes in all.
    ///
    /// # Errors
    /// The file system's.
    pub fn create(fs: &CountingFs, dir: &Path, class: Durability, bytes: u64) -> Outcome<Raw> {
        let file = fs.create(&dir.join(FILE))?;
        let zeros = vec![0; MANY_BYTES];
        let end = bytes + bytes / LEAST_RECORD_BYTES * LENGTH_BYTES as u64;
        for offset in (0..end).step_by(MANY_BYTES) {
            file.write_at(&zeros, offset)?;
        }
        file.sync()?;
        fs.sync_dir(dir)?;
        let before = Batch { over: OnceLock::from(Ok(())), ..Batch::default() };
        Ok(Raw {
            fs: fs.clone(),
            file,
            class: if class == Durability::Sync { class } else { Durability::Process },
            filling: Mutex::new(Filling {
                bytes: Vec::new(),
                offset: 0,
                batch: Arc::default(),
                before: Arc::new(before),
            }),
            writing: Mutex::default(),
        })
    }

    fn write(&self, record: &[u8]) -> Outcome<()> {
        let mut filling = self.filling.lock();
        filling.push(record)?;
        self.file.write_at(&filling.bytes, filling.offset)?;
        filling.offset += filling.bytes.len() as u64;
        filling.bytes.clear();
        Ok(())
    }

    fn write_and_sync(&self, record: &[u8]) -> Outcome<()> {
        let mut filling = self.filling.lock();
        let leads = filling.bytes.is_empty();
        filling.push(record)?;
        let (batch, before) = (Arc::clone(&filling.batch), Arc::clone(&filling.before));
        drop(filling);
        if !leads {
            return Ok(batch.durable.wait().clone()?);
        }
        // After a failure the batch is not taken: it has failed for all who still add to it.
        let end = before.over.wait().clone().and_then(|()| self.sync_batch());
        batch.over.get_or_init(|| end.clone());
        Ok(batch.durable.get_or_init(|| end).clone()?)
    }

    /// Makes durable what waits; others begin the next batch.
    fn sync_batch(&self) -> End {
        let mut writing = self.writing.lock();
        let offset = self.filling.lock().take(&mut writing);
        let written = self.file.write_at(&writing, offset).and_then(|()| self.file.sync());
        written.map_err(|why| why.to_string())
    }
}

impl Filling {
    fn push(&mut self, record: &[u8]) -> Outcome<()> {
        if record.is_empty() {
            return Err("a length of 0 would end the log".into());
        }
        self.bytes.extend_from_slice(&u32::try_from(record.len())?.to_le_bytes());
        self.bytes.extend_from_slice(record);
        Ok(())
    }

    /// Exchanges the batch for an empty one; returns where in the file its bytes belong.
    fn take(&mut self, bytes: &mut Vec<u8>) -> u64 {
        bytes.clear();
        std::mem::swap(bytes, &mut self.bytes);
        self.before = std::mem::take(&mut self.batch);
        let offset = self.offset;
        self.offset += bytes.len() as u64;
        offset
    }
}

impl Log for Raw {
    fn class(&self) -> Durability {
        self.class
    }

    fn append(&self, record: &[u8]) -> Outcome<()> {
        if self.class == Durability::Sync {
            self.write_and_sync(record)
        } else {
            self.write(record)
        }
    }

    fn written_bytes(&self) -> Option<u64> {
        Some(self.fs.written_bytes())
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.file.sync()?)
    }
}
