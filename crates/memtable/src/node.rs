//! [`Node`]: a sorted set of links that readers see whole at any moment, without a lock.
//!
//! A [`Link`] is an id with four bytes of its key, in one word, so that a search compares keys
//! without following links. Links lie in the slots in the order of their arrival; the [`Order`] word
//! says which slots are in use and how they sort. Adding a link writes a free slot and then replaces
//! that word: a reader has the old set or the new one. Two cache lines hold it all.
//!
//! # Invariants
//! - NODE-1: a slot named by the order in force has been written before that order was stored.
//! - NODE-2: a slot is written again only after the order lost it *and* the version moved on; so a
//!   reader who finds the version as it was has read slots that belong to the order it read.
//! - NODE-3: a node splits by storing `next` before the shorter order. A reader who loads the order
//!   first and `next` second never misses a link; it may meet links of both nodes if the version is
//!   odd, and only then.
//! - NODE-4: every key in the node shares its first `skip` bytes with `low`, or is greater than all
//!   that do; a link's prefix is the four bytes behind them, or [`Link::ABOVE`].

use stratalog_base::sync::{AtomicU32, AtomicU64, Mutex, Ordering, fence};

/// Links of a node.
pub(crate) const SLOTS: usize = if cfg!(loom) { 3 } else { 12 };

/// An id and four bytes of the key it stands for: prefix in the high half, so that links order as
/// their prefixes do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link(u64);

impl Link {
    pub(crate) const NONE: Link = Link(0);
    /// The prefix of keys that are greater than all with the node's shared bytes; other keys may
    /// have it, too.
    pub(crate) const ABOVE: u32 = u32::MAX;

    #[inline]
    pub(crate) fn new(prefix: u32, id: u32) -> Link {
        Link(u64::from(prefix) << 32 | u64::from(id))
    }

    #[inline]
    pub(crate) fn id(self) -> u32 {
        self.0 as u32
    }

    #[inline]
    pub(crate) fn prefix(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline]
    pub(crate) fn is_none(self) -> bool {
        self.id() == 0
    }
}

/// The four bytes of `user` behind the first `skip` as a number that orders like them; zeros stand
/// for what is past the end.
#[inline]
pub(crate) fn prefix(user: &[u8], skip: usize) -> u32 {
    let rest = user.get(skip..).unwrap_or_default();
    match rest.first_chunk() {
        Some(bytes) => u32::from_be_bytes(*bytes),
        None => {
            rest.iter().zip([24, 16, 8]).fold(0, |sum, (&byte, at)| sum | u32::from(byte) << at)
        }
    }
}

/// How many leading bytes two prefixes have in common.
#[inline]
pub(crate) fn common_prefix_bytes(a: u32, b: u32) -> usize {
    (a ^ b).leading_zeros() as usize / 8
}

/// How many links there are (bits 60 and up), which slots they are in (a bit each, the first slot's the
/// highest, from bit 48), and the numbers of these slots in the order of their keys (four bits each,
/// from bit 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order(u64);

impl Order {
    const USED: u32 = 48;
    const LEN: u32 = 60;

    #[inline]
    fn used(self) -> u64 {
        self.0 >> Self::USED & ((1 << SLOTS) - 1)
    }

    #[inline]
    pub(crate) fn len(self) -> usize {
        (self.0 >> Self::LEN) as usize
    }

    #[inline]
    fn slot(self, rank: usize) -> usize {
        (self.0 >> (4 * rank)) as usize & 15
    }

    /// A slot that is not in use; the order is not full.
    fn free_slot(self) -> usize {
        SLOTS - 1 - self.used().trailing_ones() as usize
    }

    /// With `slot` at `rank`.
    fn with(self, rank: usize, slot: usize) -> Order {
        let sorted = self.0 & ((1 << Self::USED) - 1);
        let below = sorted & ((1 << (4 * rank)) - 1);
        let above = (sorted ^ below) << 4 & ((1 << Self::USED) - 1);
        let used = (self.used() | 1 << (SLOTS - 1 - slot)) << Self::USED;
        let len = (self.len() as u64 + 1) << Self::LEN;
        Order(len | used | above | (slot as u64) << (4 * rank) | below)
    }

