//! [`Slice`]: bytes that keep alive what holds them.
//!
//! A read returns a value where it lies, in a cached block or a memtable arena, and pins that memory
//! by a reference count. Short values are copied instead: that is cheaper than the count.
//!
//! # Invariants
//! - SLICE-1: a pinned slice's bytes are neither moved, changed nor freed while its `_owner` lives.
#![expect(unsafe_code, reason = "a slice points into memory that its owner keeps alive")]

use std::any::Any;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

/// The longest value that is copied into the slice itself instead of being pinned, in bytes.
pub const INLINE_BYTES: usize = 30;

/// Shared, immutable bytes. Clones share; nothing is copied but what fits in the slice itself.
///
/// A slice keeps all of its cache block or memtable in memory: copy what is to be kept for long.
#[derive(Clone)]
pub struct Slice(Repr);

#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    Pinned { start: NonNull<u8>, len: usize, _owner: Arc<dyn Any + Send + Sync> },
}

// SAFETY: SLICE-1: the bytes are immutable for as long as `_owner` lives, and `_owner` is Send + Sync.
unsafe impl Send for Slice {}
// SAFETY: as above; `&Slice` gives out `&[u8]` only.
unsafe impl Sync for Slice {}

impl Slice {
    /// A copy of `bytes`.
    pub fn copy(bytes: &[u8]) -> Slice {
        Slice::inline(bytes).unwrap_or_else(|| Slice::from(bytes.to_vec()))
    }

    /// `bytes` without copying them, kept alive by `owner` (short ones are copied all the same).
    ///
    /// # Safety
    /// SLICE-1: `bytes` must be neither moved, changed nor freed while `owner` or a clone of it lives.
    #[inline]
    pub unsafe fn pinned<T: Any + Send + Sync>(bytes: &[u8], owner: &Arc<T>) -> Slice {
        Slice::inline(bytes).unwrap_or_else(|| {
            let owner: Arc<dyn Any + Send + Sync> = owner.clone();
            Slice(Repr::Pinned {
                start: NonNull::from(bytes).cast(),
                len: bytes.len(),
                _owner: owner,
            })
        })
    }

    #[inline]
    fn inline(bytes: &[u8]) -> Option<Slice> {
        if bytes.len() > INLINE_BYTES {
            return None;
        }
        let mut inline = [0; INLINE_BYTES];
        inline[..bytes.len()].copy_from_slice(bytes);
        Some(Slice(Repr::Inline { len: bytes.len() as u8, bytes: inline }))
    }
}

impl From<Vec<u8>> for Slice {
    fn from(bytes: Vec<u8>) -> Slice {
        let owner = Arc::new(bytes);
        // SAFETY: SLICE-1: a `Vec` that nobody can reach mutably keeps its buffer until it drops.
        unsafe { Slice::pinned(&owner, &owner) }
    }
}

impl Deref for Slice {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            // SAFETY: SLICE-1, and `_owner` is alive because `self` holds it.
            Repr::Pinned { start, len, .. } => unsafe {
                std::slice::from_raw_parts(start.as_ptr(), *len)
            },
        }
    }
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Default for Slice {
    fn default() -> Slice {
        Slice::copy(b"")
    }
}

impl PartialEq for Slice {
    fn eq(&self, other: &Slice) -> bool {
        **self == **other
    }
}

impl Eq for Slice {}

impl PartialEq<[u8]> for Slice {
    fn eq(&self, other: &[u8]) -> bool {
        **self == *other
    }
}

impl<const N: usize> PartialEq<[u8; N]> for Slice {
    fn eq(&self, other: &[u8; N]) -> bool {
        **self == *other
    }
}

impl PartialEq<Vec<u8>> for Slice {
    fn eq(&self, other: &Vec<u8>) -> bool {
        **self == **other
    }
}

impl<T: ?Sized> PartialEq<&T> for Slice
where
    Slice: PartialEq<T>,
{
    fn eq(&self, other: &&T) -> bool {
        *self == **other
    }
}

impl std::fmt::Debug for Slice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_of_any_length_hold_their_bytes() {
        for len in [0, 1, INLINE_BYTES, INLINE_BYTES + 1, 4096] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let slice = Slice::copy(&bytes);
            let clone = slice.clone();
            drop(slice);
            assert_eq!(clone, bytes);
        }
    }

    #[test]
    fn a_pinned_slice_keeps_its_owner_alive() {
        let owner = Arc::new(vec![7u8; 100]);
        // SAFETY: SLICE-1: the vector is never changed.
        let slice = unsafe { Slice::pinned(&owner[10..90], &owner) };
        let weak = Arc::downgrade(&owner);
        drop(owner);
        assert_eq!(slice, [7u8; 80]);
        drop(slice);
        assert!(weak.upgrade().is_none());
    }
}
