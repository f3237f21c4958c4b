//! [`Memtable`]: a B-link tree of versioned entries.
//!
//! Leaves hold links to entries, inner nodes links to nodes, all of one kind ([`Node`]); every node
//! links to its right neighbour. A node that is full splits off its upper part as a new node, which is
//! complete before it can be reached: first from its left neighbour, then from the level above. So
//! the levels above may lag and are only a short cut: whoever comes to a node that has lost the key
//! goes on to the right. Changing a node takes that node's lock and no other; readers take none.
//!
//! What a search touches decides its cost: two cache lines a node, of which all but the leaf's are
//! warm, then the entry; keys that tie with a link's four bytes cost a look at the entry more.
//!
//! # Invariants
//! - MAP-1: an id in a link, a shortcut, a slot of `newest`, a `low`, `root` or `first_leaf` comes from this memtable's arena (that of
//!   entries or that of nodes, as the level says) and was published by a Release store after what it
//!   names was written whole.
//! - MAP-2: an entry never changes, moves or goes before the memtable drops.
//! - MAP-3: every key of a node is at least its low key; the low key of a node's right neighbour is
//!   greater than every key of the node. Low keys never change; a leaf holds its low key's entry.
//! - MAP-4: a search goes to a node only if the node's low key is less than the key sought.
#![expect(unsafe_code, reason = "follows ids to entries and nodes in the arenas")]

use std::ptr::NonNull;
use std::sync::Arc;

use stratalog_base::budget::{Account, Budget};
use stratalog_base::key::{MAX_KEY_BYTES, MAX_VALUE_BYTES};
use stratalog_base::range::RangeTombstoneRef;
use stratalog_base::sync::{AtomicU32, AtomicUsize, Ordering, UnsafeCell, prepare_heavy_fences};
use stratalog_base::{Bounds, KeyRef, SeqNo, Slice, Trailer};

use crate::arena::{Arena, prefetch};
use crate::blocks::Blocks;
use crate::cursor::MemtableCursor;
use crate::kept::Kept;
use crate::newest::{Found, Newest};
use crate::node::{Link, Node};
use crate::ranges::Ranges;
use crate::seal::Seal;
use crate::shortcuts::Shortcuts;

/// Values longer than this lie in allocations of their own instead of behind their key.
const INLINE_VALUE_BYTES: usize = Head::LARGE as usize - 1;

/// How much of an entry is asked for ahead: head, key and value, if they are of usual size.
const PREFETCH_BYTES: usize = 192;

/// An ordered set of versioned entries in memory, for many writers and readers at once.
///
/// Share it by [`Arc`]: cursors and values keep it alive. All memory is freed with it, at the cost of
/// a few dozen chunks, however many the entries; but for values from 32,767 bytes on, each of which is an allocation of its
/// own: that spares it the copy to a chunk that has room for it.
pub struct Memtable {
    pub(crate) entries: Blocks<8, { if cfg!(loom) { 16 } else { 8 << 10 } }>,
    pub(crate) nodes:
        Arena<{ size_of::<Node>().next_power_of_two() }, { if cfg!(loom) { 2 } else { 64 } }>,
    /// The leftmost node of the topmost level.
    pub(crate) root: AtomicU32,
    /// The leaf at the left edge, which never splits off anything to its left.
    pub(crate) first_leaf: u32,
    /// Inserted entries that were there already.
    pub(crate) ignored: AtomicUsize,
    /// What `large`, `shortcuts` and `newest` take.
    apart_bytes: AtomicUsize,
    /// What the arenas, `large`, `shortcuts` and `newest` take.
    pub(crate) account: Account,
    /// Values that lie in allocations of their own.
    large: Kept<Box<[u8]>>,
    pub(crate) ranges: Ranges,
    pub(crate) seal: Seal,
    pub(crate) shortcuts: Shortcuts,
    pub(crate) newest: Newest,
    /// What `used_bytes` is expected to become, or 0.
    pub(crate) expected_bytes: usize,
}

/// What stands before an entry's user key, which is followed by the value or, if the value is longer
/// than [`INLINE_VALUE_BYTES`], by its address and length. In a cell because loom then knows when it is read.
#[derive(Clone, Copy)]
#[repr(C, packed(4))]
struct Head {
    trailer: Trailer,
    /// The key's length, and above its bits the value's or [`Head::LARGE`].
    lens: u32,
}

impl Head {
    const KEY_BITS: u32 = MAX_KEY_BYTES.ilog2() + 1;
    /// Stands for the length of a value that is not behind its key.
    const LARGE: u32 = u32::MAX >> Self::KEY_BITS;
}

