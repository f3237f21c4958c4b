//! Memory for decoded blocks, in huge pages once there is much of it.
//!
//! A look into a cache of hundreds of megabytes misses the processor's translation cache at each new page,
//! and huge pages ([`stratalog_base::pages`]) spare that. They have to be asked for in pieces of 2 MiB,
//! which are cut into cells here: a **slab** has cells of one size, a **class**, an eighth of a power of
//! two apart. Each cache has its own.
//!
//! A slab goes back when its last cell comes back. What a cache evicts lies anywhere, so [`Slabs::close`] names
//! slabs with many free cells, and the cache moves their blocks elsewhere.
//!
//! Small caches stay with the allocator, as do blocks of unusual sizes, and those for which there is no cell while
//! there are many free ones of other sizes.
//!
//! # Invariants
//! - SLAB-1: a cell is handed out at most once until it comes back, and lies in its slab behind the header.
//! - SLAB-2: headers are used under the lock of their `Slabs` only, but for the owner, which stays.
//! - SLAB-3: `open` of a class are its slabs with free cells, each once, but for those in `closed`.
//! - SLAB-4: a slab is charged whole for as long as it is mapped.
//! - SLAB-5: a new slab is mapped only if free cells are then at most `most_free_bytes`.
#![expect(unsafe_code, reason = "cuts mapped memory into cells")]

mod class;

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::Arc;

use stratalog_base::budget::Account;
use stratalog_base::pages::{HUGE_PAGE_BYTES, map_huge, unmap_huge};
use stratalog_base::sync::{AtomicUsize, Mutex, Ordering};

use self::class::{CLASSES, Class, class_numbered, class_of};

/// Cells and headers fill whole cache lines.
const ALIGN: usize = 64;
const HEADER_BYTES: usize = size_of::<Header>();
/// While all blocks of a cache have less, they come from the allocator.
const SMALL_BYTES: usize = 32 << 20;
/// The part of a cache's limit that may be free cells.
const FREE_SHARE: usize = 32;
/// The part of all slabs that are closed together: all places of the clock are looked at for it.
const CLOSE_SHARE: usize = 128;

/// The slabs of a cache.
#[derive(Debug)]
pub struct Slabs {
    /// SLAB-4
    account: Arc<Account>,
    most_free_bytes: usize,
    cells: Mutex<Cells>,
    // Changed under the lock.
    mapped_bytes: AtomicUsize,
    /// Of cells that are handed out.
    live_bytes: AtomicUsize,
    /// Of free cells in slabs that are not closed.
    free_bytes: AtomicUsize,
}

#[derive(Debug)]
struct Cells {
    open: [Vec<NonNull<Header>>; CLASSES],
    /// Slabs with free cells that are to be emptied.
    closed: Vec<NonNull<Header>>,
    /// Whether the blocks of those that were closed last are being moved.
    is_closing: bool,
    /// Whether there is no cache any more.
    is_over: bool,
}

// SAFETY: SLAB-2: the headers belong to who holds the lock, whichever thread that is.
unsafe impl Send for Cells {}

/// The start of a slab.
#[repr(C, align(64))]
struct Header {
    owner: Arc<Slabs>,
    usage: Usage,
}

/// What of a slab is in use.
struct Usage {
    class: usize,
    /// Cells that were never handed out start here.
    next: usize,
    /// Cells that came back.
    free: Vec<NonNull<u8>>,
    live: usize,
    is_closed: bool,
}

impl Usage {
    fn has_free(&self, class: &Class) -> bool {
        !self.free.is_empty() || self.next + class.cell_bytes <= HUGE_PAGE_BYTES
    }

    fn free_bytes(&self) -> usize {
        let class = class_numbered(self.class);
        (class.cells() - self.live) * class.share()
    }
}

/// Slabs that are to be emptied.
pub(crate) struct Closed {
    /// Their addresses, ascending.
    pub(crate) slabs: Vec<usize>,
    /// Of the free cells in them.
    pub(crate) free_bytes: usize,
}

/// Memory for a block.
pub(crate) struct Cell {
    pub(crate) start: NonNull<u8>,
    /// What it counts as: of a slab, its share in that.
    pub(crate) bytes: usize,
    pub(crate) is_slab: bool,
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, ALIGN).expect("4 GiB fit in the address space")
}

