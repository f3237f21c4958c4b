//! [`Slice`]: bytes that keep alive what holds them.
//!
//! A read returns a value where it lies, in a cached block or a memtable arena, and pins that memory
//! by a reference count. Short values are copied instead: that is cheaper than the count.
//!
//! # Invariants
//! - SLICE-1: a pinned slice's bytes are neither moved, changed nor freed while its `_owner` lives.
//! - SLICE-2: a [`Kept`] holds one reference of its owner's count, from its making to its drop.
#![expect(unsafe_code, reason = "a slice points into memory that its owner keeps alive")]

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
    Pinned { start: NonNull<u8>, len: usize, _owner: Kept },
}

/// A counted reference that fits in a pointer, as an [`Arc`] is.
///
/// # Safety
/// `into_raw` gives the caller a reference that stays counted until `drop_raw`. For as long, what it
/// refers to neither moves nor goes, and `clone_raw` counts one reference more. All three may be called
/// from any thread.
pub unsafe trait Owner: Send + Sync + 'static {
    /// The reference as a pointer, still counted.
    fn into_raw(self) -> NonNull<()>;

    /// Counts one reference more.
    ///
    /// # Safety
    /// `raw` came from `into_raw` of this type, and a reference to it is still counted.
    unsafe fn clone_raw(raw: NonNull<()>);

    /// Counts one reference less, and frees what nobody refers to any more.
    ///
    /// # Safety
    /// As [`Owner::clone_raw`]; that reference is not used afterwards.
    unsafe fn drop_raw(raw: NonNull<()>);
}

// SAFETY: an `Arc` counts as the trait wants it to.
unsafe impl<T: Send + Sync + 'static> Owner for Arc<T> {
    #[inline]
    fn into_raw(self) -> NonNull<()> {
        NonNull::new(Arc::into_raw(self).cast_mut()).expect("no `Arc` is null").cast()
    }

    #[inline]
    unsafe fn clone_raw(raw: NonNull<()>) {
        // SAFETY: the caller's: an `Arc<T>` was made this pointer, and is counted.
        unsafe { Arc::increment_strong_count(raw.as_ptr().cast::<T>().cast_const()) }
    }

    #[inline]
    unsafe fn drop_raw(raw: NonNull<()>) {
        // SAFETY: as above.
        unsafe { drop(Arc::from_raw(raw.as_ptr().cast::<T>().cast_const())) }
    }
}

/// A reference to an [`Owner`] of any type.
pub struct Kept {
    raw: NonNull<()>,
    clone_raw: unsafe fn(NonNull<()>),
    drop_raw: unsafe fn(NonNull<()>),
}

impl Kept {
    /// Keeps what `owner` refers to.
    #[inline]
    pub fn new<O: Owner>(owner: O) -> Kept {
        Kept { raw: owner.into_raw(), clone_raw: O::clone_raw, drop_raw: O::drop_raw }
    }
}

// SAFETY: an `Owner` is Send and Sync, and its functions may be called from any thread.
unsafe impl Send for Kept {}
// SAFETY: as above.
unsafe impl Sync for Kept {}

impl Clone for Kept {
    #[inline]
    fn clone(&self) -> Kept {
        // SAFETY: SLICE-2: `self` holds a reference.
        unsafe { (self.clone_raw)(self.raw) };
        Kept { ..*self }
    }
}

impl Drop for Kept {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: SLICE-2: the reference that `self` holds, which nobody uses after this.
        unsafe { (self.drop_raw)(self.raw) }
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
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
    pub unsafe fn pinned<O: Owner + Clone>(bytes: &[u8], owner: &O) -> Slice {
        Slice::inline(bytes).unwrap_or_else(|| {
            Slice(Repr::Pinned {
                start: NonNull::from(bytes).cast(),
                len: bytes.len(),
                _owner: Kept::new(owner.clone()),
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
