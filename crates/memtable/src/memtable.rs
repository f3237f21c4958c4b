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
//! - MAP-1: an id in a link, a `low`, `root` or `first_leaf` comes from this memtable's arena (that of
//!   entries or that of nodes, as the level says) and was published by a Release store after what it
//!   names was written whole.
//! - MAP-2: an entry never changes, moves or goes before the memtable drops.
//! - MAP-3: every key of a node is at least its low key; the low key of a node's right neighbour is
//!   greater than every key of the node. Low keys never change; a leaf holds its low key's entry.
//! - MAP-4: a search goes to a node only if the node's low key is less than the key sought.
#![expect(unsafe_code, reason = "follows ids to entries and nodes in the arenas")]

use std::ptr::NonNull;
use std::sync::Arc;

use stratalog_base::key::{MAX_KEY_BYTES, MAX_VALUE_BYTES};
use stratalog_base::sync::{AtomicU32, AtomicUsize, Mutex, Ordering, UnsafeCell};
use stratalog_base::{KeyRef, SeqNo, Slice, Trailer};

use crate::arena::Arena;
use crate::cursor::MemtableCursor;
use crate::node::{Link, Node};

/// Values longer than this lie in allocations of their own instead of behind their key.
const INLINE_VALUE_BYTES: usize = 64 << 10;

/// An ordered set of versioned entries in memory, for many writers and readers at once.
///
/// Share it by [`Arc`]: cursors and values keep it alive. All memory is freed with it, at the cost of
/// a few dozen chunks, however many the entries.
pub struct Memtable {
    pub(crate) entries: Arena<8, { if cfg!(loom) { 16 } else { 8 << 10 } }>,
    pub(crate) nodes:
        Arena<{ size_of::<Node>().next_power_of_two() }, { if cfg!(loom) { 2 } else { 64 } }>,
    /// The leftmost node of the topmost level.
    pub(crate) root: AtomicU32,
    /// The leaf at the left edge, which never splits off anything to its left.
    pub(crate) first_leaf: u32,
    /// Inserted entries that were there already.
    pub(crate) ignored: AtomicUsize,
    large_bytes: AtomicUsize,
    large: Mutex<Vec<Vec<u8>>>,
}

/// What stands before an entry's user key, which is followed by the value or, if the value is longer
/// than [`INLINE_VALUE_BYTES`], by its address. In a cell because loom then knows when it is read.
struct Head {
    trailer: Trailer,
    key_bytes: u32,
    value_bytes: u32,
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
    /// An empty memtable. The first entry takes about 70 KiB from the allocator, later growth doubles.
    pub fn new() -> Memtable {
        let mut memtable = Memtable {
            entries: Arena::new(),
            nodes: Arena::new(),
            root: AtomicU32::new(0),
            first_leaf: 0,
            ignored: AtomicUsize::new(0),
            large_bytes: AtomicUsize::new(0),
            large: Mutex::new(Vec::new()),
        };
        memtable.first_leaf = memtable.new_node(Node::new(0, 0, 0, &[], Link::NONE));
        memtable.root = AtomicU32::new(memtable.first_leaf);
        memtable
    }

    /// The newest version of `user` that is not newer than `seq`, be it a tombstone, with its value.
    /// The value is pinned: it keeps the whole memtable in memory.
    #[inline]
    pub fn get(self: &Arc<Self>, user: &[u8], seq: SeqNo) -> Option<(Trailer, Slice)> {
        let leaf = self.descend(KeyRef::seek(user, seq), 0, |_, _| ());
        let next = leaf.view.next;
        let id = if !leaf.link.is_none() {
            if leaf.link.prefix() != leaf.prefix {
                return None;
            }
            leaf.link.id()
        } else if !next.is_none() && next.prefix() == leaf.prefix {
            self.node(next.id()).low
        } else {
            return None;
        };
        self.entries.prefetch(id, 3);
        let entry = self.entry(id);
        (entry.key.user == user).then(|| (entry.key.trailer, self.pin(id)))
    }

