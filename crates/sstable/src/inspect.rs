//! Looking into tables and value files, block by block, for tools. Reads past the cache.

use std::borrow::Cow;
use std::ops::{Range, RangeInclusive};

use stratalog_base::fs::{File, read_exact_at};
use stratalog_base::{Error, KeyRef, Result, SeqNo};

use crate::block::Block;
use crate::ends::{FOOTER_BYTES, NUMBER_AT};
use crate::footer;
use crate::frame::{self, BlockKind, Place};
use crate::table::Table;
use crate::value_file;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A table; see [`Table`].
    Table,
    /// A value file; see [`ValueFile`](crate::ValueFile).
    Values,
}

/// What `file` is by its magic number, and the number that its footer gives it. Nothing else is checked:
/// opening it does that.
///
/// # Errors
/// [`Error::NotOurs`] if it is neither; [`Error::Corrupt`] if it is too short for a footer; as
/// [`File::read_at`].
pub fn identify(file: &dyn File) -> Result<(Kind, u64)> {
    let not_ours = || {
        let why = "it starts and ends with no magic number of a table or a value file".to_owned();
        Error::NotOurs { path: file.path().to_owned(), why }
    };
    let len = file.len()?;
    let mut start = [0; 8];
    if len < start.len() as u64 {
        return Err(not_ours());
    }
    read_exact_at(file, &mut start, 0)?;
    let mut end = [0; FOOTER_BYTES];
    let whole = len >= FOOTER_BYTES as u64;
    if whole {
        read_exact_at(file, &mut end, len - FOOTER_BYTES as u64)?;
    }
    let (fields, magic) = end.split_last_chunk::<8>().expect("the footer is longer");
    let is = |wanted: [u8; 8]| start == wanted || *magic == wanted;
    let kind = match (is(footer::MAGIC), is(value_file::MAGIC)) {
        (true, _) => Kind::Table,
        (false, true) => Kind::Values,
        (false, false) => return Err(not_ours()),
    };
    if !whole {
        return Err(Error::corrupt(file.path(), 0, format!("{len} bytes are too few")));
    }
    let number = fields[NUMBER_AT..].first_chunk().expect("the footer is longer");
    Ok((kind, u64::from_le_bytes(*number)))
}

/// How a table is made up, by its footer, top index and properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Data blocks.
    pub blocks: u64,
    /// Bytes of the data blocks with their frames.
    pub data_bytes: u64,
    /// Partitions of index and filter.
    pub partitions: u64,
    /// Bytes of all index partitions.
    pub index_bytes: u64,
    /// Bytes of all filter partitions; 0 without a filter.
    pub filter_bytes: u64,
    /// Bytes of the top index.
    pub top_bytes: u64,
    /// Bytes of the range-tombstone block; 0 if there is none.
    pub range_tombstone_bytes: u64,
    /// Bytes of the dictionary; 0 if there is none.
    pub dictionary_bytes: u64,
    /// Bytes of the properties.
    pub properties_bytes: u64,
    /// Distinct user keys of entries.
    pub user_keys: u64,
    /// User keys of all entries, uncompressed.
    pub key_bytes: u64,
    /// Values of all entries, uncompressed; of separated ones, their handles.
    pub value_bytes: u64,
    /// Leading bytes of user keys that are in the filters, too; 0: none.
    pub prefix_bytes: u64,
}

/// What [`Table::inspect`] comes across, in file order within each of the two areas.
#[derive(Debug)]
pub enum Event<'a> {
    /// A partition; its data blocks follow.
    Partition {
        /// From 0.
        number: usize,
        /// The numbers of its data blocks.
        blocks: Range<usize>,
        /// Where its filter lies; empty without one.
        filter: Range<u64>,
        /// Where its index lies.
        index: Range<u64>,
        /// The sequence numbers of its entries.
        seqs: RangeInclusive<SeqNo>,
    },
    /// A data block; its entries follow.
    Block {
        /// From 0.
        number: usize,
        /// Where it lies, with its frame.
        at: Range<u64>,
        /// Bytes of the contents, decompressed.
        contents_bytes: usize,
        /// The stored code of its compression; 0: none.
        compression: u8,
        /// Number of entries.
        entries: usize,
    },
    /// An entry.
    Entry {
        /// Its key.
        key: KeyRef<'a>,
        /// Its value; of a separated one, the handle.
        value: &'a [u8],
    },
    /// Something that cannot be read; the walk goes on behind it.
    Bad {
        /// Where it lies.
        at: Range<u64>,
        /// What is wrong.
        error: Error,
    },
}

