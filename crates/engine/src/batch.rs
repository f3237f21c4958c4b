//! [`Batch`]: puts and deletes that become visible, and survive, together or not at all. Its bytes
//! are the payload of a log record.
//!
//! # Record payload
//! Entries, one after the other until the payload ends; at least one.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 1 | kind | [`Kind`], `Delete` or `Put` |
//! | varint | keyspace | id of the keyspace; 0 is the default one, others are refused for now |
//! | varint, … | key | length and bytes |
//! | varint, … | value | length and bytes; only if kind is `Put` |
//!
//! Entry *i* of a record at position *p* has sequence number *p + i*. An entry takes at least three
//! bytes, so numbers of neighbouring records never meet.

use stratalog_base::codec::{Decoder, MAX_VARINT_BYTES, Malformed, put_bytes, put_varint};
use stratalog_base::key::{MAX_KEY_BYTES, MAX_VALUE_BYTES};
use stratalog_base::{Error, Kind, Result};

/// The keyspace that every entry belongs to until there are more.
const DEFAULT_KEYSPACE: u64 = 0;
/// The largest batch, in encoded bytes: one entry of the largest size, with room to spare.
const MAX_BATCH_BYTES: usize = MAX_VALUE_BYTES + (1 << 20);

/// Puts and deletes that are applied in order and atomically by [`crate::Db::write`].
///
/// Of two entries for one key the later wins.
///
/// ```no_run
/// # let db = stratalog::Db::open("data")?;
/// let mut batch = stratalog::Batch::new();
/// batch.put(b"bob", b"1").delete(b"eve");
/// db.write(&batch, &Default::default())?;
/// # Ok::<(), stratalog::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Batch {
    entries: Vec<u8>,
    count: u64,
    refused: Option<&'static str>,
}

/// One entry of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub kind: Kind,
    pub key: &'a [u8],
    pub value: &'a [u8],
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Adds a put. A key over 64 KiB or a value over 1 GiB makes the write of the batch fail.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> &mut Self {
        self.add(Kind::Put, key.as_ref(), value.as_ref())
    }

    /// Adds a delete. A key over 64 KiB makes the write of the batch fail.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) -> &mut Self {
        self.add(Kind::Delete, key.as_ref(), b"")
    }

    /// Entries added so far.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes that the entries take in the log.
    pub fn bytes(&self) -> usize {
        self.entries.len()
    }

    /// Removes all entries and keeps the memory for reuse.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.count = 0;
        self.refused = None;
    }

    fn add(&mut self, kind: Kind, key: &[u8], value: &[u8]) -> &mut Self {
        let bytes = self.entries.len() + key.len() + value.len() + 2 * MAX_VARINT_BYTES;
        if key.len() > MAX_KEY_BYTES {
            self.refused = Some("a key is longer than 64 KiB");
        } else if value.len() > MAX_VALUE_BYTES {
            self.refused = Some("a value is longer than 1 GiB");
        } else if bytes > MAX_BATCH_BYTES {
            self.refused = Some("a batch is longer than 1 GiB");
        } else {
            encode_entry(&mut self.entries, kind, key, value);
            self.count += 1;
        }
        self
    }

    /// The record payload.
    ///
    /// # Errors
    /// If an entry was refused, or there is none.
    pub(crate) fn payload(&self) -> Result<&[u8]> {
        let empty = self.is_empty().then_some("the batch is empty");
        match self.refused.or(empty) {
            Some(why) => Err(Error::InvalidArgument(why.to_owned())),
            None => Ok(&self.entries),
        }
    }
}

/// The entries of a record's payload, in order.
pub(crate) fn entries(payload: &[u8]) -> impl Iterator<Item = Result<Entry<'_>, Malformed>> {
    let mut decoder = Decoder::new(payload);
    std::iter::from_fn(move || (!decoder.is_empty()).then(|| decode_entry(&mut decoder)))
}

fn encode_entry(out: &mut Vec<u8>, kind: Kind, key: &[u8], value: &[u8]) {
    out.reserve(key.len() + value.len() + 16);
    out.push(kind as u8);
    put_varint(out, DEFAULT_KEYSPACE);
    put_bytes(out, key);
    if kind == Kind::Put {
        put_bytes(out, value);
    }
}

fn decode_entry<'a>(decoder: &mut Decoder<'a>) -> Result<Entry<'a>, Malformed> {
    let malformed = decoder.malformed("unknown kind of entry");
    // A handle into a value file means nothing in a log.
    let kind = Kind::from_byte(decoder.u8()?).filter(|kind| *kind != Kind::Separated);
    let kind = kind.ok_or(malformed)?;
    if decoder.varint()? != DEFAULT_KEYSPACE {
        return Err(decoder.malformed("unknown keyspace"));
    }
    let key = decoder.bytes()?;
    if key.len() > MAX_KEY_BYTES {
        return Err(decoder.malformed("key exceeds its limit"));
    }
    let value = if kind == Kind::Put { decoder.bytes()? } else { b"" };
    Ok(Entry { kind, key, value })
}
