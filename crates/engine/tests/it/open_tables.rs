//! A store with more table and value files than it may have open.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use stratalog::fs::{File, Fs, Lock, Mapping, OsFs, SimFs, SimRng};
use stratalog::{Compression, Options, ReadBy, Result};

use crate::common::{DIR, SEPARATE_FROM, collect, tiny_and_steady};

const KEYS: u64 = 2_000;
const LIMIT: usize = 20;
const READERS: usize = 4;

/// Table and value files that are open to be read: now, and the most at a time.
#[derive(Debug, Default)]
struct Count {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// A file system that counts them. It syncs nothing: a disk may be slow, and nobody cuts the power here.
#[derive(Debug)]
struct Counting {
    fs: Arc<dyn Fs>,
    count: Arc<Count>,
}

impl Counting {
    fn counted(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        let count = is_data(file.path()).then(|| self.count.clone());
        if let Some(count) = &count {
            let now = count.now.fetch_add(1, Ordering::SeqCst) + 1;
            count.most.fetch_max(now, Ordering::SeqCst);
        }
        Arc::new(Unsynced { file, count })
    }

    fn uncounted(file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(Unsynced { file, count: None })
    }
}

impl Fs for Counting {
    fn open(&self, path: &Path) -> Result<Arc<dyn File>> {
        self.fs.open(path).map(|file| self.counted(file))
    }
    fn open_mapped(&self, path: &Path) -> Result<Arc<dyn File>> {
        self.fs.open_mapped(path).map(|file| self.counted(file))
    }
    fn create(&self, path: &Path) -> Result<Arc<dyn File>> {
        self.fs.create(path).map(Self::uncounted)
    }
    fn open_write(&self, path: &Path) -> Result<Arc<dyn File>> {
        self.fs.open_write(path).map(Self::uncounted)
    }
    fn map(&self, path: &Path, len: usize) -> Result<Option<Box<dyn Mapping>>> {
        self.fs.map(path, len)
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.fs.rename(from, to)
    }
    fn remove(&self, path: &Path) -> Result<()> {
        self.fs.remove(path)
    }
    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        self.fs.list(dir)
    }
    fn create_dir(&self, dir: &Path) -> Result<()> {
        self.fs.create_dir(dir)
    }
    fn sync_dir(&self, _dir: &Path) -> Result<()> {
        Ok(())
    }
    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>> {
        self.fs.lock(path)
    }
}

#[derive(Debug)]
struct Unsynced {
    file: Arc<dyn File>,
    /// To be told when it is closed.
    count: Option<Arc<Count>>,
}

impl Drop for Unsynced {
    fn drop(&mut self) {
        if let Some(count) = &self.count {
            count.now.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl File for Unsynced {
    fn path(&self) -> &Path {
        self.file.path()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.file.write_at(buf, offset)
    }
    fn len(&self) -> Result<u64> {
        self.file.len()
    }
    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

fn is_data(path: &Path) -> bool {
    path.extension().is_some_and(|it| it == "sst" || it == "val")
}

fn key(index: u64) -> [u8; 8] {
    index.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
}

/// Every second value lies in a value file.
fn value(index: u64, round: u8) -> Vec<u8> {
    let len = if index.is_multiple_of(2) { 300 } else { SEPARATE_FROM + 100 };
    vec![round ^ index as u8; len]
}

/// Fills a store of hundreds of tables and hundreds of value files and reads it in every way, while compactions
/// remove files. Calls `settled` now and then.
fn fill_and_read(fs: Arc<dyn Fs>, read_by: ReadBy, dir: &Path, settled: impl Fn()) {
    let count = Arc::new(Count::default());
    let options: Options = tiny_and_steady(&SimFs::new())
        .fs(Arc::new(Counting { fs, count: count.clone() }))
        .compression(Compression::None)
        .table_bytes(4 << 10)
        .cache_bytes(0)
        .max_open_tables(LIMIT)
        .read_tables_by(read_by);
    let db = options.clone().open(dir).unwrap();
    for index in 0..KEYS {
        db.put(key(index), value(index, 1)).unwrap();
    }
    db.flush().unwrap();
    let (old, before) = (db.snapshot(), db.iter());
    for index in (0..KEYS).step_by(3) {
        db.put(key(index), value(index, 2)).unwrap();
    }
    db.compact().unwrap();
    let stats = db.stats();
    let tables: usize = stats.levels.iter().map(|level| level.tables).sum();
    assert!(tables > 5 * LIMIT && stats.value_files > 5 * LIMIT, "{tables} {stats:?}");

    let newest = |index: u64| value(index, if index.is_multiple_of(3) { 2 } else { 1 });
    let check = |db: &stratalog::Db| {
        for index in 0..KEYS {
            assert_eq!(db.get(key(index)).unwrap().unwrap(), newest(index));
            assert_eq!(db.get(key(KEYS + index)).unwrap(), None);
        }
        assert_eq!(collect(db.iter()).unwrap().len() as u64, KEYS);
        settled();
    };
    check(&db);
    // Files that left the tree are still read, though their handles may be closed.
    let before = collect(before).unwrap();
    assert!((0..KEYS).all(|index| before[&key(index)[..]] == value(index, 1)));
    assert!((0..KEYS).all(|index| old.get(key(index)).unwrap().unwrap() == value(index, 1)));
    db.check().unwrap();
    // All of it by one thread, with no read under way while a file is opened.
    assert_eq!(count.most.load(Ordering::SeqCst), LIMIT, "HANDLE-1");

    std::thread::scope(|scope| {
        for seed in 0..READERS as u64 {
            let (db, mut rng) = (&db, SimRng::new(seed));
            scope.spawn(move || {
                for _ in 0..KEYS {
                    let index = rng.below(KEYS);
                    assert_eq!(db.get(key(index)).unwrap().unwrap(), newest(index));
                }
            });
        }
    });
    assert!(count.most.load(Ordering::SeqCst) <= LIMIT + READERS, "HANDLE-1: {count:?}");
    settled();
    drop((old, db));
    assert_eq!(count.now.load(Ordering::SeqCst), 0);
    check(&options.clone().open(dir).unwrap());
}

#[test]
fn a_store_reads_hundreds_of_files_by_twenty_handles() {
    for read_by in [ReadBy::Call, ReadBy::Mapping] {
        fill_and_read(SimFs::new().shared(), read_by, Path::new(DIR), || ());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_real_store_reads_hundreds_of_files_by_twenty_descriptors_or_mappings() {
    let dir = std::env::temp_dir().join(format!("stratalog-open-{}", std::process::id()));
    let is_ours = |path: &Path| path.starts_with(&dir) && is_data(path);
    let descriptors = || {
        let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let targets = links.filter_map(|link| std::fs::read_link(link.path()).ok());
        targets.filter(|path| is_ours(path)).count()
    };
    let mappings = || {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
        paths.filter(|path| is_ours(Path::new(path))).count()
    };
    for (read_by, expected) in [(ReadBy::Call, (LIMIT, 0)), (ReadBy::Mapping, (0, LIMIT))] {
        let settled = || assert_eq!((descriptors(), mappings()), expected, "{read_by:?}");
        fill_and_read(OsFs::shared(), read_by, &dir, settled);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn a_limit_of_no_open_table_is_refused() {
    let error = Options::new().max_open_tables(0).open("nowhere").unwrap_err();
    assert!(error.to_string().contains("max_open_tables"), "{error}");
}
