//! [`Store::check`]: every file of a store, from front to back.
//!
//! Tables come first, and what their entries refer to in value files is noted on the way. Then the records of each
//! value file are held against the notes. Following the handles instead would read the values twice, the
//! first time in the order of keys.

use std::collections::BTreeMap;
use std::ops::Range;

use stratalog_base::{Error, Kind, Result};
use stratalog_compaction::Shape;
use stratalog_sstable::ValueHandle;

use crate::file_name::DataFile;
use crate::manifest;
use crate::store::Store;

/// What [`crate::Db::check`] found: nothing but good entries, or it would have returned the error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Tables read.
    pub tables: usize,
    /// Value files read.
    pub value_files: usize,
    /// Bytes read.
    pub bytes: u64,
    /// Entries found, superseded versions and tombstones included.
    pub entries: u64,
}

impl Store {
    /// Reads every table, value file and the manifest whole; see [`crate::Db::check`].
    pub fn check(&self) -> Result<CheckReport> {
        self.check_open()?;
        manifest::read(&*self.fs, &self.dir)?;
        let tree = self.view.pin().tree.clone();
        let mut report = CheckReport::default();
        let mut notes = Notes::default();
        for (_, table) in tree.tables() {
            report.tables += 1;
            report.bytes += table.summary().bytes;
            report.entries += table.file.verify(|key, value| {
                if key.trailer.kind() != Kind::Separated {
                    return Ok(());
                }
                let handle = ValueHandle::of_entry(value);
                let records = tree.values.file(&handle)?.summary().records;
                let path = || DataFile::Table(table.id()).path(&self.dir);
                notes.take(&handle, records).map_err(|what| Error::corrupt(&path(), 0, what))
            })?;
        }
        for file in tree.values.files() {
            report.value_files += 1;
            let summary = file.verify(|record, _| {
                let path = || DataFile::Values(record.file).path(&self.dir);
                notes.compare(record).map_err(|what| Error::corrupt(&path(), record.offset, what))
            })?;
            report.bytes += summary.bytes;
        }
        Ok(report)
    }
}

/// What tables say of the records of value files: by file and number, where a record lies; nowhere if no
/// entry refers to it.
#[derive(Debug, Default)]
struct Notes(BTreeMap<u64, Vec<Range<u64>>>);

impl Notes {
    /// Takes note of a handle into a file of so many records.
    ///
    /// # Errors
    /// A sentence about the entry that has the handle, if it is wrong.
    fn take(&mut self, handle: &ValueHandle, records: u64) -> Result<(), String> {
        let &ValueHandle { file, index, offset, .. } = handle;
        let places = self.0.entry(file).or_insert_with(|| vec![0..0; records as usize]);
        match places.get_mut(index as usize) {
            Some(place) if place.is_empty() => *place = offset..handle.end(),
            Some(_) => {
                // VALUES-2
                return Err(format!("two entries refer to record {index} of value file {file}"));
            }
            None => return Err(format!("value file {file} has no record {index}")),
        }
        Ok(())
    }

    /// Compares a record with what was noted.
    ///
    /// # Errors
    /// A sentence about the record, if it lies elsewhere.
    fn compare(&self, record: &ValueHandle) -> Result<(), String> {
        let noted = self.0.get(&record.file).map(|places| &places[record.index as usize]);
        match noted.filter(|noted| !noted.is_empty()) {
            Some(noted) if *noted != (record.offset..record.end()) => {
                let Range { start, end } = noted;
                Err(format!("an entry has record {} at bytes {start} to {end}", record.index))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_handle_that_does_not_lead_to_its_record_is_told() {
        let handle = ValueHandle { file: 7, index: 1, offset: 300, bytes: 100 };
        let mut notes = Notes::default();
        assert_eq!(notes.take(&handle, 2), Ok(()));
        assert!(notes.take(&handle, 2).unwrap_err().contains("two entries"), "VALUES-2");
        let behind = ValueHandle { index: 2, ..handle };
        assert!(notes.take(&behind, 2).unwrap_err().contains("no record 2"));
        assert_eq!(notes.compare(&handle), Ok(()));
        assert_eq!(notes.compare(&ValueHandle { index: 0, ..handle }), Ok(()), "garbage");
        assert_eq!(notes.compare(&ValueHandle { file: 8, ..handle }), Ok(()), "all garbage");
        for record in [ValueHandle { offset: 200, ..handle }, ValueHandle { bytes: 99, ..handle }] {
            assert!(notes.compare(&record).unwrap_err().contains("at bytes 300 to 400"));
        }
    }
}