    /// A cursor over all entries, invalid until a seek. It keeps the memtable alive.
    pub fn cursor(self: &Arc<Self>) -> MemtableCursor {
        MemtableCursor::new(self.clone())
    }

    /// Bytes in use: entries, the tree over them, and what was left unused where they met the end of
    /// a chunk. Compare this with the limit at which to seal.
    pub fn used_bytes(&self) -> usize {
        self.entries.used_bytes()
            + self.nodes.used_bytes()
            + self.large_bytes.load(Ordering::Relaxed)
    }

    /// Bytes taken from the allocator. Those not in use have not been touched, so the system need not
    /// have given memory for them yet.
    pub fn allocated_bytes(&self) -> usize {
        self.entries.allocated_bytes()
            + self.nodes.allocated_bytes()
            + self.large_bytes.load(Ordering::Relaxed)
    }

    /// Entries, with those that are just being inserted.
    pub fn len(&self) -> usize {
        let ignored = self.ignored.load(Ordering::Acquire);
        self.entries.allocations() - ignored
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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

    pub(crate) fn new_node(&self, node: Node) -> u32 {
        let (id, start) = self.nodes.alloc(size_of::<Node>());
        // SAFETY: ARENA-2: the memory is large and aligned enough and nobody else's yet.
        unsafe { start.cast().write(node) };
        id
    }

    /// The entry `id`, which is not 0 (MAP-1).
    #[inline]
    pub(crate) fn entry(&self, id: u32) -> Entry<'_> {
        const { assert!(align_of::<UnsafeCell<Head>>() <= 8) };
        // SAFETY: MAP-1, MAP-2: `new_entry` wrote a head there, then the key's bytes, then the value's
        // or their address; none of it changes while the memtable is borrowed.
        unsafe {
            let start = self.entries.at(id);
            let head = start.cast::<UnsafeCell<Head>>();
            let Head { trailer, key_bytes, value_bytes } = head.as_ref().with(|head| head.read());
            let (key_bytes, value_bytes) = (key_bytes as usize, value_bytes as usize);
            let user = head.add(1).cast::<u8>();
            let mut value = user.add(key_bytes).as_ptr().cast_const();
            if value_bytes > INLINE_VALUE_BYTES {
                value = value.cast::<*const u8>().read_unaligned();
            }
            let user = std::slice::from_raw_parts(user.as_ptr(), key_bytes);
            let value = std::slice::from_raw_parts(value, value_bytes);
            Entry { key: KeyRef { user, trailer }, value }
        }
    }

    pub(crate) fn new_entry(&self, key: KeyRef<'_>, value: &[u8]) -> u32 {
        assert!(key.user.len() <= MAX_KEY_BYTES, "key of {} bytes", key.user.len());
        assert!(value.len() <= MAX_VALUE_BYTES, "value of {} bytes", value.len());
        let large = value.len() > INLINE_VALUE_BYTES;
        let value_space = if large { size_of::<*const u8>() } else { value.len() };
        let head_space = size_of::<UnsafeCell<Head>>();
        let (id, start) = self.entries.alloc(head_space + key.user.len() + value_space);
        let head = Head {
            trailer: key.trailer,
            key_bytes: key.user.len() as u32,
            value_bytes: value.len() as u32,
        };
        // SAFETY: ARENA-2: the memory has room for all three and is nobody else's yet.
        unsafe {
            start.cast().write(UnsafeCell::new(head));
            let user = start.add(head_space);
            user.copy_from_nonoverlapping(NonNull::from(key.user).cast(), key.user.len());
            let behind = user.add(key.user.len());
            if large {
                behind.cast::<*const u8>().write_unaligned(self.keep_large(value));
            } else {
                behind.copy_from_nonoverlapping(NonNull::from(value).cast(), value.len());
            }
        }
        id
    }

    /// Copies `value` to an allocation of its own, which lives as long as the memtable.
    fn keep_large(&self, value: &[u8]) -> *const u8 {
        let value = value.to_vec();
        let start = value.as_ptr();
        self.large_bytes.fetch_add(value.capacity(), Ordering::Relaxed);
        self.large.lock().push(value);
        start
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
