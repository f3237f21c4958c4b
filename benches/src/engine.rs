//! [`Engine`]: the face that every engine shows to a workload, and how engines are set up alike.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::data::Batch;
use crate::plan::Plan;
use crate::record::Shape;
use crate::subjects::{Known, OURS, opener, taking_part};

#[cfg(feature = "fjall")]
mod fjall;
#[cfg(feature = "lmdb")]
mod lmdb;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "sled")]
mod sled;
mod stratalog;
#[cfg(feature = "surrealkv")]
mod surrealkv;

/// What a write has survived once it has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Durability {
    /// Nothing before the next flush.
    None,
    /// The death of the process: its bytes are in the page cache.
    Process,
    /// As `Process`; a sync follows within 100 ms.
    Interval,
    /// A power cut.
    Sync,
}

impl Durability {
    /// All classes, the weakest first.
    pub const ALL: [Durability; 4] =
        [Durability::None, Durability::Process, Durability::Interval, Durability::Sync];
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{self:?}"))
    }
}

impl FromStr for Durability {
    type Err = String;

    fn from_str(name: &str) -> Result<Durability, String> {
        let found = Durability::ALL
            .into_iter()
            .find(|class| format!("{class:?}").eq_ignore_ascii_case(name));
        found.ok_or_else(|| "classes are none, process, interval and sync".to_owned())
    }
}

/// How every engine of a case is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Key spaces of their own, numbered from 0: column families, tables, trees. An engine without
    /// them puts the number before the key.
    pub families: u8,
    /// Bytes of a memtable.
    pub memtable_bytes: u64,
    /// Bytes of the block cache.
    pub cache_bytes: u64,
    /// Bytes of a data block.
    pub block_bytes: u32,
    /// Bytes after which compaction starts another table.
    pub table_bytes: u64,
    /// Bloom filter bits for each key, on every level.
    pub filter_bits_per_key: u8,
    /// Whether blocks are compressed with LZ4.
    pub lz4: bool,
    /// The class of every write.
    pub durability: Durability,
}

impl Config {
    /// [`Config::new`] with a memtable that is smaller where the data is smaller, so that a part of the
    /// size makes a tree of the same shape.
    pub fn scaled(plan: &Plan, durability: Durability) -> Config {
        let common = Config::new(durability);
        let memtable_bytes = plan.scaled(common.memtable_bytes, 128 << 10);
        Config { memtable_bytes: memtable_bytes.min(common.memtable_bytes), ..common }
    }

    /// The common setting: 64 MiB memtable, 256 MiB cache, 4 KiB blocks, 10 filter bits, no compression.
    pub fn new(durability: Durability) -> Config {
        Config {
            families: 1,
            memtable_bytes: 64 << 20,
            cache_bytes: 256 << 20,
            block_bytes: 4 << 10,
            table_bytes: 64 << 20,
            filter_bits_per_key: 10,
            lz4: false,
            durability,
        }
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| (bytes as f64 / f64::from(1 << 20) * 100.0).round() / 100.0;
        write!(
            f,
            "memtable {} MiB, cache {} MiB, blocks {} KiB, {} filter bits a key, {}",
            mib(self.memtable_bytes),
            mib(self.cache_bytes),
            f64::from(self.block_bytes) / 1024.0,
            self.filter_bits_per_key,
            if self.lz4 { "LZ4" } else { "no compression" }
        )
    }
}

/// A store of some engine. Any number of threads may use it. All but [`Engine::write`] work on the key
/// space 0.
pub trait Engine: Send + Sync {
    /// The class that writes have: the one of the [`Config`], or the nearest that the engine offers.
    fn class(&self) -> Durability;

    /// Writes an entry.
    ///
    /// # Errors
    /// The engine's.
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()>;

    /// Writes all entries of `batch` to key space `family`, all or none of them.
    ///
    /// # Errors
    /// The engine's.
    fn write(&self, family: u8, batch: &Batch) -> Outcome<()>;

    /// Removes an entry, which need not exist.
    ///
    /// # Errors
    /// The engine's.
    fn delete(&self, key: &[u8]) -> Outcome<()>;

    /// Looks `key` up and shows its value, if there is one, without copying it if the engine can.
    ///
    /// # Errors
    /// The engine's.
    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<()>;

