//! The log of a Raft node: entries with terms, the hard state, snapshots.
//!
//! - All of it is one stream of records. What a record means is found out by replaying them in order.
//! - A conflicting suffix is not cut off: this log has no way to shorten itself at the end. An entry
//!   whose index is there already stands for itself and says that all from that index on is void. A
//!   suffix that nothing follows is made void by a `Cut` record.
//! - The hard state (term, vote) is a record; the last one counts.
//! - A snapshot notes from which position on the log is needed. What is below is removed after the
//!   snapshot is durable. The hard state is written anew before, so that its last record is not below.
//! - The positions of the entries are kept in memory: an index is looked up there and read by a reader.
//!
//! `cargo run -p stratalog-wal --example raft_log`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stratalog_base::fs::{Fs, Lock, OsFs, read_all};
use stratalog_base::{Error, Result};
use stratalog_wal::{Durability, Log, LogOptions, Position, Wal};

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    index: u64,
    term: u64,
    command: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct HardState {
    term: u64,
    /// 0 for nobody.
    voted_for: u64,
}

/// What a record says. The first byte is the kind; numbers have eight bytes, little-endian.
#[derive(Debug)]
enum Change {
    Entry(Entry),
    HardState(HardState),
    /// All entries from this index on are void.
    Cut(u64),
}

impl Change {
    fn encode(&self) -> Vec<u8> {
        let (kind, numbers, rest): (u8, &[u64], &[u8]) = match self {
            Change::Entry(entry) => (1, &[entry.index, entry.term], &entry.command),
            Change::HardState(state) => (2, &[state.term, state.voted_for], &[]),
            Change::Cut(index) => (3, &[*index], &[]),
        };
        let numbers = numbers.iter().flat_map(|number| number.to_le_bytes());
        [kind].into_iter().chain(numbers).chain(rest.iter().copied()).collect()
    }

    fn decode(bytes: &[u8]) -> Option<Change> {
        let (&kind, rest) = bytes.split_first()?;
        let (first, rest) =
            rest.split_first_chunk().map(|(n, rest)| (u64::from_le_bytes(*n), rest))?;
        if kind == 3 {
            return rest.is_empty().then_some(Change::Cut(first));
        }
        let (second, rest) =
            rest.split_first_chunk().map(|(n, rest)| (u64::from_le_bytes(*n), rest))?;
        match kind {
            1 => Some(Change::Entry(Entry { index: first, term: second, command: rest.to_vec() })),
            2 if rest.is_empty() => {
                Some(Change::HardState(HardState { term: first, voted_for: second }))
            }
            _ => None,
        }
    }
}

/// The last entry that a snapshot holds, and where the log goes on after it. A real one would hold the
/// state of the machine, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Snapshot {
    index: u64,
    term: u64,
    /// Nothing in the log below it is needed.
    from: Position,
}

impl Snapshot {
    fn read(fs: &dyn Fs, dir: &Path) -> Result<Snapshot> {
        let path = dir.join("snapshot");
        let file = match fs.open(&path) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => return Ok(Snapshot::default()),
            Err(error) => return Err(error),
        };
        let bytes = read_all(&*file)?;
        let numbers: Vec<_> =
            bytes.as_chunks().0.iter().map(|it| u64::from_le_bytes(*it)).collect();
        match numbers[..] {
            [index, term, from] => Ok(Snapshot { index, term, from }),
            _ => Err(Error::corrupt(&path, 0, "is no snapshot")),
        }
    }

    /// Replaces the snapshot as a whole: data, sync, name, sync of the name.
    fn store(self, fs: &dyn Fs, dir: &Path) -> Result<()> {
        let unready = dir.join("snapshot-new");
        match fs.remove(&unready) {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {} // A power cut may have left one.
        }
        let file = fs.create(&unready)?;
        file.write_at(&[self.index, self.term, self.from].map(u64::to_le_bytes).concat(), 0)?;
        file.sync()?;
        fs.rename(&unready, &dir.join("snapshot"))?;
        fs.sync_dir(dir)
    }
}

struct RaftLog {
    log: Log,
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    snapshot: Snapshot,
    hard_state: HardState,
    /// Where the entries after the snapshot lie, and their terms. They rise, since an entry makes void
    /// what was at its index and behind it.
    places: Vec<(Position, u64)>,
    _lock: Box<dyn Lock>,
}

impl RaftLog {
    fn open(fs: Arc<dyn Fs>, dir: &Path) -> Result<RaftLog> {
        fs.create_dir(dir)?;
        let lock = fs.lock(&dir.join("LOCK"))?; // The log itself locks nothing.
        let snapshot = Snapshot::read(&*fs, dir)?;
        // Small segments, to see some of them go.
        let options = LogOptions { segment_bytes: 4 << 10, ..LogOptions::default() };
        let (log, _) = Log::open(fs.clone(), dir, options)?;
        let (hard_state, places) = (HardState::default(), Vec::new());
        let dir = dir.to_owned();
        let mut raft = RaftLog { log, fs, dir, snapshot, hard_state, places, _lock: lock };
        raft.replay()?;
        Ok(raft)
    }

    fn replay(&mut self) -> Result<()> {
        let mut reader = self.log.reader(self.snapshot.from)?;
        while let Some(record) = reader.next()? {
            let position = record.position;
            let what = || Error::corrupt(&self.dir, position, "a record that is none of ours");
            let change = Change::decode(&record.bytes).ok_or_else(what)?;
            self.apply(position, &change);
        }
        Ok(())
    }

    /// What a record does to what is in memory, written just now or read back.
    fn apply(&mut self, position: Position, change: &Change) {
        match change {
            Change::Entry(entry) => {
                self.places.truncate((entry.index - self.snapshot.index - 1) as usize);
                self.places.push((position, entry.term));
            }
            Change::HardState(state) => self.hard_state = *state,
            Change::Cut(index) => {
                self.places.truncate((index - self.snapshot.index - 1) as usize);
            }
        }
    }

