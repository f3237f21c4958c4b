//! [`Shared`]: a header and bytes behind it in one allocation, counted like an `Arc`.
//!
//! What a read needs of a decoded block lies in a row: one address leads to all of it, so that its cache
//! lines can be asked for at once, before the first of them has come.
//!
//! # Invariants
//! - SHARED-1: header and bytes change only before the first handle is given out; the marks aside. The charge
//!   is set while there is one handle.
//! - SHARED-2: the allocation is freed by whoever lowers the count to zero, and the count is the number
//!   of handles, those that were made a pointer included.
#![expect(unsafe_code, reason = "one allocation of a size known at run time, with a count")]

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

use stratalog_base::budget::Charge;
use stratalog_base::slice::Owner;
use stratalog_base::sync::{AtomicBool, AtomicUsize, Ordering};

use crate::slab::{self, Cell, Slabs};

/// The start of an allocation, followed by `len` bytes and an `Option<Charge>`, which readers do not touch. It fills
/// whole cache lines.
#[repr(C, align(64))]
struct Start<H> {
    count: AtomicUsize,
    /// Set by who finds the block in a cache; see [`crate::cache`].
    referenced: AtomicBool,
    is_slab: bool,
    len: u32,
    allocated_bytes: u32,
    header: H,
}

/// A counted handle. Clones share.
pub struct Shared<H> {
    start: NonNull<Start<H>>,
}

// SAFETY: SHARED-1: handles on several threads read only, but for atomics; the last one, wherever it
// drops, drops the header.
unsafe impl<H: Send + Sync> Send for Shared<H> {}
// SAFETY: as above.
unsafe impl<H: Send + Sync> Sync for Shared<H> {}

impl<H> Shared<H> {
    /// `header` with `len` zeroed bytes behind it, which `fill` then changes.
    ///
    /// # Errors
    /// Of `fill`.
    pub fn build<E>(
        header: H,
        len: u32,
        fill: impl FnOnce(&mut H, &mut [u8]) -> Result<(), E>,
    ) -> Result<Shared<H>, E> {
        Shared::build_in(None, header, len, fill)
    }

    /// The same in a cell of `slabs`, if that has one.
    ///
    /// # Errors
    /// Of `fill`.
    pub fn build_in<E>(
        slabs: Option<&Arc<Slabs>>,
        header: H,
        len: u32,
        fill: impl FnOnce(&mut H, &mut [u8]) -> Result<(), E>,
    ) -> Result<Shared<H>, E> {
        let bytes = size_of::<Start<H>>() + charge_offset(len) + size_of::<Option<Charge>>();
        let Cell { start, bytes, is_slab } = slab::take(slabs, bytes);
        let start = start.cast::<Start<H>>();
        let first = Start {
            count: AtomicUsize::new(1),
            referenced: AtomicBool::new(false),
            is_slab,
            len,
            allocated_bytes: u32::try_from(bytes).expect("a block has less than 4 GiB"),
            header,
        };
        // SAFETY: the memory is ours, and large enough and aligned for a `Start`, the bytes and a charge.
        unsafe {
            start.write(first);
            start.add(1).cast::<u8>().write_bytes(0, len as usize);
            charge_at(start, len).write(None);
        }
        let shared = Shared { start };
        // SAFETY: SHARED-1: this is the only handle. Header and bytes do not overlap.
        let (header, bytes) = unsafe {
            let bytes = std::slice::from_raw_parts_mut(shared.bytes_at().as_ptr(), len as usize);
            (&mut (*start.as_ptr()).header, bytes)
        };
        fill(header, bytes)?;
        Ok(shared)
    }

    #[inline]
    fn first(&self) -> &Start<H> {
        // SAFETY: SHARED-2: the handle is counted, so the allocation is there.
        unsafe { self.start.as_ref() }
    }

    #[inline]
    fn bytes_at(&self) -> NonNull<u8> {
        // SAFETY: the bytes follow the start in the same allocation.
        unsafe { self.start.add(1) }.cast()
    }