    /// Shows the first `count` entries whose keys are not less than `from`, in order of keys; fewer if
    /// there are no more. All from the empty key on, and `usize::MAX`, is a full scan.
    ///
    /// # Errors
    /// The engine's.
    fn scan(&self, from: &[u8], count: usize, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()>;

    /// Flushes what is in memory and waits until no flush or compaction is running or due. Returns for
    /// how long that had been so before it was noticed: not much, if there is a call to wait for it.
    ///
    /// # Errors
    /// The engine's.
    fn settle(&self) -> Outcome<Duration>;

    /// Merges all that is stored into one run, if the engine has runs and a call for it: where all is in a B-tree, there
    /// is nothing to do.
    ///
    /// # Errors
    /// The engine's.
    fn compact(&self) -> Outcome<()> {
        Ok(())
    }

    /// What the tree looks like, if there is one and it tells.
    fn shape(&self) -> Option<Shape> {
        None
    }

    /// Bytes written to files since the store was opened, if the engine counts them.
    fn written_bytes(&self) -> Option<u64> {
        None
    }

    /// Closes the store; all that was written survives a power cut, unless the class is `None`.
    ///
    /// # Errors
    /// The engine's.
    fn close(self: Box<Self>) -> Outcome<()>;
}

/// How an engine is opened.
pub struct Adapter {
    /// Opens or creates a store in an existing directory.
    pub open: fn(&Path, &Config) -> Outcome<Box<dyn Engine>>,
    /// Whether it can sync at intervals: no other class comes near that one.
    pub at_intervals: bool,
}

/// Every engine that was built in, ours first.
pub const KNOWN: &[Known<Adapter>] = &[
    known(OURS, "stratalog", stratalog::open, true),
    #[cfg(feature = "rocksdb")]
    known("rocksdb", "librocksdb-sys", rocksdb::open, true),
    #[cfg(feature = "fjall")]
    known("fjall", "fjall", fjall::open, false),
    #[cfg(feature = "redb")]
    known("redb", "redb", redb::open, false),
    #[cfg(feature = "lmdb")]
    known("lmdb", "lmdb-master-sys", lmdb::open, false),
    #[cfg(feature = "surrealkv")]
    known("surrealkv", "surrealkv", surrealkv::open, false),
    #[cfg(feature = "sled")]
    known("sled", "sled", sled::open, true),
];

const fn known(
    name: &'static str,
    package: &'static str,
    open: fn(&Path, &Config) -> Outcome<Box<dyn Engine>>,
    at_intervals: bool,
) -> Known<Adapter> {
    Known { name, package: Some(package), open: Adapter { open, at_intervals } }
}

/// The engines that take part in `plan` and have something near `class`.
pub fn subjects(plan: &Plan, class: Durability) -> Vec<String> {
    let offers = |name: &String| {
        class != Durability::Interval || opener(KNOWN, name).is_ok_and(|engine| engine.at_intervals)
    };
    taking_part(KNOWN, plan).into_iter().filter(offers).collect()
}

/// Opens or creates a store of engine `name` in the existing directory `dir`.
///
/// # Errors
/// The engine's, or that it was not built in.
pub fn open(name: &str, dir: &Path, config: &Config) -> Outcome<Box<dyn Engine>> {
    (opener(KNOWN, name)?.open)(dir, config)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    type Entry = (Vec<u8>, Vec<u8>);

    /// Where a store of ours keeps records that are in no segment yet.
    const RING: &str = "ring.wal";

    /// A directory that is removed with its contents.
    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let name = format!("stratalog-engine-{}-{name}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&dir).unwrap();
            Dir(dir)
        }

        /// What a process that was killed now would leave behind, if it only moves around what it has.
        fn as_killed(&self, name: &str) -> Dir {
            let copy = Dir::new(name);
            let copied = (0..100).any(|_| {
                std::fs::remove_dir_all(&copy.0).unwrap();
                std::fs::create_dir(&copy.0).unwrap();
                // Our records move from the ring to segments, so the ring as it was before those are copied.
                let ring = std::fs::read(self.0.join(RING));
                let from = self.0.join(".");
                let copied = Command::new("cp").arg("-r").arg(from).arg(&copy.0).status().unwrap();
                if let Ok(ring) = ring {
                    std::fs::write(copy.0.join(RING), ring).unwrap();
                }
                copied.success() // Else a file was renamed or removed meanwhile.
            });
            assert!(copied);
            copy
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn small(durability: Durability) -> Config {
        Config {
            families: 3,
            memtable_bytes: 1 << 20,
            cache_bytes: 8 << 20,
            ..Config::new(durability)
        }
    }

    fn batch(entries: impl IntoIterator<Item = Entry>) -> Batch {
        let mut batch = Batch::default();
        for (key, value) in entries {
            batch.push(&key, &value);
        }
        batch
    }

    fn entry(index: u8, value: &[u8]) -> Entry {
        (vec![b'k', index], value.to_vec())
    }

    fn get(store: &dyn Engine, key: &[u8]) -> Option<Vec<u8>> {
        let mut value = None;
        store.get(key, &mut |found| value = Some(found.to_vec())).unwrap();
        value
    }

    fn scan(store: &dyn Engine, from: &[u8], count: usize) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut each = |key: &[u8], value: &[u8]| entries.push((key.to_vec(), value.to_vec()));
        store.scan(from, count, &mut each).unwrap();
        entries
    }

    /// Writes in every way; what key space 0 then holds.
    fn write(store: &dyn Engine) -> Vec<Entry> {
        store.write(0, &batch((0..100).map(|index| entry(index, b"batch")))).unwrap();
        store.write(2, &batch((0..200).map(|index| entry(index, b"other")))).unwrap();
        store.put(&[b'k', 7], b"old").unwrap();
        store.put(&[b'k', 7], &[9; 100_000]).unwrap();
        store.put(&[b'k', 100], b"").unwrap();
        store.delete(&[b'k', 8]).unwrap();
        store.delete(b"never written").unwrap();
        let mut entries: Vec<_> = (0..100).map(|index| entry(index, b"batch")).collect();
        entries[7].1 = vec![9; 100_000];
        entries.remove(8);
        entries.push(entry(100, b""));
        entries
    }

    fn check_reads(store: &dyn Engine, expected: &[Entry]) {
        for (key, value) in expected {
            assert_eq!(get(store, key).as_ref(), Some(value), "{key:?}");
        }
        for missing in [&[b'k', 8][..], &[b'k', 101], b"a", b"k", b"z"] {
            assert_eq!(get(store, missing), None, "{missing:?}");
        }
        assert_eq!(scan(store, &[], usize::MAX), expected);
        assert_eq!(scan(store, &[], 3), expected[..3]);
        assert_eq!(scan(store, &[b'k', 7], 2), expected[7..9]);
        assert_eq!(scan(store, &[b'k', 8], 2), expected[8..10]);
        assert_eq!(scan(store, &[b'k', 90], usize::MAX), expected[89..]);
        assert_eq!(scan(store, &[b'k', 100], 5), expected[99..]);
        assert_eq!(scan(store, &[b'k', 101], 5), []);
        assert_eq!(scan(store, &[], 0), []);
    }

    fn check(name: &str, durability: Durability) {
        let (dir, config) = (Dir::new(&format!("{name}-{durability}")), small(durability));
        let store = match open(name, &dir.0, &config) {
            Err(why) if durability == Durability::Interval => {
                assert!(why.to_string().contains("does not sync at intervals"), "{why}");
                return;
            }
            opened => opened.unwrap(),
        };
        let class = store.class();
        let expected = write(&*store);
        check_reads(&*store, &expected);
        if class >= Durability::Process {
            let killed = dir.as_killed(&format!("{name}-{durability}-killed"));
            check_reads(&*open(name, &killed.0, &config).unwrap(), &expected);
        }
        store.settle().unwrap();
        check_reads(&*store, &expected);
        if let Some(shape) = store.shape() {
            let (tables, bytes) =
                shape.levels.iter().fold((0, 0), |sum, l| (sum.0 + l.0, sum.1 + l.1));
            assert!(tables > 0 && bytes > 1_000, "{shape:?}");
        }
        store.compact().unwrap();
        check_reads(&*store, &expected);
        if let Some(shape) = store.shape() {
            let used: Vec<_> = (0..).zip(shape.levels).filter(|(_, it)| it.0 > 0).collect();
            let is_one_run = used.len() == 1 && (used[0].0 > 0 || used[0].1.0 == 1);
            assert!(is_one_run, "{used:?}");
        }
        store.put(b"last", b"before close").unwrap();
        store.close().unwrap();
        let store = open(name, &dir.0, &config).unwrap();
        if class != Durability::None {
            assert_eq!(get(&*store, b"last").unwrap(), b"before close");
        }
        store.delete(b"last").unwrap();
        check_reads(&*store, &expected);
        assert_eq!(store.class(), class);
        store.close().unwrap();
    }

    #[test]
    fn every_engine_does_what_the_trait_says_in_every_class() {
        for known in KNOWN {
            for durability in Durability::ALL {
                println!("{} {durability}", known.name);
                check(known.name, durability);
            }
        }
    }

    #[test]
    fn every_engine_takes_writes_of_the_same_keys_from_many_threads() {
        for known in KNOWN {
            println!("{}", known.name);
            let dir = Dir::new(&format!("{}-threads", known.name));
            let store = open(known.name, &dir.0, &small(Durability::Process)).unwrap();
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let store = &*store;
                    scope.spawn(move || {
                        let pair = batch([(vec![100], vec![thread]), (vec![101], vec![thread])]);
                        for key in (0..8).cycle().take(500) {
                            store.put(&[key], &[thread]).unwrap();
                            store.write(0, &pair).unwrap();
                            assert!(get(store, &[key]).is_some());
                            assert_eq!(scan(store, &[100], usize::MAX).len(), 2);
                        }
                    });
                }
            });
            let pair = scan(&*store, &[100], 2);
            assert_eq!(pair[0].1, pair[1].1);
            store.settle().unwrap();
            store.close().unwrap();
        }
    }
}