/// An entry where it lies.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) key: KeyRef<'a>,
    pub(crate) value: &'a [u8],
}

impl Default for Memtable {
    fn default() -> Memtable {
        Memtable::new()
    }
}

impl Memtable {
    /// An empty memtable. It takes 16 KiB, and its first entry 64 KiB more; later growth doubles,
    /// but takes address space only until it is touched. The first memtable in a process that has other threads
    /// takes some 20 ms ([`prepare_heavy_fences`]).
    pub fn new() -> Memtable {
        Memtable::with_budget(Arc::default(), 0)
    }

    /// An empty memtable that charges to `budget` all that it takes, [`Memtable::allocated_bytes`], until
    /// it drops. It is expected to use `expected_bytes` before it is sealed, or 0 if that is not known: then the
    /// hash table over its newest versions doubles as it grows, gathers all keys anew each time, and takes up to
    /// 22 bytes an entry instead of 6. With more than 4 GiB of entries there is no such table, and gets take the way through the tree;
    /// what is expected beyond that does not make it larger.
    pub fn with_budget(budget: Arc<Budget>, expected_bytes: usize) -> Memtable {
        prepare_heavy_fences();
        let mut memtable = Memtable {
            entries: Blocks::new(),
            nodes: Arena::new(),
            root: AtomicU32::new(0),
            first_leaf: 0,
            ignored: AtomicUsize::new(0),
            apart_bytes: AtomicUsize::new(0),
            account: Account::new(budget),
            large: Kept::new(),
            ranges: Ranges::new(),
            seal: Seal::new(),
            shortcuts: Shortcuts::new(),
            newest: Newest::new(),
            expected_bytes,
        };
        memtable.first_leaf = memtable.new_node(Node::new(0, 0, 0, &[], Link::NONE));
        memtable.root = AtomicU32::new(memtable.first_leaf);
        memtable.charge_apart(memtable.newest.first_bytes());
        memtable
    }

    /// The newest version of `user` that is not newer than `seq`, be it a tombstone, with its value.
    /// The value is pinned: it keeps the whole memtable in memory.
    ///
    /// Of an entry whose insert has not returned, one call may tell and the next not.
    #[inline]
    pub fn get(self: &Arc<Self>, user: &[u8], seq: SeqNo) -> Option<(Trailer, Slice)> {
        let (trailer, value) = self.get_ref(user, seq)?;
        // SAFETY: MAP-2: the value stays as it is while the memtable lives.
        Some((trailer, unsafe { Slice::pinned(value, self) }))
    }

    /// As [`Memtable::get`], without pinning: spares two writes to a count that all readers share.
    #[inline]
    pub fn get_ref(&self, user: &[u8], seq: SeqNo) -> Option<(Trailer, &[u8])> {
        match self.newest(user) {
            Found::Entry(id) => {
                let Entry { key, value } = self.entry(id);
                if key.trailer.seq() <= seq {
                    return Some((key.trailer, value));
                }
            }
            Found::Nothing => return None,
            Found::Unknown => (),
        }
        self.get_by_tree(user, seq)
    }

    fn get_by_tree(&self, user: &[u8], seq: SeqNo) -> Option<(Trailer, &[u8])> {
        let leaf = self.descend(KeyRef::seek(user, seq), 0, |_, _| ());
        let Entry { key, value } = self.entry(self.candidate(&leaf)?);
        (key.user == user).then_some((key.trailer, value))
    }

    /// A cursor over all entries, invalid until a seek. It keeps the memtable alive.
    pub fn cursor(self: &Arc<Self>) -> MemtableCursor {
        MemtableCursor::new(self.clone(), None)
    }

    /// A cursor over the entries within `bounds`; else as [`Memtable::cursor`].
    ///
    /// ```
    /// use std::sync::Arc;
    /// use stratalog_base::{Bounds, Cursor, KeyRef, Kind};
    ///
    /// let memtable = Arc::new(stratalog_memtable::Memtable::new());
    /// for user in [b"ada", b"bob", b"eve"] {
    ///     memtable.insert(KeyRef::new(user, 1, Kind::Put), b"")?;
    /// }
    /// let before = |user| Some(KeyRef::before(user).to_owned());
    /// let mut cursor = memtable.cursor_within(Bounds { lower: before(b"b"), upper: before(b"d") });
    /// cursor.seek_last().unwrap();
    /// assert_eq!(cursor.key().user, b"bob");
    /// cursor.prev().unwrap();
    /// assert!(!cursor.valid());
    /// # Ok::<(), stratalog_memtable::Sealed>(())
    /// ```
    pub fn cursor_within(self: &Arc<Self>, bounds: impl Into<Arc<Bounds>>) -> MemtableCursor {
        MemtableCursor::new(self.clone(), Some(bounds.into()))
    }

