//! A message queue on disk: producers append, a consumer follows and acknowledges.
//!
//! - A message is a record of class `Sync`: once `send` has returned, it survives a power cut.
//! - The consumer reads only what survives a power cut. Else its stored position could lie beyond the
//!   end of the log after one, and what is appended there next would never be delivered.
//! - It stores its position after the work on a message is done. So each message is delivered at least
//!   once: again, if the process ends between the work and the store.
//! - What lies below the stored position is removed, whole segments at a time.
//!
//! `cargo run -p stratalog-wal --example message_queue`

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use stratalog_base::fs::{Fs, Lock, OsFs, read_all};
use stratalog_base::{Error, Result};
use stratalog_wal::{Durability, Log, LogOptions, Position, Reader, Wal};

/// A queue in a directory of its own.
struct Queue {
    log: Log,
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    /// Below it all is acknowledged.
    acknowledged: Position,
    _lock: Box<dyn Lock>,
}

impl Queue {
    fn open(fs: Arc<dyn Fs>, dir: &Path) -> Result<Queue> {
        fs.create_dir(dir)?;
        let lock = fs.lock(&dir.join("LOCK"))?; // The log itself locks nothing.
        let acknowledged = read_position(&*fs, dir)?;
        // Small segments, to see some of them go.
        let options = LogOptions { segment_bytes: 16 << 10, ..LogOptions::default() };
        let (log, found) = Log::open(fs.clone(), dir, options)?;
        for dropped in &found.dropped {
            println!("dropped: {dropped:?}"); // What a power cut cut short; never acknowledged.
        }
        Ok(Queue { log, fs, dir: dir.to_owned(), acknowledged, _lock: lock })
    }

    /// Returns once the messages survive a power cut. They lie in a row, but each is a record of its
    /// own: if the process ends before this returns, a part of them may be there.
    fn send(&self, messages: &[&[u8]]) -> Result<()> {
        let mut positions = Vec::new();
        self.log.append_batch(messages, Durability::Sync, &mut positions)?.wait()?;
        Ok(())
    }

    /// All messages that are not acknowledged, and those that come.
    fn consumer(&self) -> Result<Reader> {
        Ok(self.log.reader(self.acknowledged)?.durable_only())
    }

    /// Never again delivers what lies below `position`.
    fn acknowledge(&mut self, position: Position) -> Result<()> {
        store_position(&*self.fs, &self.dir, position)?; // First: then nothing below is needed.
        self.acknowledged = position;
        self.log.truncate_before(position)
    }
}

fn read_position(fs: &dyn Fs, dir: &Path) -> Result<Position> {
    let path = dir.join("position");
    let file = match fs.open(&path) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(0),
        Err(error) => return Err(error),
    };
    let bytes = read_all(&*file)?.try_into();
    bytes.map(u64::from_le_bytes).map_err(|_| Error::corrupt(&path, 0, "is not 8 bytes long"))
}

/// Replaces the file as a whole: data, sync, name, sync of the name.
fn store_position(fs: &dyn Fs, dir: &Path, position: Position) -> Result<()> {
    let unready = dir.join("position-new");
    match fs.remove(&unready) {
        Err(error) if !error.is_not_found() => return Err(error),
        _ => {} // A power cut may have left one.
    }
    let file = fs.create(&unready)?;
    file.write_at(&position.to_le_bytes(), 0)?;
    file.sync()?;
    fs.rename(&unready, &dir.join("position"))?;
    fs.sync_dir(dir)
}

/// Reads until nothing comes for a moment, and acknowledges in steps.
fn consume(queue: &mut Queue, most: usize) -> Result<Vec<Vec<u8>>> {
    const STEP: usize = 50;
    let mut reader = queue.consumer()?;
    let mut seen = Vec::new();
    while seen.len() < most {
        let Some(message) = reader.wait_next(Some(Duration::from_millis(100)))? else { break };
        seen.push(message.bytes.into_owned()); // The work goes here.
        if seen.len().is_multiple_of(STEP) {
            queue.acknowledge(reader.position())?;
        }
    }
    queue.acknowledge(reader.position())?;
    Ok(seen)
}

/// Three producers send 200 messages each, two at a time.
fn produce(queue: &Queue) -> Result<()> {
    thread::scope(|scope| {
        let producers: Vec<_> = (0..3)
            .map(|producer| {
                scope.spawn(move || {
                    (0..100).try_for_each(|turn| {
                        let first = format!("message {} of producer {producer}", 2 * turn);
                        let second = format!("message {} of producer {producer}", 2 * turn + 1);
                        queue.send(&[first.as_bytes(), second.as_bytes()])
                    })
                })
            })
            .collect();
        producers.into_iter().try_for_each(|it| it.join().expect("a producer panicked"))
    })
}

/// Runs it all in the directory `dir`.
fn run(fs: Arc<dyn Fs>, dir: &Path) -> Result<()> {
    let mut queue = Queue::open(fs.clone(), dir)?;
    produce(&queue)?;
    let mut seen = consume(&mut queue, 420)?;
    println!("{} messages consumed, {} segments left", seen.len(), queue.log.stats().segments);

    // Dropping the log without closing it is like the death of the process.
    drop(queue);
    let mut queue = Queue::open(fs, dir)?;
    seen.extend(consume(&mut queue, usize::MAX)?);
    println!("{} messages consumed after the restart", seen.len());
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 600, "each message came");
    queue.log.close()
}

/// Runs it all in a temporary directory.
pub fn main() -> Result<()> {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    run(Arc::new(OsFs), &temporary.path().join("queue"))
}
