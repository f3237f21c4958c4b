//! [`Ranges`]: range tombstones, read without a lock.
//!
//! Each insert makes a version: a tree over spans of keys, each with the newest tombstone that covers it.
//! Versions stand in a chain in the order of sequence numbers. A reader at `seq` goes along it to the
//! newest version that is not newer, by jumps as in a skew-binary list (Myers, 1983), and looks its key up
//! in that tree. Each takes O(log n) comparisons.
//!
//! Numbers rise, except where writers overtake each other. A tombstone that comes late goes below the
//! versions that are newer, and these are made anew on top of it: on a branch of their own, as readers
//! may stand in the old ones. If they are more than [`PATIENCE`], it begins a chain of its own instead, a
//! run. A run that has become so long that at most [`PATIENCE`] times as many versions of the run before
//! would have to be made anew is worked into that. So there is one run if numbers rise; in the worst
//! order `n` tombstones lie in `log n` runs to the base [`PATIENCE`], all of which a reader asks, and for each
//! O(log n) versions are made.
//!
//! What was replaced stays until the memtable drops; it is counted.
//!
//! # Invariants
//! - RANGE-1: what is reached from `newest` never changes, and holds every tombstone whose insert has
//!   returned, once.
//! - RANGE-2: numbers do not fall along the chain of a run; a version's tree is made of the tombstones of the
//!   chain up to it, in its order.
//! - RANGE-3: a run has at most a [`PATIENCE`]th of the tombstones of the run before.

use std::iter::successors;

use stratalog_base::SeqNo;
use stratalog_base::budget::Account;
use stratalog_base::range::RangeTombstoneRef;
use stratalog_base::sync::{AtomicU32, Mutex, Ordering};

use crate::records::{Records, Run, Tombstone, Version};

/// How many versions are made anew for each tombstone that comes late, at most.
const PATIENCE: u32 = if cfg!(loom) { 1 } else { 8 };

/// See the module page.
pub(crate) struct Ranges {
    /// The newest version of the newest run; 0 if there is no tombstone.
    newest: AtomicU32,
    records: Records,
    /// Held by who adds one.
    writer: Mutex<()>,
}

impl Ranges {
    pub(crate) fn new() -> Ranges {
        let newest = AtomicU32::new(0);
        Ranges { newest, records: Records::new(), writer: Mutex::new(()) }
    }

    /// Adds `tombstone`, for memory that is charged to `account`. Waits for no reader; copies O(log n)
    /// bounds for each version that it makes.
    pub(crate) fn insert(&self, tombstone: RangeTombstoneRef<'_>, account: &Account) {
        let _writer = self.writer.lock();
        let mut tombstones = vec![self.records.add_tombstone(tombstone, account)];
        let (base, run) = self.take_apart(&mut tombstones, account);
        tombstones.sort_by_key(|&tombstone| self.records.tombstone(tombstone).seq); // RANGE-2
        let push = |before, tombstone| self.push(before, run, tombstone, account);
        let newest = tombstones.into_iter().fold(base, push);
        // Release: RANGE-1: who sees the version sees all of it.
        self.newest.store(newest, Ordering::Release);
    }

    /// The newest tombstone that covers `user` and is not newer than `seq`.
    #[inline]
    pub(crate) fn covering(&self, user: &[u8], seq: SeqNo) -> Option<SeqNo> {
        match self.newest.load(Ordering::Acquire) {
            0 => None,
            newest => self.covering_in_runs(newest, user, seq),
        }
    }

    fn covering_in_runs(&self, newest: u32, user: &[u8], seq: SeqNo) -> Option<SeqNo> {
        self.runs(newest).fold(None, |found, run| {
            let version = self.version(self.version_at(run, seq));
            // Nothing in it is newer than the version.
            let Some(version) = version.filter(|version| Some(version.seq) > found) else {
                return found;
            };
            match self.records.covering(version.root, user) {
                0 => found,
                tombstone => found.max(Some(self.records.tombstone(tombstone).seq)),
            }
        })
    }

