//! The ways in which unsynced operations reach the disk, or not.

use super::SimRng;

/// What becomes of the whole machine's unsynced operations. The two extremes have a share of their
/// own: among many files chosen apart they would never come up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// All lost: a disk that does nothing unasked.
    Nothing,
    /// All kept: a cut just after the last write-back.
    Everything,
    /// Each file and directory as its own [`Survival`] says.
    Mixed,
}

impl Fate {
    pub(super) fn choose(rng: &mut SimRng) -> Fate {
        match rng.below(8) {
            0 => Fate::Nothing,
            1 => Fate::Everything,
            _ => Fate::Mixed,
        }
    }
}

/// What becomes of one file's unsynced writes.
#[derive(Clone, Copy)]
pub(super) enum Survival {
    None,
    All,
    /// The first ones, the last of them perhaps cut at any byte.
    Prefix,
    /// Aligned pieces of this size (a sector, a page), in any order.
    Pieces(usize),
    /// Any bytes, in any order.
    Bytes,
}

impl Survival {
    pub(super) fn choose(rng: &mut SimRng) -> Survival {
        match rng.below(16) {
            0..2 => Survival::None,
            2..4 => Survival::All,
            4..8 => Survival::Prefix,
            8..11 => Survival::Pieces(512),
            11..14 => Survival::Pieces(4096),
            _ => Survival::Bytes,
        }
    }
}
