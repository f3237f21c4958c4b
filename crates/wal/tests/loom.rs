//! Every interleaving of two or three threads, on the shipped code.
//!
//! `RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=2 cargo test -p stratalog-wal --test loom --release`
#![cfg(loom)]

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use stratalog_base::fs::{File, Fs, Lock};
use stratalog_base::{Error, Result};
use stratalog_wal::alarm::{Alarm, Urgency};
use stratalog_wal::frame::Frame;
use stratalog_wal::segment::Header;
use stratalog_wal::{Durability, LogOptions, Recovered, SyncLog, Wal};

#[path = "loom/group.rs"]
mod group;

const LOG_ID: u64 = 7;

/// ALARM-1: whatever was done before a raise is seen by a waiter that leaves after it.
#[test]
fn no_raised_alarm_is_lost() {
    loom::model(|| {
        let alarm = Arc::new(Alarm::new(Duration::ZERO));
        let logged = Arc::new(AtomicU64::new(0));
        let raisers: Vec<_> = [Urgency::Soon, Urgency::Now]
            .into_iter()
            .map(|urgency| {
                let (alarm, logged) = (alarm.clone(), logged.clone());
                thread::spawn(move || {
                    logged.fetch_add(1, Ordering::Relaxed);
                    alarm.raise(urgency);
                })
            })
            .collect();
        // Ends only if the waiter is let out after the last raise; loom reports a deadlock else.
        while logged.load(Ordering::Relaxed) < 2 {
            assert!(alarm.wait());
        }
        raisers.into_iter().for_each(|raiser| raiser.join().unwrap());
    });
}

#[test]
fn a_stopped_alarm_lets_its_waiter_go() {
    loom::model(|| {
        let alarm = Arc::new(Alarm::new(Duration::ZERO));
        let waiter = alarm.clone();
        let waiter = thread::spawn(move || while waiter.wait() {});
        alarm.raise(Urgency::Soon);
        alarm.stop();
        waiter.join().unwrap();
    });
}

/// Files that know no bytes, only positions: how far frames are written, and how far synced.
#[derive(Debug)]
struct CountingFs {
    written: AtomicU64,
    synced: AtomicU64,
    fails: bool,
}

impl CountingFs {
    fn new(fails: bool) -> Arc<CountingFs> {
        Arc::new(CountingFs { written: AtomicU64::new(1), synced: AtomicU64::new(1), fails })
    }
}

#[derive(Debug)]
struct CountingFile {
    fs: Arc<CountingFs>,
    path: PathBuf,
    base: AtomicU64,
    /// Where the frames in this file end.
    end: AtomicU64,
}

#[derive(Debug)]
struct Shared(Arc<CountingFs>);

impl Fs for Shared {
    fn create(&self, path: &Path) -> Result<Arc<dyn File>> {
        let (fs, path) = (self.0.clone(), path.to_owned());
        let (base, end) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Arc::new(CountingFile { fs, path, base, end }))
    }
    fn sync_dir(&self, _: &Path) -> Result<()> {
        Ok(())
    }
    fn open(&self, _: &Path) -> Result<Arc<dyn File>> {
        unreachable!()
    }
    fn rename(&self, _: &Path, _: &Path) -> Result<()> {
        unreachable!()
    }
    fn remove(&self, _: &Path) -> Result<()> {
        unreachable!()
    }
    fn list(&self, _: &Path) -> Result<Vec<String>> {
        unreachable!()
    }
    fn create_dir(&self, _: &Path) -> Result<()> {
        unreachable!()
    }
    fn lock(&self, _: &Path) -> Result<Box<dyn Lock>> {
        unreachable!()
    }
}

