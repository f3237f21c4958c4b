//! Checking a whole table against itself.

use std::ops::RangeInclusive;

use stratalog_base::{Error, InternalKey, KeyRef, Result, SeqNo};

use crate::block::Block;
use crate::filter::{key_hash, prefix_hash};
use crate::footer::{MAGIC, digest};
use crate::meta::Meta;
use crate::partition::Partition;
use crate::properties::Properties;
use crate::sweep::Sweep;
use crate::table::Table;

impl Table {
    /// Reads the whole file anew, past the cache, and checks every checksum, the order of all keys,
    /// that index and filter lead to each of them, and that sequence ranges, properties and digest are
    /// right. Calls `seen` with every entry, in order: a separated one with its handle. Returns the number of entries.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for the first thing that does not hold, or as a read; what `seen` returns.
    pub fn verify(&self, mut seen: impl FnMut(KeyRef<'_>, &[u8]) -> Result<()>) -> Result<u64> {
        let file = self.file();
        let mut tail_checksums = Vec::new();
        let meta = Meta::read(file, self.summary().id, &mut tail_checksums)?;
        let corrupt = |offset, what: &str| Err(Error::corrupt(file.path(), offset, what));
        let parts = &meta.parts;
        if meta.summary != *self.summary() {
            return corrupt(parts.properties.start, "another table than was opened");
        }
        let mut sweep = Sweep::default();
        let magic = sweep.read(file, 0..MAGIC.len() as u64, 0..parts.data.end)?;
        if *magic != MAGIC {
            return corrupt(0, "wrong magic number");
        }
        drop(magic);
        let mut checked = Checked::new(&meta);
        let (mut sum, mut checksums) = (meta.summary.id, Vec::new());
        for number in 0..meta.top.len() {
            let partition = meta.read_partition(file, number, true, &mut checksums)?;
            for index in 0..partition.index.len() {
                let range = partition.index.range(index);
                let offset = range.start;
                let (block, checksum) =
                    meta.sweep(file, range, parts.data.clone(), &mut sweep, None)?;
                sum = checksum.into_iter().fold(sum, digest);
                let wrong = |what| Error::corrupt(file.path(), offset, what);
                checked.block(&block, &partition, (number, index), &mut seen, wrong)?;
            }
            if let Err(what) = checked.partition(number) {
                return corrupt(parts.top.start, what);
            }
        }
        checksums.extend(tail_checksums);
        if checked.into_properties() != meta.properties {
            return corrupt(parts.properties.start, "properties are not those of the entries");
        }
        if checksums.into_iter().fold(sum, digest) != meta.summary.checksum {
            return corrupt(parts.properties.end, "digest is not that of the blocks");
        }
        Ok(meta.properties.entries)
    }
}

/// What has been seen of a table's entries so far.
struct Checked<'a> {
    meta: &'a Meta,
    properties: Properties,
    first: Option<InternalKey>,
    last: Option<InternalKey>,
    /// Sequence range of the present partition's entries.
    seqs: Option<RangeInclusive<SeqNo>>,
}

impl<'a> Checked<'a> {
    fn new(meta: &'a Meta) -> Self {
        Checked { meta, properties: Properties::new(), first: None, last: None, seqs: None }
    }

    /// Checks the next block, which has this number in the partition of that number, and shows its entries;
    /// `corrupt` makes an error of a sentence.
    fn block(
        &mut self,
        block: &Block,
        partition: &Partition,
        (number, index): (usize, usize),
        seen: &mut impl FnMut(KeyRef<'_>, &[u8]) -> Result<()>,
        corrupt: impl Fn(String) -> Error,
    ) -> Result<()> {
        let (mut user, mut seqs) = (Vec::new(), None);
        for at in 0..block.len() {
            let entry = block.entry(at);
            let key = block.key(at, &entry, &mut user);
            let wrong = |what| corrupt(format!("entry {at}: {what}"));
            if self.meta.top.find(key) != number || partition.index.find(key) != index {
                return Err(wrong("index leads to another block")); // TOP-1, INDEX-1
            }
            if !partition.may_contain(key_hash(key.user)) {
                return Err(wrong("filter does not contain the key")); // TOP-2
            }
            let known = self.meta.properties.prefix_bytes as usize;
            if let Some(prefix) = key.user.get(..known).filter(|prefix| !prefix.is_empty())
                && !partition.may_contain(prefix_hash(prefix))
            {
                return Err(wrong("filter does not contain the key's prefix")); // TOP-2
            }
            self.entry(key, block.value(&entry)).map_err(wrong)?;
            seen(key, block.value(&entry))?;
            widen(&mut seqs, key.trailer.seq());
        }
        let seqs = seqs.expect("a block has entries");
        if seqs != partition.index.seqs(index) {
            return Err(corrupt("sequence range in the index is not the block's".to_owned())); // INDEX-2
        }
        widen(&mut self.seqs, *seqs.start());
        widen(&mut self.seqs, *seqs.end());
        Ok(())
    }

    /// Checks partition `number`, whose blocks have all been seen.
    fn partition(&mut self, number: usize) -> Result<(), &'static str> {
        match self.seqs.take() {
            Some(seqs) if seqs == self.meta.top.stretch(number).seqs => Ok(()),
            _ => Err("sequence range in the top index is not the partition's"),
        }
    }

    /// What the table's properties should be.
    fn into_properties(self) -> Properties {
        let Checked { meta, mut properties, first, last, .. } = self;
        if let (Some(first), Some(last)) = (first, last) {
            properties.widen(first.as_ref(), last.as_ref());
        }
        properties.count_ranges(&meta.ranges);
        // What filters hold beside keys cannot be counted from entries.
        properties.prefix_bytes = meta.properties.prefix_bytes;
        properties
    }

    /// Checks and counts the next entry.
    fn entry(&mut self, key: KeyRef<'_>, value: &[u8]) -> Result<(), &'static str> {
        let last = self.last.as_ref().map(InternalKey::as_ref);
        if last.is_some_and(|last| last >= key) {
            return Err("key does not follow the one before");
        }
        let new_user_key = last.is_none_or(|last| last.user != key.user);
        self.properties.count(key, new_user_key, value);
        if self.first.is_none() {
            self.first = Some(key.to_owned());
        }
        self.last = Some(key.to_owned());
        Ok(())
    }
}

/// Makes `range` hold `seq`.
fn widen(range: &mut Option<RangeInclusive<SeqNo>>, seq: SeqNo) {
    *range = Some(match range {
        None => seq..=seq,
        Some(range) => seq.min(*range.start())..=seq.max(*range.end()),
    });
}
