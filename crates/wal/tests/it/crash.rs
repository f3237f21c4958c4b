//! Power cuts and kills at any call, life after life, under every backend.
//!
//! `STRATALOG_CRASH_STATES` sets how many histories are tried (default 3,000 for each test); a failure
//! prints the seed, and `STRATALOG_CRASH_SEED` runs that one only. Where threads write, the same seed
//! meets the same calls in another order now and then.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSlice;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stratalog_base::fs::{SimFs, SimRng};
use stratalog_base::sync::Mutex;
use stratalog_base::{Error, Result};
use stratalog_wal::start_file::Start;
use stratalog_wal::{
    Archive, Backend, Durability, Log, LogOptions, Position, RecoveryMode, Retention, Wal,
};

use crate::support::*;

pub fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    match number("STRATALOG_CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("STRATALOG_CRASH_STATES").unwrap_or(3_000),
    }
}

/// Where records are after a log was opened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// In tables of the caller's, as an engine does it: [`Log::create`].
    InTables,
    /// In the log, which makes them durable: [`Log::open`].
    InLog,
}

/// Records of segments that were archived before they were removed.
type Archived = Arc<Mutex<BTreeSet<Record>>>;

fn archive_into(archived: &Archived, fs: &SimFs) -> Archive {
    let (archived, fs) = (archived.clone(), fs.clone());
    Archive::new(move |path| {
        archived.lock().extend(records_of(&fs, path)?);
        Ok(())
    })
}

/// What a segment holds, whatever became of the others.
fn records_of(fs: &SimFs, path: &Path) -> Result<Vec<Record>> {
    let alone = SimFs::new();
    alone.write_file(path, &fs.read_file(path));
    Ok(read_from(&alone, 0, RecoveryMode::Salvage)?.0)
}

/// How often the backend changed from one to another, and how often the power went off in that.
type Changes = BTreeMap<(&'static str, &'static str), [u64; 2]>;

/// What the caller of a log knows across its lives.
struct History {
    keep: Keep,
    options: LogOptions,
    /// The chance in 16 of each class: `Sync`, `Interval`, `None`; the rest is `Process`.
    mix: [u64; 3],
    /// All records, in order; the last append may have failed.
    tried: Vec<Vec<u8>>,
    /// Their positions, as far as they got one.
    positions: Vec<Position>,
    /// How many of the first ones may be gone with removed segments.
    removable_count: usize,
    /// How many of them the next recovery owes.
    acked_count: usize,
    /// The same if the power is cut.
    durable_count: usize,
    /// What the caller has taken out of the log, as an engine does into tables.
    tables: Vec<Vec<u8>>,
    flushed: Position,
    /// What was removed, if that is archived.
    archived: Option<Archived>,
    changes: Changes,
}

impl History {
    fn new(keep: Keep, backend_index: u64, rng: &mut SimRng) -> History {
        const MIXES: [[u64; 3]; 6] =
            [[0, 0, 0], [16, 0, 0], [4, 0, 0], [2, 2, 2], [0, 8, 0], [1, 4, 8]];
        let all = all_options(200 + rng.below(400));
        let mut options = all[backend_index as usize % all.len()].clone();
        options.segments_ahead = rng.chance(1, 3);
        options.sync_every_bytes = if rng.chance(1, 3) { 300 } else { u64::MAX };
        options.compress_from_bytes = rng.chance(1, 4).then_some(30);
        let mut archived = None;
        if keep == Keep::InLog && rng.chance(1, 2) {
            archived = Some(Archived::default());
            options.retention = match rng.below(3) {
                0 => Retention::Everything, // Truncated by the caller only.
                1 => Retention::Segments(rng.below(4) as usize),
                _ => Retention::Age(Duration::from_micros(rng.below(300))),
            };
        }
        let mix = MIXES[rng.below(6) as usize];
        History {
            keep,
            options,
            mix,
            tried: Vec::new(),
            positions: Vec::new(),
            removable_count: 0,
            acked_count: 0,
            durable_count: 0,
            tables: Vec::new(),
            flushed: 0,
            archived,
            changes: Changes::new(),
        }
    }