    fn last_index(&self) -> u64 {
        self.snapshot.index + self.places.len() as u64
    }

    fn term(&self, index: u64) -> Option<u64> {
        match index.checked_sub(self.snapshot.index + 1) {
            Some(nth) => self.places.get(nth as usize).map(|&(_, term)| term),
            None => (index == self.snapshot.index).then_some(self.snapshot.term),
        }
    }

    /// Appends entries in a row, the first at most one past the last index, and returns once they survive
    /// a power cut. What was there from the first one's index on is void.
    fn append(&mut self, entries: &[Entry]) -> Result<()> {
        let Some(first) = entries.first() else { return Ok(()) };
        assert!(first.index <= self.last_index() + 1, "a gap in the log");
        let changes: Vec<_> = entries.iter().cloned().map(Change::Entry).collect();
        self.write(&changes).map(|_| ())
    }

    fn set_hard_state(&mut self, state: HardState) -> Result<Position> {
        self.write(&[Change::HardState(state)])
    }

    /// Voids all entries from `index` on, with nothing in their place.
    fn cut(&mut self, index: u64) -> Result<()> {
        self.write(&[Change::Cut(index)]).map(|_| ())
    }

    fn write(&mut self, changes: &[Change]) -> Result<Position> {
        let records: Vec<_> = changes.iter().map(Change::encode).collect();
        let records: Vec<_> = records.iter().map(Vec::as_slice).collect();
        let mut positions = Vec::new();
        let first = {
            let ticket = self.log.append_batch(&records, Durability::Sync, &mut positions)?;
            ticket.wait()?.position
        };
        for (position, change) in positions.into_iter().zip(changes) {
            self.apply(position, change);
        }
        Ok(first)
    }

    /// At most `most` entries from `index` on.
    fn entries(&self, index: u64, most: usize) -> Result<Vec<Entry>> {
        let first = (index - self.snapshot.index - 1) as usize;
        let wanted: Vec<_> = self.places.iter().skip(first).take(most).collect();
        let Some(&&(start, _)) = wanted.first() else { return Ok(Vec::new()) };
        let mut reader = self.log.reader(start)?;
        let mut entries = Vec::new();
        while entries.len() < wanted.len() {
            let Some(record) = reader.next()? else { break };
            // What lies between is void, or no entry.
            if record.position == wanted[entries.len()].0
                && let Some(Change::Entry(entry)) = Change::decode(&record.bytes)
            {
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    /// The state machine has all up to `index`: the log lets go of it.
    fn compact(&mut self, index: u64) -> Result<()> {
        let term = self.term(index).expect("an entry of the log");
        let hard_state = self.set_hard_state(self.hard_state)?;
        let kept = (index - self.snapshot.index) as usize;
        let from = self.places.get(kept).map_or(hard_state, |&(position, _)| position);
        let snapshot = Snapshot { index, term, from };
        snapshot.store(&*self.fs, &self.dir)?; // First: then nothing below is needed.
        self.places.drain(..kept);
        self.snapshot = snapshot;
        self.log.truncate_before(from)
    }
}

fn entries(indices: std::ops::RangeInclusive<u64>, term: u64) -> Vec<Entry> {
    let entry = |index| Entry { index, term, command: format!("set x = {index}").into_bytes() };
    indices.map(entry).collect()
}

/// Runs it all in the directory `dir`.
fn run(fs: &Arc<dyn Fs>, dir: &Path) -> Result<()> {
    let mut raft = RaftLog::open(fs.clone(), dir)?;
    raft.set_hard_state(HardState { term: 1, voted_for: 3 })?;
    raft.append(&entries(1..=200, 1))?;
    // A new leader knows another entry 151.
    raft.set_hard_state(HardState { term: 2, voted_for: 2 })?;
    raft.append(&entries(151..=160, 2))?;
    raft.cut(159)?;
    assert_eq!((raft.last_index(), raft.term(150), raft.term(151)), (158, Some(1), Some(2)));
    println!("{} entries, {} segments", raft.last_index(), raft.log.stats().segments);

    drop(raft); // Without closing it: like the death of the process.
    let mut raft = RaftLog::open(fs.clone(), dir)?;
    assert_eq!(raft.hard_state, HardState { term: 2, voted_for: 2 });
    assert_eq!((raft.last_index(), raft.term(150), raft.term(151)), (158, Some(1), Some(2)));
    let expected = [entries(149..=150, 1), entries(151..=152, 2)].concat();
    assert_eq!(raft.entries(149, 4)?, expected, "across what is void");

    raft.compact(140)?;
    println!("after a snapshot at 140: {} segments", raft.log.stats().segments);
    drop(raft);
    let mut raft = RaftLog::open(fs.clone(), dir)?;
    assert_eq!(raft.hard_state, HardState { term: 2, voted_for: 2 });
    assert_eq!((raft.last_index(), raft.term(140), raft.term(139)), (158, Some(1), None));
    raft.compact(158)?;
    raft.append(&entries(159..=159, 2))?;
    raft.log.close()?;
    drop(raft);
    let raft = RaftLog::open(fs.clone(), dir)?;
    assert_eq!(raft.entries(159, 10)?, entries(159..=159, 2));
    println!("last entry: {} of term {:?}", raft.last_index(), raft.term(raft.last_index()));
    raft.log.close()
}

/// Runs it all in a temporary directory.
pub fn main() -> Result<()> {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let fs: Arc<dyn Fs> = Arc::new(OsFs);
    run(&fs, &temporary.path().join("raft"))
}
