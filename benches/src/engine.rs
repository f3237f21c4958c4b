//! [`Engine`]: the face that every engine shows to a workload, and how engines are set up alike.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::Outcome;

#[cfg(feature = "fjall")]
mod fjall;
mod stratalog;

/// What a write has survived once it has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{self:?}"))
    }
}

impl FromStr for Durability {
    type Err = String;

    fn from_str(name: &str) -> Result<Durability, String> {
        let all = [Durability::None, Durability::Process, Durability::Interval, Durability::Sync];
        let found = all.into_iter().find(|class| format!("{class:?}").eq_ignore_ascii_case(name));
        found.ok_or_else(|| "classes are none, process, interval and sync".to_owned())
    }
}

/// How every engine of a run is set up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
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
    /// The common setting: 64 MiB memtable, 256 MiB cache, 4 KiB blocks, 10 filter bits, no compression.
    pub fn new(durability: Durability) -> Config {
        Config {
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

/// A store of some engine. Any number of threads may use it.
pub trait Engine: Send + Sync {
    /// Writes an entry under the durability class of the [`Config`].
    ///
    /// # Errors
    /// The engine's.
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()>;

    /// Looks `key` up and shows its value, without copying it if the engine can.
    ///
    /// # Errors
    /// The engine's.
    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<()>;

    /// Shows every entry, in order of keys.
    ///
    /// # Errors
    /// The engine's.
    fn scan(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()>;

    /// Flushes what is in memory and waits until no flush or compaction is running or due. Returns
    /// since when that has been so.
    ///
    /// # Errors
    /// The engine's.
    fn settle(&self) -> Outcome<Instant>;

    /// Closes the store.
    ///
    /// # Errors
    /// The engine's.
    fn close(self: Box<Self>) -> Outcome<()>;
}

type Open = fn(&Path, &Config) -> Outcome<Box<dyn Engine>>;

/// Every engine that was built in, ours first.
const ENGINES: &[(&str, Open)] = &[
    ("stratalog", stratalog::open),
    #[cfg(feature = "fjall")]
    ("fjall", fjall::open),
];

/// The name of the engine that the others are compared with.
pub const OURS: &str = "stratalog";

/// Opens or creates a store of engine `name` in `dir`.
///
/// # Errors
/// The engine's, or that it was not built in.
pub fn open(name: &str, dir: &Path, config: &Config) -> Outcome<Box<dyn Engine>> {
    require(name)?(dir, config)
}

/// Fails unless engine `name` was built in.
///
/// # Errors
/// That it was not.
pub fn check(name: &str) -> Outcome<()> {
    require(name).map(drop)
}

fn require(name: &str) -> Outcome<Open> {
    let known = ENGINES.iter().find(|(known, _)| *known == name);
    let (_, open) = known.ok_or_else(|| {
        let names: Vec<&str> = ENGINES.iter().map(|(name, _)| *name).collect();
        format!(
            "`{name}` was not built in (there are: {}); peers are cargo features",
            names.join(", ")
        )
    })?;
    Ok(*open)
}

/// The version of package `name` that was built in.
pub fn version(name: &str) -> &'static str {
    let lock = include_str!("../../Cargo.lock");
    let package = lock.split("[[package]]").find(|p| p.contains(&format!("\nname = \"{name}\"\n")));
    let version =
        package.and_then(|package| package.split("version = \"").nth(1)?.split('"').next());
    version.unwrap_or("?")
}
