//! [`Shortcuts`]: from a key's first bytes straight to a node near the leaves.
//!
//! The upper levels of the tree are warm, but each costs a search among its links and the wait for the
//! next. A sorted array of eight bytes of each low key on one level takes their place: one search in
//! memory that a processor's own cache holds. As nodes split only to the right and low keys never change,
//! an array stays right for ever; it leads to ever more nodes to the left of where a key belongs, though,
//! so when the level has twice as many nodes a new one is made, by the insert that finds that. On a level
//! with more than [`MOST_NODES`] it goes to the level above.
//!
//! Keys whose eight bytes tie with a node's take the way through the tree; so do those that belong where many
//! nodes have split since, as with ascending keys: whoever is led too far to the left marks the place.
//!
//! # Invariants
//! - SHORT-1: an array never changes, but for its marks of crowded places, which are atomic. Its words ascend; a word stands for the low key of the node whose id has
//!   its place, by the eight bytes behind `common`, with which all these low keys begin.
//!
//! A word that is less than a key's own stands for a lower key (MAP-4): zeros stand for what is past a
//! key's end, and no byte is less.
#![expect(unsafe_code, reason = "shares arrays in cells that loom can watch")]

use std::hint::select_unpredictable;

use stratalog_base::sync::{AtomicBool, AtomicU32, AtomicUsize, Mutex, Ordering, UnsafeCell};

use crate::kept::Kept;
use crate::memtable::Memtable;
use crate::node::Link;
use crate::search::Shared;

/// The first array is made when its level has so many nodes.
const FIRST_NODES: usize = if cfg!(loom) { 2 } else { 64 };
/// Thirteen bytes each: so much fits in the cache of one core, and is gathered in a millisecond.
const MOST_NODES: usize = if cfg!(test) { 200 } else { 8 << 10 };
/// How far ahead low keys are asked for.
const AHEAD: usize = 8;
/// A place is left out from when so many nodes had to be passed to the right of it.
pub(crate) const CROWDED_NODES: usize = 4;

/// See the module page.
pub(crate) struct Shortcuts {
    /// Every array that there ever was: who searches may stand in it. The last one is in force.
    arrays: Kept<Cell>,
    /// The level of the nodes, how many it has, and at how many the next array is due: what decides when,
    /// not what is found.
    level: AtomicU32,
    nodes: AtomicUsize,
    due: AtomicUsize,
    /// Held by who makes one.
    maker: Mutex<()>,
}

/// In a cell because loom then knows when it is read.
struct Cell(UnsafeCell<Shortcut>);

// SAFETY: SHORT-1: nobody changes what is in it but by atomic stores.
unsafe impl Sync for Cell {}

struct Shortcut {
    level: u8,
    common: Box<[u8]>,
    words: Box<[u64]>,
    ids: Box<[u32]>,
    /// Whether the way to the right is too long by now.
    crowded: Box<[AtomicBool]>,
}

/// Where a search may begin.
pub(crate) struct Found<'a> {
    pub(crate) id: u32,
    pub(crate) shared: Shared,
    /// To be set by who has to pass [`CROWDED_NODES`].
    pub(crate) crowded: &'a AtomicBool,
}

impl Shortcuts {
    pub(crate) fn new() -> Shortcuts {
        Shortcuts {
            arrays: Kept::new(),
            level: AtomicU32::new(1),
            nodes: AtomicUsize::new(1),
            due: AtomicUsize::new(FIRST_NODES),
            maker: Mutex::new(()),
        }
    }

    /// A node on `level` or above that is on the way to `user`.
    #[inline]
    pub(crate) fn find(&self, user: &[u8], level: u8) -> Option<Found<'_>> {
        // SAFETY: SHORT-1.
        self.arrays.last()?.0.with(|shortcut| unsafe { &*shortcut }.find(user, level))
    }
}

impl Shortcut {
    fn new(level: u8, common: &[u8], words: Box<[u64]>, ids: Vec<u32>) -> Shortcut {
        let crowded = ids.iter().map(|_| AtomicBool::new(false)).collect();
        Shortcut { level, common: common.into(), words, ids: ids.into(), crowded }
    }

