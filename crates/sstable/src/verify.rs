//! Checking a whole table against itself.

use stratalog_base::{Error, InternalKey, KeyRef, Result};

use crate::filter::key_hash;
use crate::footer::{MAGIC, digest};
use crate::properties::Properties;
use crate::sweep::Sweep;
use crate::table::{Meta, Table};

impl Table {
    /// Reads the whole file anew, past the cache, and checks every checksum, the order of all keys,
    /// that index and filter lead to each of them, and that properties and digest are right.
    /// Returns the number of entries.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for the first thing that does not hold, or as a read.
    pub fn verify(&self) -> Result<u64> {
        let file = self.file();
        let meta = Meta::read(file, self.summary().id)?;
        let corrupt = |offset, what: &str| Err(Error::corrupt(file.path(), offset, what));
        if meta.summary != *self.summary() {
            return corrupt(meta.index.data_end(), "another table than was opened");
        }
        let mut sweep = Sweep::default();
        let magic = sweep.read(file, 0..MAGIC.len() as u64, 0..meta.index.data_end())?;
        if *magic != MAGIC {
            return corrupt(0, "wrong magic number");
        }
        drop(magic);
        let mut seen = Seen::new(&meta);
        let mut sum = meta.summary.id;
        for number in 0..meta.index.len() {
            let offset = meta.index.range(number).start;
            let (block, checksum) = meta.sweep(file, number, &mut sweep)?;
            sum = checksum.into_iter().fold(sum, digest);
            let mut user = Vec::new();
            for index in 0..block.len() {
                let entry = block.entry(index);
                user.clear();
                user.extend_from_slice(&block.head_key(index)[..entry.shared]);
                user.extend_from_slice(block.suffix(&entry));
                let key = KeyRef { user: &user, trailer: block.trailer(index) };
                if let Err(what) = seen.entry(number, key, block.value(&entry)) {
                    return corrupt(offset, &format!("entry {index}: {what}"));
                }
            }
        }
        let (first, last) = (&seen.first, &seen.last);
        if first.as_ref() != Some(&meta.summary.smallest)
            || last.as_ref() != Some(&meta.summary.largest)
            || seen.properties != meta.properties
        {
            return corrupt(meta.index.data_end(), "properties are not those of the entries");
        }
        if meta.checksums.iter().copied().fold(sum, digest) != meta.summary.checksum {
            return corrupt(meta.index.data_end(), "digest is not that of the blocks");
        }
        Ok(seen.properties.entries)
    }
}

/// What has been seen of a table's entries so far.
struct Seen<'a> {
    meta: &'a Meta,
    properties: Properties,
    first: Option<InternalKey>,
    last: Option<InternalKey>,
}

impl<'a> Seen<'a> {
    fn new(meta: &'a Meta) -> Self {
        Seen { meta, properties: Properties::new(), first: None, last: None }
    }

    /// Checks the next entry, which lies in block `number`.
    fn entry(&mut self, number: usize, key: KeyRef<'_>, value: &[u8]) -> Result<(), &'static str> {
        let last = self.last.as_ref().map(InternalKey::as_ref);
        if last.is_some_and(|last| last >= key) {
            return Err("key does not follow the one before");
        }
        if self.meta.index.find(key) != number {
            return Err("index leads to another block"); // INDEX-2
        }
        let hash = key_hash(key.user);
        if self.meta.filter.as_ref().is_some_and(|filter| !filter.may_contain(hash)) {
            return Err("filter does not contain the key");
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
