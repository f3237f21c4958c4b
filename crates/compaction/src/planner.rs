//! [`plan`]: what to merge next, and [`is_due`]: whether anything is. Pure functions of the shape and the
//! policy.
//!
//! Leveled: level 0 takes flushed memtables and is merged into level 1 when it has too many tables;
//! each further level may hold `multiplier` times the bytes of the one above it. A level's score is
//! its size over its limit; the level with the highest score of at least 1 is relieved. When none is
//! due, a table that refers to a value file which is mostly garbage is written anew where it stands, so
//! that its live values leave that file.
//!
//! Nothing here knows of plans that are under way: who runs one makes the next when it is installed.
//!
//! # Invariants
//! - PLAN-1: inputs of a level 0 plan are the oldest tables of level 0, without a gap, so that
//!   VERSION-3 holds for those that stay.
//! - PLAN-2: every table of the target level that overlaps an input is an input.
//! - PLAN-3: a plan whose target is the level of its input has one input and is not of level 0: what it
//!   writes covers no key that its input does not.

use crate::{LEVELS, Shape, Version};

/// When a level is too large.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Tables in level 0 that make it due. Default: 4.
    pub level0_tables: usize,
    /// Bytes that level 1 may hold. Default: 256 MiB.
    pub level1_bytes: u64,
    /// How many times more the next level may hold. Default: 10.
    pub multiplier: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Policy { level0_tables: 4, level1_bytes: 256 << 20, multiplier: 10 }
    }
}

impl Policy {
    /// Bytes that `level` (not 0) may hold.
    pub fn level_bytes(&self, level: usize) -> u64 {
        let power = u32::try_from(level - 1).expect("levels are few");
        self.level1_bytes.saturating_mul(self.multiplier.saturating_pow(power))
    }
}

/// Tables to merge, and where to.
#[derive(Clone, Debug)]
pub struct Plan<T> {
    /// The tables, level by level, in the version's order; levels without inputs are left out.
    pub inputs: Vec<(usize, Vec<T>)>,
    /// The level that takes the outcome.
    pub target: usize,
}

impl<T: Shape> Plan<T> {
    /// The ids of all inputs.
    pub fn ids(&self) -> impl Iterator<Item = u64> {
        self.inputs.iter().flat_map(|(_, tables)| tables.iter().map(|table| table.summary().id))
    }

    /// The one input, if it can change its level as it is: nothing to merge it with, and nothing
    /// in it that a merge would drop for good.
    pub fn trivial_move(&self) -> Option<(usize, &T)> {
        match &self.inputs[..] {
            [(level, tables)] if tables.len() == 1 && *level != self.target => {
                Some((*level, &tables[0]))
            }
            _ => None,
        }
    }
}

/// Whether [`plan`] has something to say, for less than it costs to say it.
pub fn is_due<T: Shape + Clone>(version: &Version<T>, policy: &Policy) -> bool {
    most_crowded(version, policy).is_some() || holds_garbage(version).is_some()
}

/// The most urgent plan, if anything is due.
pub fn plan<T: Shape + Clone>(version: &Version<T>, policy: &Policy) -> Option<Plan<T>> {
    match most_crowded(version, policy) {
        // PLAN-1: all of them, so the oldest are among them.
        Some(0) => Some(with_overlaps(version, 0, version.level(0).to_vec())),
        Some(level) => Some(with_overlaps(version, level, vec![cheapest(version, level).clone()])),
        None => holds_garbage(version).map(|(level, table)| {
            Plan { inputs: vec![(level, vec![table.clone()])], target: level } // PLAN-3
        }),
    }
}

/// The plan that merges everything into the lowest level in use (at least level 1), so that nothing
/// superseded stays; `None` if nothing is there.
pub fn plan_all<T: Shape + Clone>(version: &Version<T>) -> Option<Plan<T>> {
    let used = |&level: &usize| !version.level(level).is_empty();
    let target = (0..LEVELS).rev().find(used)?.max(1);
    let inputs = (0..LEVELS).filter(used).map(|level| (level, version.level(level).to_vec()));
    Some(Plan { inputs: inputs.collect(), target })
}

/// The level with the highest score, if that is at least 1; of equal ones the uppermost. It has tables: an
/// empty one scores 0, or, where the limit is 0, no number.
fn most_crowded<T: Shape + Clone>(version: &Version<T>, policy: &Policy) -> Option<usize> {
    let scores = (0..LEVELS - 1).rev().map(|level| (score(version, policy, level), level));
    let due = scores.filter(|&(score, _)| score >= 1.0);
    due.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, level)| level)
}

fn score<T: Shape + Clone>(version: &Version<T>, policy: &Policy, level: usize) -> f64 {
    match level {
        0 => version.level(0).len() as f64 / policy.level0_tables as f64,
        _ => version.level_bytes(level) as f64 / policy.level_bytes(level) as f64,
    }
}

/// The table of `level`, which has one, that costs least to move down: the fewest bytes rewritten below
/// for each byte moved.
fn cheapest<T: Shape + Clone>(version: &Version<T>, level: usize) -> &T {
    let cost = |table: &T| {
        let summary = table.summary();
        let below = version.overlapping(level + 1, &summary.smallest.user, &summary.largest.user);
        let bytes: u64 = below.iter().map(|table| table.summary().bytes).sum();
        bytes as f64 / summary.bytes.max(1) as f64
    };
    let costs = version.level(level).iter().map(|table| (cost(table), table));
    let cheapest = costs.min_by(|a, b| a.0.total_cmp(&b.0));
    cheapest.expect("a level that is due has tables").1
}

/// A table, and its level, that refers to a value file which is mostly garbage; the worst file first.
///
/// Each such plan leaves fewer references to the file, and what it writes has no garbage, so there is an
/// end of them. Tables of level 0 have to wait until they are merged: two tables in the place of one
/// could break VERSION-1.
fn holds_garbage<T: Shape + Clone>(version: &Version<T>) -> Option<(usize, &T)> {
    let mut files: Vec<_> = version.values().iter().filter(|it| it.is_mostly_garbage()).collect();
    files.sort_by_key(|it| std::cmp::Reverse(it.garbage_bytes()));
    files.into_iter().find_map(|file| {
        let refers = |table: &T| {
            let refs = &table.summary().value_refs;
            refs.binary_search_by_key(&file.summary.id, |it| it.file).is_ok()
        };
        version.tables().find(|(level, table)| *level > 0 && refers(table))
    })
}

/// The plan to merge `upper` of `level`, which are not none, into the level below (PLAN-2).
fn with_overlaps<T: Shape + Clone>(version: &Version<T>, level: usize, upper: Vec<T>) -> Plan<T> {
    let target = level + 1;
    let smallest = upper.iter().map(|table| &table.summary().smallest.user).min();
    let largest = upper.iter().map(|table| &table.summary().largest.user).max();
    let (smallest, largest) = smallest.zip(largest).expect("there is a table to merge");
    let lower = version.overlapping(target, smallest, largest).to_vec();
    let mut inputs = vec![(level, upper)];
    if !lower.is_empty() {
        inputs.push((target, lower));
    }
    Plan { inputs, target }
}
