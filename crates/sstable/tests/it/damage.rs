//! Damage at rest and failing reads: an error that names file and offset, or the right answer.

use std::path::Path;

use stratalog_base::fs::{Fault, FaultKind, Op, SimFs};
use stratalog_base::key::MAX_SEQ_NO;
use stratalog_base::range::RangeTombstone;
use stratalog_base::{Cursor, Error, InternalKey, Result};
use stratalog_sstable::{BlockCache, Compression, ReadUse, TableOptions, TableWriter, key_hash};

use crate::support::{
    Entries, ID, PATH, open, options, random_entries, random_ranges, tiny, write, write_with,
};

/// Everything a reader can ask for, checked against `entries`.
fn read_all(fs: &SimFs, entries: &Entries) -> Vec<Error> {
    read_all_with(fs, entries, &[])
}

/// The same, and `ranges`.
fn read_all_with(fs: &SimFs, entries: &Entries, ranges: &[RangeTombstone]) -> Vec<Error> {
    let cache = BlockCache::new(1 << 20);
    let table = match open(fs, &cache) {
        Ok(table) => table,
        Err(error) => return vec![error],
    };
    assert!(table.ranges().tombstones().eq(ranges.iter().map(RangeTombstone::as_ref)));
    let mut errors = Vec::new();
    for (key, value) in entries {
        match table.get(&key.user, key_hash(&key.user), key.trailer.seq()) {
            Ok(Some((trailer, found))) => {
                assert_eq!((trailer, &*found), (key.trailer, value.as_slice()));
            }
            Ok(None) => panic!("{key:?} vanished"),
            Err(error) => errors.push(error),
        }
        let mut absent = key.user.to_vec();
        absent.push(1);
        match table.get(&absent, key_hash(&absent), MAX_SEQ_NO) {
            Ok(found) => assert_eq!(found, None),
            Err(error) => errors.push(error),
        }
    }
    for reads in [ReadUse::Lookup, ReadUse::Sweep] {
        let mut seen = Vec::new();
        let mut cursor = table.cursor(reads);
        let walk = (|| {
            cursor.seek_first()?;
            while cursor.valid() {
                seen.push((cursor.key().to_owned(), cursor.value().to_vec()));
                cursor.next()?;
            }
            Ok(())
        })();
        match walk {
            Ok(()) => assert_eq!(seen, *entries),
            Err(error) => {
                assert!(!cursor.valid());
                assert_eq!(seen, entries[..seen.len()]);
                errors.push(error);
            }
        }
    }
    errors
}

fn is_damage(error: &Error, fs: &SimFs) -> bool {
    match error {
        Error::Corrupt { path, offset, .. } => {
            path == Path::new(PATH) && *offset <= fs.read_file(PATH).len() as u64
        }
        _ => false,
    }
}

#[test]
fn a_flipped_bit_anywhere_is_found_or_harmless() {
    let mut ranges = random_ranges(3, 3);
    ranges.sort_by(|a, b| (&a.start, &a.end).cmp(&(&b.start, &b.end)));
    let whole = options(64, 16);
    let parted = TableOptions { partition_bytes: 1, ..whole };
    let packed = TableOptions { compression: Compression::Lz4, ..parted };
    for (options, ranges) in [(whole, &[][..]), (parted, &ranges), (packed, &ranges)] {
        let mut entries = tiny();
        entries[2].1 = vec![9; 300];
        let (fs, summary) = write_with(&entries, ranges, &options);
        for bit in 0..summary.bytes * 8 {
            fs.flip_bit(PATH, bit);
            let errors = read_all_with(&fs, &entries, ranges);
            let in_magic = bit < 64;
            assert!(errors.is_empty() == in_magic, "bit {bit}: {errors:?}");
            for error in &errors {
                assert!(is_damage(error, &fs), "bit {bit}: {error}");
            }
            let verified =
                open(&fs, &BlockCache::new(0)).and_then(|table| table.verify(|_, _| Ok(())));
            assert!(is_damage(&verified.unwrap_err(), &fs), "bit {bit}");
            fs.flip_bit(PATH, bit);
        }
        assert!(read_all_with(&fs, &entries, ranges).is_empty());
    }
}

#[test]
fn a_table_cut_off_anywhere_is_damaged() {
    let (fs, _) = write(&tiny(), &options(64, 16));
    let bytes = fs.read_file(PATH);
    for len in 0..bytes.len() {
        fs.write_file(PATH, &bytes[..len]);
        let errors = read_all(&fs, &tiny());
        assert!(matches!(&errors[..], [error] if is_damage(error, &fs)), "{len}: {errors:?}");
    }
}

