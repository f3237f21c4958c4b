//! [`Disk`]: files that know how far they are written and how far synced, and what for.
//!
//! It holds the log to what it must do whatever happens: it writes whole frames in order and without a
//! hole, each at its own position, and promises only what is durable.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use loom::sync::atomic::{AtomicU64, Ordering};
use stratalog_base::fs::{File, Fs, Lock, Mapping};
use stratalog_base::{Error, Result};
use stratalog_wal::frame::{Frame, Kind};
use stratalog_wal::segment::{HEADER_BYTES, Header, parse_name};
use stratalog_wal::{Backend, FIRST_POSITION, Log, LogOptions, Position};

/// Which call fails as soon as it is about frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fails {
    Nothing,
    Write,
    Sync,
}

/// What a file holds. What loom does not see stands still while threads run at once, or is written by
/// one of them alone.
#[derive(Debug)]
struct Extent {
    name: Mutex<PathBuf>,
    header: Mutex<Vec<u8>>,
    frames: Mutex<Vec<u8>>,
    marks: Arc<Marks>,
}

/// Where a file's frames end, and up to where they are synced; 0 without a link.
#[derive(Debug, Default)]
struct Marks {
    end: AtomicU64,
    synced: AtomicU64,
}

/// The files that a model makes, at most: loom wants to know their marks before threads run.
const FILES_MAX: usize = 6;

/// See the module.
#[derive(Debug)]
pub struct Disk {
    files: Mutex<Vec<Arc<Extent>>>,
    unused: Mutex<Vec<Arc<Marks>>>,
    /// What was written, in the order in which it was.
    records: Mutex<Vec<(Position, Vec<u8>)>>,
    fails: Fails,
    /// Whether others run in the midst of each sync.
    slow_syncs: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    pub fn new(fails: Fails) -> Arc<Disk> {
        Disk::with(fails, false)
    }

    /// One whose syncs let others run, for what they do meanwhile: loom does not try all of that by
    /// itself.
    pub fn with_slow_syncs() -> Arc<Disk> {
        Disk::with(Fails::Nothing, true)
    }

    fn with(fails: Fails, slow_syncs: bool) -> Arc<Disk> {
        let unused = Mutex::new((0..FILES_MAX).map(|_| Arc::default()).collect());
        let (files, records) = (Mutex::default(), Mutex::default());
        Arc::new(Disk { files, unused, records, fails, slow_syncs })
    }

    /// The segments that have their name and link, in order.
    fn segments(&self) -> Vec<Arc<Extent>> {
        let mut files = locked(&self.files).clone();
        files.retain(|it| it.index().is_some() && it.link().is_some());
        files.sort_by_key(|it| it.index());
        files
    }

    /// Up to where the log is written.
    pub fn written(&self) -> Position {
        let ends = self.segments().into_iter().map(|it| it.marks.end.load(Ordering::Acquire));
        ends.max().unwrap_or(0)
    }

    /// Up to where it is synced without a hole.
    pub fn durable(&self) -> Position {
        let mut durable = 0;
        for segment in self.segments() {
            let synced = segment.marks.synced.load(Ordering::Acquire);
            durable = durable.max(synced);
            if synced < segment.marks.end.load(Ordering::Acquire) {
                break;
            }
        }
        durable
    }

    /// All records, in the order in which they were written.
    pub fn records(&self) -> Vec<(Position, Vec<u8>)> {
        locked(&self.records).clone()
    }

    fn find(&self, path: &Path) -> Result<Arc<Extent>> {
        let not_found = || Error::io("open", path, io::ErrorKind::NotFound.into());
        let files = locked(&self.files);
        files.iter().find(|it| *locked(&it.name) == path).cloned().ok_or_else(not_found)
    }
}

impl Extent {
    fn index(&self) -> Option<u64> {
        parse_name(locked(&self.name).to_str()?)
    }

    fn link(&self) -> Option<Header> {
        decode(&locked(&self.header))
    }
}

fn decode(header: &[u8]) -> Option<Header> {
    let (id, link) = Header::decode(header, Path::new("")).ok()?;
    Some(Header { id, link: link? })
}

#[derive(Debug)]
struct Shared(Arc<Disk>);

impl Shared {
    fn handle(&self, extent: Arc<Extent>) -> Arc<dyn File> {
        let path = locked(&extent.name).clone();
        Arc::new(Handle { disk: self.0.clone(), extent, path })
    }
}

