//! Tables compressed by Zstd, in builds with it and without.

#[cfg(feature = "zstd")]
use stratalog_base::Cursor;
use stratalog_base::Error;
#[cfg(feature = "zstd")]
use stratalog_base::{KeyRef, Kind};
use stratalog_sstable::{BlockCache, Compression, TableOptions};
#[cfg(feature = "zstd")]
use stratalog_sstable::{ReadUse, key_hash};

#[cfg(feature = "zstd")]
use crate::support::Entries;
use crate::support::{PATH, open, options, tiny, write};

const ZSTD: Compression = Compression::Zstd { level: 3 };

#[test]
fn a_table_that_needs_zstd_says_so_in_a_build_without() {
    let (fs, _) = write(&tiny(), &options(64, 16));
    let mut bytes = fs.read_file(PATH);
    let footer = bytes.len() - 80;
    bytes[footer + 56] = 1;
    let checksum = crc32c::crc32c(&bytes[footer..footer + 68]).to_le_bytes();
    bytes[footer + 68..footer + 72].copy_from_slice(&checksum);
    fs.write_file(PATH, &bytes);
    let opened = open(&fs, &BlockCache::new(0));
    let refused = TableOptions { compression: ZSTD, ..TableOptions::default() }.validate();
    if cfg!(feature = "zstd") {
        assert!(opened.is_ok() && refused.is_ok());
    } else {
        let error = opened.unwrap_err();
        assert!(matches!(error, Error::MissingFeature { feature: "zstd", .. }), "{error}");
        assert!(refused.unwrap_err().to_string().contains("`zstd`"));
    }
}

/// About 3 MiB of records, whose keys and values have words in common.
#[cfg(feature = "zstd")]
fn records() -> Entries {
    let record = |i: u32| {
        let [a, b] = [7919u32, 104_729].map(|p| i.wrapping_mul(p) >> 7);
        let value = format!("{{\"id\":{a},\"state\":\"open\",\"owner\":\"user-{}\"}}", b % 1000);
        let key = format!("tenant-{:03}/order/{i:08}", i / 1000);
        (KeyRef::new(key.as_bytes(), 1, Kind::Put).to_owned(), value.into_bytes())
    };
    (0..40_000).map(record).collect()
}

#[cfg(feature = "zstd")]
#[test]
fn a_table_with_a_dictionary_is_smaller_and_holds_what_was_written() {
    let entries = records();
    let with = |compression| TableOptions { compression, ..options(4096, 16) };
    let (fs, summary) = write(&entries, &with(ZSTD));
    assert!(summary.bytes * 10 < write(&entries, &with(Compression::Lz4)).1.bytes * 8);
    assert_eq!(fs.read_file(PATH), write(&entries, &with(ZSTD)).0.read_file(PATH), "PACK-2");
    let bytes = fs.read_file(PATH);
    let footer = &bytes[bytes.len() - 80..];
    assert!(u32::from_le_bytes(*footer[20..].first_chunk().unwrap()) > 1000, "a dictionary");

    let table = open(&fs, &BlockCache::new(1 << 20)).unwrap();
    assert_eq!(table.verify(|_, _| Ok(())).unwrap(), entries.len() as u64);
    let mut cursor = table.cursor(ReadUse::Sweep);
    cursor.seek_first().unwrap();
    for (key, value) in &entries {
        assert_eq!((cursor.key(), cursor.value()), (key.as_ref(), &value[..]));
        cursor.next().unwrap();
    }
    for (key, value) in entries.iter().step_by(97) {
        let found = table.get(&key.user, key_hash(&key.user), 5).unwrap().unwrap();
        assert_eq!(*found.1, value[..]);
    }
}

#[cfg(feature = "zstd")]
#[test]
fn damage_to_a_dictionary_is_found_when_the_table_is_opened() {
    let (fs, _) = write(&records(), &TableOptions { compression: ZSTD, ..options(4096, 16) });
    let bytes = fs.read_file(PATH);
    let field = |at: usize| {
        let bytes = &bytes[bytes.len() - 80 + at..];
        u64::from(u32::from_le_bytes(*bytes.first_chunk().unwrap()))
    };
    let end = bytes.len() as u64 - 80 - field(28) - field(24);
    for at in [end - field(20), end - field(20) / 2, end - 6, end - 5, end - 1] {
        fs.flip_bit(PATH, at * 8);
        let error = open(&fs, &BlockCache::new(0)).unwrap_err();
        assert!(error.to_string().contains("dictionary block"), "{error}");
        fs.flip_bit(PATH, at * 8);
    }
    assert!(open(&fs, &BlockCache::new(0)).is_ok());
}