/// The address of the slab in which `cell` lies.
pub(crate) fn slab_of(cell: NonNull<u8>) -> usize {
    cell.addr().get() - cell.addr().get() % HUGE_PAGE_BYTES
}

/// At least `bytes` of memory, aligned to a cache line, contents unknown: of `slabs`, if that has a cell.
pub(crate) fn take(slabs: Option<&Arc<Slabs>>, bytes: usize) -> Cell {
    let bytes = bytes.next_multiple_of(ALIGN);
    if let Some(cell) = slabs.and_then(|slabs| slabs.take(bytes)) {
        return cell;
    }
    // SAFETY: a block has a header, so the size is not zero.
    let start = unsafe { alloc(layout(bytes)) };
    let Some(start) = NonNull::new(start) else { handle_alloc_error(layout(bytes)) };
    Cell { start, bytes, is_slab: false }
}

/// Gives back what [`take`] handed out.
///
/// # Safety
/// `cell` came from [`take`], once, and nobody uses its memory any more.
pub(crate) unsafe fn give_back(cell: Cell) {
    if !cell.is_slab {
        // SAFETY: it was allocated with this layout; the rest is the caller's.
        return unsafe { dealloc(cell.start.as_ptr(), layout(cell.bytes)) };
    }
    let offset = cell.start.addr().get() % HUGE_PAGE_BYTES;
    // SAFETY: SLAB-1: the cell lies in a slab, which starts where its huge page does.
    let slab = unsafe { cell.start.sub(offset) }.cast::<Header>();
    // SAFETY: SLAB-2: the slab stays mapped while a cell of it is out. The owner may go with the slab, so it is held.
    let owner = unsafe { (*slab.as_ptr()).owner.clone() };
    owner.give_back(slab, cell.start);
}

impl Slabs {
    /// None yet, for a cache of up to `limit_bytes`. They are charged to `account`, which has its other blocks, too.
    pub(crate) fn new(account: Arc<Account>, limit_bytes: usize) -> Arc<Slabs> {
        let cells = Cells {
            open: [const { Vec::new() }; CLASSES],
            closed: Vec::new(),
            is_closing: false,
            is_over: false,
        };
        Arc::new(Slabs {
            account,
            most_free_bytes: limit_bytes / FREE_SHARE,
            cells: Mutex::new(cells),
            mapped_bytes: AtomicUsize::new(0),
            live_bytes: AtomicUsize::new(0),
            free_bytes: AtomicUsize::new(0),
        })
    }

    /// Of all slabs, what is not in cells that are handed out.
    pub(crate) fn unused_bytes(&self) -> usize {
        load(&self.mapped_bytes).saturating_sub(load(&self.live_bytes))
    }

    /// Bytes of cells that may be taken.
    pub(crate) fn free_bytes(&self) -> usize {
        load(&self.free_bytes)
    }

    /// What a cache leaves to free cells.
    pub(crate) fn reserved_bytes(&self) -> usize {
        self.most_free_bytes.min(load(&self.mapped_bytes))
    }

    fn take(self: &Arc<Self>, bytes: usize) -> Option<Cell> {
        if cfg!(loom) {
            return None;
        }
        let class = class_of(bytes)?;
        let mut cells = self.cells.lock();
        if cells.open[class.number].is_empty() && !cells.reopen(self, class) {
            let free = self.free_bytes() + HUGE_PAGE_BYTES; // SLAB-5
            if free > self.most_free_bytes || self.account.bytes() < SMALL_BYTES {
                return None;
            }
            self.map(&mut cells, class);
        }
        let open = &mut cells.open[class.number];
        let slab = open[open.len() - 1];
        // SAFETY: SLAB-2.
        let usage = unsafe { &mut (*slab.as_ptr()).usage };
        usage.live += 1;
        let start = usage.free.pop().unwrap_or_else(|| {
            let at = usage.next;
            usage.next += class.cell_bytes;
            // SAFETY: SLAB-3: a cell was free, and none had come back, so the next one lies in the slab.
            unsafe { slab.cast::<u8>().add(at) }
        });
        if !usage.has_free(&class) {
            open.pop(); // SLAB-3
        }
        self.live_bytes.fetch_add(class.share(), Ordering::Relaxed);
        self.free_bytes.fetch_sub(class.share(), Ordering::Relaxed);
        Some(Cell { start, bytes: class.share(), is_slab: true })
    }

