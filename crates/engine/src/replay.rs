//! Replaying the log into level 0 tables: steps 2 and 3 of recovery.

use std::path::Path;
use std::sync::Arc;

use stratalog_base::budget::Budget;
use stratalog_base::{Error, KeyRef, Result, SeqNo};
use stratalog_compaction::{
    NewFile, Numbers, Output, Retain, Version, VersionEdit, runs_after, write_tables,
};
use stratalog_memtable::Memtable;
use stratalog_sstable::TableSummary;
use stratalog_wal::{FIRST_POSITION, Recovered, RecoveryMode, recover};

use crate::batch::entries;
use crate::options::Options;
use crate::recovery::Known;
use crate::trash::NewFiles;

/// What a replay found and wrote.
pub(crate) struct Replayed {
    pub recovered: Recovered,
    /// Adds the tables and value files, which are durable.
    pub edit: VersionEdit,
    /// The first file id that was not given out.
    pub next_id: u64,
    /// To be kept once something names them.
    pub new: NewFiles,
}

/// Replays what the manifest does not say to be in tables, with file ids from `next_id` on.
///
/// # Errors
/// Of reading the log, and of writing tables; [`Error::Corrupt`] if the log is shorter than the
/// manifest says (RECOVERY-3), or another store's. The tables written until then are removed.
pub(crate) fn replay(
    options: &Options,
    dir: &Path,
    budget: &Arc<Budget>,
    known: &Known,
    next_id: u64,
) -> Result<Replayed> {
    let mut replay = Replay {
        options,
        dir,
        budget,
        tables: &known.tables,
        memtable: memtable(options, budget),
        next_id,
        edit: VersionEdit::default(),
        new: NewFiles::new(&options.fs, dir),
    };
    let recovered = replay.run(&known.numbers, known.store_id)?;
    let Replay { next_id, edit, new, .. } = replay;
    Ok(Replayed { recovered, edit, next_id, new })
}

fn memtable(options: &Options, budget: &Arc<Budget>) -> Arc<Memtable> {
    Arc::new(Memtable::with_budget(budget.clone(), options.full_memtable_bytes()))
}

/// Turns records into level 0 tables.
struct Replay<'a> {
    options: &'a Options,
    dir: &'a Path,
    budget: &'a Arc<Budget>,
    /// The tree without what is replayed.
    tables: &'a Version<TableSummary>,
    memtable: Arc<Memtable>,
    next_id: u64,
    edit: VersionEdit,
    new: NewFiles,
}

impl Replay<'_> {
    fn run(&mut self, numbers: &Numbers, store_id: u64) -> Result<Recovered> {
        let (fs, dir, mode) = (&*self.options.fs, self.dir, self.options.recovery);
        let from = numbers.flushed.unwrap_or(FIRST_POSITION);
        let mut record = |position, payload: &[u8]| self.record(position, payload);
        let mut recovered = recover(fs, dir, from, mode, &mut record)?;
        // A log that has begun has a segment, whose header says whose it is.
        let lost = numbers.log_start.is_some() && recovered.log_id.is_none();
        let floor = numbers.log_start.max(numbers.closed_at).unwrap_or(0);
        let told = mode == RecoveryMode::PointInTime && !recovered.dropped.is_empty();
        if lost || recovered.end < floor && !told {
            let end = recovered.end;
            let what = format!("the log ends at position {end}, but reached {floor}");
            return Err(Error::corrupt(dir, 0, what + ": a segment is missing")); // RECOVERY-3
        }
        if *recovered.log_id.get_or_insert(store_id) != store_id {
            return Err(Error::corrupt(dir, 0, "the log belongs to another store"));
        }
        self.flush()?;
        fs.sync_dir(dir)?; // RECOVERY-1: the tables are durable before anything says so.
        Ok(recovered)
    }

    fn record(&mut self, position: SeqNo, payload: &[u8]) -> Result<()> {
        for (seq, entry) in (position..).zip(entries(payload)) {
            let entry = entry.map_err(|malformed| {
                let (what, offset) = (malformed.what, malformed.offset);
                let record =
                    format!("the log's record at position {position}, byte {offset} of it");
                Error::corrupt(self.dir, 0, format!("{record}: {what}"))
            })?;
            let inserted =
                self.memtable.insert(KeyRef::new(entry.key, seq, entry.kind), entry.value);
            inserted.expect("nobody seals a memtable of a replay");
        }
        let full = self.memtable.used_bytes() >= self.options.full_memtable_bytes();
        if full { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let fresh = memtable(self.options, self.budget);
        let memtable = std::mem::replace(&mut self.memtable, fresh);
        let mut create = |file: NewFile| {
            self.next_id += 1;
            self.new.create(file, self.next_id - 1)
        };
        let runs = runs_after(self.tables, memtable.len() as u64, None);
        let mut output = Output {
            create: &mut create,
            table: &self.options.output_options(0, &runs),
            table_bytes: u64::MAX,
            values: &self.options.separation(),
            stop: &|| false,
        };
        let retain = Retain::new(Vec::new());
        let written = write_tables(&mut memtable.cursor(), retain, |_| true, &mut output)?;
        self.edit.added.extend(written.tables.into_iter().map(|table| (0, table)));
        self.edit.added_values.extend(written.values);
        Ok(())
    }
}
