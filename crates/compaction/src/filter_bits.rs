//! [`filter_bits`]: how many filter bits a key of each level gets. A pure function of the shape.
//!
//! A read of a missing key asks the filter of every sorted run, and each false positive reads a block.
//! A bit spent on each key of a small run costs less than one on each key of a large one and
//! saves as much, so small runs get more. The sum of all false-positive rates is least, for a given
//! total, where a run's rate is proportional to its number of entries (Dayan, Athanassoulis and
//! Idreos, "Monkey: optimal navigable key-value store", 2017).
//!
//! # Invariants
//! - BITS-1: all levels together take no more bits than with the average for each of them.
//! - BITS-2: a level whose runs have fewer entries gets no fewer bits.

use std::collections::HashSet;

use stratalog_sstable::{FilterPolicy, MAX_FILTER_BITS_PER_KEY};

use crate::{LEVELS, Plan, Shape, Version};

/// The sorted runs of a level: each of them is asked by a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// Number of runs: of tables in level 0, and at most one in the others.
    pub count: u64,
    /// Entries in all of them.
    pub entries: u64,
}

/// Bits are given out in units of this size, so that rounding errors of a platform do not show.
const BITS_STEP: f64 = 1.0 / 16.0;
/// Halvings of the search: more than a double has bits.
const HALVINGS: u32 = 60;

/// The runs of `version` as they will be after a flush of `flushed` entries, or after `plan`.
pub fn runs_after<T: Shape + Clone>(
    version: &Version<T>,
    flushed: u64,
    plan: Option<&Plan<T>>,
) -> [Runs; LEVELS] {
    let mut runs = [Runs::default(); LEVELS];
    let mut moved = 0;
    let inputs: HashSet<u64> = plan.into_iter().flat_map(Plan::ids).collect();
    for (level, table) in version.tables() {
        let summary = table.summary();
        if inputs.contains(&summary.id) {
            moved += summary.entries;
            continue;
        }
        runs[level].entries += summary.entries;
        runs[level].count = if level == 0 { runs[level].count + 1 } else { 1 };
    }
    if let Some(plan) = plan {
        runs[plan.target] = Runs { count: 1, entries: runs[plan.target].entries + moved };
    }
    if flushed > 0 {
        runs[0] = Runs { count: runs[0].count + 1, entries: runs[0].entries + flushed };
    }
    runs
}

/// The bits for each key of each level, when all keys together may have `average` bits each.
pub fn filter_bits(runs: &[Runs; LEVELS], policy: FilterPolicy, average: f64) -> [f64; LEVELS] {
    // The rate falls by this factor, as a natural logarithm, with each bit (measured at 5 to 16).
    let worth = match policy {
        FilterPolicy::Bloom => 0.43,
        FilterPolicy::Ribbon => 0.65,
    };
    // rate = e^(-worth × bits), proportional to entries / count.
    let head_start = runs
        .map(|Runs { count, entries }| -(entries.max(1) as f64 / count.max(1) as f64).ln() / worth);
    let bits = |base: f64| {
        head_start.map(|start| {
            let steps = ((base + start) / BITS_STEP).floor();
            (steps * BITS_STEP).clamp(0.0, MAX_FILTER_BITS_PER_KEY)
        })
    };
    let total = |bits: [f64; LEVELS]| -> f64 {
        runs.iter().zip(bits).map(|(runs, bits)| runs.entries as f64 * bits).sum()
    };
    let budget = total([average; LEVELS]);
    let (mut low, mut high) = (0.0, 2.0 * MAX_FILTER_BITS_PER_KEY + 64.0 / worth);
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.0;
        if total(bits(middle)) <= budget { low = middle } else { high = middle }
    }
    bits(low) // BITS-1
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn shape(levels: &[(u64, u64)]) -> [Runs; LEVELS] {
        let mut runs = [Runs::default(); LEVELS];
        for (runs, &(count, entries)) in runs.iter_mut().zip(levels) {
            *runs = Runs { count, entries };
        }
        runs
    }

    fn spent(runs: &[Runs; LEVELS], bits: [f64; LEVELS]) -> f64 {
        let entries: u64 = runs.iter().map(|runs| runs.entries).sum();
        let spent: f64 = runs.iter().zip(bits).map(|(r, bits)| r.entries as f64 * bits).sum();
        spent / entries as f64
    }

    #[test]
    fn small_levels_get_more_bits_and_all_together_no_more_than_they_may() {
        for policy in [FilterPolicy::Bloom, FilterPolicy::Ribbon] {
            for average in [0.1, 1.0, 7.5, 10.0, 16.0, 32.0] {
                for levels in [
                    &[(1, 1000)][..],
                    &[(3, 3000), (1, 2000), (1, 20_000), (1, 200_000)],
                    &[(4, 10_000_000), (1, 10_000_000), (1, 100_000_000), (1, 1_000_000_000)],
                    &[(0, 0), (1, 1 << 50), (1, 5)],
                ] {
                    let runs = shape(levels);
                    let bits = filter_bits(&runs, policy, average);
                    assert!(spent(&runs, bits) <= average, "BITS-1 {average} {bits:?}");
                    assert!(spent(&runs, bits) >= average - 2.0 * BITS_STEP, "{average} {bits:?}");
                    let sizes = runs.map(|r| r.entries / r.count.max(1));
                    for (i, j) in (0..LEVELS).flat_map(|i| (0..LEVELS).map(move |j| (i, j))) {
                        assert!(sizes[i] > sizes[j] || bits[i] >= bits[j], "BITS-2 {bits:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_single_level_has_the_average_and_no_bits_are_no_bits() {
        let runs = shape(&[(0, 0), (1, 5000)]);
        assert_eq!(filter_bits(&runs, FilterPolicy::Bloom, 10.0)[1], 10.0);
        assert_eq!(filter_bits(&runs, FilterPolicy::Bloom, 0.0)[1], 0.0);
    }

    #[test]
    fn the_rates_add_up_to_less_than_with_equal_bits() {
        let runs = shape(&[(3, 3 << 20), (1, 4 << 20), (1, 40 << 20), (1, 400 << 20)]);
        let rates = |bits: [f64; LEVELS]| -> f64 {
            let rate = |(runs, bits): (&Runs, f64)| runs.count as f64 * (-0.43 * bits).exp();
            runs.iter().zip(bits).map(rate).sum()
        };
        let bits = filter_bits(&runs, FilterPolicy::Bloom, 10.0);
        assert!(rates(bits) < 0.3 * rates([10.0; LEVELS]), "{bits:?}");
    }
}
