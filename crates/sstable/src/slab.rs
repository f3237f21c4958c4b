//! Memory for decoded blocks, in huge pages once there is much of it.
//!
//! A look into a cache of hundreds of megabytes misses the processor's translation cache at each new page,
//! and huge pages ([`stratalog_base::pages`]) spare that. They have to be asked for in pieces of 2 MiB,
//! which are cut into cells here: a **slab** has cells of one size, a **class**, an eighth of a power of
//! two apart. All of the process share the slabs, since a block outlives the cache that it was made for.
//!
//! Small caches stay with the allocator, as do blocks of unusual sizes: a slab takes its 2 MiB whole.
//!
//! # Invariants
//! - SLAB-1: a cell is handed out at most once until it comes back, and lies in its slab behind the header.
//! - SLAB-2: headers are used under the lock of `SLABS` only.
//! - SLAB-3: `open` of a class are its slabs with free cells, each once.
#![expect(unsafe_code, reason = "cuts mapped memory into cells")]
#![cfg_attr(loom, expect(dead_code, reason = "loom knows no statics: it has the allocator only"))]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

#[cfg(not(loom))]
use stratalog_base::pages::unmap_huge;
use stratalog_base::pages::{HUGE_PAGE_BYTES, map_huge};
#[cfg(not(loom))]
use stratalog_base::sync::{AtomicUsize, Mutex, Ordering};

/// Cells and headers fill whole cache lines.
const ALIGN: usize = 64;
/// Classes of slabs, in bytes: below and above the allocator is as good.
const MIN_BYTES: usize = 1 << 10;
const MAX_BYTES: usize = 64 << 10;
/// Classes between two powers of two.
const STEPS: usize = 8;
/// While all blocks of the process have less, they come from the allocator.
const SMALL_BYTES: usize = 32 << 20;

const CLASSES: usize = (MAX_BYTES.ilog2() - MIN_BYTES.ilog2()) as usize * STEPS;

/// Bytes of all blocks that live.
#[cfg(not(loom))]
static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);
#[cfg(not(loom))]
static SLABS: Mutex<Slabs> = Mutex::new(Slabs { open: [const { Vec::new() }; CLASSES] });

struct Slabs {
    open: [Vec<NonNull<Header>>; CLASSES],
}

// SAFETY: SLAB-2: the headers belong to who holds the lock, whichever thread that is.
unsafe impl Send for Slabs {}

/// The start of a slab.
#[repr(C, align(64))]
struct Header {
    class: usize,
    /// Cells that were never handed out start here.
    next: usize,
    /// Cells that came back.
    free: Vec<NonNull<u8>>,
    live: usize,
}

/// Memory for a block.
pub(crate) struct Cell {
    pub(crate) start: NonNull<u8>,
    pub(crate) bytes: usize,
    pub(crate) is_slab: bool,
}

/// The class whose cells have at least `bytes`, and their size.
fn class_of(bytes: usize) -> Option<(usize, usize)> {
    if !(MIN_BYTES..=MAX_BYTES - MAX_BYTES / STEPS).contains(&bytes) {
        return None;
    }
    let power = bytes.ilog2();
    let step = (1 << power) / STEPS;
    let steps = (bytes - (1 << power)).div_ceil(step);
    let class = (power - MIN_BYTES.ilog2()) as usize * STEPS + steps;
    Some((class, (1 << power) + steps * step))
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, ALIGN).expect("4 GiB fit in the address space")
}

/// At least `bytes` of memory, aligned to a cache line, contents unknown.
pub(crate) fn take(bytes: usize) -> Cell {
    let bytes = bytes.next_multiple_of(ALIGN);
    if let Some(cell) = take_from_slab(bytes) {
        return cell;
    }
    // SAFETY: a block has a header, so the size is not zero.
    let start = unsafe { alloc(layout(bytes)) };
    let Some(start) = NonNull::new(start) else { handle_alloc_error(layout(bytes)) };
    Cell { start, bytes, is_slab: false }
}

/// The same from a slab, if all blocks together are large enough for that.
#[cfg(not(loom))]
fn take_from_slab(bytes: usize) -> Option<Cell> {
    let live = LIVE_BYTES.fetch_add(bytes, Ordering::Relaxed);
    let (class, cell_bytes) = class_of(bytes).filter(|_| live >= SMALL_BYTES)?;
    LIVE_BYTES.fetch_add(cell_bytes - bytes, Ordering::Relaxed);
    let start = SLABS.lock().take(class, cell_bytes);
    Some(Cell { start, bytes: cell_bytes, is_slab: true })
}

#[cfg(loom)]
fn take_from_slab(_bytes: usize) -> Option<Cell> {
    None
}

/// Gives back what [`take`] handed out.
///
/// # Safety
/// `cell` came from [`take`], once, and nobody uses its memory any more.
pub(crate) unsafe fn give_back(cell: Cell) {
    #[cfg(not(loom))]
    LIVE_BYTES.fetch_sub(cell.bytes, Ordering::Relaxed);
    if !cell.is_slab {
        // SAFETY: it was allocated with this layout; the rest is the caller's.
        return unsafe { dealloc(cell.start.as_ptr(), layout(cell.bytes)) };
    }
    #[cfg(not(loom))]
    if let Some(slab) = SLABS.lock().give_back(cell.start) {
        // SAFETY: no cell of it is handed out, and it is not open any more. Its list of cells goes first.
        unsafe {
            slab.drop_in_place();
            unmap_huge(slab.cast());
        }
    }
}

