//! The decoders, bare, for the fuzz targets: any bytes go in, no panic comes out.

use std::borrow::Cow;

use stratalog_base::codec::{Decoder, Malformed};
use stratalog_base::{KeyRef, Trailer};

use crate::block::Block;
use crate::filter::Filter;
use crate::footer::Footer;
use crate::frame::{self, BlockKind, Place};
use crate::index::Index;
use crate::properties::{Properties, TableSummary};

/// Contents of a data block; walks and searches what decodes.
pub fn block(bytes: &[u8]) -> Result<usize, Malformed> {
    let block = Block::decode(bytes.to_vec())?;
    for index in 0..block.len() {
        let entry = block.entry(index);
        let mut user = block.head_key(index)[..entry.shared].to_vec();
        user.extend_from_slice(block.suffix(&entry));
        let key = KeyRef { user: &user, trailer: block.trailer(index) };
        block.lower_bound(key);
        block.find(key);
        assert!(block.has_key(index, &entry, &user));
        block.value(&entry);
    }
    Ok(block.len())
}

/// Contents of a filter block; probes it.
pub fn filter(bytes: &[u8]) -> Result<bool, Malformed> {
    let filter = Filter::decode(bytes)?;
    Ok((0..64).any(|i| filter.may_contain(u64::MAX >> i)))
}

/// Contents of an index block; finds each separator.
pub fn index(bytes: &[u8]) -> Result<usize, Malformed> {
    let index = Index::decode(bytes.to_vec())?;
    for number in 0..index.len() {
        let separator = index.separator(number);
        assert_eq!(index.find(separator), number);
        index.find(KeyRef { trailer: Trailer::OLDEST, ..separator });
        index.range(number);
    }
    Ok(index.len())
}

/// Contents of a properties block.
pub fn properties(bytes: &[u8]) -> Result<u64, Malformed> {
    Properties::decode(bytes, (0, 0, 0)).map(|(properties, _)| properties.entries)
}

/// The fields of a footer before version and checksum.
pub fn footer(bytes: &[u8]) -> Result<bool, Malformed> {
    Footer::decode(bytes).map(|footer| footer.bounds().is_some())
}

/// A summary as a manifest edit holds it.
pub fn summary(bytes: &[u8]) -> Result<TableSummary, Malformed> {
    TableSummary::decode(&mut Decoder::new(bytes))
}

/// A framed data block, checksum corrected so that decompression is reached.
pub fn frame(bytes: &[u8]) -> Result<usize, Malformed> {
    let place = Place { table: 0, kind: BlockKind::Data, offset: 0 };
    let mut stored = bytes.to_vec();
    frame::correct(&mut stored, place);
    frame::open(Cow::Owned(stored), place).map(|contents| contents.len())
}
