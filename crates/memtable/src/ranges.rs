//! [`Ranges`]: range tombstones, read without a lock.
//!
//! Each insert makes a state: a tree over spans of keys, each with the newest tombstone that covers it
//! (`spans`). States stand in a chain in the order of sequence numbers. A reader at `seq` goes down the chain
//! to the newest state that is not newer, by jumps as in a skew-binary list (Myers, 1983), and looks its
//! key up in that tree. Each takes O(log n) comparisons.
//!
//! Numbers rise, except where writers overtake each other. A tombstone that comes late goes below the
//! states that are newer, and these are made anew on top of it: beside the old ones, as readers may stand in
//! those. If they are more than [`PATIENCE`], it begins a chain of its own instead. A chain that has become
//! so long that at most [`PATIENCE`] times as many states of the chain before would have to be made anew
//! is worked into that. So there is one chain if numbers rise; in the worst order `n` tombstones lie in
//! `log n` chains to the base [`PATIENCE`], all of which a reader asks, and O(log n) states are made for
//! each.
//!
//! What was replaced stays until the memtable drops; it is counted.
//!
//! # Invariants
//! - RANGE-1: what is reached from `newest` never changes, and holds every tombstone whose insert has
//!   returned, once.
//! - RANGE-2: numbers do not fall along a chain; a state's tree is made of its chain's tombstones up to its
//!   own, in that order.
//! - RANGE-3: a chain has at most a [`PATIENCE`]th of the tombstones of the chain before.

use std::iter::successors;

use stratalog_base::SeqNo;
use stratalog_base::budget::Account;
use stratalog_base::range::RangeTombstoneRef;
use stratalog_base::sync::{AtomicU32, Mutex, Ordering};

use crate::records::{Chain, Records, State, Tombstone};

/// How many states are made anew for each tombstone that comes late, at most.
const PATIENCE: u32 = if cfg!(loom) { 1 } else { 8 };

/// See the module page.
pub(crate) struct Ranges {
    /// The newest state of the newest chain; 0 if there is no tombstone.
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
    /// bounds for each state that it makes.
    pub(crate) fn insert(&self, tombstone: RangeTombstoneRef<'_>, account: &Account) {
        let _writer = self.writer.lock();
        let mut tombstones = vec![self.records.add_tombstone(tombstone, account)];
        let (base, chain) = self.take_apart(&mut tombstones, account);
        tombstones.sort_by_key(|&tombstone| self.records.tombstone(tombstone).seq); // RANGE-2
        let push = |before, tombstone| self.push(before, chain, tombstone, account);
        let newest = tombstones.into_iter().fold(base, push);
        // Release: RANGE-1: who sees the state sees all of it.
        self.newest.store(newest, Ordering::Release);
    }

    /// The newest tombstone that covers `user` and is not newer than `seq`.
    #[inline]
    pub(crate) fn covering(&self, user: &[u8], seq: SeqNo) -> Option<SeqNo> {
        match self.newest.load(Ordering::Acquire) {
            0 => None,
            newest => self.covering_in_chains(newest, user, seq),
        }
    }

    fn covering_in_chains(&self, newest: u32, user: &[u8], seq: SeqNo) -> Option<SeqNo> {
        self.chains(newest).fold(None, |found, chain| {
            let state = self.state(self.state_at(chain, seq));
            // Nothing in it is newer than the state.
            let Some(state) = state.filter(|state| Some(state.seq) > found) else {
                return found;
            };
            match self.records.covering(state.root, user) {
                0 => found,
                tombstone => found.max(Some(self.records.tombstone(tombstone).seq)),
            }
        })
    }

