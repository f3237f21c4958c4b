//! What the benches of things that grow have in common.

use std::time::Duration;

/// The size to which things grow.
pub const LOT: u64 = 100_000;

/// The time of `count` operations, done by `lot` in lots of up to [`LOT`], so that what they fill never
/// grows larger. `lot` is given a number of operations and returns their time, without that of making
/// and dropping what they fill.
pub fn in_lots(count: u64, mut lot: impl FnMut(u64) -> Duration) -> Duration {
    (0..count).step_by(LOT as usize).map(|done| lot((count - done).min(LOT))).sum()
}
