//! The decoders, bare, for the fuzz targets: any bytes go in, no panic comes out.

use std::borrow::Cow;
use std::ops::Range;

use stratalog_base::codec::{Decoder, Malformed};
use stratalog_base::key::MAX_SEQ_NO;
use stratalog_base::{KeyRef, Trailer};

use crate::block::Block;
use crate::compress::Unpacker;
use crate::ends::FOOTER_BYTES;
use crate::filter::Filter;
use crate::footer::{Footer, MAGIC};
use crate::frame::{self, BlockKind, Place};
use crate::index::Index;
use crate::properties::Properties;
use crate::ranges;
use crate::summary::TableSummary;
use crate::top::{Stretch, Top};
use crate::value_file::{self, ValueHandle, ValueSummary, decode_index};

/// Contents of a data block; walks and searches what decodes.
pub fn block(bytes: &[u8]) -> Result<usize, Malformed> {
    let block = Block::decode(bytes)?;
    for index in 0..block.len() {
        let entry = block.entry(index);
        let mut user = Vec::new();
        let key = block.key(index, &entry, &mut user);
        block.lower_bound(key);
        assert!(block.find(key).is_some(), "its word is there");
        assert!(block.has_key(index, &entry, key.user));
        block.value(&entry);
    }
    Ok(block.len())
}

/// Contents of a filter block; probes it.
pub fn filter(bytes: &[u8]) -> Result<bool, Malformed> {
    let filter = Filter::decode(bytes)?;
    Ok((0..64).any(|i| filter.may_contain(u64::MAX >> i)))
}

/// Two numbers that the decoders of indexes are told from elsewhere, and the contents.
fn told(bytes: &[u8]) -> Result<(u64, u64, Vec<u8>), Malformed> {
    let mut decoder = Decoder::new(bytes);
    let [first, second] = [decoder.varint_max(1 << 40)?, decoder.varint_max(1 << 40)?];
    Ok((first as u64, second as u64, decoder.rest().to_vec()))
}

/// Contents of an index partition, behind the number of its data blocks and of their bytes; finds
/// each separator.
pub fn index(bytes: &[u8]) -> Result<usize, Malformed> {
    let (blocks, data_bytes, contents) = told(bytes)?;
    let stretch = Stretch {
        blocks: 0..blocks as usize,
        data: 8..8 + data_bytes,
        filter: 0..0,
        index: 0..0,
        seqs: 0..=MAX_SEQ_NO,
    };
    let index = Index::decode(contents, &stretch)?;
    for number in 0..index.len() {
        let separator = index.separator(number);
        assert_eq!(index.find(separator), number);
        index.find(KeyRef { trailer: Trailer::OLDEST, ..separator });
        index.range(number);
        index.seqs(number);
    }
    Ok(index.len())
}

/// Contents of a top index, behind the bytes of data blocks and of partitions; finds each separator.
pub fn top(bytes: &[u8]) -> Result<usize, Malformed> {
    let (data_bytes, partitions_bytes, contents) = told(bytes)?;
    let data = 8..8 + data_bytes;
    let partitions = data.end..data.end + partitions_bytes;
    let top = Top::decode(contents, data, partitions)?;
    for number in 0..top.len() {
        assert_eq!(top.find(top.separator(number)), number);
        assert_eq!(top.of_block(top.stretch(number).blocks.start), number);
    }
    Ok(top.len())
}

/// Contents of a properties block.
pub fn properties(bytes: &[u8]) -> Result<u64, Malformed> {
    Properties::comparator(bytes)?;
    Properties::decode(bytes).map(|properties| properties.entries)
}

/// Contents of a range-tombstone block; asks what covers each bound.
pub fn ranges(bytes: &[u8]) -> Result<usize, Malformed> {
    let ranges = ranges::decode(bytes)?;
    for range in ranges.tombstones() {
        assert!(ranges.covering(range.start, range.seq) == Some(range.seq));
        ranges.covering(range.end, MAX_SEQ_NO);
    }
    Ok(ranges.len())
}

