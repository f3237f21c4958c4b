//! What a table is built with. Readers need none of it: a table says what it holds.

use stratalog_base::{Error, Result};

/// The largest [`TableOptions::block_bytes`], in bytes. It bounds where an entry of a block can
/// start (BLOCK-3).
pub const MAX_BLOCK_BYTES: usize = 8 << 20;
/// The largest [`TableOptions::filter_bits_per_key`].
pub const MAX_FILTER_BITS_PER_KEY: usize = 32;

/// How the blocks of a table are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Stored as they are: the fastest to read.
    None,
    /// LZ4 block format, for each block that it makes at least 12.5 % smaller. The default.
    #[default]
    Lz4,
}

/// The trade-offs of a table's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableOptions {
    /// The target size of a data block before compression, in bytes: 1 to 8 MiB, default 4 KiB.
    /// Larger blocks need a smaller index and compress better; smaller ones cost less to read one
    /// entry of. An entry that is larger makes a block of its own.
    pub block_bytes: usize,
    /// Keys that are stored relative to one whole key, that one counted: 1 to 65 535, default 16.
    /// 1 turns prefix compression off.
    pub restart_interval: usize,
    /// Filter bits for each distinct user key: 0 (no filter) to 32, default 10, which lets about one
    /// absent key in a hundred through.
    pub filter_bits_per_key: usize,
    /// Default [`Compression::Lz4`].
    pub compression: Compression,
}

impl Default for TableOptions {
    fn default() -> Self {
        TableOptions {
            block_bytes: 4096,
            restart_interval: 16,
            filter_bits_per_key: 10,
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
        in_range("filter_bits_per_key", self.filter_bits_per_key, 0..=MAX_FILTER_BITS_PER_KEY)
    }
}

#[cfg(test)]
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
            (TableOptions { filter_bits_per_key: 33, ..Default::default() }, "filter_bits_per_key"),
        ] {
            let error = options.validate().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