impl Fs for Shared {
    fn create(&self, path: &Path) -> Result<Arc<dyn File>> {
        let extent = Arc::new(Extent {
            name: Mutex::new(path.to_owned()),
            header: Mutex::default(),
            frames: Mutex::default(),
            marks: locked(&self.0.unused).pop().expect("so many files"),
        });
        locked(&self.0.files).push(extent.clone());
        Ok(self.handle(extent))
    }
    fn open(&self, path: &Path) -> Result<Arc<dyn File>> {
        self.open_write(path)
    }
    fn open_write(&self, path: &Path) -> Result<Arc<dyn File>> {
        Ok(self.handle(self.0.find(path)?))
    }
    fn map(&self, _: &Path, len: usize) -> Result<Option<Box<dyn Mapping>>> {
        Ok(Some(Box::new(Memory(len))))
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        *locked(&self.0.find(from)?.name) = to.to_owned();
        Ok(())
    }
    fn sync_dir(&self, _: &Path) -> Result<()> {
        Ok(())
    }
    fn list(&self, _: &Path) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
    fn remove(&self, _: &Path) -> Result<()> {
        unreachable!()
    }
    fn create_dir(&self, _: &Path) -> Result<()> {
        unreachable!()
    }
    fn lock(&self, _: &Path) -> Result<Box<dyn Lock>> {
        unreachable!()
    }
}

/// Only its length counts: under loom, rings lie elsewhere.
#[derive(Debug)]
struct Memory(usize);

impl Mapping for Memory {
    fn as_ptr(&self) -> *mut u8 {
        unreachable!()
    }
    fn len(&self) -> usize {
        self.0
    }
}

#[derive(Debug)]
struct Handle {
    disk: Arc<Disk>,
    extent: Arc<Extent>,
    path: PathBuf,
}

impl Handle {
    fn refuse(&self) -> Error {
        Error::io("use", &self.path, io::Error::other("on purpose"))
    }

    fn write_header(&self, buf: &[u8], offset: usize) {
        let mut header = locked(&self.extent.header).clone();
        header.truncate(offset);
        header.extend_from_slice(buf);
        if let Some(Header { link, .. }) = decode(&header) {
            assert!(link.durable <= self.disk.durable().max(FIRST_POSITION), "FRAME-1, of a link");
            self.extent.marks.end.store(link.base, Ordering::Release);
            self.extent.marks.synced.store(link.base, Ordering::Release);
        }
        *locked(&self.extent.header) = header;
    }

    fn write_frames(&self, buf: &[u8], offset: u64) {
        let header = self.extent.link().expect("frames come after the link");
        let start = header.link.base + offset - HEADER_BYTES as u64;
        assert_eq!(
            self.extent.marks.end.load(Ordering::Acquire),
            start,
            "in order and without a hole"
        );
        let (mut rest, mut end) = (buf, start);
        while !rest.is_empty() {
            let frame = Frame::decode(rest, header.stream(), end).expect("a frame");
            if let Some(promise) = frame.promise() {
                assert!(promise <= self.disk.durable().max(FIRST_POSITION), "FRAME-1");
            }
            if frame.kind == Kind::Record {
                locked(&self.disk.records).push((end, frame.payload.to_vec()));
            }
            (rest, end) = (&rest[frame.frame_bytes() as usize..], frame.end());
        }
        locked(&self.extent.frames).extend_from_slice(buf);
        self.extent.marks.end.store(end, Ordering::Release);
    }
}

impl File for Handle {
    fn path(&self) -> &Path {
        &self.path
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        if parse_name(self.path.to_str().unwrap_or("").trim_end_matches("-new")).is_none() {
            return Ok(()); // The ring's.
        }
        if offset < HEADER_BYTES as u64 {
            self.write_header(buf, offset as usize);
            return Ok(());
        }
        if self.disk.fails == Fails::Write {
            return Err(self.refuse());
        }
        self.write_frames(buf, offset);
        Ok(())
    }
    fn sync(&self) -> Result<()> {
        let covered = self.extent.marks.end.load(Ordering::Acquire);
        let base = self.extent.link().map_or(0, |header| header.link.base);
        if self.disk.fails == Fails::Sync && covered > base {
            return Err(self.refuse());
        }
        if self.disk.slow_syncs && covered > base {
            loom::thread::yield_now();
        }
        self.extent.marks.synced.fetch_max(covered, Ordering::AcqRel);
        Ok(())
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let bytes = [&**locked(&self.extent.header), &**locked(&self.extent.frames)].concat();
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
    fn len(&self) -> Result<u64> {
        unreachable!()
    }
}

/// For logs without a pace of their own: all that may wait is due at once.
pub fn options(backend: Backend) -> LogOptions {
    LogOptions {
        backend,
        segments_ahead: false,
        interval: Duration::ZERO,
        batch_delay: Duration::ZERO,
        ring_bytes: 128,
        ring_mapped: false,
        ..LogOptions::default()
    }
}

/// A log on `disk` with the threads that are asked for.
pub fn log(disk: &Arc<Disk>, options: LogOptions, writes: bool, syncs: bool) -> Arc<Log> {
    let fs = Arc::new(Shared(disk.clone()));
    Arc::new(Log::create_with_threads(fs, options, writes, syncs).unwrap())
}
