//! Power cuts and kills at any call, life after life.
//!
//! `STRATALOG_CRASH_STATES` sets how many histories are tried (default 3,000 for each test); a failure
//! prints the seed, and `STRATALOG_CRASH_SEED` runs that one only.

use std::path::Path;

use stratalog_base::Result;
use stratalog_base::fs::{SimFs, SimRng};
use stratalog_wal::{Durability, Position, RecoveryMode, SyncLog, Wal};

use crate::support::*;

fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    match number("STRATALOG_CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("STRATALOG_CRASH_STATES").unwrap_or(3_000),
    }
}

/// What the caller of a log knows across its lives.
#[derive(Default)]
struct History {
    /// All appends, in order; the last one may have failed.
    tried: Vec<Vec<u8>>,
    /// How many of them the next recovery owes.
    acked_count: usize,
    /// The same if the power is cut.
    durable_count: usize,
    /// What the caller has taken out of the log, as an engine does into tables.
    tables: Vec<Vec<u8>>,
    flushed: Position,
}

impl History {
    /// Recovers the log twice, checks it, and continues it.
    fn open(&mut self, fs: &SimFs, keep_tables: bool) -> Result<SyncLog> {
        let mode = RecoveryMode::TornTail;
        let (records, found) = read_from(fs, self.flushed, mode)?;
        assert_eq!(read_from(fs, self.flushed, mode)?, (records.clone(), found.clone()), "R5");

        let records = records.into_iter().map(|(_, record)| record);
        let recovered: Vec<_> = self.tables.iter().cloned().chain(records).collect();
        assert!(self.tried.starts_with(&recovered), "a prefix of history");
        let owed_count = self.acked_count;
        assert!(recovered.len() >= owed_count, "{} of {owed_count} records", recovered.len());

        self.acked_count = recovered.len();
        self.durable_count = recovered.len();
        if keep_tables {
            self.flushed = self.flushed.max(found.end);
            self.tables = recovered.clone();
        }
        self.tried = recovered;
        let log = SyncLog::create(fs.shared(), Path::new(""), options(200), &found, self.flushed)?;
        log.truncate_before(self.flushed)?;
        Ok(log)
    }

    fn work(&mut self, log: &SyncLog, rng: &mut SimRng) -> Result<()> {
        for _ in 0..rng.below(40) {
            match rng.below(12) {
                0 => {
                    log.sync()?;
                    self.durable_count = self.acked_count;
                }
                1 => _ = log.reserve(rng.below(30))?,
                n => {
                    let mut record = vec![0; rng.below(60) as usize];
                    rng.fill(&mut record);
                    self.tried.push(record.clone());
                    let ticket = append(log, &record, Durability::Process)?;
                    self.acked_count = self.tried.len();
                    if n < 5 {
                        log.wait_durable(ticket.end)?;
                        self.durable_count = self.acked_count;
                    }
                }
            }
        }
        if rng.chance(1, 8) {
            log.close()?;
            self.durable_count = self.acked_count;
        }
        Ok(())
    }
}

/// One history: up to six lives, each ended by a kill or a power cut at any call, also during
/// creation and recovery.
fn live(seed: u64, kills: bool, keep_tables: bool) {
    let rng = &mut SimRng::new(seed);
    let mut history = History::default();
    let mut fs = SimFs::new();
    for _ in 0..6 {
        fs.cut_power_at(fs.ops() + rng.below(60));
        let outcome = history.open(&fs, keep_tables).and_then(|log| history.work(&log, rng));
        assert!(outcome.is_ok() || fs.power_is_off(), "only the power may fail: {outcome:?}");
        fs = if kills && rng.chance(1, 2) {
            fs.kill()
        } else {
            history.acked_count = history.durable_count;
            fs.crash(rng.next_u64())
        };
    }
    let log = history.open(&fs, keep_tables).unwrap();
    append(&log, b"the last", Durability::Sync).unwrap();
}

fn sweep(kills: bool, keep_tables: bool) {
    for seed in seeds() {
        let outcome = std::panic::catch_unwind(|| live(seed, kills, keep_tables));
        assert!(outcome.is_ok(), "STRATALOG_CRASH_SEED={seed}");
    }
}

#[test]
fn synced_records_survive_power_cuts_and_the_rest_is_a_prefix() {
    sweep(false, true);
}

#[test]
fn recovered_records_survive_more_power_cuts_also_where_they_stay_in_the_log() {
    sweep(false, false);
}

#[test]
fn acknowledged_records_survive_kills_mixed_with_power_cuts() {
    sweep(true, true);
}
