//! A log of its own making: its records are in memory, behind one lock, and in one file. It keeps every
//! promise of [`Wal`]; with a [`Flaw`] it breaks one, so that it shows whether the suite sees that.
//!
//! The file `toy.log`: the position at which it starts (u64), then of each record its position (u64), its
//! length and a checksum of both and its bytes (u32 each), and the bytes; all little-endian.

use std::borrow::Cow;
use std::io::IoSlice;
use std::path::Path;
use std::time::Duration;

use stratalog_base::fs::{Fs, read_all};
use stratalog_base::sync::{Arc, Condvar, Instant, Mutex, MutexGuard};
use stratalog_base::{Error, Result};
use stratalog_wal::{
    Callback, Durability, FIRST_POSITION, Place, Position, Record, Records, Ticket, Wal, Watermarks,
};

const NAME: &str = "toy.log";
const UNREADY_NAME: &str = "toy.log-new";
const HEAD_BYTES: usize = 16;

/// What a toy does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// One record in 31 is not written.
    LosesARecord,
    /// Of records that are written together the first two change places.
    Reorders,
    /// A record of class `Process` is acknowledged before it is written.
    AcknowledgesBeforeTheWrite,
    /// One of class `Sync` before it is synced.
    AcknowledgesBeforeTheSync,
    /// An append takes the first part only.
    ForgetsParts,
    /// What is of class `None` is logged.
    LogsWhatIsNotLogged,
    /// `logged` is beyond `reserved`.
    RaisesAMarkTooFar,
    /// A wait with a limit takes what it takes.
    IgnoresLimits,
    /// A failed write or sync is tried again.
    TriesAgain,
    /// Closing syncs nothing.
    ClosesWithoutASync,
    /// Truncation takes the record at the position, too.
    TruncatesOneTooMany,
    /// A reader passes over a record now and then.
    PassesOver,
}

#[derive(Debug)]
pub struct Toy {
    fs: Arc<dyn Fs>,
    flaw: Option<Flaw>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Notified when a mark rises, a write ends, or the log stops.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The first position that is not removed.
    start: Position,
    records: Vec<Entry>,
    reserved: Position,
    logged: Position,
    durable: Position,
    /// How many records, and bytes of the file, are written.
    written_count: usize,
    file_bytes: u64,
    /// Whether somebody writes, without the lock.
    is_busy: bool,
    stopped: Option<Error>,
}

/// A record and its position.
type Entry = (Position, Vec<u8>);

/// Where the file starts, and the records in it.
pub fn read(fs: &dyn Fs) -> Result<(Position, Vec<Entry>)> {
    let bytes = match fs.open(Path::new(NAME)) {
        Ok(file) => read_all(&*file)?,
        Err(error) if error.is_not_found() => return Ok((FIRST_POSITION, Vec::new())),
        Err(error) => return Err(error),
    };
    let word = |bytes: &[u8]| u32::from_le_bytes(*bytes.first_chunk().unwrap());
    let (start, mut rest) =
        bytes.split_first_chunk::<8>().expect("it is whole before it has its name");
    let mut records = Vec::new();
    while let Some((head, tail)) = rest.split_first_chunk::<HEAD_BYTES>() {
        let Some(record) = tail.get(..word(&head[8..]) as usize) else { break };
        if crc32c::crc32c_append(crc32c::crc32c(&head[..12]), record) != word(&head[12..]) {
            break;
        }
        records.push((u64::from_le_bytes(*head.first_chunk().unwrap()), record.to_vec()));
        rest = &tail[record.len()..];
    }
    Ok((u64::from_le_bytes(*start), records))
}

fn encode(records: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (position, record) in records {
        let head = [&position.to_le_bytes()[..], &(record.len() as u32).to_le_bytes()].concat();
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&head), record);
        bytes.extend([&head[..], &checksum.to_le_bytes(), record].concat());
    }
    bytes
}

fn end_of((position, record): &Entry) -> Position {
    position + (HEAD_BYTES + record.len()).next_multiple_of(8) as u64
}

