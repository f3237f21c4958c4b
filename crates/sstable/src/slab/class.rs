//! The sizes of cells: an eighth of a power of two apart.

use stratalog_base::pages::HUGE_PAGE_BYTES;

use super::HEADER_BYTES;

/// Classes of slabs, in bytes: below and above the allocator is as good.
pub(super) const MIN_BYTES: usize = 1 << 10;
pub(super) const MAX_BYTES: usize = 64 << 10;
/// Classes between two powers of two.
pub(super) const STEPS: usize = 8;
pub(super) const CLASSES: usize = (MAX_BYTES.ilog2() - MIN_BYTES.ilog2()) as usize * STEPS;

/// Cells of one size.
#[derive(Clone, Copy)]
pub(super) struct Class {
    pub(super) number: usize,
    pub(super) cell_bytes: usize,
}

impl Class {
    /// How many cells a slab has.
    pub(super) fn cells(self) -> usize {
        (HUGE_PAGE_BYTES - HEADER_BYTES) / self.cell_bytes
    }

    /// What a cell counts as, so that all cells of a slab are the slab.
    pub(super) fn share(self) -> usize {
        HUGE_PAGE_BYTES / self.cells()
    }
}

/// The class whose cells have at least `bytes`.
pub(super) fn class_of(bytes: usize) -> Option<Class> {
    if !(MIN_BYTES..=MAX_BYTES - MAX_BYTES / STEPS).contains(&bytes) {
        return None;
    }
    let power = bytes.ilog2();
    let step = (1 << power) / STEPS;
    let steps = (bytes - (1 << power)).div_ceil(step);
    Some(class_numbered((power - MIN_BYTES.ilog2()) as usize * STEPS + steps))
}

pub(super) fn class_numbered(number: usize) -> Class {
    let power = MIN_BYTES << (number / STEPS);
    Class { number, cell_bytes: power + number % STEPS * (power / STEPS) }
}