    /// Only the first `len`.
    fn truncated(self, len: usize) -> Order {
        (0..len).fold(Order(0), |order, rank| order.with(rank, self.slot(rank)))
    }
}

/// How many of the lowest 14 bits are ones; the others are zeros. Without an instruction for it, which not every
/// x86-64 has, the standard library's takes three times as many.
#[inline]
fn ones(bits: u64) -> usize {
    // Four copies, so placed that taking every fourth bit takes each bit once; then the sum of the nibbles.
    let spread = bits.wrapping_mul(1 << 45 | 1 << 30 | 1 << 15 | 1) & 0x1111_1111_1111_1111;
    (spread.wrapping_mul(0x1111_1111_1111_1111) >> 60) as usize
}

/// What a reader takes from a node before it looks at the slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    version: u32,
    pub(crate) order: Order,
    /// The node to the right and the prefix of its lowest key, by this node's `skip`.
    pub(crate) next: Link,
}

impl View {
    /// Whether the node is just splitting, so that the order may still name links that are `next`'s.
    #[inline]
    pub(crate) fn is_splitting(&self) -> bool {
        self.version % 2 == 1
    }
}

/// A node of the tree; see the module page.
#[repr(C, align(64))]
pub(crate) struct Node {
    order: AtomicU64,
    next: AtomicU64,
    /// Even; odd while the node splits.
    version: AtomicU32,
    /// The entry whose key is the lowest the node can hold; 0 at the left edge, which has no lowest.
    pub(crate) low: u32,
    /// See NODE-4. 0 at the left edge.
    pub(crate) skip: u32,
    /// 0 for a leaf, whose links are entries; else one more than the level of its children.
    pub(crate) level: u8,
    /// Held by who changes the node. Readers do not care.
    pub(crate) lock: Mutex<()>,
    slots: [AtomicU64; SLOTS],
}

const _: () = assert!(SLOTS as u32 * 4 <= Order::USED, "an order has four bits a slot");
const _: () =
    assert!(Order::USED + SLOTS as u32 <= Order::LEN, "and one more that says it is in use");
#[cfg(not(loom))]
const _: () = assert!(size_of::<Node>() == 128, "a node is two cache lines");

impl Node {
    /// A node of `links`, which are sorted.
    pub(crate) fn new(level: u8, low: u32, skip: u32, links: &[Link], next: Link) -> Node {
        let order = (0..links.len()).fold(Order(0), |order, rank| order.with(rank, rank));
        Node {
            order: AtomicU64::new(order.0),
            next: AtomicU64::new(next.0),
            version: AtomicU32::new(0),
            low,
            skip,
            level,
            lock: Mutex::new(()),
            slots: std::array::from_fn(|slot| {
                AtomicU64::new(links.get(slot).unwrap_or(&Link::NONE).0)
            }),
        }
    }

    #[inline]
    pub(crate) fn view(&self) -> View {
        let version = self.version.load(Ordering::Acquire);
        // NODE-3: in this order.
        let order = Order(self.order.load(Ordering::Acquire));
        let next = Link(self.next.load(Ordering::Acquire));
        View { version, order, next }
    }

    /// Whether all that was read from the slots since `view` was taken belongs to it (NODE-2).
    #[inline]
    pub(crate) fn unchanged_since(&self, view: &View) -> bool {
        // The slots were read before this load: if one of them was a later link, its Release store
        // makes the moved version visible here.
        fence(Ordering::Acquire);
        self.version.load(Ordering::Relaxed) == view.version
    }

    /// The link at `rank`, which must be less than the order's length. Acquire: what it leads to has
    /// been written, even if the link turns out not to belong to the view.
    #[inline]
    pub(crate) fn link(&self, order: Order, rank: usize) -> Link {
        Link(self.slots[order.slot(rank)].load(Ordering::Acquire))
    }

