//! User key, internal key, sequence number, kind, and the one order of them all.
//!
//! An **internal key** is a user key and a [`Trailer`]: sequence number and kind in one `u64`.
//! Internal keys are ordered by user key ascending, then by trailer **descending**, so that the
//! versions of one user key stand together, newest first:
//!
//! ```text
//! ("ada", 9, Put) < ("ada", 7, Delete) < ("ada", 3, Put) < ("bob", 8, Put)
//! ```
//!
//! Reading `ada` as of sequence 8 is therefore one seek to `KeyRef::seek("ada", 8)`, which lands on
//! `("ada", 7, Delete)`: the newest version not newer than 8.
//!
//! # Trailer (8 bytes, little-endian where stored)
//! | bits | field | meaning |
//! |---:|---|---|
//! | 0–7 | kind | [`Kind`] as a byte; unknown kinds are rejected by decoders |
//! | 8–63 | sequence number | position in the log, 56 bits |

use std::cmp::Ordering;

/// The longest user key, in bytes. Longer keys are refused with [`crate::Error::InvalidArgument`].
pub const MAX_KEY_BYTES: usize = 64 << 10;
/// The longest value, in bytes. Longer values are refused with [`crate::Error::InvalidArgument`].
pub const MAX_VALUE_BYTES: usize = 1 << 30;
/// The stored size of a [`Trailer`].
pub const TRAILER_BYTES: usize = 8;

/// The place of a write in history: its position in the log. 56 bits.
pub type SeqNo = u64;

/// The largest sequence number.
pub const MAX_SEQ_NO: SeqNo = (1 << 56) - 1;

/// What an entry does to its user key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A point tombstone: the key is absent from here on.
    Delete = 0,
    /// The key has the entry's value (which may be empty).
    Put = 1,
    /// The key has a value that lies in a value file; the entry's own value is the handle to it. Only
    /// tables hold such entries: memtables and the log hold the value itself.
    Separated = 2,
}

impl Kind {
    /// The kind stored as `byte`, or `None` if this version knows no such kind.
    #[inline]
    pub fn from_byte(byte: u8) -> Option<Kind> {
        match byte {
            0 => Some(Kind::Delete),
            1 => Some(Kind::Put),
            2 => Some(Kind::Separated),
            _ => None,
        }
    }
}

/// Sequence number and kind in one number; see the module page for the bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Trailer(u64);

impl Trailer {
    /// Before every trailer of a user key in internal order: newer than all.
    pub const NEWEST: Trailer = Trailer(u64::MAX);
    /// Behind every trailer of a user key in internal order: older than all.
    pub const OLDEST: Trailer = Trailer(0);

    /// # Panics
    /// If `seq` needs more than 56 bits.
    #[inline]
    pub fn new(seq: SeqNo, kind: Kind) -> Trailer {
        assert!(seq <= MAX_SEQ_NO, "sequence number {seq} needs more than 56 bits");
        Trailer(seq << 8 | kind as u64)
    }

    /// The trailer stored as `bits`, or `None` if its kind is unknown.
    #[inline]
    pub fn from_bits(bits: u64) -> Option<Trailer> {
        Kind::from_byte(bits as u8).map(|_| Trailer(bits))
    }

    /// The stored form.
    #[inline]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The sequence number.
    #[inline]
    pub fn seq(self) -> SeqNo {
        self.0 >> 8
    }

    /// The kind.
    ///
    /// # Panics
    /// On the search-only trailers of [`KeyRef::seek`] and [`Trailer::NEWEST`], which no entry has.
    #[inline]
    pub fn kind(self) -> Kind {
        Kind::from_byte(self.0 as u8).expect("an entry's trailer has a known kind")
    }
}

impl std::fmt::Debug for Trailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match Kind::from_byte(self.0 as u8) {
            Some(kind) => write!(f, "{}{kind:?}", self.seq()),
            None => write!(f, "{}seek", self.seq()),
        }
    }
}

/// A borrowed internal key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyRef<'a> {
    /// The user key.
    pub user: &'a [u8],
    /// Sequence number and kind.
    pub trailer: Trailer,
}

impl<'a> KeyRef<'a> {
    /// An entry's internal key.
    #[inline]
    pub fn new(user: &'a [u8], seq: SeqNo, kind: Kind) -> KeyRef<'a> {
        KeyRef { user, trailer: Trailer::new(seq, kind) }
    }

    /// The search key that stands before every version of `user` with a sequence number ≤ `seq`
    /// and behind every newer one.
    #[inline]
    pub fn seek(user: &'a [u8], seq: SeqNo) -> KeyRef<'a> {
        debug_assert!(seq <= MAX_SEQ_NO);
        KeyRef { user, trailer: Trailer(seq << 8 | 0xff) }
    }

    /// The search key before all versions of `user`.
    #[inline]
    pub fn before(user: &'a [u8]) -> KeyRef<'a> {
        KeyRef { user, trailer: Trailer::NEWEST }
    }

    /// An owned copy.
    pub fn to_owned(self) -> InternalKey {
        InternalKey { user: self.user.into(), trailer: self.trailer }
    }
}

impl Ord for KeyRef<'_> {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.user.cmp(other.user).then_with(|| other.trailer.cmp(&self.trailer))
    }
}

impl PartialOrd for KeyRef<'_> {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl std::fmt::Debug for KeyRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}#{:?}", self.user.escape_ascii(), self.trailer)
    }
}

/// An owned internal key.
#[derive(Clone, PartialEq, Eq)]
pub struct InternalKey {
    /// The user key.
    pub user: Box<[u8]>,
    /// Sequence number and kind.
    pub trailer: Trailer,
}

impl InternalKey {
    /// The borrowed form, which carries the order.
    #[inline]
    pub fn as_ref(&self) -> KeyRef<'_> {
        KeyRef { user: &self.user, trailer: self.trailer }
    }
}

impl std::fmt::Debug for InternalKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_ref().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_a_key_stand_together_newest_first() {
        let sorted = [
            KeyRef::before(b"ada"),
            KeyRef::new(b"ada", 9, Kind::Put),
            KeyRef::seek(b"ada", 8),
            KeyRef::new(b"ada", 7, Kind::Delete),
            KeyRef::new(b"ada", 3, Kind::Put),
            KeyRef::new(b"ada\0", 1, Kind::Put),
            KeyRef::new(b"bob", 8, Kind::Put),
        ];
        assert!(sorted.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn a_trailer_round_trips_and_rejects_unknown_kinds() {
        for (byte, kind) in [(0, Kind::Delete), (1, Kind::Put), (2, Kind::Separated)] {
            let trailer = Trailer::new(MAX_SEQ_NO, kind);
            assert_eq!(Trailer::from_bits(trailer.bits()), Some(trailer));
            assert_eq!((trailer.seq(), trailer.kind()), (MAX_SEQ_NO, kind));
            assert_eq!(trailer.bits() as u8, byte, "stored in tables");
        }
        assert_eq!(Trailer::from_bits(3), None);
    }
}
