//! Large pieces of memory straight from the system, which takes them into account as they are touched and
//! has them back at once.
//!
//! An allocator may give out memory that was touched before, and may keep what it gets back; so only of
//! memory that comes from here can its owner say exactly how much of it is in use.
#![expect(unsafe_code, reason = "maps memory and hands it out raw")]

use std::ptr::NonNull;

/// Maps `bytes` (not 0) of zeroed memory, aligned to a page. What is not touched takes address space only.
///
/// Ends the process if there is none, as the allocator does.
#[cfg(all(target_os = "linux", not(loom)))]
pub fn map(bytes: usize) -> NonNull<u8> {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

    let read_write = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping, where the kernel likes.
    let mapped =
        unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, read_write, MapFlags::PRIVATE) };
    let start = mapped.ok().and_then(|start| NonNull::new(start.cast::<u8>()));
    start.unwrap_or_else(|| std::alloc::handle_alloc_error(layout(bytes)))
}

/// Gives back what [`map`] handed out.
///
/// # Safety
/// `start` came from `map(bytes)`, and nobody uses the memory any more.
#[cfg(all(target_os = "linux", not(loom)))]
pub unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller's.
    let unmapped = unsafe { rustix::mm::munmap(start.as_ptr().cast(), bytes) };
    debug_assert!(unmapped.is_ok());
}

/// As on Linux, but from the allocator.
#[cfg(not(all(target_os = "linux", not(loom))))]
pub fn map(bytes: usize) -> NonNull<u8> {
    assert!(bytes > 0);
    // SAFETY: the layout's size is not zero.
    let start = unsafe { std::alloc::alloc_zeroed(layout(bytes)) };
    NonNull::new(start).unwrap_or_else(|| std::alloc::handle_alloc_error(layout(bytes)))
}

/// Gives back what [`map`] handed out.
///
/// # Safety
/// `start` came from `map(bytes)`, and nobody uses the memory any more.
#[cfg(not(all(target_os = "linux", not(loom))))]
pub unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
    // SAFETY: `map` allocated it with this layout; the rest is the caller's.
    unsafe { std::alloc::dealloc(start.as_ptr(), layout(bytes)) }
}

fn layout(bytes: usize) -> std::alloc::Layout {
    std::alloc::Layout::from_size_align(bytes, 4096).expect("less than isize::MAX")
}

/// Bytes of a huge page.
pub const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Maps [`HUGE_PAGE_BYTES`] of zeroed memory, aligned to as much, as a huge page where the system has one to
/// give: for memory that is accessed at random. A huge page is in use whole once it is touched.
///
/// A random access to ordinary pages misses the translation cache of the processor, and under a hypervisor
/// the way through two page tables costs as much as the miss of the data itself.
///
/// Ends the process if there is no memory, as the allocator does.
#[cfg(all(target_os = "linux", not(loom)))]
pub fn map_huge() -> NonNull<u8> {
    use rustix::mm::{Advice, madvise};

    let mapped = map(2 * HUGE_PAGE_BYTES);
    let before = mapped.align_offset(HUGE_PAGE_BYTES);
    let behind = HUGE_PAGE_BYTES - before;
    // SAFETY: the mapping is one huge page longer than needed, so all parts lie in it; what is unmapped was
    // never handed out. Advice changes no content; without it there are ordinary pages.
    unsafe {
        let start = mapped.add(before);
        if before > 0 {
            unmap(mapped, before);
        }
        if behind > 0 {
            unmap(start.add(HUGE_PAGE_BYTES), behind);
        }
        let _ = madvise(start.as_ptr().cast(), HUGE_PAGE_BYTES, Advice::LinuxHugepage);
        start
    }
}

/// As on Linux, but from the allocator.
#[cfg(not(all(target_os = "linux", not(loom))))]
pub fn map_huge() -> NonNull<u8> {
    // SAFETY: the layout's size is not zero.
    let start = unsafe { std::alloc::alloc_zeroed(huge_layout()) };
    NonNull::new(start).unwrap_or_else(|| std::alloc::handle_alloc_error(huge_layout()))
}

/// Gives back what [`map_huge`] handed out.
///
/// # Safety
/// `start` came from `map_huge`, and nobody uses the memory any more.
pub unsafe fn unmap_huge(start: NonNull<u8>) {
    // SAFETY: it was mapped or allocated so; the rest is the caller's.
    unsafe {
        #[cfg(all(target_os = "linux", not(loom)))]
        unmap(start, HUGE_PAGE_BYTES);
        #[cfg(not(all(target_os = "linux", not(loom))))]
        std::alloc::dealloc(start.as_ptr(), huge_layout());
    }
}

#[cfg(not(all(target_os = "linux", not(loom))))]
fn huge_layout() -> std::alloc::Layout {
    let layout = std::alloc::Layout::from_size_align(HUGE_PAGE_BYTES, HUGE_PAGE_BYTES);
    layout.expect("less than isize::MAX")
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn mapped_memory_is_aligned_zeroed_and_writable_to_its_ends() {
        for bytes in [1, 4096, 3 << 20] {
            let start = map(bytes);
            assert_eq!(start.addr().get() % 4096, 0);
            // SAFETY: the memory is ours, as long as said, until `unmap`.
            unsafe {
                for at in [0, bytes / 2, bytes - 1] {
                    assert!(start.add(at).read() == 0 || bytes == 1);
                    start.add(at).write(7);
                }
                unmap(start, bytes);
            }
        }
    }

    #[test]
    fn a_huge_page_is_aligned_zeroed_and_writable_to_its_ends() {
        for _ in 0..5 {
            let start = map_huge();
            assert_eq!(start.addr().get() % HUGE_PAGE_BYTES, 0);
            // SAFETY: the memory is ours, as long as said, until `unmap_huge`.
            unsafe {
                for at in [0, 4096, HUGE_PAGE_BYTES - 1] {
                    assert_eq!(start.add(at).read(), 0);
                    start.add(at).write(7);
                }
                unmap_huge(start);
            }
        }
    }
}
