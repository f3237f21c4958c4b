//! Running a plan: sorted entries in, tables and value files out. Flushes and compactions are both
//! [`write_tables`].

use std::sync::Arc;

use stratalog_base::fs::File;
use stratalog_base::{Cursor, Error, Result};
use stratalog_sstable::{ReadUse, TableOptions, TableSummary, TableWriter, ValueSummary};

use crate::separate::{Separation, Separator};
use crate::{LEVELS, LevelCursor, Merge, Plan, Readable, Retain, Shape, Version, VersionEdit};

/// Entries between two looks at whether the job should stop.
const STOP_EVERY: u32 = 4096;

/// What a job needs a new file for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewFile {
    /// A table.
    Table,
    /// Values that lie outside tables.
    Values,
}

/// Where the tables and values of a job go.
pub struct Output<'a> {
    /// Creates the next file and gives its id.
    pub create: &'a mut dyn FnMut(NewFile) -> Result<(u64, Arc<dyn File>)>,
    /// How tables are built.
    pub table: &'a TableOptions,
    /// A new table is started at the first new user key after this many bytes.
    pub table_bytes: u64,
    /// Which values go to files of their own.
    pub values: &'a Separation<'a>,
    /// Whether the job should be given up.
    pub stop: &'a dyn Fn() -> bool,
}

/// What a job wrote.
#[derive(Debug)]
pub struct Written {
    /// The tables, ascending.
    pub tables: Vec<TableSummary>,
    /// The value files; every one is referred to by a table among these.
    pub values: Vec<ValueSummary>,
}

/// Runs `plan`, made for `version`, and returns the change that puts its outcome in place.
///
/// # Errors
/// As [`write_tables`].
pub fn run<T: Readable + Clone>(
    plan: &Plan<T>,
    version: &Version<T>,
    retain: Retain,
    output: &mut Output<'_>,
) -> Result<VersionEdit> {
    let mut edit = VersionEdit::default();
    let mut sources = Vec::new();
    for (level, tables) in &plan.inputs {
        let ids = tables.iter().map(|table| (*level, table.summary().id));
        edit.removed.extend(ids);
        let tables = tables.iter().map(|table| table.table().clone());
        match level {
            0 => sources.extend(tables.map(|table| LevelCursor::new(vec![table], ReadUse::Sweep))),
            _ => sources.push(LevelCursor::new(tables.collect(), ReadUse::Sweep)),
        }
    }
    let mut below = Below::new(version, plan.target);
    let may_exist_below = |user: &[u8]| below.may_hold(user);
    let written = write_tables(&mut Merge::new(sources), retain, may_exist_below, output)?;
    edit.added = written.tables.into_iter().map(|summary| (plan.target, summary)).collect();
    edit.added_values = written.values;
    Ok(edit)
}

/// The levels below a merge, asked about ascending user keys.
struct Below<'a, T> {
    /// Of each level, the tables that do not lie wholly before the last key asked about.
    levels: Vec<&'a [T]>,
}

impl<'a, T: Shape + Clone> Below<'a, T> {
    fn new(version: &'a Version<T>, target: usize) -> Self {
        Below { levels: (target + 1..LEVELS).map(|level| version.level(level)).collect() }
    }

    fn may_hold(&mut self, user: &[u8]) -> bool {
        self.levels.iter_mut().any(|tables| {
            while tables.first().is_some_and(|table| *table.summary().largest.user < *user) {
                *tables = &tables[1..];
            }
            tables.first().is_some_and(|table| *table.summary().smallest.user <= *user)
        })
    }
}

/// Writes what `retain` keeps of the entries of `cursor`, from its first one on, to tables, and large
/// values to value files. `may_exist_below` is asked about ascending user keys, as [`Retain::keep`] says.
///
/// The files are synced when this returns; their directory is not.
///
/// # Errors
/// Of reading, creating and writing; [`Error::Closed`] if told to stop. Files created until then are
/// left to the caller.
pub fn write_tables(
    cursor: &mut impl Cursor,
    mut retain: Retain,
    mut may_exist_below: impl FnMut(&[u8]) -> bool,
    output: &mut Output<'_>,
) -> Result<Written> {
    let mut tables = Vec::new();
    let mut separator = Separator::new(output.values);
    let mut writer: Option<TableWriter> = None;
    let mut last_user = Vec::new();
    let mut entries = 0u32;
    cursor.seek_first()?;
    while cursor.valid() {
        entries = entries.wrapping_add(1);
        if entries.is_multiple_of(STOP_EVERY) && (output.stop)() {
            return Err(Error::Closed);
        }
        let key = cursor.key();
        if retain.keep(key, &mut may_exist_below) {
            // VERSION-2: a table ends only where a user key ends.
            let full = |writer: &TableWriter| writer.bytes() >= output.table_bytes;
            if writer.as_ref().is_some_and(full) && last_user != key.user {
                tables.extend(writer.take().map(TableWriter::finish).transpose()?);
            }
            let (stored_key, stored) = separator.entry(key, cursor.value(), output.create)?;
            let writer = match &mut writer {
                Some(writer) => writer,
                None => {
                    let (id, file) = (output.create)(NewFile::Table)?;
                    writer.insert(TableWriter::new(file, id, output.table))
                }
            };
            writer.add(stored_key, stored)?;
            if writer.bytes() >= output.table_bytes {
                last_user.clear();
                last_user.extend_from_slice(key.user);
            }
        }
        cursor.next()?;
    }
    tables.extend(writer.map(TableWriter::finish).transpose()?);
    Ok(Written { tables, values: separator.finish()? })
}