    /// Opens a new slab.
    fn map(self: &Arc<Self>, cells: &mut Cells, class: Class) {
        let slab = map_huge().cast::<Header>();
        let next = size_of::<Header>();
        let usage =
            Usage { class: class.number, next, free: Vec::new(), live: 0, is_closed: false };
        // SAFETY: the memory is new, large enough and aligned.
        unsafe { slab.write(Header { owner: self.clone(), usage }) };
        cells.open[class.number].push(slab);
        self.account.charge(HUGE_PAGE_BYTES); // SLAB-4
        self.mapped_bytes.fetch_add(HUGE_PAGE_BYTES, Ordering::Relaxed);
        self.free_bytes.fetch_add(class.cells() * class.share(), Ordering::Relaxed);
    }

    fn give_back(&self, slab: NonNull<Header>, cell: NonNull<u8>) {
        let mut cells = self.cells.lock();
        // SAFETY: SLAB-2.
        let usage = unsafe { &mut (*slab.as_ptr()).usage };
        let class = class_numbered(usage.class);
        let was_full = !usage.has_free(&class);
        usage.live -= 1;
        usage.free.push(cell);
        self.live_bytes.fetch_sub(class.share(), Ordering::Relaxed);
        if cells.is_over {
            usage.is_closed = true;
        } else if !usage.is_closed {
            self.free_bytes.fetch_add(class.share(), Ordering::Relaxed);
            if was_full {
                cells.open[class.number].push(slab); // SLAB-3
            }
        }
        // One slab is kept, so that a cache that is full does not map and unmap at each eviction.
        if usage.live > 0 || !usage.is_closed && cells.open[class.number].len() == 1 {
            return;
        }
        if usage.is_closed {
            cells.closed.retain(|other| *other != slab);
        } else {
            cells.open[class.number].retain(|other| *other != slab);
            self.free_bytes.fetch_sub(usage.free_bytes(), Ordering::Relaxed);
        }
        drop(cells);
        self.unmap(slab);
    }

    /// Gives back a slab that has no cells out and is in no list.
    fn unmap(&self, slab: NonNull<Header>) {
        self.mapped_bytes.fetch_sub(HUGE_PAGE_BYTES, Ordering::Relaxed);
        self.account.release(HUGE_PAGE_BYTES); // SLAB-4
        // SAFETY: nobody can come upon it any more.
        unsafe {
            slab.drop_in_place();
            unmap_huge(slab.cast());
        }
    }

    /// Bytes of free cells beyond those that there may be.
    pub(crate) fn excess_bytes(&self) -> usize {
        self.free_bytes().saturating_sub(self.most_free_bytes)
    }

    /// Has no more cells taken from the emptiest slabs, until free cells in others are as few as they may be, and some
    /// fewer. Those that are empty are given back; the others, once their blocks are gone. Ends with [`Slabs::closed`].
    pub(crate) fn close(&self) -> Closed {
        let mut cells = self.cells.lock();
        cells.is_closing = true;
        // SAFETY: SLAB-2.
        let free_of = |slab: &NonNull<Header>| unsafe { (*slab.as_ptr()).usage.free_bytes() };
        let mut all: Vec<_> =
            cells.open.iter().flatten().map(|slab| (free_of(slab), *slab)).collect();
        all.sort_unstable_by_key(|(free, _)| std::cmp::Reverse(*free));
        // What is moved fills other cells: with each slab, as much as that is free no more.
        let wanted = (self.excess_bytes() + load(&self.mapped_bytes) / CLOSE_SHARE)
            .div_ceil(HUGE_PAGE_BYTES);
        all.truncate(wanted);
        let free_bytes = all.iter().map(|(free, _)| *free).sum();
        self.free_bytes.fetch_sub(free_bytes, Ordering::Relaxed);
        let mut closed = Closed { slabs: Vec::new(), free_bytes: 0 };
        let mut empty = Vec::new();
        for (free, slab) in all {
            // SAFETY: SLAB-2.
            let usage = unsafe { &mut (*slab.as_ptr()).usage };
            cells.open[usage.class].retain(|other| *other != slab);
            if usage.live == 0 {
                empty.push(slab);
            } else {
                usage.is_closed = true;
                cells.closed.push(slab);
                closed.slabs.push(slab.addr().get());
                closed.free_bytes += free;
            }
        }
        drop(cells);
        empty.into_iter().for_each(|slab| self.unmap(slab));
        closed.slabs.sort_unstable();
        closed
    }