impl Toy {
    /// Goes on with what [`read`] finds, in a fresh file.
    pub fn open(fs: Arc<dyn Fs>, flaw: Option<Flaw>) -> Result<Toy> {
        let (start, records) = read(&*fs)?;
        let reserved = records.last().map_or(start, end_of);
        let state = State { start, records, reserved, ..State::default() };
        let shared = Shared { state: Mutex::new(state), changed: Condvar::new() };
        let toy = Toy { fs, flaw, shared: Arc::new(shared) };
        toy.write_anew(&mut toy.shared.state.lock())?;
        Ok(toy)
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// Puts a file of all records in the place of the one that there is, durably.
    fn write_anew(&self, state: &mut State) -> Result<()> {
        let [unready, name] = [UNREADY_NAME, NAME].map(Path::new);
        self.fs.remove(unready).or_else(|e| if e.is_not_found() { Ok(()) } else { Err(e) })?;
        let bytes = [&state.start.to_le_bytes()[..], &encode(&state.records)].concat();
        let file = self.fs.create(unready)?;
        file.write_at(&bytes, 0)?;
        file.sync()?;
        self.fs.rename(unready, name)?;
        self.fs.sync_dir(Path::new(""))?;
        (state.written_count, state.file_bytes) = (state.records.len(), bytes.len() as u64);
        (state.logged, state.durable) = (state.reserved, state.reserved);
        Ok(())
    }

    /// The lock, once nobody writes; `None` at `deadline`.
    fn idle<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        deadline: Option<Instant>,
    ) -> Option<MutexGuard<'a, State>> {
        while state.is_busy {
            state = match deadline {
                Some(deadline) if !self.has(Flaw::IgnoresLimits) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    self.shared.changed.wait_timeout(state, left).0
                }
                _ => self.shared.changed.wait(state),
            };
        }
        Some(state)
    }

    /// Writes what waits, without the lock, and raises the marks.
    fn write(&self, mut state: MutexGuard<'_, State>, syncs: bool) -> Result<()> {
        let (target, count) = (state.reserved, state.records.len());
        let (from, mut records) =
            (state.written_count, state.records[state.written_count..].to_vec());
        let at = state.file_bytes;
        state.is_busy = true;
        drop(state);
        if self.has(Flaw::LosesARecord) && from <= 31 && 31 < count {
            records.remove(31 - from);
        }
        if self.has(Flaw::Reorders)
            && let [(_, one), (_, two), ..] = &mut records[..]
        {
            std::mem::swap(one, two);
        }
        let bytes = encode(&records);
        let write = || {
            let file = self.fs.open_write(Path::new(NAME))?;
            file.write_at(&bytes, at)?;
            if syncs && !self.has(Flaw::AcknowledgesBeforeTheSync) { file.sync() } else { Ok(()) }
        };
        let outcome = write();
        let mut state = self.shared.state.lock();
        state.is_busy = false;
        match &outcome {
            Ok(()) => {
                (state.written_count, state.file_bytes) = (count, at + bytes.len() as u64);
                state.logged = target;
                state.durable = if syncs { target } else { state.durable };
            }
            Err(_) if self.has(Flaw::TriesAgain) => {}
            Err(error) => state.stopped = Some(error.poison()),
        }
        self.shared.changed.notify_all();
        outcome
    }

    /// Gives several records their places, in a row.
    fn place(&self, records: &[Vec<u8>], positions: &mut Vec<Position>) -> Result<Place> {
        let mut state = self.shared.state.lock();
        state.stopped.clone().map_or(Ok(()), Err)?;
        let start = state.reserved;
        for record in records {
            let entry = (state.reserved, record.clone());
            positions.push(entry.0);
            state.reserved = end_of(&entry);
            state.records.push(entry);
        }
        if self.has(Flaw::AcknowledgesBeforeTheWrite) {
            state.logged = state.reserved;
        }
        Ok(Place { start, position: start, end: state.reserved })
    }
}