    #[inline]
    fn find(&self, user: &[u8], level: u8) -> Option<Found<'_>> {
        let common = self.common.len();
        if common > 0 && !user.starts_with(&self.common) {
            return None;
        }
        let sought = word(&user[common..]);
        // The last word that is less: each step halves `len` words from `at` on, of which it is one.
        let (mut at, mut len) = (0, self.words.len());
        if self.words[len - 1] < sought {
            (at, len) = (len - 1, 1); // Ascending keys come here.
        }
        while len > 1 {
            let half = len / 2;
            at = select_unpredictable(self.words[at + half] < sought, at + half, at);
            len -= half;
        }
        let ties = self.words.get(at + 1) == Some(&sought);
        if level > self.level || self.words[at] >= sought || ties {
            return None;
        }
        let crowded = &self.crowded[at];
        if crowded.load(Ordering::Relaxed) {
            return None;
        }
        let alike = (self.words[at] ^ sought).leading_zeros() as usize / 8;
        let shared = Shared { bytes: common + alike, exactly: true };
        Some(Found { id: self.ids[at], shared, crowded })
    }

    fn heap_bytes(&self) -> usize {
        let places = size_of_val(&*self.ids) + size_of_val(&*self.crowded);
        size_of_val(&*self.common) + size_of_val(&*self.words) + places
    }
}

/// The first eight bytes of `rest` as a number that orders like them; zeros stand for what is past the end.
#[inline]
fn word(rest: &[u8]) -> u64 {
    match rest.first_chunk() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => {
            let mut bytes = [0; 8];
            bytes[..rest.len()].copy_from_slice(rest);
            u64::from_be_bytes(bytes)
        }
    }
}

impl Memtable {
    /// Notes that an inner node of `level` has split.
    #[inline]
    pub(crate) fn note_split(&self, level: u8) {
        let shortcuts = &self.shortcuts;
        if u32::from(level) == shortcuts.level.load(Ordering::Relaxed) {
            let nodes = shortcuts.nodes.fetch_add(1, Ordering::Relaxed) + 1;
            if nodes >= shortcuts.due.load(Ordering::Relaxed) {
                self.make_shortcut();
            }
        }
    }

    /// Makes the array that is due, unless another thread does or has done.
    #[cold]
    fn make_shortcut(&self) {
        let shortcuts = &self.shortcuts;
        let Some(_maker) = shortcuts.maker.try_lock() else { return };
        let counted = shortcuts.nodes.load(Ordering::Relaxed);
        if counted < shortcuts.due.load(Ordering::Relaxed) {
            return;
        }
        let mut level = shortcuts.level.load(Ordering::Relaxed) as u8;
        if counted > MOST_NODES {
            level += 1;
        }
        let ids = self.ids_behind_the_first(level);
        // Splits meanwhile may go uncounted: the next array is due a little later then.
        shortcuts.level.store(u32::from(level), Ordering::Relaxed);
        shortcuts.nodes.store(ids.len() + 1, Ordering::Relaxed);
        shortcuts.due.store((2 * ids.len()).max(FIRST_NODES), Ordering::Relaxed);
        if ids.is_empty() {
            return; // The count came ahead of what it counts.
        }
        let shortcut = self.shortcut_to(level, ids);
        self.charge_apart(shortcut.heap_bytes() + Kept::<Cell>::NODE_BYTES);
        // Who sees the array sees it whole, and the nodes and entries that it was made from.
        shortcuts.arrays.push(Cell(UnsafeCell::new(shortcut)));
    }

    /// The nodes of `level` but that at the left edge, which has no low key.
    fn ids_behind_the_first(&self, level: u8) -> Vec<u32> {
        let mut node = self.node(self.root.load(Ordering::Acquire));
        while node.level > level {
            // The first child of a node at the left edge never changes: splits keep it.
            node = self.node(node.link(node.view().order, 0).id());
        }
        debug_assert_eq!(node.level, level, "so many nodes have others above them");
        let next = |id: u32| match self.node(id).view().next {
            Link::NONE => None,
            next => Some(next.id()),
        };
        std::iter::successors(Some(node.view().next.id()).filter(|id| *id != 0), |id| next(*id))
            .collect()
    }