    /// All tombstones, in no order.
    pub(crate) fn tombstones(&self) -> impl Iterator<Item = RangeTombstoneRef<'_>> {
        let chains = self.chains(self.newest.load(Ordering::Acquire));
        chains.flat_map(|chain| self.down_from(chain)).map(|state| {
            let &Tombstone { seq, start, end } = self.records.tombstone(state.tombstone);
            RangeTombstoneRef { start: self.records.key(start), end: self.records.key(end), seq }
        })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        let chains = self.chains(self.newest.load(Ordering::Acquire));
        chains.map(|chain| self.len_at(chain) as usize).sum()
    }

    /// Bytes in use.
    pub(crate) fn used_bytes(&self) -> usize {
        self.records.used_bytes()
    }

    /// The newest state of each chain from `newest` on.
    fn chains(&self, newest: u32) -> impl Iterator<Item = u32> {
        let named = |name: u32| (name != 0).then_some(name);
        successors(named(newest), move |&newest| {
            let chain = named(self.records.state(newest).chain)?;
            Some(self.records.chain(chain).older)
        })
    }

    /// The state of that name, if it is one.
    #[inline]
    fn state(&self, name: u32) -> Option<&State> {
        (name != 0).then(|| self.records.state(name))
    }

    /// `state` and those before it.
    fn down_from(&self, state: u32) -> impl Iterator<Item = &State> {
        successors(self.state(state), |state| self.state(state.before))
    }

    fn len_at(&self, state: u32) -> u32 {
        self.state(state).map_or(0, |state| state.len)
    }

    /// The newest state of the chain from `newest` on that is not newer than `seq`, if there is one.
    #[inline]
    fn state_at(&self, newest: u32, seq: SeqNo) -> u32 {
        let mut at = newest;
        while at != 0 {
            let state = self.records.state(at);
            if state.seq <= seq {
                break;
            }
            // RANGE-2.
            at = if state.jump_seq > seq { state.jump } else { state.before };
        }
        at
    }

    /// Adds to `tombstones`, at first the new one, those of the states that are to be made anew. Returns the
    /// state on which to put them, 0 if none, and its chain.
    fn take_apart(&self, tombstones: &mut Vec<u32>, account: &Account) -> (u32, u32) {
        let seq = |tombstone: &u32| self.records.tombstone(*tombstone).seq;
        let mut newest = self.newest.load(Ordering::Relaxed); // Stored under the lock.
        while newest != 0 {
            let oldest = tombstones.iter().map(seq).min().expect("there is one at least");
            let base = self.state_at(newest, oldest);
            let newer = self.len_at(newest) - self.len_at(base);
            if newer > PATIENCE * tombstones.len() as u32 {
                let chain = Chain { older: newest, max_len: newer / PATIENCE }; // RANGE-3
                return (0, self.records.add_chain(chain, account));
            }
            let take = |state: u32, len: u32| {
                self.down_from(state).take(len as usize).map(|state| state.tombstone)
            };
            tombstones.extend(take(newest, newer));
            let chain = self.records.state(newest).chain;
            if chain == 0 {
                return (base, 0);
            }
            let Chain { older, max_len } = *self.records.chain(chain);
            if self.len_at(base) + tombstones.len() as u32 <= max_len {
                return (base, chain);
            }
            tombstones.extend(take(base, u32::MAX));
            newest = older;
        }
        (0, 0)
    }

    /// A state with `tombstone` on top of the state `before`.
    fn push(&self, before: u32, chain: u32, tombstone: u32, account: &Account) -> u32 {
        let (root, len) = self.state(before).map_or((0, 0), |last| (last.root, last.len));
        let jump = self.jump_over(before);
        let state = State {
            seq: self.records.tombstone(tombstone).seq,
            tombstone,
            root: self.records.cover(root, tombstone, account),
            before,
            jump,
            jump_seq: self.state(jump).map_or(0, |state| state.seq),
            len: len + 1,
            chain,
        };
        self.records.add_state(state, account)
    }

    /// Where a state on top of `before` jumps to: to `before`, or over its jump and the next if they are
    /// equally far.
    fn jump_over(&self, before: u32) -> u32 {
        let jump = |state: &State| self.state(state.jump);
        let Some(last) = self.state(before) else { return 0 };
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
        let chains = ranges.chains(ranges.newest.load(Ordering::Acquire));
        chains.map(|chain| ranges.len_at(chain)).collect()
    }

    fn assert_invariants(ranges: &Ranges) {
        let lens = lens(ranges);
        assert!(lens.windows(2).all(|pair| pair[0] * PATIENCE <= pair[1]), "RANGE-3: {lens:?}");
        for chain in ranges.chains(ranges.newest.load(Ordering::Acquire)) {
            for state in ranges.down_from(chain) {
                let before = ranges.state(state.before);
                assert_eq!(state.len, before.map_or(0, |before| before.len) + 1);
                assert!(before.is_none_or(|before| before.seq <= state.seq), "RANGE-2");
                let jump = ranges.state(state.jump);
                assert_eq!(state.jump_seq, jump.map_or(0, |jump| jump.seq));
                assert_eq!(ranges.state_at(chain, state.seq - 1), state.before, "RANGE-2");
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
