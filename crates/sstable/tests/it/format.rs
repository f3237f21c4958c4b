//! The bytes of a table, and which files are taken for one.

use std::path::Path;
use std::sync::Arc;

use stratalog_base::Error;
use stratalog_base::fs::{Fs, SimFs};
use stratalog_sstable::{BlockCache, Compression, Table, TableOptions};

use crate::support::{PATH, open, options, random_entries, tiny, write};

fn cache() -> Arc<BlockCache> {
    BlockCache::new(1 << 20)
}

#[test]
fn a_tiny_table_has_these_bytes() {
    let (fs, summary) = write(&tiny(), &options(64, 16));
    let bytes = fs.read_file(PATH);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let golden: String = include_str!("tiny.hex").split_whitespace().collect();
    assert_eq!(hex, golden);
    assert_eq!(summary.checksum, 0xd000_7325_6301_0adf);
}

#[test]
fn the_same_entries_and_options_give_the_same_bytes() {
    let entries = random_entries(3, 500, 4);
    let bytes = |options: &TableOptions| write(&entries, options).0.read_file(PATH);
    for compression in [Compression::None, Compression::Lz4] {
        let options = TableOptions { compression, ..options(1000, 8) };
        assert_eq!(bytes(&options), bytes(&options));
    }
    assert!(bytes(&TableOptions::default()).len() < bytes(&options(4096, 16)).len());
}

#[test]
fn each_option_changes_what_it_says() {
    let entries = random_entries(4, 500, 1);
    let sizes = |options: TableOptions| {
        let (fs, summary) = write(&entries, &options);
        (summary.bytes, open(&fs, &cache()).unwrap().memory_bytes())
    };
    let base = options(1024, 16);
    let (bytes, memory) = sizes(base);
    assert!(sizes(TableOptions { block_bytes: 8192, ..base }).1 < memory);
    assert!(sizes(TableOptions { restart_interval: 1, ..base }).0 > bytes);
    assert!(sizes(TableOptions { filter_bits_per_key: 0, ..base }).1 < memory);
    assert!(sizes(TableOptions { compression: Compression::Lz4, ..base }).0 < bytes);
}

#[test]
fn a_table_under_the_number_of_another_is_refused() {
    let (fs, _) = write(&tiny(), &options(64, 16));
    let error = Table::open(fs.open(Path::new(PATH)).unwrap(), 8, cache()).unwrap_err();
    assert!(error.to_string().contains("this is table 7, not 8"), "{error}");
}

#[test]
fn an_older_copy_differs_in_its_checksum() {
    let (_, old) = write(&tiny(), &options(64, 16));
    let mut entries = tiny();
    entries[1].1[3] = b'6';
    let (_, new) = write(&entries, &options(64, 16));
    assert_ne!(old.checksum, new.checksum);
    assert_eq!(stratalog_sstable::TableSummary { checksum: old.checksum, ..new }, old);
}

#[test]
fn something_else_is_not_ours() {
    let fs = SimFs::new();
    fs.write_file(PATH, &[b'x'; 500]);
    assert!(matches!(open(&fs, &cache()), Err(Error::NotOurs { .. })));
}

#[test]
fn a_newer_format_is_told_from_damage() {
    // TABLE-1
    let (fs, _) = write(&tiny(), &options(64, 16));
    let mut bytes = fs.read_file(PATH);
    let footer = bytes.len() - 80;
    bytes[footer + 64] = 2;
    let checksum = crc32c::crc32c(&bytes[footer..footer + 68]).to_le_bytes();
    bytes[footer + 68..footer + 72].copy_from_slice(&checksum);
    fs.write_file(PATH, &bytes);
    let error = open(&fs, &cache()).unwrap_err();
    assert!(matches!(error, Error::NewerFormat { found: 2, supported: 1, .. }), "{error}");
}

#[test]
fn a_lost_file_is_an_error() {
    assert!(open(&SimFs::new(), &cache()).unwrap_err().is_not_found());
}
