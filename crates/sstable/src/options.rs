//! What a table is built with. Readers need none of it: a table says what it holds.

use stratalog_base::{Error, Result};

use crate::compress::HAS_ZSTD;

/// The largest [`TableOptions::block_bytes`], in bytes. It bounds where an entry of a block can
/// start (BLOCK-3).
pub const MAX_BLOCK_BYTES: usize = 8 << 20;
/// The largest [`TableOptions::partition_bytes`], in bytes.
pub const MAX_PARTITION_BYTES: usize = 8 << 20;
/// The largest [`TableOptions::filter_bits_per_key`].
pub const MAX_FILTER_BITS_PER_KEY: f64 = 32.0;

/// The largest level of [`Compression::Zstd`].
const MAX_ZSTD_LEVEL: i32 = 22;

/// How the blocks of a table are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Stored as they are: the fastest to read.
    None,
    /// LZ4 block format, for each block that it makes at least 12.5 % smaller. The default.
    #[default]
    Lz4,
    /// Zstd at a level of 1 (fast) to 22 (small), for each block that it makes at least 12.5 % smaller.
    /// A table of more than a megabyte has its own dictionary. Needs the cargo feature `zstd`, which
    /// needs a C compiler, to write and to read.
    Zstd {
        /// 1 to 22; Zstd's own default is 3.
        level: i32,
    },
}

/// The structure of a table's filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FilterPolicy {
    /// Bloom in cache lines: the fastest to build and probe. The default.
    #[default]
    Bloom,
    /// Ribbon (Dillinger and Walzer, 2021): at the same rate of errors about 30 % fewer bits, for more
    /// time in building and probing. Too few keys for it get a Bloom filter.
    Ribbon,
}

/// The trade-offs of a table's layout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TableOptions {
    /// The target size of a data block before compression, in bytes: 1 to 8 MiB, default 4 KiB.
    /// Larger blocks need a smaller index and compress better; smaller ones cost less to read one
    /// entry of. An entry that is larger makes a block of its own.
    pub block_bytes: usize,
    /// Keys that are stored relative to one whole key, that one counted: 1 to 65 535, default 16.
    /// 1 turns prefix compression off.
    pub restart_interval: usize,
    /// The target size of index and filter of a partition together, in bytes: 1 to 8 MiB, default
    /// 64 KiB. They are read and cached as one; a table that needs only one keeps it in memory.
    pub partition_bytes: usize,
    /// Filter bits for each distinct user key: 0 (no filter) to 32, default 10, which lets about one
    /// absent key in a hundred through a Bloom filter, and one in six hundred through a Ribbon filter.
    pub filter_bits_per_key: f64,
    /// Default [`FilterPolicy::Bloom`].
    pub filter: FilterPolicy,
    /// Leading bytes of user keys that the filter knows as well, each distinct run of them at the bits
    /// of a key: 0 (none, the default) to 65 535. [`crate::Table::may_contain_prefix`] then tells most
    /// absent prefixes of this length or more apart. Shorter keys have no prefix.
    pub prefix_bytes: usize,
    /// Default [`Compression::Lz4`].
    pub compression: Compression,
}

impl Default for TableOptions {
    fn default() -> Self {
        TableOptions {
            block_bytes: 4096,
            restart_interval: 16,
            partition_bytes: 64 << 10,
            filter_bits_per_key: 10.0,
            filter: FilterPolicy::default(),
            prefix_bytes: 0,
            compression: Compression::default(),
        }
    }
}

impl TableOptions {
    /// Checks every range.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] naming the option that is out of its range.
    pub fn validate(&self) -> Result<()> {
        let in_range = |name, value, range: std::ops::RangeInclusive<usize>| {
            if range.contains(&value) {
                return Ok(());
            }
            Err(Error::InvalidArgument(format!("{name} is {value}, not within {range:?}")))
        };
        in_range("block_bytes", self.block_bytes, 1..=MAX_BLOCK_BYTES)?;
        in_range("restart_interval", self.restart_interval, 1..=usize::from(u16::MAX))?;
        in_range("partition_bytes", self.partition_bytes, 1..=MAX_PARTITION_BYTES)?;
        if let Compression::Zstd { level } = self.compression {
            if !HAS_ZSTD {
                let what = "compression by Zstd needs the cargo feature `zstd`";
                return Err(Error::InvalidArgument(what.into()));
            }
            if !(1..=MAX_ZSTD_LEVEL).contains(&level) {
                let what = format!("the level of Zstd is {level}, not within 1..={MAX_ZSTD_LEVEL}");
                return Err(Error::InvalidArgument(what));
            }
        }
        in_range("prefix_bytes", self.prefix_bytes, 0..=usize::from(u16::MAX))?;
        let bits = self.filter_bits_per_key;
        if !(0.0..=MAX_FILTER_BITS_PER_KEY).contains(&bits) {
            let range = 0..=MAX_FILTER_BITS_PER_KEY as u32;
            let what = format!("filter_bits_per_key is {bits}, not within {range:?}");
            return Err(Error::InvalidArgument(what));
        }
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn options_out_of_range_are_refused_by_name() {
        assert!(TableOptions::default().validate().is_ok());
        for (options, name) in [
            (TableOptions { block_bytes: 0, ..Default::default() }, "block_bytes"),
            (
                TableOptions { block_bytes: MAX_BLOCK_BYTES + 1, ..Default::default() },
                "block_bytes",
            ),
            (TableOptions { restart_interval: 0, ..Default::default() }, "restart_interval"),
            (TableOptions { partition_bytes: 0, ..Default::default() }, "partition_bytes"),
            (
                TableOptions { compression: Compression::Zstd { level: 23 }, ..Default::default() },
                "Zstd",
            ),
            (TableOptions { prefix_bytes: 1 << 16, ..Default::default() }, "prefix_bytes"),
            (
                TableOptions { filter_bits_per_key: 32.5, ..Default::default() },
                "filter_bits_per_key",
            ),
            (
                TableOptions { filter_bits_per_key: f64::NAN, ..Default::default() },
                "filter_bits_per_key",
            ),
        ] {
            let error = options.validate().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