/// The fields of a footer before version and checksum.
pub fn footer(bytes: &[u8]) -> Result<bool, Malformed> {
    Footer::decode(bytes).map(|footer| footer.parts().is_some())
}

/// A handle as a table entry holds it.
pub fn value_handle(bytes: &[u8]) -> Result<ValueHandle, Malformed> {
    ValueHandle::decode(bytes)
}

/// What is read first of a value file: the fields of its footer before version and checksum; the contents
/// of its index block; its summary as a manifest edit holds it.
pub fn value_file(bytes: &[u8]) -> (bool, usize, bool) {
    let handles = decode_index(bytes, 7).unwrap_or_default();
    assert!(handles.windows(2).all(|pair| pair[0].end() == pair[1].offset));
    let footer = value_file::Footer::decode(bytes).is_ok();
    (footer, handles.len(), ValueSummary::decode(&mut Decoder::new(bytes)).is_ok())
}

/// A summary as a manifest edit holds it.
pub fn summary(bytes: &[u8]) -> Result<TableSummary, Malformed> {
    TableSummary::decode(&mut Decoder::new(bytes))
}

/// A framed data block, checksum corrected so that decompression is reached.
pub fn frame(bytes: &[u8]) -> Result<usize, Malformed> {
    let place = Place { file: 0, kind: BlockKind::Data, offset: 0 };
    let mut stored = bytes.to_vec();
    frame::correct(&mut stored, place);
    let contents = frame::open(Cow::Owned(stored), place, &Unpacker::default())?;
    assert!(contents.len() <= bytes.len() * 255, "PACK-1");
    Ok(contents.len())
}

/// A dictionary, and a framed data block that is opened with it.
pub fn dictionary(bytes: &[u8], stored: &[u8]) -> Result<usize, Malformed> {
    let unpacker = Unpacker::new(bytes)?;
    let place = Place { file: 0, kind: BlockKind::Data, offset: 0 };
    let mut stored = stored.to_vec();
    frame::correct(&mut stored, place);
    frame::open(Cow::Owned(stored), place, &unpacker).map(|contents| contents.len())
}

/// Makes magic numbers, version and all checksums of table `table` right, as far as footer and
/// indexes lead to blocks within the file, so that damage gets past them.
pub fn heal(bytes: &mut [u8], table: u64) {
    let Some(footer) = bytes.len().checked_sub(FOOTER_BYTES) else { return };
    bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
    Footer::correct(&mut bytes[footer..], table);
    let Some(parts) = Footer::decode(&bytes[footer..]).ok().and_then(|footer| footer.parts())
    else {
        return;
    };
    let mut unpacker = Unpacker::default();
    let mut block = |kind, range: &Range<u64>, unpacker: &Unpacker| {
        let place = Place { file: table, kind, offset: range.start };
        let stored = bytes.get_mut(range.start as usize..range.end as usize)?;
        frame::correct(stored, place);
        frame::open(Cow::Borrowed(stored), place, unpacker).ok().map(Cow::into_owned)
    };
    if let Some(dictionary) = block(BlockKind::Dictionary, &parts.dictionary, &unpacker) {
        unpacker = Unpacker::new(&dictionary).unwrap_or_default();
    }
    let mut block = |kind, range: &Range<u64>| block(kind, range, &unpacker);
    block(BlockKind::RangeTombstones, &parts.ranges);
    block(BlockKind::Properties, &parts.properties);
    let Some(contents) = block(BlockKind::TopIndex, &parts.top) else { return };
    let Ok(top) = Top::decode(contents, parts.data, parts.partitions) else { return };
    for stretch in (0..top.len()).map(|number| top.stretch(number)) {
        block(BlockKind::FilterPartition, &stretch.filter);
        let Some(contents) = block(BlockKind::IndexPartition, &stretch.index) else { continue };
        let Ok(index) = Index::decode(contents, stretch) else { continue };
        for number in 0..index.len() {
            block(BlockKind::Data, &index.range(number));
        }
    }
}