impl File for CountingFile {
    fn path(&self) -> &Path {
        &self.path
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        if offset == 0 {
            let base = Header::decode(buf, &self.path)?.base;
            self.base.store(base, Ordering::Release);
            self.end.store(base, Ordering::Release);
            assert!(self.fs.synced.load(Ordering::Acquire) >= base, "SEG-2");
            return Ok(());
        }
        let start = self.base.load(Ordering::Acquire) + offset - 64;
        assert_eq!(self.fs.written.load(Ordering::Acquire), start, "in order and without a hole");
        let (mut rest, mut end) = (buf, start);
        while !rest.is_empty() {
            let frame = Frame::decode(rest, LOG_ID, end).unwrap();
            let promise = frame.promise().unwrap_or(0);
            assert!(promise <= self.fs.synced.load(Ordering::Acquire), "FRAME-1");
            (rest, end) = (&rest[frame.frame_bytes()..], frame.end());
        }
        self.end.store(end, Ordering::Release);
        self.fs.written.store(end, Ordering::Release);
        Ok(())
    }
    fn sync(&self) -> Result<()> {
        let covered = self.end.load(Ordering::Acquire);
        if self.fs.fails && covered > 1 {
            return Err(Error::Closed);
        }
        self.fs.synced.fetch_max(covered, Ordering::AcqRel);
        Ok(())
    }
    fn read_at(&self, _: &mut [u8], _: u64) -> Result<usize> {
        unreachable!()
    }
    fn len(&self) -> Result<u64> {
        unreachable!()
    }
}

fn create(fs: &Arc<CountingFs>, segment_bytes: u64) -> Arc<SyncLog> {
    let options =
        LogOptions { segment_bytes, interval: Duration::ZERO, sync_every_bytes: u64::MAX };
    let (dir, empty) = (Path::new(""), Recovered::empty(LOG_ID));
    Arc::new(SyncLog::create(Arc::new(Shared(fs.clone())), dir, options, &empty, 1).unwrap())
}

/// Two threads append to one log at once, one in class `Sync` and one in `class`.
fn append_at_once(fails: bool, segment_bytes: u64, class: Durability) {
    loom::model(move || {
        let fs = CountingFs::new(fails);
        let log = create(&fs, segment_bytes);
        let (other_log, other_fs) = (log.clone(), fs.clone());
        let other = thread::spawn(move || append(&other_log, &other_fs, class));
        append(&log, &fs, Durability::Sync);
        other.join().unwrap();
    });
}

fn append(log: &SyncLog, fs: &CountingFs, class: Durability) {
    let Ok(ticket) = log.append(&[IoSlice::new(b"a")], class) else {
        assert!(fs.fails);
        return;
    };
    assert!(fs.written.load(Ordering::Acquire) >= ticket.end);
    if class != Durability::Sync {
        return;
    }
    match log.wait_durable(ticket.end) {
        Ok(()) => assert!(fs.synced.load(Ordering::Acquire) >= ticket.end),
        Err(_) => {
            assert!(fs.fails);
            let late = log.append(&[], Durability::Process);
            assert!(matches!(late, Err(Error::Poisoned(_))), "LOG-3");
        }
    }
}

/// LOG-1
#[test]
fn a_log_acknowledges_what_is_synced() {
    append_at_once(false, u64::MAX, Durability::Sync);
}

/// LOG-1, the background thread being the second who syncs.
#[test]
fn a_log_acknowledges_what_is_synced_while_it_syncs_in_the_background() {
    append_at_once(false, u64::MAX, Durability::Interval);
}

/// LOG-1 and LOG-2: each group begins a new segment.
#[test]
fn a_log_acknowledges_what_is_synced_across_segments() {
    append_at_once(false, 0, Durability::Sync);
}

/// LOG-3
#[test]
fn a_log_whose_sync_fails_stops_everyone() {
    append_at_once(true, u64::MAX, Durability::Sync);
}

#[test]
fn a_log_closes_while_others_append() {
    loom::model(|| {
        let fs = CountingFs::new(false);
        let log = create(&fs, u64::MAX);
        let other = log.clone();
        let other = thread::spawn(move || other.append(&[], Durability::Interval));
        log.close().unwrap();
        let marks = log.watermarks();
        assert_eq!((marks.durable, marks.logged), (marks.reserved, marks.reserved));
        assert_eq!(fs.synced.load(Ordering::Acquire), marks.reserved);
        match other.join().unwrap() {
            Ok(ticket) => assert!(ticket.end < marks.reserved),
            Err(error) => assert!(matches!(error, Error::Closed)),
        }
    });
}