    /// Recovers the log twice, checks it, and continues it.
    fn open(&mut self, fs: &SimFs) -> Result<Log> {
        let mode = RecoveryMode::TornTail;
        let (records, found) = read_from(fs, self.flushed, mode)?;
        assert_eq!(read_from(fs, self.flushed, mode)?, (records.clone(), found.clone()), "R5");

        self.note_removals(fs)?;
        let (positions, records): (Vec<_>, Vec<_>) = records.into_iter().unzip();
        // What truncation took counts as recovered: it is not missed, and may come back as long as the
        // truncation has not returned.
        let gone_count = self.gone_count(positions.first().copied());
        let before = self.tables.iter().chain(&self.tried[..gone_count]).cloned();
        let recovered: Vec<_> = before.chain(records).collect();
        assert!(self.tried.starts_with(&recovered), "a prefix of history");
        let owed_count = self.acked_count;
        assert!(recovered.len() >= owed_count, "{} of {owed_count} records", recovered.len());

        let log = match self.keep {
            Keep::InLog => {
                let archive = self.archived.as_ref().map(|archived| archive_into(archived, fs));
                let options = LogOptions { archive, ..self.options.clone() };
                Log::open(fs.shared(), Path::new(""), options)?.0
            }
            Keep::InTables => {
                self.flushed = self.flushed.max(found.end);
                self.tables = recovered.clone();
                let log = go_on(fs, self.options.clone(), &found, self.flushed)?;
                log.truncate_before(self.flushed)?;
                log
            }
        };
        self.acked_count = recovered.len();
        self.durable_count = recovered.len();
        self.tried = recovered;
        if self.keep == Keep::InLog {
            self.positions.truncate(gone_count);
            self.positions.extend(positions);
            self.removable_count = self.removable_count.min(self.positions.len());
        }
        Ok(log)
    }

    /// What retention may have removed lies below the start; and what is archived is not gone before it is.
    fn note_removals(&mut self, fs: &SimFs) -> Result<()> {
        let Some(archived) = &self.archived else { return Ok(()) };
        let start = Start::read(fs, Path::new(""))?.map_or(0, |start| start.position);
        let count = self.positions.iter().take_while(|at| **at < start).count();
        if self.options.retention != Retention::Everything {
            self.removable_count = count;
        }
        let mut kept = archived.lock().clone();
        for name in segment_names(fs) {
            kept.extend(records_of(fs, Path::new(&name))?);
        }
        // Above may be what the power cut took.
        let below_start =
            self.positions.iter().copied().zip(self.tried.iter().cloned()).take(count);
        for record in below_start.take(self.acked_count) {
            assert!(kept.contains(&record), "what was removed was archived: {record:?}");
        }
        Ok(())
    }

    /// How many of the first records were truncated, if the first one found is at `first`.
    fn gone_count(&mut self, first: Option<Position>) -> usize {
        if first.is_none() && self.acked_count <= self.removable_count {
            // Truncated, or never durable: nothing of them comes back, and positions begin anew.
            (self.acked_count, self.durable_count, self.removable_count) = (0, 0, 0);
        }
        let below = |first| self.positions.iter().take_while(|at| **at < first).count();
        let gone_count = first.map_or(0, below);
        assert!(gone_count <= self.removable_count, "only what was truncated may be gone");
        gone_count
    }

    /// Truncates somewhere, in a log that holds all records itself.
    fn truncate(&mut self, log: &Log, rng: &mut SimRng) -> Result<()> {
        if self.keep != Keep::InLog || self.positions.is_empty() {
            return Ok(());
        }
        let count = rng.below(self.positions.len() as u64) as usize;
        self.removable_count = self.removable_count.max(count);
        log.truncate_before(self.positions[count])
    }

    fn work(&mut self, fs: &SimFs, log: &Log, rng: &mut SimRng) -> Result<()> {
        for _ in 0..rng.below(40) {
            if rng.chance(1, 12) {
                log.sync()?;
                self.durable_count = self.tried.len();
                self.acked_count = self.tried.len();
            }
            if rng.chance(1, 16) {
                self.truncate(log, rng)?;
            }
            if rng.chance(1, 12) {
                self.change_backend(fs, log, rng)?;
            }
            self.append(fs, log, rng)?;
        }
        if rng.chance(1, 8) {
            log.close()?;
            self.acked_count = self.tried.len();
            self.durable_count = self.tried.len();
        }
        Ok(())
    }

    fn change_backend(&mut self, fs: &SimFs, log: &Log, rng: &mut SimRng) -> Result<()> {
        let (from, to) = (log.backend(), Backend::ALL[rng.below(3) as usize]);
        let was_off = fs.power_is_off();
        let outcome = log.set_backend(to);
        let [changed, cut] = self.changes.entry((from.name(), to.name())).or_default();
        *changed += u64::from(outcome.is_ok());
        *cut += u64::from(outcome.is_err() && !was_off);
        outcome
    }

