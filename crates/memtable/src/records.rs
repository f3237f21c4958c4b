//! [`Records`]: what range tombstones and the trees over them consist of, as it lies in memory.
//!
//! | record | head | behind it |
//! |---|---|---|
//! | key | its length | its bytes |
//! | tombstone | [`Tombstone`] | |
//! | node | [`NodeHead`] | its [`Bound`]s |
//! | state | [`State`] | |
//! | chain | [`Chain`] | |
//!
//! A record is named by its offset; none has the name 0.
//!
//! # Invariants
//! - RECORD-1: a record is written before its name is known and never changed; a name is looked up only as what
//!   it was made for, by who made it or has it from a record or from where it was published.
#![expect(unsafe_code, reason = "reads and writes records where they lie")]

use std::ptr::NonNull;

use stratalog_base::SeqNo;
use stratalog_base::budget::Account;
use stratalog_base::range::RangeTombstoneRef;
use stratalog_base::sync::UnsafeCell;

use crate::arena::Arena;

/// See the module page.
pub(crate) struct Records {
    /// Nodes, most of which belong to old trees only.
    nodes: Heap,
    /// All else, which lies closer together by itself: 100 000 tombstones are looked up in half to two thirds of
    /// the time ([decision 0030](../../../docs/decisions/0030-range-tombstones-share-trees.md)).
    rest: Heap,
}

/// Records with their heads in front.
struct Heap {
    arena: Arena<8, { if cfg!(loom) { 16 } else { 128 } }>,
}

/// A range tombstone.
#[derive(Clone, Copy)]
pub(crate) struct Tombstone {
    pub(crate) seq: SeqNo,
    /// Keys.
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// What a node of a tree begins with.
#[derive(Clone, Copy)]
pub(crate) struct NodeHead {
    /// 0 for leaves.
    pub(crate) level: u16,
    len: u16,
}

/// Where a span begins, or those of a node.
#[derive(Clone, Copy)]
pub(crate) struct Bound {
    /// The first key.
    pub(crate) key: u32,
    /// In a leaf: the tombstone that covers what lies between this bound and the next, 0 if none does.
    /// Else: the node with the bounds from this one on.
    pub(crate) to: u32,
}

/// What the tombstones of a chain make up to one of them.
#[derive(Clone, Copy)]
pub(crate) struct State {
    /// That of `tombstone`, the newest.
    pub(crate) seq: SeqNo,
    pub(crate) tombstone: u32,
    /// Of the tree over all of them.
    pub(crate) root: u32,
    /// The state without the newest; 0 if that is all.
    pub(crate) before: u32,
    /// An older state, to which a search may jump, and its number; 0 if none.
    pub(crate) jump: u32,
    pub(crate) jump_seq: SeqNo,
    /// How many there are.
    pub(crate) len: u32,
    /// 0 for the first chain.
    pub(crate) chain: u32,
}

/// What the states of a chain share, if it is not the first.
#[derive(Clone, Copy)]
pub(crate) struct Chain {
    /// The newest state of the chain before.
    pub(crate) older: u32,
    /// The most tombstones it holds before it is worked into that.
    pub(crate) max_len: u32,
}

impl Records {
    pub(crate) fn new() -> Records {
        Records { nodes: Heap { arena: Arena::new() }, rest: Heap { arena: Arena::new() } }
    }

    /// Bytes in use.
    pub(crate) fn used_bytes(&self) -> usize {
        self.nodes.arena.used_bytes() + self.rest.arena.used_bytes()
    }

    pub(crate) fn add_tombstone(&self, given: RangeTombstoneRef<'_>, account: &Account) -> u32 {
        let add_key = |key: &[u8]| self.rest.add(key.len() as u32, key, account);
        let (start, end) = (add_key(given.start), add_key(given.end));
        self.rest.add::<_, u8>(Tombstone { seq: given.seq, start, end }, &[], account)
    }

    pub(crate) fn add_node(&self, level: u16, bounds: &[Bound], account: &Account) -> u32 {
        self.nodes.add(NodeHead { level, len: bounds.len() as u16 }, bounds, account)
    }

    pub(crate) fn add_state(&self, state: State, account: &Account) -> u32 {
        self.rest.add::<_, u8>(state, &[], account)
    }

    pub(crate) fn add_chain(&self, chain: Chain, account: &Account) -> u32 {
        self.rest.add::<_, u8>(chain, &[], account)
    }

    #[inline]
    pub(crate) fn key(&self, key: u32) -> &[u8] {
        // SAFETY: RECORD-1: as many bytes as the head says.
        unsafe { self.rest.record::<u32, u8>(key, |len| *len as usize).1 }
    }

    #[inline]
    pub(crate) fn tombstone(&self, tombstone: u32) -> &Tombstone {
        // SAFETY: RECORD-1.
        unsafe { self.rest.record::<_, u8>(tombstone, |_| 0).0 }
    }

    /// The level and the bounds of `node`.
    #[inline]
    pub(crate) fn node(&self, node: u32) -> (u16, &[Bound]) {
        // SAFETY: RECORD-1: as many bounds as the head says.
        unsafe {
            let (head, bounds) = self.nodes.record(node, |head: &NodeHead| head.len.into());
            (head.level, bounds)
        }
    }

    #[inline]
    pub(crate) fn state(&self, state: u32) -> &State {
        // SAFETY: RECORD-1.
        unsafe { self.rest.record::<_, u8>(state, |_| 0).0 }
    }

    #[inline]
    pub(crate) fn chain(&self, chain: u32) -> &Chain {
        // SAFETY: RECORD-1.
        unsafe { self.rest.record::<_, u8>(chain, |_| 0).0 }
    }
}

impl Heap {
    fn add<H: Copy, T: Copy>(&self, head: H, behind: &[T], account: &Account) -> u32 {
        const {
            assert!(align_of::<UnsafeCell<H>>() <= 8);
            assert!(size_of::<UnsafeCell<H>>().is_multiple_of(align_of::<T>()));
        }
        let bytes = size_of::<UnsafeCell<H>>() + size_of_val(behind);
        let (name, start) = self.arena.alloc(bytes, account);
        // SAFETY: ARENA-2: the memory has room for both, each aligned, and is nobody else's yet.
        unsafe {
            let cell = start.cast::<UnsafeCell<H>>();
            cell.write(UnsafeCell::new(head));
            let place = cell.add(1).cast::<T>();
            place.copy_from_nonoverlapping(NonNull::from(behind).cast(), behind.len());
        }
        name
    }

    /// The head of the record `name`, and what lies behind it.
    ///
    /// # Safety
    /// The head is an `H`, and behind it lie as many `T` as `len` says (RECORD-1).
    #[inline]
    unsafe fn record<H, T>(&self, name: u32, len: impl FnOnce(&H) -> usize) -> (&H, &[T]) {
        // SAFETY: the caller's word. In a cell because loom then knows when it is read.
        unsafe {
            let cell = self.arena.at(name).cast::<UnsafeCell<H>>();
            let head = cell.as_ref().with(|head| &*head);
            let behind = cell.add(1).cast::<T>().as_ptr();
            (head, std::slice::from_raw_parts(behind, len(head)))
        }
    }
}
