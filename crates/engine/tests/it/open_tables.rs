//! A store with more tables than it may have open.

use std::path::Path;

use stratalog::fs::{OsFs, SimFs};
use stratalog::{Compression, Db, Options, ReadBy};

use crate::common::{collect, tiny};

const KEYS: u64 = 3_000;
const LIMIT: usize = 20;

fn key(index: u64) -> [u8; 8] {
    index.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
}

fn options(fs: &SimFs, read_by: ReadBy) -> Options {
    tiny(fs)
        .compression(Compression::None)
        .table_bytes(4 << 10)
        .max_open_tables(LIMIT)
        .read_tables_by(read_by)
}

/// Fills a store of hundreds of tables and reads it in every way, while compaction removes tables.
fn fill_and_read(options: &Options, dir: &Path, open_now: impl Fn() -> usize) {
    let db = options.clone().open(dir).unwrap();
    let old = {
        for index in 0..KEYS {
            db.put(key(index), [1; 300]).unwrap();
        }
        db.flush().unwrap();
        db.snapshot()
    };
    let before = db.iter();
    for index in (0..KEYS).step_by(3) {
        db.put(key(index), [2; 300]).unwrap();
    }
    db.compact().unwrap();
    let tables: usize = db.stats().levels.iter().map(|level| level.tables).sum();
    assert!(tables > 10 * LIMIT, "{tables}");
    let value = |index: u64| if index.is_multiple_of(3) { [2; 300] } else { [1; 300] };
    let check = |db: &Db| {
        for index in 0..KEYS {
            assert_eq!(db.get(key(index)).unwrap().unwrap(), value(index));
            assert_eq!(db.get(key(KEYS + index)).unwrap(), None);
        }
        // Background jobs hold some open, to read or to write.
        assert!(open_now() <= LIMIT + 10, "{}", open_now());
        assert_eq!(collect(db.iter()).unwrap().len() as u64, KEYS);
    };
    check(&db);
    // Tables that left the tree are still read, though their handles may be closed.
    assert!(collect(before).unwrap().values().all(|value| *value == [1; 300]));
    assert!((0..KEYS).all(|index| old.get(key(index)).unwrap().unwrap() == [1; 300]));
    db.check().unwrap();
    drop((old, db));
    check(&options.clone().open(dir).unwrap());
}

#[test]
fn a_store_reads_hundreds_of_tables_by_twenty_handles() {
    for read_by in [ReadBy::Call, ReadBy::Mapping] {
        let fs = SimFs::new();
        fill_and_read(&options(&fs, read_by), Path::new("/store"), || 0);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_real_store_reads_hundreds_of_tables_by_twenty_descriptors() {
    for read_by in [ReadBy::Call, ReadBy::Mapping] {
        let dir = std::env::temp_dir().join(format!("stratalog-open-{}", std::process::id()));
        let open_now = || {
            let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            let targets = links.filter_map(|link| std::fs::read_link(link.path()).ok());
            let is_table = |target: &std::path::PathBuf| {
                target.starts_with(&dir) && target.extension().is_some_and(|e| e == "sst")
            };
            targets.filter(is_table).count()
        };
        let options = options(&SimFs::new(), read_by).fs(OsFs::shared());
        fill_and_read(&options, &dir, open_now);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn a_limit_of_no_open_table_is_refused() {
    let error = Options::new().max_open_tables(0).open("nowhere").unwrap_err();
    assert!(error.to_string().contains("max_open_tables"), "{error}");
}