    fn shortcut_to(&self, level: u8, ids: Vec<u32>) -> Shortcut {
        let low = |id| self.low_key(level, id).expect("only the left edge has no low key").user;
        let (first, last) = (low(ids[0]), low(ids[ids.len() - 1]));
        let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        let words = (0..ids.len()).map(|at| {
            if let Some(&ahead) = ids.get(at + AHEAD) {
                self.prefetch_entry(self.node(ahead).low);
            }
            word(&low(ids[at])[common..])
        });
        let words = words.collect();
        Shortcut::new(level, &first[..common], words, ids)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use stratalog_base::key::MAX_SEQ_NO;
    use stratalog_base::{Cursor, KeyRef, Kind};

    #[test]
    fn the_last_node_that_begins_below_a_key_is_found_unless_bytes_tie() {
        let words: Box<[u64]> = [10, 20, 20, 20, 30, 30, 50].map(|word| word << 56).into();
        for len in 1..=words.len() {
            let ids = (100..100 + len as u32).collect();
            let shortcut = Shortcut::new(1, b"user", words[..len].into(), ids);
            for byte in 0..=60 {
                let below = words[..len].iter().filter(|word| **word < u64::from(byte) << 56);
                let (below, ties) =
                    (below.count(), words[..len].contains(&(u64::from(byte) << 56)));
                let expected = (below > 0 && !ties).then(|| 99 + below as u32);
                let key = [b"user".as_slice(), &[byte]].concat();
                assert_eq!(shortcut.find(&key, 1).map(|found| found.id), expected, "{len} {byte}");
                assert!(shortcut.find(&key, 2).is_none());
            }
            for key in ["", "use", "usf", "uses1234", "zzzz"] {
                assert!(shortcut.find(key.as_bytes(), 1).is_none());
            }
        }
    }

    #[test]
    fn shared_bytes_are_counted_from_the_start_of_the_key() {
        let words = Box::new([word(b"ab\0\0"), word(b"abcdefgh")]);
        let shortcut = Shortcut::new(3, b"k", words, vec![7, 8]);
        let find = |key: &[u8], level| {
            shortcut.find(key, level).map(|found| (found.id, found.shared.bytes))
        };
        assert_eq!(find(b"kabcd", 0), Some((7, 3)));
        assert_eq!(find(b"kabcdefghi", 0), None, "ties with the second");
        assert_eq!(find(b"kabcdefgi", 3), Some((8, 8)));
        shortcut.crowded[1].store(true, Ordering::Relaxed);
        assert_eq!((find(b"kabcdefgi", 3), find(b"kabcd", 0)), (None, Some((7, 3))));
    }

    /// Key number `index` of a shape.
    type Shape = fn(u64) -> Vec<u8>;

    const SHAPES: [Shape; 4] = [
        |index| index.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes().to_vec(),
        |index| format!("user{:012}", index * 7_919 % 40_009).into_bytes(),
        // Of all lengths, with zeros behind, so that words tie with others'.
        |index| {
            vec![1 + (index % 199) as u8; 1 + (index / 199 % 5) as usize]
                .into_iter()
                .chain(std::iter::repeat_n(0, (index / 995) as usize))
                .collect()
        },
        |index| [b"the-same-bytes".as_slice(), &(index * 7_919 % 40_009).to_be_bytes()].concat(),
    ];

    #[test]
    fn keys_of_every_shape_are_found_by_shortcuts_or_without() {
        for (shape, count) in SHAPES.into_iter().zip([40_000, 40_000, 20_000, 10_000]) {
            let memtable = Arc::new(Memtable::new());
            let insert = |index| memtable.insert(KeyRef::new(&shape(index), index, Kind::Put), b"");
            let seq = |index| memtable.get(&shape(index), MAX_SEQ_NO).map(|found| found.0.seq());
            std::thread::scope(|scope| {
                for thread in 0..2 {
                    scope.spawn(move || {
                        for index in (thread..count).step_by(2) {
                            insert(index).unwrap();
                            let before = index.saturating_sub(64 * (index % 300)) / 2 * 2 + thread;
                            assert_eq!(seq(before.min(index)), Some(before.min(index)));
                        }
                    });
                }
            });
            assert_eq!(memtable.len() as u64, count);
            let mut cursor = memtable.cursor();
            for index in 0..count {
                assert_eq!(seq(index), Some(index));
                let key = shape(index);
                cursor.seek(KeyRef::before(&key)).unwrap();
                assert_eq!(cursor.key().user, key);
            }
            let Shortcuts { arrays, level, nodes, .. } = &memtable.shortcuts;
            assert!(arrays.last().is_some(), "an array was made");
            let (level, nodes) = (level.load(Ordering::Relaxed), nodes.load(Ordering::Relaxed));
            assert!(level > 1 || count < 40_000, "{nodes} nodes on level {level}");
        }
    }

    #[test]
    fn keys_that_come_side_by_side_do_not_walk_past_ever_more_nodes() {
        // At the end, and in the midst of others.
        for first in [u64::MAX - 100_000, 1 << 40] {
            let memtable = Memtable::new();
            let insert = |key: u64| {
                memtable.insert(KeyRef::new(&key.to_be_bytes(), 1, Kind::Put), b"").unwrap();
            };
            (0..20_000).for_each(|key| insert(key << 30));
            for key in first..first + 5_000 {
                insert(key);
                let key = key.to_be_bytes();
                let place = memtable.shortcuts.find(&key, 0).map(|found| {
                    let node = memtable.node(found.id);
                    memtable.locate(found.id, node, KeyRef::before(&key), found.shared)
                });
                assert!(place.is_none_or(|place| place.passed <= CROWDED_NODES));
            }
        }
    }
}