impl Table {
    /// How the table is made up.
    pub fn layout(&self) -> Layout {
        let (meta, bytes) = (self.meta(), |range: &Range<u64>| range.end - range.start);
        let (parts, properties) = (&meta.parts, &meta.properties);
        let stretches = || (0..meta.top.len()).map(|number| meta.top.stretch(number));
        Layout {
            blocks: meta.top.blocks() as u64,
            data_bytes: bytes(&parts.data),
            partitions: meta.top.len() as u64,
            index_bytes: stretches().map(|stretch| bytes(&stretch.index)).sum(),
            filter_bytes: stretches().map(|stretch| bytes(&stretch.filter)).sum(),
            top_bytes: bytes(&parts.top),
            range_tombstone_bytes: bytes(&parts.ranges),
            dictionary_bytes: bytes(&parts.dictionary),
            properties_bytes: bytes(&parts.properties),
            user_keys: properties.user_keys,
            key_bytes: properties.key_bytes,
            value_bytes: properties.value_bytes,
            prefix_bytes: properties.prefix_bytes,
        }
    }

    /// Tells `each` of every partition, data block and entry. What is damaged is told as [`Event::Bad`]
    /// and passed over.
    ///
    /// # Errors
    /// What `each` returns, which ends the walk; [`Error::Io`] of a read.
    pub fn inspect(&self, each: &mut dyn FnMut(Event<'_>) -> Result<()>) -> Result<()> {
        let meta = self.meta();
        for number in 0..meta.top.len() {
            let stretch = meta.top.stretch(number).clone();
            each(Event::Partition {
                number,
                blocks: stretch.blocks.clone(),
                filter: stretch.filter.clone(),
                index: stretch.index.clone(),
                seqs: stretch.seqs.clone(),
            })?;
            let partition = match meta.read_partition(self.file(), number, true, &mut Vec::new()) {
                Ok(partition) => partition,
                Err(error) => {
                    let start = stretch.filter.start.min(stretch.index.start);
                    told(start..stretch.index.end, error, each)?;
                    continue; // Where its blocks lie is not known.
                }
            };
            for index in 0..partition.index.len() {
                let block = stretch.blocks.start + index;
                self.inspect_block(block, partition.index.range(index), each)?;
            }
        }
        Ok(())
    }

    fn inspect_block(
        &self,
        number: usize,
        at: Range<u64>,
        each: &mut dyn FnMut(Event<'_>) -> Result<()>,
    ) -> Result<()> {
        // Decoding the index checked that the range lies in the file.
        let mut stored = vec![0; (at.end - at.start) as usize];
        let place = Place { file: self.summary().id, kind: BlockKind::Data, offset: at.start };
        let opened = read_exact_at(self.file(), &mut stored, at.start).and_then(|()| {
            frame::open(Cow::Borrowed(&stored), place, &self.meta().unpacker)
                .and_then(|contents| Ok((contents.len(), Block::decode(&contents)?)))
                .map_err(|error| place.corrupt(self.file().path(), error))
        });
        let (contents_bytes, block) = match opened {
            Ok(opened) => opened,
            Err(error) => return told(at, error, each),
        };
        let (compression, entries) = (frame::compression(&stored), block.len());
        each(Event::Block { number, at, contents_bytes, compression, entries })?;
        entries_of(&block, each)
    }
}

fn entries_of(block: &Block, each: &mut dyn FnMut(Event<'_>) -> Result<()>) -> Result<()> {
    let mut user = Vec::new();
    for index in 0..block.len() {
        let entry = block.entry(index);
        let key = block.key(index, &entry, &mut user);
        each(Event::Entry { key, value: block.value(&entry) })?;
    }
    Ok(())
}

/// Damage is told to `each`; what else fails ends the walk.
fn told(at: Range<u64>, error: Error, each: &mut dyn FnMut(Event<'_>) -> Result<()>) -> Result<()> {
    match error {
        Error::Corrupt { .. } => each(Event::Bad { at, error }),
        _ => Err(error),
    }
}