    /// The newest range tombstone that covers `user` and is not newer than `seq`: a reader at `seq` does not see
    /// versions of `user` that are older than this.
    ///
    /// Costs one load if there is none, else O(log n) comparisons; O(log² n) if tombstones came in another order
    /// than that of their numbers by far.
    #[inline]
    pub fn covering(&self, user: &[u8], seq: SeqNo) -> Option<SeqNo> {
        self.ranges.covering(user, seq)
    }

    /// All range tombstones whose insert has returned, in no order.
    pub fn range_tombstones(&self) -> impl Iterator<Item = RangeTombstoneRef<'_>> {
        self.ranges.tombstones()
    }

    /// Ends the memtable at the sequence number that `take_end` returns, and returns that: inserts from it on
    /// are refused, those below, which may be on their way, are still taken. Stops no writer and waits for none.
    ///
    /// `take_end` must return a number below which all have been handed out and from which on none has, and it
    /// must synchronise with those who take numbers later: by a read-modify-write of the counter
    /// that they count up, or under their lock. Inserts that meet a seal wait until it returns.
    ///
    /// The memtable is complete when every number below the end has been inserted, which is for whoever hands
    /// out numbers to know. Of several seals the first counts.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use stratalog_base::{KeyRef, Kind};
    /// use stratalog_memtable::{Memtable, Sealed};
    ///
    /// let (memtable, next) = (Memtable::new(), AtomicU64::new(0));
    /// let put = |seq| memtable.insert(KeyRef::new(b"ada", seq, Kind::Put), b"");
    /// let late = next.fetch_add(1, Ordering::AcqRel);
    /// assert_eq!(memtable.seal(|| next.fetch_add(0, Ordering::AcqRel)), 1);
    /// assert_eq!(put(late), Ok(()));
    /// assert_eq!(put(next.fetch_add(1, Ordering::AcqRel)), Err(Sealed { end: 1 }));
    /// ```
    pub fn seal(&self, take_end: impl FnOnce() -> SeqNo) -> SeqNo {
        self.seal.seal(take_end)
    }

    /// Where the memtable ends, if it is sealed.
    pub fn end(&self) -> Option<SeqNo> {
        self.seal.end()
    }

    /// Bytes in use: entries, values that lie apart, the tree over them, its hash tables and shortcuts, what was left
    /// unused where entries met the end of a chunk, range tombstones, and a block of up to 4 KiB for each of up to eight
    /// threads. Compare this with the limit at which to seal.
    pub fn used_bytes(&self) -> usize {
        self.entries.arena().used_bytes()
            + self.nodes.used_bytes()
            + self.ranges.used_bytes()
            + self.apart_bytes.load(Ordering::Relaxed)
    }

    /// Bytes taken from allocator and system, exactly; of chunks of 128 KiB and more, which are address space
    /// until they are touched, the steps of 64 KiB that were begun.
    pub fn allocated_bytes(&self) -> usize {
        self.account.bytes()
    }

    /// Entries, with those that are just being inserted.
    pub fn len(&self) -> usize {
        let ignored = self.ignored.load(Ordering::Acquire);
        self.entries.allocations() - ignored
    }

    /// Range tombstones.
    pub fn range_tombstones_len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there is neither an entry nor a range tombstone.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.ranges.len() == 0
    }

    /// The key that a link in a node of `level` stands for: that of the entry `id` or the low key of
    /// the node `id`. None, which is less than any, for the node at the left edge and for no node.
    #[inline]
    pub(crate) fn low_key(&self, level: u8, id: u32) -> Option<KeyRef<'_>> {
        let entry = match (level, id) {
            (0, id) => id,
            (_, 0) => 0,
            (_, id) => self.node(id).low,
        };
        (entry != 0).then(|| self.entry(entry).key)
    }

    /// The node `id`, which is not 0 (MAP-1).
    #[inline]
    pub(crate) fn node(&self, id: u32) -> &Node {
        // SAFETY: MAP-1; nodes are never freed before the arena, and shared from then on.
        unsafe { self.nodes.at(id).cast().as_ref() }
    }

    /// The node `id`, which is not 0 (MAP-1), with its cache lines on their way.
    #[inline]
    pub(crate) fn prefetch_node(&self, id: u32) -> &Node {
        let node = self.node(id);
        prefetch(NonNull::from(node).cast(), size_of::<Node>());
        node
    }

    pub(crate) fn new_node(&self, node: Node) -> u32 {
        let (id, start) = self.nodes.alloc(size_of::<Node>(), &self.account);
        // SAFETY: ARENA-2: the memory is large and aligned enough and nobody else's yet.
        unsafe { start.cast().write(node) };
        id
    }

    /// The entry `id`, which is not 0 (MAP-1).
    #[inline]
    pub(crate) fn entry(&self, id: u32) -> Entry<'_> {
        const { assert!(align_of::<UnsafeCell<Head>>() <= 8) };
        // SAFETY: MAP-1, MAP-2: `new_entry` wrote a head there, then the key's bytes, then the value's
        // or where they are; none of it changes while the memtable is borrowed.
        unsafe {
            let start = self.entries.arena().at(id);
            let head = start.cast::<UnsafeCell<Head>>();
            let Head { trailer, lens } = head.as_ref().with(|head| head.read());
            let key_bytes = (lens & ((1 << Head::KEY_BITS) - 1)) as usize;
            let user = std::slice::from_raw_parts(head.add(1).cast::<u8>().as_ptr(), key_bytes);
            let behind = user.as_ptr().add(key_bytes);
            let value = match lens >> Head::KEY_BITS {
                Head::LARGE => &*behind.cast::<*const [u8]>().read_unaligned(),
                value_bytes => std::slice::from_raw_parts(behind, value_bytes as usize),
            };
            Entry { key: KeyRef { user, trailer }, value }
        }
    }

    /// Has the first bytes of the entry `id`, which is not 0 (MAP-1), on their way.
    #[inline]
    pub(crate) fn prefetch_entry(&self, id: u32) {
        self.prefetch_bytes_of(id, PREFETCH_BYTES);
    }

    /// As [`Memtable::prefetch_entry`], but only what holds the key, if that is of usual size.
    #[inline]
    pub(crate) fn prefetch_key(&self, id: u32) {
        self.prefetch_bytes_of(id, 64);
    }

    #[inline]
    fn prefetch_bytes_of(&self, id: u32, bytes: usize) {
        if cfg!(loom) {
            return; // Not a load more for the models.
        }
        // SAFETY: MAP-1.
        prefetch(unsafe { self.entries.arena().at(id) }, bytes);
    }

    pub(crate) fn new_entry(&self, key: KeyRef<'_>, value: &[u8]) -> u32 {
        assert!(key.user.len() <= MAX_KEY_BYTES, "key of {} bytes", key.user.len());
        assert!(value.len() <= MAX_VALUE_BYTES, "value of {} bytes", value.len());
        let large = value.len() > INLINE_VALUE_BYTES;
        let (value_space, value_len) = if large {
            (size_of::<*const [u8]>(), Head::LARGE)
        } else {
            (value.len(), value.len() as u32)
        };
        let head_space = size_of::<UnsafeCell<Head>>();
        let bytes = head_space + key.user.len() + value_space;
        let (id, start) = self.entries.alloc(bytes, &self.account);
        let lens = key.user.len() as u32 | value_len << Head::KEY_BITS;
        // SAFETY: ARENA-2: the memory has room for all three and is nobody else's yet.
        unsafe {
            start.cast().write(UnsafeCell::new(Head { trailer: key.trailer, lens }));
            let user = start.add(head_space);
            user.copy_from_nonoverlapping(NonNull::from(key.user).cast(), key.user.len());
            let behind = user.add(key.user.len());
            if large {
                behind.cast::<*const [u8]>().write_unaligned(self.keep_large(value));
            } else {
                behind.copy_from_nonoverlapping(NonNull::from(value).cast(), value.len());
            }
        }
        id
    }

    /// Copies `value` to an allocation of its own, which lives as long as the memtable.
    fn keep_large(&self, value: &[u8]) -> *const [u8] {
        self.charge_apart(value.len() + Kept::<Box<[u8]>>::NODE_BYTES);
        &raw const **self.large.push(value.into())
    }

    pub(crate) fn charge_apart(&self, bytes: usize) {
        self.apart_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.account.charge(bytes);
    }

    /// The entry's value, for as long as the slice may live.
    #[inline]
    pub(crate) fn pin(self: &Arc<Self>, id: u32) -> Slice {
        // SAFETY: MAP-2: the value stays as it is while the memtable lives.
        unsafe { Slice::pinned(self.entry(id).value, self) }
    }
}

impl std::fmt::Debug for Memtable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memtable").field("len", &self.len()).finish_non_exhaustive()
    }
}
