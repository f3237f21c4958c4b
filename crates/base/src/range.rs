//! Range tombstones: [`RangeTombstone`], and [`Fragments`], which answers whether one covers a key.
//!
//! A range tombstone deletes a stretch of user keys: it hides every version of a key in
//! `start..end` whose sequence number is less than its own.
//!
//! The ends of `n` tombstones cut the keys into at most `2n - 1` spans, and what covers a span covers
//! all of it. Keeping for each span the list of what covers it would take n² numbers where tombstones
//! nest (`0..1`, `0..2`, `0..3`, as a queue deletes its front). So the spans are the leaves of a
//! segment tree: a tombstone stands in the at most `2 log n` nodes that together make up its spans,
//! and what covers a span is what stands in the nodes between its leaf and the root.

use std::cmp::Reverse;
use std::ops::Range;

use crate::SeqNo;

/// An owned range tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeTombstone {
    /// The first user key that it covers.
    pub start: Box<[u8]>,
    /// The first user key behind those that it covers.
    pub end: Box<[u8]>,
    /// Versions with lower sequence numbers are hidden.
    pub seq: SeqNo,
}

/// A borrowed range tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeTombstoneRef<'a> {
    /// As [`RangeTombstone::start`].
    pub start: &'a [u8],
    /// As [`RangeTombstone::end`].
    pub end: &'a [u8],
    /// As [`RangeTombstone::seq`].
    pub seq: SeqNo,
}

impl RangeTombstone {
    /// The borrowed form.
    pub fn as_ref(&self) -> RangeTombstoneRef<'_> {
        RangeTombstoneRef { start: &self.start, end: &self.end, seq: self.seq }
    }
}

impl RangeTombstoneRef<'_> {
    /// Whether it covers no key at all.
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// An owned copy.
    pub fn to_owned(self) -> RangeTombstone {
        RangeTombstone { start: self.start.into(), end: self.end.into(), seq: self.seq }
    }
}

/// Range tombstones, cut into spans. Immutable.
///
/// ```
/// use stratalog_base::range::{Fragments, RangeTombstoneRef};
///
/// let fragments = Fragments::new([
///     RangeTombstoneRef { start: b"a", end: b"m", seq: 3 },
///     RangeTombstoneRef { start: b"f", end: b"p", seq: 8 },
/// ]);
/// assert_eq!(fragments.covering(b"f", 9), Some(8));
/// assert_eq!(fragments.covering(b"f", 7), Some(3));
/// assert_eq!(fragments.covering(b"p", 9), None);
/// ```
#[derive(Debug, Default)]
pub struct Fragments {
    /// Where each bound ends in `bound_bytes`. Bound `i` begins span `i` and ends span `i - 1`; there is
    /// one more than there are spans, or none.
    bound_ends: Box<[usize]>,
    bound_bytes: Box<[u8]>,
    /// Sorted by start, then end, then newest first.
    tombstones: Box<[Tombstone]>,
    /// Where the numbers of each node of the tree end in `seqs`. The tree over `m` spans has the nodes
    /// `0..2m`, node `m + i` is the leaf of span `i`, node `i / 2` the parent of node `i`, and node 0
    /// is none.
    node_ends: Box<[usize]>,
    /// The sequence numbers of the tombstones that stand in each node, newest first.
    seqs: Box<[SeqNo]>,
}

/// A tombstone, its ends as indices of bounds.
#[derive(Debug)]
struct Tombstone {
    start: u32,
    end: u32,
    seq: SeqNo,
}