    /// The blocks of the slabs that were closed have been moved. What is left in them is held from outside.
    pub(crate) fn closed(&self) {
        self.cells.lock().is_closing = false;
    }

    /// There is no cache any more: slabs are given back as soon as they are empty.
    pub(crate) fn retire(&self) {
        let mut cells = self.cells.lock();
        cells.is_over = true;
        let all: Vec<_> = cells.open.iter_mut().flat_map(|open| open.drain(..)).collect();
        let mut empty = Vec::new();
        for slab in all {
            // SAFETY: SLAB-2.
            let usage = unsafe { &mut (*slab.as_ptr()).usage };
            if usage.live == 0 {
                empty.push(slab);
            } else {
                usage.is_closed = true;
            }
        }
        self.free_bytes.store(0, Ordering::Relaxed);
        drop(cells);
        empty.into_iter().for_each(|slab| self.unmap(slab));
    }
}

impl Cells {
    /// Opens a slab of `class` again that was closed and could not be emptied.
    fn reopen(&mut self, slabs: &Slabs, class: Class) -> bool {
        if self.is_closing {
            return false;
        }
        // SAFETY: SLAB-2.
        let usage = |slab: &NonNull<Header>| unsafe { &mut (*slab.as_ptr()).usage };
        let found = self.closed.iter().position(|slab| usage(slab).class == class.number);
        let Some(found) = found else { return false };
        let slab = self.closed.swap_remove(found);
        usage(&slab).is_closed = false;
        slabs.free_bytes.fetch_add(usage(&slab).free_bytes(), Ordering::Relaxed);
        self.open[class.number].push(slab);
        true
    }
}