    /// The bytes behind the header.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: SHARED-1, SHARED-2: `len` bytes follow, and nobody changes them.
        unsafe { std::slice::from_raw_parts(self.bytes_at().as_ptr(), self.first().len as usize) }
    }

    /// All bytes of the allocation, with what was added to round it up.
    pub fn allocated_bytes(&self) -> usize {
        self.first().allocated_bytes as usize
    }

    /// The slab that it lies in, if it does.
    pub(crate) fn slab(&self) -> Option<usize> {
        self.first().is_slab.then(|| slab::slab_of(self.start.cast()))
    }

    /// Has `charge` last until the allocation is freed.
    ///
    /// # Panics
    /// If there are other handles.
    pub fn charged(self, charge: Charge) -> Shared<H> {
        // Acquire: with whoever dropped another handle.
        assert_eq!(self.first().count.load(Ordering::Acquire), 1, "SHARED-1");
        // SAFETY: SHARED-1: this is the only handle, and it is ours.
        unsafe { charge_at(self.start, self.first().len).replace(Some(charge)) };
        self
    }

    /// Notes that somebody wanted it.
    #[inline]
    pub fn reference(&self) {
        let referenced = &self.first().referenced;
        // Mostly it is noted already: then the line stays shared.
        if !referenced.load(Ordering::Relaxed) {
            referenced.store(true, Ordering::Relaxed);
        }
    }

    /// Whether somebody wanted it since this was last called.
    pub fn take_reference(&self) -> bool {
        let referenced = &self.first().referenced;
        let was = referenced.load(Ordering::Relaxed);
        if was {
            referenced.store(false, Ordering::Relaxed);
        }
        was
    }

    /// The handle that [`Owner::into_raw`] made this pointer.
    ///
    /// # Safety
    /// It did, of this type, and the handle is made of it only once.
    #[inline]
    pub unsafe fn from_raw(raw: NonNull<()>) -> Shared<H> {
        Shared { start: raw.cast() }
    }

    /// A handle that is not counted.
    ///
    /// # Safety
    /// `raw` came from [`Owner::into_raw`] of this type, and a counted handle stays for all of `'a`.
    #[inline]
    pub unsafe fn borrow_raw<'a>(raw: NonNull<()>) -> Borrowed<'a, H> {
        // SAFETY: the handle is never dropped, so it does not count.
        let shared = ManuallyDrop::new(unsafe { Shared::from_raw(raw) });
        Borrowed { shared, _counted: std::marker::PhantomData }
    }
}

/// Asks for `lines` cache lines from `start` on, which need not be memory.
#[inline]
pub(crate) fn prefetch<T>(start: *const T, lines: usize) {
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    for line in 0..lines {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let at = start.cast::<i8>().wrapping_add(line * 64);
        // SAFETY: a prefetch reads nothing, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(loom))))]
    let _ = (start, lines);
}

impl<H> Clone for Shared<H> {
    #[inline]
    fn clone(&self) -> Shared<H> {
        let before = self.first().count.fetch_add(1, Ordering::Relaxed);
        debug_assert!(before > 0, "SHARED-2");
        Shared { start: self.start }
    }
}

impl<H> Drop for Shared<H> {
    #[inline]
    fn drop(&mut self) {
        if self.first().count.fetch_sub(1, Ordering::Release) == 1 {
            // Acquire: all that others did with the allocation before they let go of it comes before this. A
            // fence would do, but the thread sanitizer does not know fences.
            self.first().count.load(Ordering::Acquire);
            free(self.start);
        }
    }
}

/// Where the charge lies behind the start.
fn charge_offset(len: u32) -> usize {
    (len as usize).next_multiple_of(align_of::<Option<Charge>>())
}

/// # Safety
/// `start` is that of an allocation with `len` bytes.
unsafe fn charge_at<H>(start: NonNull<Start<H>>, len: u32) -> NonNull<Option<Charge>> {
    // SAFETY: the charge lies there, aligned, since a `Start` is.
    unsafe { start.add(1).cast::<u8>().add(charge_offset(len)).cast() }
}

#[inline(never)]
fn free<H>(start: NonNull<Start<H>>) {
    // SAFETY: SHARED-2: the count was seen to be zero, so nobody else has it. `build` took the cell.
    unsafe {
        let Start { is_slab, allocated_bytes, len, .. } = *start.as_ref();
        charge_at(start, len).drop_in_place();
        start.drop_in_place();
        slab::give_back(Cell { start: start.cast(), bytes: allocated_bytes as usize, is_slab });
    }
}

impl<H> Deref for Shared<H> {
    type Target = H;

    #[inline]
    fn deref(&self) -> &H {
        &self.first().header
    }
}

impl<H: std::fmt::Debug> std::fmt::Debug for Shared<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

// SAFETY: SHARED-1, SHARED-2.
unsafe impl<H: Send + Sync + 'static> Owner for Shared<H> {
    #[inline]
    fn into_raw(self) -> NonNull<()> {
        ManuallyDrop::new(self).start.cast()
    }

    #[inline]
    unsafe fn clone_raw(raw: NonNull<()>) {
        // SAFETY: the caller's: a handle is counted, and the one made here is not dropped.
        std::mem::forget(unsafe { Shared::<H>::borrow_raw(raw) }.share());
    }

    #[inline]
    unsafe fn drop_raw(raw: NonNull<()>) {
        // SAFETY: the caller's.
        drop(unsafe { Shared::<H>::from_raw(raw) });
    }
}

/// A handle for as long as somebody else's is counted.
pub struct Borrowed<'a, H> {
    shared: ManuallyDrop<Shared<H>>,
    _counted: std::marker::PhantomData<&'a Shared<H>>,
}

impl<H> Borrowed<'_, H> {
    /// A handle of one's own.
    #[inline]
    pub fn share(&self) -> Shared<H> {
        Shared::clone(&self.shared)
    }
}

impl<H> Deref for Borrowed<'_, H> {
    type Target = Shared<H>;

    #[inline]
    fn deref(&self) -> &Shared<H> {
        &self.shared
    }
}