impl Fragments {
    /// Of `tombstones` in any order; those that cover no key are left out, and of equal ones all but
    /// one. Takes O(n log n) time and memory.
    ///
    /// # Panics
    /// If there are 2^31 or more.
    pub fn new<'a>(tombstones: impl IntoIterator<Item = RangeTombstoneRef<'a>>) -> Fragments {
        let mut given: Vec<_> = tombstones.into_iter().filter(|given| !given.is_empty()).collect();
        given.sort_unstable_by(|a, b| {
            a.start.cmp(b.start).then(a.end.cmp(b.end)).then(b.seq.cmp(&a.seq))
        });
        given.dedup();
        assert!(given.len() < 1 << 31, "{} range tombstones at once", given.len());
        let mut bounds: Vec<&[u8]> =
            given.iter().flat_map(|given| [given.start, given.end]).collect();
        bounds.sort_unstable();
        bounds.dedup();
        let index = |key| bounds.binary_search(&key).expect("the ends are among the bounds") as u32;
        let tombstones: Box<[Tombstone]> = given
            .iter()
            .map(|given| Tombstone {
                start: index(given.start),
                end: index(given.end),
                seq: given.seq,
            })
            .collect();
        let (node_ends, seqs) = stand_in_nodes(&tombstones, bounds.len().saturating_sub(1));
        let bound_ends = bounds.iter().scan(0, |end, bound| {
            *end += bound.len();
            Some(*end)
        });
        Fragments {
            bound_ends: bound_ends.collect(),
            bound_bytes: bounds.concat().into(),
            tombstones,
            node_ends,
            seqs,
        }
    }

    /// How many tombstones there are.
    pub fn len(&self) -> usize {
        self.tombstones.len()
    }

    /// Whether there is no tombstone.
    pub fn is_empty(&self) -> bool {
        self.tombstones.is_empty()
    }

    /// Bytes that it takes from the allocator.
    pub fn heap_bytes(&self) -> usize {
        size_of_val(&*self.bound_ends)
            + size_of_val(&*self.bound_bytes)
            + size_of_val(&*self.tombstones)
            + size_of_val(&*self.node_ends)
            + size_of_val(&*self.seqs)
    }

    /// The sequence number of the newest tombstone that covers `user` and is not newer than `seq`: a
    /// reader at `seq` does not see versions of `user` that are older than this.
    ///
    /// Compares `log n` keys, and then, where tombstones overlap, up to `log² n` numbers.
    pub fn covering(&self, user: &[u8], seq: SeqNo) -> Option<SeqNo> {
        self.nodes_over(self.span_of(user)?).filter_map(|seqs| newest_to(seqs, seq)).max()
    }

    /// The tombstones, sorted by start, then end, then newest first.
    pub fn tombstones(&self) -> impl ExactSizeIterator<Item = RangeTombstoneRef<'_>> {
        self.tombstones.iter().map(|&Tombstone { start, end, seq }| RangeTombstoneRef {
            start: self.bound(start as usize),
            end: self.bound(end as usize),
            seq,
        })
    }

    /// The least start and the greatest end.
    pub fn bounds(&self) -> Option<(&[u8], &[u8])> {
        let spans = self.spans_len();
        (spans > 0).then(|| (self.bound(0), self.bound(spans)))
    }

    fn spans_len(&self) -> usize {
        self.bound_ends.len().saturating_sub(1)
    }

    fn bound(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.bound_ends[before]);
        &self.bound_bytes[start..self.bound_ends[index]]
    }

    /// The span that holds `user`, if it lies between the first bound and the last.
    fn span_of(&self, user: &[u8]) -> Option<usize> {
        let (mut below, mut above) = (0, self.bound_ends.len());
        while below < above {
            let middle = below.midpoint(above);
            if self.bound(middle) <= user {
                below = middle + 1;
            } else {
                above = middle;
            }
        }
        below.checked_sub(1).filter(|&span| span < self.spans_len())
    }

    /// The numbers in the nodes from the leaf of `span` to the root.
    fn nodes_over(&self, span: usize) -> impl Iterator<Item = &[SeqNo]> {
        let leaf = self.spans_len() + span;
        let nodes = std::iter::successors(Some(leaf), |node| Some(node / 2));
        nodes.take_while(|&node| node > 0).map(|node| {
            let range = self.node_ends[node - 1]..self.node_ends[node];
            &self.seqs[range]
        })
    }
}

/// The first of `seqs`, which descend, that is not greater than `seq`.
fn newest_to(seqs: &[SeqNo], seq: SeqNo) -> Option<SeqNo> {
    seqs.get(seqs.partition_point(|&newer| newer > seq)).copied()
}

