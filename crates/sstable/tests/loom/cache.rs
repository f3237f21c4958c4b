//! Slots, their clock, and the grace period.
#![expect(unsafe_code, reason = "a block that loom watches is shared without a lock")]

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread::spawn;
use stratalog_base::budget::Budget;
use stratalog_sstable::BlockCache;
use stratalog_sstable::protocol::{Cached, Shared, Slabs, Slots, Wanted};

/// Bytes that a block counts as.
const BYTES: usize = 10;

/// Something that knows its number until it drops: loom reports who reads it at that time.
#[derive(Debug)]
struct Block {
    number: UnsafeCell<usize>,
    counted: BlockCount,
}

/// loom reports at the end of a run which of these were not dropped.
#[derive(Debug)]
struct BlockCount(#[expect(dead_code, reason = "dropped, not read")] loom::sync::Arc<()>);

impl Block {
    fn shared(number: usize) -> Shared<Block> {
        let counted = BlockCount(loom::sync::Arc::new(()));
        let block = Block { number: UnsafeCell::new(number), counted };
        Shared::build(block, 0, |_, _| Ok::<_, ()>(())).unwrap()
    }

    fn number(&self) -> usize {
        let _ = &self.counted;
        // SAFETY: nobody writes it but the drop.
        self.number.with(|number| unsafe { *number })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: the last handle is gone, or loom reports the race.
        self.number.with_mut(|number| unsafe { *number = usize::MAX });
    }
}

// SAFETY: as `number` says; it is what the models check.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Cached for Block {
    const PREFETCH_LINES: usize = 0;

    fn memory_bytes(_: &Shared<Block>) -> usize {
        BYTES
    }

    fn moved(block: &Shared<Block>, _: &Arc<Slabs>) -> Option<Shared<Block>> {
        Some(Block::shared(block.number()))
    }
}

fn slots(blocks_that_fit: usize, count: usize) -> Arc<Slots<Block>> {
    Slots::new(count, BlockCache::new(blocks_that_fit * BYTES))
}

fn insert(slots: &Arc<Slots<Block>>, index: usize) -> Shared<Block> {
    slots.cache().insert(slots, index, Block::shared(index), Wanted::Lookup)
}

/// What a look into slot `index` finds.
fn look(slots: &Slots<Block>, index: usize) -> Option<usize> {
    let reader = slots.cache().enter();
    slots.get(index, &reader).map(|block| block.number())
}

/// The block in slot `index`, cached or made anew, as a read gets it.
fn block(slots: &Arc<Slots<Block>>, index: usize) -> Shared<Block> {
    let reader = slots.cache().enter();
    if let Some(block) = slots.get(index, &reader) {
        return block.share();
    }
    drop(reader);
    insert(slots, index)
}

#[test]
fn a_reader_that_is_inside_keeps_what_is_evicted() {
    // GRACE-1, CACHE-5
    loom::model(|| {
        let slots = slots(1, 3);
        insert(&slots, 0);
        let writer = {
            let slots = slots.clone();
            spawn(move || {
                insert(&slots, 1);
                insert(&slots, 2);
            })
        };
        assert!(look(&slots, 0).is_none_or(|number| number == 0));
        writer.join().unwrap();
        assert_eq!((look(&slots, 0), slots.cache().used_bytes()), (None, BYTES));
    });
}

#[test]
fn a_reader_that_is_inside_keeps_what_is_moved() {
    // GRACE-1, CACHE-1, CACHE-5
    loom::model(|| {
        let slots = slots(1, 1);
        insert(&slots, 0);
        let mover = {
            let slots = slots.clone();
            spawn(move || {
                slots.cache().relocate_all();
                slots.cache().relocate_all();
            })
        };
        assert_eq!(look(&slots, 0), Some(0));
        mover.join().unwrap();
        assert_eq!((look(&slots, 0), slots.cache().used_bytes()), (Some(0), BYTES));
    });
}

#[test]
fn a_table_that_is_dropped_while_its_blocks_are_moved_leaves_no_bytes() {
    // CACHE-1
    loom::model(|| {
        let cache = BlockCache::new(2 * BYTES);
        let slots = Slots::new(2, cache.clone());
        insert(&slots, 0);
        insert(&slots, 1);
        let other = spawn(move || drop(slots));
        cache.relocate_all();
        other.join().unwrap();
        assert_eq!(cache.used_bytes(), 0);
    });
}

#[test]
fn a_handle_outlives_the_eviction() {
    loom::model(|| {
        let slots = slots(1, 3);
        let writer = {
            let slots = slots.clone();
            spawn(move || {
                insert(&slots, 1);
                insert(&slots, 2);
            })
        };
        let held = block(&slots, 0);
        writer.join().unwrap();
        assert_eq!(held.number(), 0);
        assert!(slots.cache().used_bytes() <= BYTES, "CACHE-2");
    });
}

#[test]
fn two_that_fill_a_slot_get_the_same_block() {
    // CACHE-1, CACHE-3
    loom::model(|| {
        let slots = slots(2, 1);
        let other = {
            let slots = slots.clone();
            spawn(move || block(&slots, 0))
        };
        let mine = block(&slots, 0);
        let theirs = other.join().unwrap();
        assert!(std::ptr::eq(&*mine, &*theirs));
        assert_eq!(slots.cache().used_bytes(), BYTES);
    });
}

#[test]
fn a_table_that_is_dropped_while_another_evicts_its_blocks_leaves_no_bytes() {
    // CACHE-1
    loom::model(|| {
        let cache = BlockCache::new(BYTES);
        let (old, new) = (Slots::new(1, cache.clone()), Slots::new(2, cache.clone()));
        insert(&old, 0);
        let dropper = spawn(move || drop(old));
        insert(&new, 0);
        insert(&new, 1);
        dropper.join().unwrap();
        assert!(cache.used_bytes() <= BYTES, "CACHE-2");
        drop(new);
        assert_eq!(cache.used_bytes(), 0);
    });
}

#[test]
fn what_was_evicted_is_freed_when_no_reader_is_inside() {
    loom::model(|| {
        let slots = slots(1, 2);
        let reader = {
            let slots = slots.clone();
            spawn(move || look(&slots, 0))
        };
        // Each insertion evicts the block before, and frees what was evicted two insertions before.
        for index in [0, 1, 0, 1] {
            insert(&slots, index);
        }
        assert!(reader.join().unwrap().is_none_or(|number| number == 0));
    });
}

#[test]
fn a_block_is_freed_by_whoever_drops_the_last_handle_once() {
    // SHARED-2
    loom::model(|| {
        let block = Block::shared(3);
        let theirs = block.clone();
        let other = spawn(move || assert_eq!(theirs.number(), 3));
        assert_eq!(block.number(), 3);
        drop(block);
        other.join().unwrap();
    });
}

#[test]
fn a_block_is_charged_until_it_is_freed_whoever_holds_it() {
    // CACHE-6
    loom::model(|| {
        let budget = Arc::new(Budget::new(100 * BYTES));
        let slots = Slots::new(3, BlockCache::charged(BYTES, budget.clone()));
        let held = insert(&slots, 0);
        let holder = {
            let budget = budget.clone();
            spawn(move || {
                assert!(budget.used_bytes() >= BYTES);
                drop(held);
            })
        };
        insert(&slots, 1);
        holder.join().unwrap();
        insert(&slots, 2);
        assert_eq!((budget.used_bytes(), slots.cache().pinned_bytes()), (BYTES + BYTES, BYTES));
        drop(slots);
        assert_eq!(budget.used_bytes(), 0);
    });
}