#[test]
fn damage_in_one_block_leaves_the_others_readable() {
    let entries = random_entries(9, 300, 1);
    let (fs, _) = write(&entries, &options(256, 16));
    fs.flip_bit(PATH, 8 * 100);
    let table = open(&fs, &BlockCache::new(1 << 20)).unwrap();
    let good = |key: &InternalKey| {
        table.get(&key.user, key_hash(&key.user), MAX_SEQ_NO).is_ok_and(|found| found.is_some())
    };
    let lost = entries.iter().filter(|(key, _)| !good(key)).count();
    assert!((1..20).contains(&lost), "{lost} of {} unreadable", entries.len());
}

#[test]
fn a_failed_read_fails_that_call_only() {
    let entries = random_entries(11, 100, 3);
    let (fs, _) = write(&entries, &options(256, 16));
    // Every read of a run fails in turn: opening, gets, walks; none is taken for absence.
    for nth in 0.. {
        fs.clear_faults();
        let hit_before = fs.faults_hit();
        fs.inject(Fault::new(Op::Read, FaultKind::Eio).path(".sst").after(nth));
        let errors = read_all(&fs, &entries);
        if fs.faults_hit() == hit_before {
            assert!(errors.is_empty());
            break;
        }
        assert!(matches!(&errors[..], [Error::Io { op: "read", .. }]), "read {nth}: {errors:?}");
    }
    fs.clear_faults();
    // The same call succeeds when tried again, on the same table and cursor.
    let table = open(&fs, &BlockCache::new(1 << 20)).unwrap();
    let (key, value) = &entries[entries.len() / 2];
    let get = || table.get(&key.user, key_hash(&key.user), key.trailer.seq());
    for reads in [ReadUse::Sweep, ReadUse::Lookup] {
        let mut cursor = table.cursor(reads);
        fs.inject(Fault::new(Op::Read, FaultKind::Eio));
        assert!(matches!(cursor.seek(key.as_ref()), Err(Error::Io { .. })));
        assert!(!cursor.valid());
        cursor.seek(key.as_ref()).unwrap();
        assert_eq!(cursor.key(), key.as_ref());
    }
    assert_eq!(get().unwrap().unwrap().1, *value);
}

#[test]
fn a_flipped_bit_in_transit_is_not_cached() {
    let (fs, _) = write(&tiny(), &options(4096, 16));
    let table = open(&fs, &BlockCache::new(1 << 20)).unwrap();
    fs.inject(Fault::new(Op::Read, FaultKind::FlipBit));
    let get = || table.get(b"bob", key_hash(b"bob"), 300);
    assert!(is_damage(&get().unwrap_err(), &fs));
    assert_eq!(get().unwrap().unwrap().1, b"1903");
}

#[test]
fn a_failed_write_or_sync_fails_the_writer() {
    let entries = random_entries(13, 3000, 2);
    let attempt = |fs: &SimFs| -> Result<()> {
        use stratalog_base::fs::Fs;
        fs.create_dir(Path::new("db"))?;
        let mut writer = TableWriter::new(fs.create(Path::new(PATH))?, ID, &options(512, 16));
        for (key, value) in &entries {
            writer.add(key.as_ref(), value)?;
            writer.bytes();
        }
        writer.finish().map(drop)
    };
    for kind in [FaultKind::Eio, FaultKind::NoSpace, FaultKind::ShortWrite] {
        for op in [Op::Write, Op::Sync] {
            let fs = SimFs::new();
            fs.inject(Fault::new(op, kind));
            let result = attempt(&fs);
            match (kind, fs.faults_hit()) {
                (_, 0) => assert!(result.is_ok()),
                (FaultKind::Eio, _) => assert!(matches!(result, Err(Error::Io { .. }))),
                _ => assert!(matches!(result, Err(Error::NoSpace { .. }))),
            }
        }
    }
}

#[test]
fn a_finished_table_survives_a_power_cut() {
    let entries = random_entries(17, 200, 2);
    let (fs, _) = write(&entries, &options(512, 16));
    for seed in 0..20 {
        assert!(read_all(&fs.crash(seed), &entries).is_empty());
    }
}

#[test]
#[should_panic(expected = "does not follow")]
fn entries_out_of_order_are_a_bug() {
    let mut entries = tiny();
    entries.swap(0, 1);
    write(&entries, &options(64, 16));
}