/// The numbers that stand in each node of the tree over `spans` spans, and where each node's end.
fn stand_in_nodes(tombstones: &[Tombstone], spans: usize) -> (Box<[usize]>, Box<[SeqNo]>) {
    let mut ends = vec![0; 2 * spans];
    let covers = |tombstone: &Tombstone| tombstone.start as usize..tombstone.end as usize;
    for tombstone in tombstones {
        for_each_node(covers(tombstone), spans, |node| ends[node] += 1);
    }
    let mut sum = 0;
    for end in &mut ends {
        // Where the node's numbers begin: filling it moves this to where they end.
        sum += std::mem::replace(end, sum);
    }
    let mut newest_first: Vec<&Tombstone> = tombstones.iter().collect();
    newest_first.sort_unstable_by_key(|tombstone| Reverse(tombstone.seq));
    let mut seqs = vec![0; sum];
    for tombstone in newest_first {
        for_each_node(covers(tombstone), spans, |node| {
            seqs[ends[node]] = tombstone.seq;
            ends[node] += 1;
        });
    }
    (ends.into(), seqs.into())
}

/// Names the nodes of the tree over `spans` spans that together make up `covered`, each span once.
fn for_each_node(covered: Range<usize>, spans: usize, mut each: impl FnMut(usize)) {
    let (mut start, mut end) = (covered.start + spans, covered.end + spans);
    while start < end {
        if start % 2 == 1 {
            each(start);
            start += 1;
        }
        if end % 2 == 1 {
            end -= 1;
            each(end);
        }
        start /= 2;
        end /= 2;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Xorshift64*: numbers that a seed determines.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: u64) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % end
        }

        /// Short keys of few letters, so that bounds meet and prefixes of each other are among them.
        fn key(&mut self) -> Box<[u8]> {
            (0..self.below(4)).map(|_| [0, 1, b'a', 0xff][self.below(4) as usize]).collect()
        }

        fn tombstone(&mut self) -> RangeTombstone {
            RangeTombstone { start: self.key(), end: self.key(), seq: self.below(40) }
        }
    }

    fn naive(tombstones: &[RangeTombstone], user: &[u8], seq: SeqNo) -> Option<SeqNo> {
        let covers = |t: &&RangeTombstone| *t.start <= *user && *user < *t.end && t.seq <= seq;
        tombstones.iter().filter(covers).map(|tombstone| tombstone.seq).max()
    }

    #[test]
    fn fragments_agree_with_a_list_of_tombstones() {
        for seed in 1..400 {
            let mut random = Random(seed);
            let count = random.below(if seed % 4 == 0 { 200 } else { 12 });
            let given: Vec<_> = (0..count).map(|_| random.tombstone()).collect();
            let fragments = Fragments::new(given.iter().map(RangeTombstone::as_ref));
            for _ in 0..200 {
                let (user, seq) = (random.key(), random.below(42));
                let right = naive(&given, &user, seq);
                assert_eq!(fragments.covering(&user, seq), right, "seed {seed}: {user:?} at {seq}");
            }
            let mut kept: Vec<_> =
                given.iter().filter(|given| !given.as_ref().is_empty()).collect();
            kept.sort_by_key(|t| (&t.start, &t.end, u64::MAX - t.seq));
            kept.dedup();
            assert!(
                fragments.tombstones().eq(kept.iter().map(|kept| kept.as_ref())),
                "seed {seed}"
            );
            assert_eq!((fragments.len(), fragments.is_empty()), (kept.len(), kept.is_empty()));
            let start = kept.iter().map(|kept| &*kept.start).min();
            let end = kept.iter().map(|kept| &*kept.end).max();
            assert_eq!(fragments.bounds(), start.zip(end), "seed {seed}");
        }
    }

    #[test]
    fn nested_tombstones_take_no_square_of_memory() {
        let key = |index: u64| index.to_be_bytes();
        let ends: Vec<_> = (1..=10_000).map(|end| (key(end), end)).collect();
        let nested = ends.iter().map(|(end, seq)| RangeTombstoneRef { start: b"", end, seq: *seq });
        let fragments = Fragments::new(nested);
        assert!(fragments.heap_bytes() < 10_000 * 300, "{}", fragments.heap_bytes());
        for user in [0, 1, 4_999, 9_999] {
            assert_eq!(fragments.covering(&key(user), SeqNo::MAX), Some(10_000));
            assert_eq!(fragments.covering(&key(user), user + 1), Some(user + 1));
            assert_eq!(fragments.covering(&key(user), user), None);
        }
        assert_eq!(fragments.covering(&key(10_000), SeqNo::MAX), None);
    }
}