impl Slabs {
    fn take(&mut self, class: usize, cell_bytes: usize) -> NonNull<u8> {
        let open = &mut self.open[class];
        if open.is_empty() {
            let slab = map_huge().cast::<Header>();
            let first = Header { class, next: size_of::<Header>(), free: Vec::new(), live: 0 };
            // SAFETY: the memory is new, large enough and aligned.
            unsafe { slab.write(first) };
            open.push(slab);
        }
        let mut slab = open[open.len() - 1];
        // SAFETY: SLAB-2.
        let header = unsafe { slab.as_mut() };
        header.live += 1;
        let cell = header.free.pop().unwrap_or_else(|| {
            let at = header.next;
            header.next += cell_bytes;
            // SAFETY: SLAB-3: a cell was free, and none had come back, so the next one lies in the slab.
            unsafe { slab.cast::<u8>().add(at) }
        });
        if header.free.is_empty() && header.next + cell_bytes > HUGE_PAGE_BYTES {
            open.pop(); // SLAB-3
        }
        cell
    }

    /// Returns the slab if nobody needs it any more.
    fn give_back(&mut self, cell: NonNull<u8>) -> Option<NonNull<Header>> {
        let offset = cell.addr().get() % HUGE_PAGE_BYTES;
        // SAFETY: SLAB-1: the cell lies in a slab, which starts where its huge page does.
        let mut slab = unsafe { cell.sub(offset) }.cast::<Header>();
        // SAFETY: SLAB-2.
        let header = unsafe { slab.as_mut() };
        let open = &mut self.open[header.class];
        let (_, cell_bytes) = class_of(size_of_class(header.class)).expect("a class has cells");
        let was_full = header.free.is_empty() && header.next + cell_bytes > HUGE_PAGE_BYTES;
        header.live -= 1;
        header.free.push(cell);
        if was_full {
            open.push(slab); // SLAB-3
        }
        // One slab is kept, so that a cache that is full does not map and unmap at each eviction.
        if header.live > 0 || open.len() == 1 {
            return None;
        }
        open.retain(|other| *other != slab);
        Some(slab)
    }
}

/// The cells of class `class`, in bytes.
fn size_of_class(class: usize) -> usize {
    let power = MIN_BYTES << (class / STEPS);
    power + class % STEPS * (power / STEPS)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_what_they_are_for_and_waste_an_eighth_at_most() {
        for bytes in (MIN_BYTES..=MAX_BYTES - MAX_BYTES / STEPS).step_by(ALIGN) {
            let (class, cell) = class_of(bytes).unwrap();
            assert!(class < CLASSES && (bytes..=bytes + bytes / STEPS).contains(&cell), "{bytes}");
            assert_eq!((size_of_class(class), cell % ALIGN), (cell, 0));
        }
        assert!(class_of(MIN_BYTES - 1).is_none() && class_of(MAX_BYTES).is_none());
    }

    #[test]
    fn cells_are_apart_and_come_back() {
        // SLAB-1: each cell is filled with its own number, which stays.
        let mut slabs = Slabs { open: [const { Vec::new() }; CLASSES] };
        let mut taken: Vec<(NonNull<u8>, usize, u8)> = Vec::new();
        let mut unmapped = 0;
        for round in 0..6_000_usize {
            let (class, bytes) = class_of(4096 + round % 3 * 512).unwrap();
            let cell = slabs.take(class, bytes);
            // SAFETY: the cell is ours, `bytes` long.
            unsafe { cell.write_bytes(round as u8, bytes) };
            taken.push((cell, bytes, round as u8));
            if round >= 3_000 || round % 5 == 0 {
                for _ in 0..2 {
                    let (cell, bytes, filled) = taken.swap_remove(round * 7919 % taken.len());
                    // SAFETY: as above.
                    let content = unsafe { std::slice::from_raw_parts(cell.as_ptr(), bytes) };
                    assert!(content.iter().all(|byte| *byte == filled));
                    unmapped += usize::from(drop_unused(slabs.give_back(cell)));
                    if taken.is_empty() {
                        break;
                    }
                }
            }
        }
        for (cell, ..) in taken.drain(..) {
            unmapped += usize::from(drop_unused(slabs.give_back(cell)));
        }
        let open: usize = slabs.open.iter().map(Vec::len).sum();
        assert!(unmapped > 0 && open <= 3, "{unmapped} unmapped, {open} left");
        slabs.open.iter_mut().flat_map(|open| open.drain(..)).for_each(|slab| {
            drop_unused(Some(slab));
        });
    }

    fn drop_unused(slab: Option<NonNull<Header>>) -> bool {
        // SAFETY: nobody uses the slab, which the test's `Slabs` have let go of.
        slab.is_some_and(|slab| unsafe {
            slab.drop_in_place();
            unmap_huge(slab.cast());
            true
        })
    }
}
