//! More tables than may be open at a time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stratalog_base::Error;
use stratalog_base::fs::{Fault, FaultKind, Fs, Op, OsFs, SimFs, SimRng};
use stratalog_base::key::MAX_SEQ_NO;
use stratalog_base::{KeyRef, Kind};
use stratalog_sstable::{BlockCache, Handles, ReadBy, Table, TableOptions, TableWriter, key_hash};

const TABLES: u64 = 200;
const LIMIT: usize = 20;

fn path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id:06}.sst"))
}

fn key(id: u64, index: u64) -> Vec<u8> {
    format!("{id}/{index:02}").into_bytes()
}

/// Writes the tables, each with 50 keys in some blocks.
fn write(fs: &dyn Fs, dir: &Path) {
    fs.create_dir(dir).unwrap();
    for id in 0..TABLES {
        let options = TableOptions { block_bytes: 256, ..TableOptions::default() };
        let mut writer = TableWriter::new(fs.create(&path(dir, id)).unwrap(), id, &options);
        for index in 0..50 {
            let key = key(id, index);
            writer.add(KeyRef::new(&key, 1, Kind::Put), &key.repeat(10)).unwrap();
        }
        writer.finish().unwrap();
    }
}

fn open(handles: &Arc<Handles>, dir: &Path) -> Vec<Arc<Table>> {
    let cache = BlockCache::new(10_000);
    (0..TABLES)
        .map(|id| Table::open(handles.open(&path(dir, id)).unwrap(), id, cache.clone()).unwrap())
        .collect()
}

fn get(table: &Arc<Table>, index: u64) -> Result<(), Error> {
    let key = key(table.summary().id, index);
    let (_, value) = table.get(&key, key_hash(&key), MAX_SEQ_NO)?.expect("it is there");
    assert_eq!(value, key.repeat(10));
    Ok(())
}

/// Reads from many tables by two threads, and checks all the while that few are open.
fn read_all(fs: Arc<dyn Fs>, dir: &Path, read_by: ReadBy, open_now: impl Fn() -> usize + Sync) {
    write(&*fs, dir);
    let handles = Handles::new(fs, Some(LIMIT), read_by);
    handles.open(&path(dir, 0)).unwrap().write_at(b"x", 0).unwrap_err();
    let tables = open(&handles, dir);
    std::thread::scope(|scope| {
        for seed in 0..2 {
            let (tables, handles, open_now) = (&tables, &handles, &open_now);
            scope.spawn(move || {
                let mut rng = SimRng::new(seed);
                for round in 0..4_000 {
                    get(&tables[rng.below(TABLES) as usize], rng.below(50)).unwrap();
                    if round % 100 == 0 {
                        assert!(handles.open_count() <= LIMIT, "HANDLE-1");
                        assert!(open_now() <= LIMIT + 2, "HANDLE-1");
                    }
                }
            });
        }
    });
    assert_eq!(handles.open_count(), LIMIT, "HANDLE-3");
    tables.iter().for_each(|table| assert_eq!(table.verify(|_, _| Ok(())).unwrap(), 50));
    drop(tables);
    assert_eq!((handles.open_count(), open_now()), (0, 0));
}

#[test]
fn hundreds_of_simulated_tables_are_read_by_few_handles() {
    for read_by in [ReadBy::Call, ReadBy::Mapping] {
        read_all(SimFs::new().shared(), Path::new("db"), read_by, || 0);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn hundreds_of_real_tables_are_read_by_few_descriptors() {
    let dir = std::env::temp_dir().join(format!("stratalog-handles-{}", std::process::id()));
    for read_by in [ReadBy::Call, ReadBy::Mapping] {
        let open_now = || {
            let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            let targets = links.filter_map(|link| std::fs::read_link(link.path()).ok());
            targets.filter(|target| target.starts_with(&dir)).count()
        };
        read_all(OsFs::shared(), &dir, read_by, open_now);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn a_file_that_cannot_be_opened_again_is_an_error_of_that_read_alone() {
    let (fs, dir) = (SimFs::new(), Path::new("db"));
    write(&fs, dir);
    let handles = Handles::new(fs.shared(), Some(1), ReadBy::Call);
    let tables = open(&handles, dir);
    fs.inject(Fault::new(Op::Open, FaultKind::Eio).times(1));
    let error = get(&tables[3], 0).unwrap_err();
    assert!(error.to_string().contains("000003.sst"), "{error}");
    get(&tables[3], 0).unwrap();

    fs.remove(&path(dir, 4)).unwrap();
    get(&tables[5], 0).unwrap();
    assert!(get(&tables[4], 0).unwrap_err().is_not_found());
    get(&tables[5], 1).unwrap();
}

#[test]
fn what_is_read_often_stays_open() {
    let (fs, dir) = (SimFs::new(), Path::new("db"));
    write(&fs, dir);
    let handles = Handles::new(fs.shared(), Some(3), ReadBy::Call);
    let files: Vec<_> = (0..TABLES).map(|id| handles.open(&path(dir, id)).unwrap()).collect();
    let read = |id: usize| files[id].read_at(&mut [0; 8], 0).unwrap();
    read(0);
    fs.inject(Fault::new(Op::Open, FaultKind::Eio).path("000000.sst").for_ever());
    for id in 1..TABLES as usize {
        read(id);
        read(0); // would fail if it had to be opened again
    }
}

#[test]
fn the_default_limit_is_half_of_what_the_process_may_open() {
    let half = OsFs.max_open_files().map(|limit| limit / 2);
    assert!(half.is_none_or(|half| half >= 1));
    assert_eq!(SimFs::new().max_open_files(), None);
}