    fn append(&mut self, fs: &SimFs, log: &Log, rng: &mut SimRng) -> Result<()> {
        let [sync, interval, none] = self.mix;
        let die = rng.below(16);
        let class = match die {
            _ if die < sync => Durability::Sync,
            _ if die < sync + interval => Durability::Interval,
            _ if die < sync + interval + none => {
                return log.reserve(rng.below(30)).map(|_| ());
            }
            _ => Durability::Process,
        };
        let first = self.tried.len();
        let is_batch = rng.chance(1, 6);
        for _ in 0..if is_batch { rng.below(5) } else { 1 } {
            self.tried.push(some_record(rng));
        }
        let mut positions = Vec::new();
        let ticket = if is_batch {
            let records: Vec<_> = self.tried[first..].iter().map(Vec::as_slice).collect();
            log.append_batch(&records, class, &mut positions)?
        } else {
            let ticket = log.append(&[IoSlice::new(&self.tried[first])], class)?;
            positions.push(ticket.position());
            ticket
        };
        if self.keep == Keep::InLog {
            self.positions.extend(positions);
        }
        if rng.chance(3, 4) {
            ticket.wait()?;
            if fs.power_is_off() {
                return Err(Error::Closed); // A store to a mapping does not fail without power.
            }
            self.acked_count = self.tried.len();
            if class == Durability::Sync {
                self.durable_count = self.acked_count;
            }
        }
        Ok(())
    }
}

/// Half of them can be compressed; one in 64 is bigger than half the ring.
fn some_record(rng: &mut SimRng) -> Vec<u8> {
    let bytes = if rng.chance(1, 64) { 2_000 + rng.below(4_000) } else { rng.below(60) };
    let mut record = vec![7; bytes as usize];
    if rng.chance(1, 2) {
        rng.fill(&mut record);
    }
    record
}

/// One history: up to six lives, each ended by a kill or a power cut at any call, also during
/// creation and recovery. Adds to `changes`.
fn live(seed: u64, kills: bool, keep: Keep, changes: &mut Changes) {
    let rng = &mut SimRng::new(seed);
    let mut history = History::new(keep, seed, rng);
    let mut fs = SimFs::new();
    for _ in 0..6 {
        fs.cut_power_at(fs.ops() + rng.below(60));
        let outcome = history.open(&fs).and_then(|log| history.work(&fs, &log, rng));
        assert!(outcome.is_ok() || fs.power_is_off(), "only the power may fail: {outcome:?}");
        fs = if kills && rng.chance(1, 2) {
            fs.kill()
        } else {
            history.acked_count = history.durable_count;
            fs.crash(rng.next_u64())
        };
    }
    let log = history.open(&fs).unwrap();
    append(&log, b"the last", Durability::Sync).unwrap();
    for (change, [changed, cut]) in history.changes {
        let counts = changes.entry(change).or_default();
        *counts = [counts[0] + changed, counts[1] + cut];
    }
}

fn sweep(kills: bool, keep: Keep) {
    let mut changes = Changes::new();
    for seed in seeds() {
        let one = AssertUnwindSafe(|| live(seed, kills, keep, &mut changes));
        assert!(catch_unwind(one).is_ok(), "STRATALOG_CRASH_SEED={seed}");
    }
    for (from, to) in Backend::ALL.iter().flat_map(|from| Backend::ALL.map(|to| (*from, to))) {
        let [changed, cut] = changes.get(&(from.name(), to.name())).copied().unwrap_or_default();
        // Without the ring on one side no call is made.
        let is_cut = cut > 0 || from == to || ![from, to].contains(&Backend::LockFree);
        let is_tried = changed > 0 && is_cut;
        assert!(is_tried || seeds().count() < 1_000, "{from:?} to {to:?}: {changed}, {cut} cut");
    }
}

#[test]
fn synced_records_survive_power_cuts_and_the_rest_is_a_prefix() {
    sweep(false, Keep::InTables);
}

#[test]
fn acknowledged_records_survive_kills_mixed_with_power_cuts() {
    sweep(true, Keep::InTables);
}

#[test]
fn what_an_opened_log_holds_survives_kills_mixed_with_power_cuts() {
    sweep(true, Keep::InLog);
}
