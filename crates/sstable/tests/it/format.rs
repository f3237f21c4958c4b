//! The bytes of a table, and which files are taken for one.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use stratalog_base::Error;
use stratalog_base::fs::{Fs, SimFs};
use stratalog_base::range::RangeTombstone;
use stratalog_sstable::{BlockCache, Compression, Table, TableOptions};

use crate::support::{
    ID, PATH, every_options, open, options, random_entries, random_ranges, tiny, write, write_with,
};

fn cache() -> Arc<BlockCache> {
    BlockCache::new(1 << 20)
}

#[test]
fn a_tiny_table_has_these_bytes() {
    let ranges = [(&b"ada"[..], &b"b"[..], 5), (b"b", b"bob", 200)]
        .map(|(start, end, seq)| RangeTombstone { start: start.into(), end: end.into(), seq });
    let options = TableOptions { partition_bytes: 1, ..options(64, 16) };
    let (fs, summary) = write_with(&tiny(), &ranges, &options);
    let bytes = fs.read_file(PATH);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let golden: String = include_str!("tiny.hex").split_whitespace().collect();
    assert_eq!(hex, golden);
    assert_eq!(summary.checksum, 0x31b8_94b2_f829_6b6d);
}

#[test]
fn the_same_entries_and_options_give_the_same_bytes() {
    let (entries, ranges) = (random_entries(3, 300, 4), random_ranges(3, 10));
    let mut all = Vec::new();
    for options in every_options() {
        let bytes = || write_with(&entries, &ranges, &options).0.read_file(PATH);
        let written = bytes();
        assert!(written == bytes(), "{options:?}");
        all.push(written);
    }
    let different: HashSet<&Vec<u8>> = all.iter().collect();
    assert!(different.len() * 10 > all.len() * 9, "{} of {}", different.len(), all.len());
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
    assert!(sizes(TableOptions { filter_bits_per_key: 0.0, ..base }).1 < memory);
    let (with_prefixes, _) =
        sizes(TableOptions { prefix_bytes: 1, filter_bits_per_key: 32.0, ..base });
    assert!(with_prefixes > sizes(TableOptions { filter_bits_per_key: 32.0, ..base }).0);
    assert!(sizes(TableOptions { partition_bytes: 512, ..base }).1 < memory / 2);
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
    bytes[footer + 64] = 3;
    let checksum = crc32c::crc32c(&bytes[footer..footer + 68]).to_le_bytes();
    bytes[footer + 68..footer + 72].copy_from_slice(&checksum);
    fs.write_file(PATH, &bytes);
    let error = open(&fs, &cache()).unwrap_err();
    assert!(matches!(error, Error::NewerFormat { found: 3, supported: 2, .. }), "{error}");
}

#[test]
fn an_older_format_and_another_order_of_keys_are_refused_by_name() {
    let (fs, _) = write(&tiny(), &options(64, 16));
    let whole = fs.read_file(PATH);
    let mut bytes = whole.clone();
    let footer = bytes.len() - 80;
    bytes[footer + 64] = 1;
    let checksum = crc32c::crc32c(&bytes[footer..footer + 68]).to_le_bytes();
    bytes[footer + 68..footer + 72].copy_from_slice(&checksum);
    fs.write_file(PATH, &bytes);
    let error = open(&fs, &cache()).unwrap_err().to_string();
    assert!(error.contains("format version 1, which no release wrote"), "{error}");

    let mut bytes = whole;
    let name = bytes.windows(8).rposition(|bytes| bytes == b"bytewise").unwrap();
    bytes[name..name + 8].copy_from_slice(b"backward");
    stratalog_sstable::fuzz::heal(&mut bytes, ID);
    fs.write_file(PATH, &bytes);
    let error = open(&fs, &cache()).unwrap_err();
    assert!(matches!(&error, Error::NotOurs { .. }), "{error}");
    assert!(error.to_string().contains("backward"), "{error}");
}

#[test]
fn a_lost_file_is_an_error() {
    assert!(open(&SimFs::new(), &cache()).unwrap_err().is_not_found());
}