/// loom's models have no slabs, so they need not look.
fn load(bytes: &AtomicUsize) -> usize {
    if cfg!(loom) { 0 } else { bytes.load(Ordering::Relaxed) }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use stratalog_base::fs::SimRng;

    use super::class::{MAX_BYTES, MIN_BYTES, STEPS};
    use super::*;

    /// Slabs of which `most_free` may be free, whatever little there is besides.
    fn slabs(most_free: usize) -> Arc<Slabs> {
        let account = Arc::new(Account::default());
        account.charge(SMALL_BYTES);
        Slabs::new(account, most_free * HUGE_PAGE_BYTES * FREE_SHARE)
    }

    fn mapped(slabs: &Slabs) -> usize {
        let mapped = load(&slabs.mapped_bytes);
        assert_eq!(slabs.account.bytes(), SMALL_BYTES + mapped, "SLAB-4");
        mapped / HUGE_PAGE_BYTES
    }

    #[test]
    fn classes_hold_what_they_are_for_and_waste_an_eighth_at_most() {
        for bytes in (MIN_BYTES..=MAX_BYTES - MAX_BYTES / STEPS).step_by(ALIGN) {
            let class = class_of(bytes).unwrap();
            let cell = class.cell_bytes;
            assert!(class.number < CLASSES && (bytes..=bytes + bytes / STEPS).contains(&cell));
            assert_eq!((class_numbered(class.number).cell_bytes, cell % ALIGN), (cell, 0));
            assert!(class.share() >= cell && class.share() * class.cells() <= HUGE_PAGE_BYTES);
        }
        assert!(class_of(MIN_BYTES - 1).is_none() && class_of(MAX_BYTES).is_none());
    }

    /// A cell that is filled with a number.
    struct Filled {
        cell: Cell,
        bytes: usize,
        number: u8,
    }

    impl Filled {
        fn take(slabs: &Arc<Slabs>, bytes: usize, number: u8) -> Filled {
            let cell = take(Some(slabs), bytes);
            // SAFETY: the cell is ours, `bytes` long.
            unsafe { cell.start.write_bytes(number, bytes) };
            Filled { cell, bytes, number }
        }

        fn give_back(self) {
            // SAFETY: as above; it is given back once.
            unsafe {
                let content = std::slice::from_raw_parts(self.cell.start.as_ptr(), self.bytes);
                assert!(content.iter().all(|byte| *byte == self.number), "SLAB-1");
                give_back(self.cell);
            }
        }
    }

    #[test]
    fn cells_are_apart_and_come_back_whatever_is_closed_meanwhile() {
        // SLAB-1 to SLAB-5
        for seed in 0..20 {
            let (mut rng, slabs) = (SimRng::new(seed), slabs(4));
            let mut taken: Vec<Filled> = Vec::new();
            let mut most = 0;
            for round in 0..20_000_u64 {
                let grows = round / 4_000 % 2 == 0;
                if rng.chance(if grows { 3 } else { 1 }, 4) {
                    let bytes = 4000 + rng.below(3) as usize * 600;
                    taken.push(Filled::take(&slabs, bytes, round as u8));
                } else if !taken.is_empty() {
                    let at = rng.below(taken.len() as u64) as usize;
                    taken.swap_remove(at).give_back();
                }
                if rng.chance(1, 500) {
                    slabs.close();
                    slabs.closed();
                }
                most = most.max(mapped(&slabs));
                let live: usize =
                    taken.iter().filter(|f| f.cell.is_slab).map(|f| f.cell.bytes).sum();
                assert_eq!(live, load(&slabs.live_bytes));
                assert!(slabs.free_bytes() <= slabs.unused_bytes());
            }
            assert!(most > 5, "{most}");
            if seed % 2 == 0 {
                slabs.retire();
                taken.drain(..).for_each(Filled::give_back);
                assert_eq!((mapped(&slabs), slabs.unused_bytes()), (0, 0));
            } else {
                taken.drain(..).for_each(Filled::give_back);
                assert!(mapped(&slabs) <= 3 && slabs.free_bytes() <= slabs.unused_bytes());
                slabs.retire();
                assert_eq!(mapped(&slabs), 0);
            }
            assert_eq!(Arc::strong_count(&slabs), 1);
        }
    }

    #[test]
    fn closing_frees_as_many_slabs_as_there_are_free_cells_if_their_blocks_move() {
        let slabs = slabs(2);
        let mut taken: Vec<Filled> = Vec::new();
        while mapped(&slabs) < 20 {
            taken.push(Filled::take(&slabs, 4000, 1));
        }
        // Half of each slab comes back.
        for at in (0..taken.len() / 2).rev() {
            taken.swap_remove(2 * at).give_back();
        }
        assert_eq!(mapped(&slabs), 20);
        let closed = slabs.close();
        let (stay, moved) = taken.into_iter().partition::<Vec<_>, _>(|filled| {
            closed.slabs.binary_search(&slab_of(filled.cell.start)).is_err()
        });
        taken = stay;
        taken.extend(moved.iter().map(|filled| Filled::take(&slabs, 4000, filled.number)));
        slabs.closed();
        moved.into_iter().for_each(Filled::give_back);
        assert!((10..=12).contains(&mapped(&slabs)), "{}", mapped(&slabs));
        assert!(taken.iter().all(|filled| filled.cell.is_slab));

        // What is held goes on in its slab, which is used again before a new one is mapped.
        let held = taken.split_off(taken.len() / 2);
        taken.into_iter().for_each(Filled::give_back);
        slabs.close();
        slabs.closed();
        let before = mapped(&slabs);
        let again: Vec<_> = (0..500).map(|_| Filled::take(&slabs, 4000, 2)).collect();
        assert!(mapped(&slabs) <= before && again.iter().all(|filled| filled.cell.is_slab));
        slabs.retire();
        again.into_iter().chain(held).for_each(Filled::give_back);
        assert_eq!((mapped(&slabs), Arc::strong_count(&slabs)), (0, 1));
    }
}