    /// All tombstones, in no order.
    pub(crate) fn tombstones(&self) -> impl Iterator<Item = RangeTombstoneRef<'_>> {
        let runs = self.runs(self.newest.load(Ordering::Acquire));
        runs.flat_map(|run| self.chain(run)).map(|version| {
            let &Tombstone { seq, start, end } = self.records.tombstone(version.tombstone);
            RangeTombstoneRef { start: self.records.key(start), end: self.records.key(end), seq }
        })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        let runs = self.runs(self.newest.load(Ordering::Acquire));
        runs.map(|run| self.len_at(run) as usize).sum()
    }

    /// Bytes in use.
    pub(crate) fn used_bytes(&self) -> usize {
        self.records.used_bytes()
    }

    /// The newest version of each run from `newest` on.
    fn runs(&self, newest: u32) -> impl Iterator<Item = u32> {
        let named = |name: u32| (name != 0).then_some(name);
        successors(named(newest), move |&newest| {
            let run = named(self.records.version(newest).run)?;
            Some(self.records.run(run).older)
        })
    }

    /// The version of that name, if it is one.
    #[inline]
    fn version(&self, name: u32) -> Option<&Version> {
        (name != 0).then(|| self.records.version(name))
    }

    /// `version` and those before it.
    fn chain(&self, version: u32) -> impl Iterator<Item = &Version> {
        successors(self.version(version), |version| self.version(version.before))
    }

    fn len_at(&self, version: u32) -> u32 {
        self.version(version).map_or(0, |version| version.len)
    }

    /// The newest version of the chain from `newest` on that is not newer than `seq`, if there is one.
    #[inline]
    fn version_at(&self, newest: u32, seq: SeqNo) -> u32 {
        let mut at = newest;
        while at != 0 {
            let version = self.records.version(at);
            if version.seq <= seq {
                break;
            }
            // RANGE-2.
            at = if version.jump_seq > seq { version.jump } else { version.before };
        }
        at
    }

    /// Adds to `tombstones`, which is the new one, those of the versions to be made anew with it. Returns the version on
    /// which to put them, 0 if none, and its run.
    fn take_apart(&self, tombstones: &mut Vec<u32>, account: &Account) -> (u32, u32) {
        let seq = |tombstone: &u32| self.records.tombstone(*tombstone).seq;
        let mut newest = self.newest.load(Ordering::Relaxed); // Stored under the lock.
        while newest != 0 {
            let oldest = tombstones.iter().map(seq).min().expect("there is one at least");
            let base = self.version_at(newest, oldest);
            let newer = self.len_at(newest) - self.len_at(base);
            if newer > PATIENCE * tombstones.len() as u32 {
                let run = Run { older: newest, max_len: newer / PATIENCE }; // RANGE-3
                return (0, self.records.add_run(run, account));
            }
            let take = |version: u32, len: u32| {
                self.chain(version).take(len as usize).map(|version| version.tombstone)
            };
            tombstones.extend(take(newest, newer));
            let run = self.records.version(newest).run;
            if run == 0 {
                return (base, 0);
            }
            let Run { older, max_len } = *self.records.run(run);
            if self.len_at(base) + tombstones.len() as u32 <= max_len {
                return (base, run);
            }
            tombstones.extend(take(base, u32::MAX));
            newest = older;
        }
        (0, 0)
    }

    /// A version with `tombstone` on top of the version `before`.
    fn push(&self, before: u32, run: u32, tombstone: u32, account: &Account) -> u32 {
        let (root, len) = self.version(before).map_or((0, 0), |last| (last.root, last.len));
        let jump = self.jump_over(before);
        let version = Version {
            seq: self.records.tombstone(tombstone).seq,
            tombstone,
            root: self.records.cover(root, tombstone, account),
            before,
            jump,
            jump_seq: self.version(jump).map_or(0, |version| version.seq),
            len: len + 1,
            run,
        };
        self.records.add_version(version, account)
    }

    /// Where a version on top of `before` jumps to: to `before`, or over its jump and the next if they are
    /// equally far.
    fn jump_over(&self, before: u32) -> u32 {
        let jump = |version: &Version| self.version(version.jump);
        let Some(last) = self.version(before) else { return 0 };
        let Some(middle) = jump(last) else { return before };
        let far_len = jump(middle).map_or(0, |far| far.len);
        if last.len - middle.len == middle.len - far_len { middle.jump } else { before }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// The tombstone `seq..seq + 3`, inserted.
    fn insert(ranges: &Ranges, seq: u64, account: &Account) {
        let (start, end) = (seq.to_be_bytes(), (seq + 3).to_be_bytes());
        ranges.insert(RangeTombstoneRef { start: &start, end: &end, seq }, account);
    }

    fn lens(ranges: &Ranges) -> Vec<u32> {
        let runs = ranges.runs(ranges.newest.load(Ordering::Acquire));
        runs.map(|run| ranges.len_at(run)).collect()
    }

    fn assert_invariants(ranges: &Ranges) {
        let lens = lens(ranges);
        assert!(lens.windows(2).all(|pair| pair[0] * PATIENCE <= pair[1]), "RANGE-3: {lens:?}");
        for run in ranges.runs(ranges.newest.load(Ordering::Acquire)) {
            for version in ranges.chain(run) {
                let before = ranges.version(version.before);
                assert_eq!(version.len, before.map_or(0, |before| before.len) + 1);
                assert!(before.is_none_or(|before| before.seq <= version.seq), "RANGE-2");
                let jump = ranges.version(version.jump);
                assert_eq!(version.jump_seq, jump.map_or(0, |jump| jump.seq));
                assert_eq!(ranges.version_at(run, version.seq - 1), version.before, "RANGE-2");
            }
        }
    }

    /// Inserts `seqs`, which are 1 to their number in some order; returns the bytes a tombstone.
    fn assert_orderly(seqs: &[u64]) -> usize {
        let (ranges, account) = (Ranges::new(), Account::default());
        for (count, &seq) in (1..).zip(seqs) {
            insert(&ranges, seq, &account);
            assert_eq!(ranges.len(), count, "RANGE-1");
            if count.is_power_of_two() || count == seqs.len() {
                assert_invariants(&ranges);
                let mut met: Vec<_> = ranges.tombstones().map(|tombstone| tombstone.seq).collect();
                let mut given = seqs[..count].to_vec();
                met.sort_unstable();
                given.sort_unstable();
                assert_eq!(met, given, "RANGE-1");
            }
        }
        ranges.used_bytes() / seqs.len()
    }

    #[test]
    fn any_order_is_orderly_and_costs_no_more_than_a_few_times_the_usual_one() {
        const COUNT: u64 = 20_000;
        let rising: Vec<u64> = (1..=COUNT).collect();
        let swapped: Vec<u64> =
            rising.chunks(2).flat_map(|two| two.iter().rev()).copied().collect();
        let falling: Vec<u64> = rising.iter().rev().copied().collect();
        // COUNT and 7_919 have no common divisor.
        let mixed: Vec<u64> = rising.iter().map(|seq| seq * 7_919 % COUNT + 1).collect();
        let blocks: Vec<u64> = rising.rchunks(300).flatten().copied().collect();
        let usual = assert_orderly(&rising);
        println!("{usual} bytes");
        for (name, seqs, times) in [
            ("swapped", swapped, 2),
            ("falling", falling, 16),
            ("mixed", mixed, 16),
            ("blocks", blocks, 16),
        ] {
            let bytes = assert_orderly(&seqs);
            println!("{name}: {bytes} bytes");
            assert!(bytes < times * usual, "{name}: {bytes} bytes instead of {usual}");
        }
    }

    #[test]
    fn what_comes_late_lies_in_one_run_with_what_came_before_it() {
        let (ranges, account) = (Ranges::new(), Account::default());
        (1..=1000).for_each(|seq| insert(&ranges, 2 * seq, &account));
        let late = 2 * (1000 - u64::from(PATIENCE)) + 1;
        insert(&ranges, late, &account);
        assert_eq!(lens(&ranges), [1001]);
        insert(&ranges, late - 4, &account);
        assert_eq!(lens(&ranges), [1, 1001], "as more than PATIENCE are newer");
        insert(&ranges, 3000, &account);
        assert_eq!(lens(&ranges), [1003]);
    }
}