    /// How many links have a prefix less than `prefix`.
    #[inline]
    pub(crate) fn count_below(&self, order: Order, prefix: u32) -> usize {
        self.count_less(order, u64::from(prefix) << 32)
    }

    /// How many links have a prefix of at most `prefix`.
    #[inline]
    pub(crate) fn count_to(&self, order: Order, prefix: u32) -> usize {
        self.count_less(order, u64::from(prefix) << 32 | u64::from(u32::MAX))
    }

    /// Comparing all slots, in use or not, takes fewer cycles than a search among those in use: no
    /// branch depends on a key.
    #[inline]
    fn count_less(&self, order: Order, bound: u64) -> usize {
        let less = self
            .slots
            .iter()
            .fold(0, |less, slot| less << 1 | u64::from(slot.load(Ordering::Relaxed) < bound));
        ones(less & order.used())
    }

    /// Adds `link` at `rank`. The caller holds the lock; the node is not full.
    pub(crate) fn add(&self, rank: usize, link: Link) {
        let order = self.view().order;
        let slot = order.free_slot();
        // Release: NODE-2, for readers whose order still names the slot, and for who follows the link.
        self.slots[slot].store(link.0, Ordering::Release);
        // Release: NODE-1.
        self.order.store(order.with(rank, slot).0, Ordering::Release);
    }

    /// Gives up all but the first `len` links to `next`, which has them already. The caller holds the
    /// lock.
    pub(crate) fn split(&self, len: usize, next: Link) {
        let View { version, order, .. } = self.view();
        self.version.store(version + 1, Ordering::Relaxed);
        // Release: NODE-3: who sees `next` sees the odd version, and the other node whole.
        self.next.store(next.0, Ordering::Release);
        // Release: NODE-3: who sees the shorter order sees `next`.
        self.order.store(order.truncated(len).0, Ordering::Release);
        self.version.store(version + 2, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_order_keeps_slots_sorted_by_rank() {
        let mut order = Order(0);
        let mut model = Vec::new();
        for count in 0..SLOTS {
            let (rank, slot) = ((count * 7 + 3) % (count + 1), order.free_slot());
            order = order.with(rank, slot);
            model.insert(rank, slot);
            assert_eq!(order.len(), count + 1);
            assert_eq!((0..order.len()).map(|rank| order.slot(rank)).collect::<Vec<_>>(), model);
        }
        let order = order.truncated(5);
        assert_eq!((0..order.len()).map(|rank| order.slot(rank)).collect::<Vec<_>>(), model[..5]);
    }

    #[test]
    fn ones_are_counted() {
        assert!((0..1 << 14).all(|bits: u64| ones(bits) == bits.count_ones() as usize));
    }

    #[test]
    fn prefixes_order_like_keys_or_tie() {
        let keys: [&[u8]; 8] =
            [b"", b"\0", b"a", b"a\0", b"ab", b"abcd", b"abcde", b"\xff\xff\xff\xff"];
        assert!(keys.windows(2).all(|pair| prefix(pair[0], 0) <= prefix(pair[1], 0)));
        assert_eq!((prefix(b"abcdef", 2), prefix(b"abc", 2)), (0x63646566, 0x63000000));
        assert_eq!(prefix(b"abc", 9), 0);
    }

    #[test]
    fn a_node_counts_links_below_a_prefix() {
        let links: Vec<Link> = [3, 5, 5, 9].map(|prefix| Link::new(prefix, 1)).into();
        let node = Node::new(0, 0, 0, &links, Link::NONE);
        node.add(1, Link::new(4, 1));
        let order = node.view().order;
        assert_eq!([3, 4, 5, 6, 10].map(|p| node.count_below(order, p)), [0, 1, 2, 4, 5]);
        assert_eq!([2, 3, 4, 5, 9].map(|p| node.count_to(order, p)), [0, 1, 2, 4, 5]);
        node.split(2, Link::new(5, 7));
        let view = node.view();
        assert_eq!((view.order.len(), view.next, view.is_splitting()), (2, Link::new(5, 7), false));
    }
}
