//! [`ValueHandle`]: where a value lies.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | varint | file | number of the value file |
//! | varint | index | number of the record in it, from 0 |
//! | varint | offset | where the record starts |
//! | varint | bytes | of the record with its frame |

use stratalog_base::codec::{Decoder, Malformed, put_varint};

use super::{MAGIC, MAX_RECORD_BYTES};
use crate::frame::FRAME_BYTES;

/// Where a value lies: what a table stores in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ValueHandle {
    /// The number of the value file.
    pub file: u64,
    /// The record's number in the file, from 0.
    pub index: u64,
    /// Where the record starts.
    pub offset: u64,
    /// The record's bytes as stored: compressed or not, with its frame.
    pub bytes: u64,
}

impl ValueHandle {
    /// Appends the handle.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.file, self.index, self.offset, self.bytes] {
            put_varint(out, number);
        }
    }

    /// The handle that an entry of a table stores as its value, as a cursor or a look-up shows it: a block is checked
    /// whole before it is used.
    ///
    /// # Panics
    /// If `stored` is something else.
    #[inline]
    pub fn of_entry(stored: &[u8]) -> ValueHandle {
        ValueHandle::decode(stored).expect("BLOCK-1")
    }

    /// Takes a handle that fills `stored`.
    ///
    /// # Errors
    /// If the bytes are not those of a handle into any value file.
    #[inline]
    pub fn decode(stored: &[u8]) -> Result<ValueHandle, Malformed> {
        let mut decoder = Decoder::new(stored);
        let handle = ValueHandle {
            file: decoder.varint()?,
            index: decoder.varint()?,
            offset: decoder.varint()?,
            bytes: decoder.varint_max(MAX_RECORD_BYTES)? as u64,
        };
        decoder.finish()?;
        let starts = MAGIC.len() as u64..=u64::MAX - handle.bytes;
        if handle.bytes < FRAME_BYTES as u64 || !starts.contains(&handle.offset) {
            return Err(Malformed { offset: 0, what: "handle leads to no record" });
        }
        Ok(handle)
    }

    /// Where the record ends.
    pub fn end(&self) -> u64 {
        self.offset + self.bytes
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const HANDLE: ValueHandle = ValueHandle { file: 7, index: 3, offset: 300, bytes: 1030 };

    fn encoded(handle: ValueHandle) -> Vec<u8> {
        let mut out = Vec::new();
        handle.encode(&mut out);
        out
    }

    #[test]
    fn a_handle_has_these_bytes() {
        assert_eq!(encoded(HANDLE), *b"\x07\x03\xac\x02\x86\x08");
        assert_eq!(ValueHandle::decode(&encoded(HANDLE)), Ok(HANDLE));
    }

    #[test]
    fn a_handle_to_no_record_is_refused() {
        for handle in [
            ValueHandle { bytes: FRAME_BYTES as u64 - 1, ..HANDLE },
            ValueHandle { bytes: MAX_RECORD_BYTES as u64 + 1, ..HANDLE },
            ValueHandle { offset: MAGIC.len() as u64 - 1, ..HANDLE },
            ValueHandle { offset: u64::MAX - 1000, ..HANDLE },
        ] {
            assert!(ValueHandle::decode(&encoded(handle)).is_err(), "{handle:?}");
        }
        let longer = [encoded(HANDLE), vec![0]].concat();
        assert!(ValueHandle::decode(&longer).is_err());
        for len in 0..6 {
            assert!(ValueHandle::decode(&longer[..len]).is_err());
        }
    }
}