impl Wal for Toy {
    fn append(&self, parts: &[IoSlice<'_>], durability: Durability) -> Result<Ticket<'_>> {
        let parts = &parts[..if self.has(Flaw::ForgetsParts) { 1 } else { parts.len() }];
        let record = parts.iter().flat_map(|part| part.iter().copied()).collect::<Vec<_>>();
        let place = match durability {
            Durability::None if !self.has(Flaw::LogsWhatIsNotLogged) => {
                self.reserve(record.len() as u64)?
            }
            _ => self.place(&[record], &mut Vec::new())?,
        };
        Ok(Ticket::new(self, place, durability))
    }

    fn append_batch(
        &self,
        records: &[&[u8]],
        durability: Durability,
        positions: &mut Vec<Position>,
    ) -> Result<Ticket<'_>> {
        if durability == Durability::None {
            return Err(Error::InvalidArgument("a batch of class None".into()));
        }
        let records: Vec<_> = records.iter().map(|record| record.to_vec()).collect();
        Ok(Ticket::new(self, self.place(&records, positions)?, durability))
    }

    fn reserve(&self, len: u64) -> Result<Place> {
        let mut state = self.shared.state.lock();
        state.stopped.clone().map_or(Ok(()), Err)?;
        let start = state.reserved;
        state.reserved += len.max(1).next_multiple_of(8);
        Ok(Place { start, position: start, end: state.reserved })
    }

    fn wait(
        &self,
        end: Position,
        durability: Durability,
        deadline: Option<Instant>,
    ) -> Result<bool> {
        loop {
            let state = self.shared.state.lock();
            if end > state.reserved {
                return Err(Error::InvalidArgument(format!("position {end}")));
            }
            let is_done = match durability {
                Durability::None => true,
                Durability::Process => state.logged >= end,
                Durability::Interval | Durability::Sync => state.durable >= end,
            };
            if is_done {
                return Ok(true);
            }
            let was_busy = state.is_busy;
            let Some(state) = self.idle(state, deadline) else { return Ok(false) };
            state.stopped.clone().map_or(Ok(()), Err)?;
            if !was_busy {
                self.write(state, durability != Durability::Process)?;
            }
        }
    }

    /// Nobody works in the background: the caller does it.
    fn when(&self, end: Position, durability: Durability, then: Callback) {
        then(self.wait(end, durability, None).map(drop));
    }

    fn sync(&self) -> Result<()> {
        let reserved = {
            let state = self.shared.state.lock();
            state.stopped.clone().map_or(Ok(state.reserved), Err)?
        };
        self.wait(reserved, Durability::Sync, None).map(drop)
    }

    fn watermarks(&self) -> Watermarks {
        let state = self.shared.state.lock();
        let too_far = if self.has(Flaw::RaisesAMarkTooFar) { 8 } else { 0 };
        let (reserved, durable) = (state.reserved, state.durable);
        Watermarks { reserved, logged: state.logged + too_far, durable }
    }

    fn truncate_before(&self, position: Position) -> Result<()> {
        let state = self.shared.state.lock();
        let mut state = self.idle(state, None).expect("no limit");
        state.stopped.clone().map_or(Ok(()), Err)?;
        let from = position + u64::from(self.has(Flaw::TruncatesOneTooMany));
        let count = state.records.partition_point(|(at, _)| *at < from);
        state.records.drain(..count);
        state.start = state.records.first().map_or(state.reserved, |(at, _)| *at);
        let outcome = self.write_anew(&mut state);
        if let Err(error) = &outcome {
            state.stopped = Some(error.poison()); // Which file has the name is not known.
        }
        outcome
    }

    fn reader(&self, from: Position) -> Result<Box<dyn Records>> {
        let shared = self.shared.clone();
        let next = if from == 0 { shared.state.lock().start } else { from };
        let passes_over = self.has(Flaw::PassesOver);
        Ok(Box::new(ToyReader { shared, next, durable_only: false, passes_over }))
    }

    fn close(&self) -> Result<()> {
        let outcome = match self.has(Flaw::ClosesWithoutASync) {
            false => self.sync(),
            true => Ok(()),
        };
        let mut state = self.shared.state.lock();
        let is_again = matches!(state.stopped, Some(Error::Closed));
        state.stopped.get_or_insert(Error::Closed);
        self.shared.changed.notify_all();
        if is_again { Ok(()) } else { outcome }
    }
}

#[derive(Debug)]
struct ToyReader {
    shared: Arc<Shared>,
    next: Position,
    durable_only: bool,
    passes_over: bool,
}

impl ToyReader {
    fn take(&mut self, state: &State) -> Result<Option<Record<'static>>> {
        if self.next < state.start {
            return Err(Error::InvalidArgument(format!(
                "records before {} were removed",
                state.start
            )));
        }
        let mark = if self.durable_only { state.durable } else { state.logged };
        let index = state.records.partition_point(|(at, _)| *at < self.next);
        let index = index + usize::from(self.passes_over && index == 20);
        let Some(entry) = state.records.get(index).filter(|entry| end_of(entry) <= mark) else {
            return Ok(None);
        };
        self.next = end_of(entry);
        Ok(Some(Record { position: entry.0, bytes: Cow::Owned(entry.1.clone()) }))
    }
}

impl Records for ToyReader {
    fn durable_only(mut self: Box<Self>) -> Box<dyn Records> {
        self.durable_only = true;
        self
    }

    fn position(&self) -> Position {
        self.next
    }

    fn next(&mut self) -> Result<Option<Record<'_>>> {
        let shared = self.shared.clone();
        let state = shared.state.lock();
        self.take(&state)
    }

    fn wait_next(&mut self, limit: Option<Duration>) -> Result<Option<Record<'_>>> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        let shared = self.shared.clone();
        let mut state = shared.state.lock();
        loop {
            let record = self.take(&state)?;
            if record.is_some() {
                return Ok(record);
            }
            state.stopped.clone().map_or(Ok(()), Err)?;
            state = match deadline {
                None => shared.changed.wait(state),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(None);
                    }
                    shared.changed.wait_timeout(state, left).0
                }
            };
        }
    }
}
