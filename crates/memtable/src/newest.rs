//! [`Newest`]: from a user key straight to the entry of its newest version.
//!
//! Most gets ask for that version, and the way through the tree costs as much as the entry itself: a search in
//! warm memory, then a leaf that is seldom warm. A hash table leads there, or tells that there is nothing, by one
//! cache line. Older versions are found by the tree, and so is what the table has no room for.
//!
//! A table is an array of lines. A key belongs in one of them, by its hash. A slot is the entry's id with
//! as much of the hash above it as there is room for, so that other keys' entries seldom have to be looked at. Keys
//! for which no slot is left are lost to the table: their line is marked, and who does not find a key there has to
//! ask the tree. When too many are lost, the insert that finds that makes a larger table, of twice as many lines or,
//! from when the memtable is a thirty-second of what it is expected to become, of as many as that will need.
//! The inserts from then on walk the tree to fill it, a few leaves each, so that none takes long. Meanwhile the tree
//! answers.
//!
//! With more than 4 GiB of entries a memtable has no table ([`MOST_ID_BITS`]).
//!
//! # Invariants
//! - NEW-1: the slots of a line are taken in their order and never given up, and each stands for one user key for
//!   ever. So no user key has two: who takes one has seen that all before it are other keys'.
//! - NEW-2: a slot's entry gives way only to a newer version of its user key.
//! - NEW-3: when the insert of an entry has returned, the table in force is not open, or its slot for the user key has
//!   that entry or a newer one, or it has no slot for the user key and the line is marked.
//!
//! NEW-3 holds across a change of tables because an insert adds to the tree and then looks which table is in force,
//! and who makes a table puts it in force before the walk of the tree begins, both with a fence in between: the insert
//! sees the table, or the walk sees the entry. The table is opened after the walk.

use std::ptr::NonNull;

use stratalog_base::KeyRef;
use stratalog_base::sync::{
    AtomicU8, AtomicUsize, Mutex, Ordering, Padded, heavy_fence, light_fence,
};

use crate::arena::prefetch;
use crate::kept::Kept;
use crate::lines::{FREE, Line, Lines, SLOTS};
use crate::memtable::Memtable;
use crate::search::Page;

const FIRST_LINES: usize = if cfg!(loom) {
    1
} else if cfg!(test) {
    8
} else {
    128
};
const FIRST_ID_BITS: u32 = if cfg!(loom) { 10 } else { 20 };
/// Leaves three bits of hash. So a get looks at another key's entry every second time, and if there is nothing at one,
/// when a table is full: as long as the way through so large a tree takes. Enough for 4 GiB of entries.
const MOST_ID_BITS: u32 = if cfg!(test) { 22 } else { 29 };
/// What so many bits can name. The table is made for no more, whatever is expected.
const MOST_BYTES: usize = 8 << MOST_ID_BITS;
/// Leaves that an insert walks to fill a table: some 5 µs, or 200 while few of its pages have been touched yet.
const LEAVES_A_TURN: usize = if cfg!(loom) { 2 } else { 8 };
/// Keys a line when a table is outgrown: then a line has lost a quarter of a key in the mean, one in 43.
const FULL_LINE: f64 = 11.3;
/// A table for what is expected gets so many times as many lines. So there are 8.7 keys a line when the memtable is
/// sealed, and one in 275 is lost.
const SPARE: f64 = 1.3;

/// See the module page.
pub(crate) struct Newest {
    /// Every table that there ever was: who reads may stand in it. The last one is in force.
    tables: Kept<Table>,
    /// Held by who makes one or fills the one in force.
    walk: Mutex<Walk>,
}

/// How far a table has been filled.
#[derive(Default)]
struct Walk {
    /// The leaf that is next.
    leaf: u32,
    /// The entry before it, or 0.
    before: u32,
}

struct Table {
    lines: Lines,
    /// The bits of a slot that are its id's.
    id_mask: u32,
    /// [`FILLING`], [`OPEN`], [`CLOSED`] or [`GIVEN_UP`].
    state: AtomicU8,
    losses: Padded<Losses>,
}

/// Keys that found no slot, some more than once; apart from what every get reads.
#[derive(Default)]
struct Losses {
    lost: AtomicUsize,
    /// From so many on a larger table is due.
    most: AtomicUsize,
}

/// Not all entries of the tree are in yet.
const FILLING: u8 = 0;
/// Answers gets.
const OPEN: u8 = 1;
/// An entry did not get in whose id has more bits than slots have for it.
const CLOSED: u8 = 2;
/// As before, and no table has more bits for it.
const GIVEN_UP: u8 = 3;

/// What is known of a user key's newest version.
pub(crate) enum Found {
    Entry(u32),
    /// There is none.
    Nothing,
    /// The tree knows.
    Unknown,
}

#[inline]
pub(crate) fn hash(user: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(user)
}

impl Newest {
    pub(crate) fn new() -> Newest {
        let tables = Kept::new();
        tables.push(Table::new(FIRST_LINES, FIRST_ID_BITS)).open();
        Newest { tables, walk: Mutex::new(Walk::default()) }
    }

    /// The table in force.
    #[inline]
    fn table(&self) -> &Table {
        self.tables.last().expect("there is one from the start")
    }

    /// Has the line for `hash` on its way.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        prefetch(NonNull::from(self.table().line(hash)).cast(), size_of::<Line>());
    }

    pub(crate) fn first_bytes(&self) -> usize {
        self.table().bytes()
    }
}

fn id_mask(id_bits: u32) -> u32 {
    (1 << id_bits) - 1
}

impl Table {
    fn new(lines: usize, id_bits: u32) -> Table {
        Table {
            lines: Lines::new(lines),
            id_mask: id_mask(id_bits),
            state: AtomicU8::new(FILLING),
            losses: Padded::default(),
        }
    }

    /// Answers gets from now on, if it has not been closed.
    fn open(&self) {
        let Losses { lost, most } = &*self.losses;
        most.store(lost.load(Ordering::Relaxed) + self.most_lost(), Ordering::Relaxed);
        // Release: who finds it open finds in it what was put in.
        _ = self.state.compare_exchange(FILLING, OPEN, Ordering::Release, Ordering::Relaxed);
    }

    fn bytes(&self) -> usize {
        self.lines.bytes() + Kept::<Table>::NODE_BYTES
    }

    #[inline]
    fn line(&self, hash: u64) -> &Line {
        &self.lines[(((hash >> 32) * self.lines.len() as u64) >> 32) as usize]
    }

    /// The entry in the slot `held`, if that is in use and may be of a key with `hash`.
    #[inline]
    fn id_in(&self, held: u32, hash: u64) -> Option<u32> {
        let id = held & self.id_mask;
        (id != 0 && held ^ hash as u32 <= self.id_mask).then_some(id)
    }

    #[inline]
    fn find(&self, memtable: &Memtable, user: &[u8]) -> Found {
        let hash = hash(user);
        if self.state.load(Ordering::Acquire) != OPEN {
            return Found::Unknown;
        }
        let line = self.line(hash);
        // As in `Node::count_less`: all slots, so that no branch depends on a key. The last one is bit 0.
        let mut alike = line.slots.iter().fold(0_u32, |alike, slot| {
            alike << 1 | u32::from(slot.load(Ordering::Relaxed) ^ hash as u32 <= self.id_mask)
        });
        while alike != 0 {
            let slot = &line.slots[SLOTS - 1 - alike.trailing_zeros() as usize];
            alike &= alike - 1;
            // Acquire: the entry has been written.
            if let Some(id) = self.id_in(slot.load(Ordering::Acquire), hash) {
                memtable.prefetch_entry(id);
                if memtable.entry(id).key.user == user {
                    return Found::Entry(id);
                }
            }
        }
        if line.mark.load(Ordering::Relaxed) { Found::Unknown } else { Found::Nothing }
    }

    /// Takes in the entry `id`, if it is its key's newest so far. Returns whether the table needs nothing: it is filled, and
    /// still large enough.
    #[inline]
    fn note(&self, memtable: &Memtable, hash: u64, id: u32) -> bool {
        // Relaxed: who comes late to a change does what is not needed any more, or leaves it to the next.
        let state = self.state.load(Ordering::Relaxed);
        if state == GIVEN_UP {
            return true;
        }
        if id > self.id_mask {
            self.state.store(CLOSED, Ordering::Release);
            return false;
        }
        let KeyRef { user, trailer } = memtable.entry(id).key;
        let new = hash as u32 & !self.id_mask | id;
        let line = self.line(hash);
        for slot in &line.slots {
            let mut held = slot.load(Ordering::Acquire);
            loop {
                if held != FREE {
                    match self.id_in(held, hash).map(|id| memtable.entry(id).key) {
                        Some(key) if key.user == user && key.trailer >= trailer => {
                            return state == OPEN;
                        }
                        Some(key) if key.user == user => (), // NEW-2
                        _ => break,
                    }
                }
                // Release: who finds the entry by the slot sees it whole. NEW-1: if another was faster, look again.
                match slot.compare_exchange(held, new, Ordering::Release, Ordering::Acquire) {
                    Ok(_) => return state == OPEN,
                    Err(now) => held = now,
                }
            }
        }
        if !line.mark.load(Ordering::Relaxed) {
            line.mark.store(true, Ordering::Relaxed);
        }
        self.losses.lost.fetch_add(1, Ordering::Relaxed);
        state == OPEN && !self.is_outgrown()
    }

    #[inline]
    fn is_outgrown(&self) -> bool {
        let Losses { lost, most } = &*self.losses;
        lost.load(Ordering::Relaxed) > most.load(Ordering::Relaxed)
    }

    /// How many more keys may be lost before it is outgrown.
    fn most_lost(&self) -> usize {
        self.lines.len() / 4 + if cfg!(loom) { 10 } else { 0 }
    }

    /// At least as many keys as there are when it is outgrown.
    fn most_keys(&self) -> usize {
        let lost = self.losses.lost.load(Ordering::Relaxed);
        (self.lines.len() as f64 * FULL_LINE) as usize + lost
    }
}

impl Memtable {
    /// Where the newest version of `user` is.
    #[inline]
    pub(crate) fn newest(&self, user: &[u8]) -> Found {
        self.newest.table().find(self, user)
    }

    /// Takes in the entry `id`, which is in the tree, and whose user key has this hash.
    #[inline]
    pub(crate) fn note_newest(&self, hash: u64, id: u32) {
        light_fence(); // NEW-3: pairs with that in `replace_newest`.
        let table = self.newest.table();
        if !table.note(self, hash, id) {
            self.tend_newest(table);
        }
    }

    /// Goes on to fill `table`, or makes a larger one, unless another thread does or has done.
    #[cold]
    fn tend_newest(&self, table: &Table) {
        let Some(mut walk) = self.newest.walk.try_lock() else { return };
        if !std::ptr::eq(self.newest.table(), table) {
            return;
        }
        match table.state.load(Ordering::Relaxed) {
            FILLING => self.fill_newest(table, &mut walk),
            OPEN if !table.is_outgrown() => (), // Another has opened it, or raised the limit.
            OPEN | CLOSED => self.replace_newest(table, &mut walk),
            _ => (),
        }
    }

    /// Makes a table that is larger than `outgrown`, or has more bits for ids, if that helps.
    fn replace_newest(&self, outgrown: &Table, walk: &mut Walk) {
        let is_closed = outgrown.state.load(Ordering::Relaxed) == CLOSED;
        if is_closed && outgrown.id_mask == id_mask(MOST_ID_BITS) {
            outgrown.state.store(GIVEN_UP, Ordering::Relaxed);
            return;
        }
        let (lines, there_are) = (self.lines_due(outgrown), outgrown.lines.len());
        if lines < there_are + there_are / 4 && !is_closed {
            // The same few keys are lost again and again, and would be in a table that is hardly larger.
            let Losses { lost, most } = &*outgrown.losses;
            most.store(lost.load(Ordering::Relaxed).saturating_mul(2), Ordering::Relaxed);
            return;
        }
        let table = Table::new(lines.max(there_are), self.id_bits_due());
        self.charge_apart(table.bytes());
        let table = self.newest.tables.push(table);
        heavy_fence(); // NEW-3
        *walk = Walk { leaf: self.first_leaf, before: 0 };
        self.fill_newest(table, walk);
    }

    /// Walks a few leaves more to fill `table`, and opens it after the last.
    fn fill_newest(&self, table: &Table, walk: &mut Walk) {
        for _ in 0..LEAVES_A_TURN {
            let page = self.page(walk.leaf);
            self.note_page(&page, table, walk.before);
            // Only the first leaf of an empty memtable has no entries.
            walk.before = page.entries[..page.len].last().copied().unwrap_or(0);
            walk.leaf = page.next;
            if page.next == 0 {
                table.open();
                return;
            }
        }
    }

    /// Takes in the first of each user key's entries, which is the newest, but those of the user key of the entry
    /// `before`, if that is not 0.
    fn note_page(&self, page: &Page, table: &Table, before: u32) {
        let mut before = (before != 0).then(|| self.entry(before).key.user);
        let mut noted = [(0, 0); crate::node::SLOTS];
        let mut len = 0;
        for &id in &page.entries[..page.len] {
            let user = self.entry(id).key.user;
            if before != Some(user) {
                noted[len] = (hash(user), id);
                prefetch(NonNull::from(table.line(noted[len].0)).cast(), size_of::<Line>());
                len += 1;
            }
            before = Some(user);
        }
        for &(hash, id) in &noted[..len] {
            table.note(self, hash, id);
        }
    }

    /// Lines of the table that is to follow `outgrown`.
    fn lines_due(&self, outgrown: &Table) -> usize {
        let used = self.used_bytes();
        let expected = self.expected_bytes.min(MOST_BYTES);
        let is_foreseeable = (expected / 32..expected).contains(&used);
        let factor = if is_foreseeable { expected as f64 / used as f64 * SPARE } else { 2.0 };
        (outgrown.most_keys().min(self.len()) as f64 * factor / FULL_LINE) as usize
    }

    /// Bits for the ids of a quarter more than is expected, or than there will be when the next table is outgrown.
    fn id_bits_due(&self) -> u32 {
        let bytes = self.expected_bytes.max(self.used_bytes().saturating_mul(2)) / 4;
        let ids = self.entries.arena().units_for(bytes.saturating_mul(5));
        ids.checked_next_power_of_two().map_or(MOST_ID_BITS, usize::ilog2).min(MOST_ID_BITS)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use stratalog_base::key::MAX_SEQ_NO;
    use stratalog_base::{Kind, SeqNo};

    use super::*;

    fn seq_of(memtable: &Memtable, user: &[u8]) -> Option<SeqNo> {
        match memtable.newest(user) {
            Found::Entry(id) => Some(memtable.entry(id).key.trailer.seq()),
            Found::Nothing => None,
            Found::Unknown => memtable.get_ref(user, MAX_SEQ_NO).map(|(trailer, _)| trailer.seq()),
        }
    }

    fn lost(memtable: &Memtable, users: impl Iterator<Item = Vec<u8>>) -> usize {
        users.filter(|user| matches!(memtable.newest(user), Found::Unknown)).count()
    }

    /// Number `index`, spread over all numbers.
    fn spread(index: u64) -> u64 {
        index.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn threads_that_insert_versions_in_any_order_leave_the_newest_of_each_key() {
        for expected_bytes in [0, 1 << 20, 64 << 20] {
            let memtable = Memtable::with_budget(Arc::default(), expected_bytes);
            let key = |index: u64| format!("key {}", spread(index) >> 32 & 0x1fff).into_bytes();
            let all = 0..30_000;
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let (memtable, all) = (&memtable, all.clone());
                    scope.spawn(move || {
                        for index in all.skip(thread).step_by(4) {
                            let (user, seq) = (key(index), spread(index) >> 20);
                            memtable.insert(KeyRef::new(&user, seq, Kind::Put), b"").unwrap();
                            assert!(seq_of(memtable, &user) >= Some(seq), "NEW-3");
                        }
                    });
                }
            });
            let mut newest = BTreeMap::new();
            for index in all {
                let newest = newest.entry(key(index)).or_insert(0);
                *newest = (spread(index) >> 20).max(*newest);
            }
            for (user, seq) in &newest {
                assert_eq!(
                    seq_of(&memtable, user),
                    Some(*seq),
                    "{}",
                    String::from_utf8_lossy(user)
                );
                assert_eq!(seq_of(&memtable, &[user, b"".as_slice(), b"+"].concat()), None);
            }
            let lost = lost(&memtable, newest.keys().cloned());
            assert!(lost <= newest.len() / 20, "{lost} of {} keys", newest.len());
        }
    }

    #[test]
    fn a_table_for_what_is_expected_is_made_in_time_and_large_enough() {
        let memtable = Memtable::with_budget(Arc::default(), 4 << 20);
        let key = |index: u64| spread(index).to_be_bytes().to_vec();
        let mut tables = vec![std::ptr::from_ref(memtable.newest.table())];
        for index in 0.. {
            memtable.insert(KeyRef::new(&key(index), index, Kind::Put), &[7; 92]).unwrap();
            if !std::ptr::eq(tables[tables.len() - 1], memtable.newest.table()) {
                tables.push(memtable.newest.table());
                assert!(memtable.used_bytes() < 1 << 20, "{} tables", tables.len());
            }
            if memtable.used_bytes() >= 4 << 20 {
                break;
            }
        }
        let (keys, lines) = (memtable.len(), memtable.newest.table().lines.len());
        assert!((8.0..9.5).contains(&(keys as f64 / lines as f64)), "{keys} in {lines} lines");
        let lost = lost(&memtable, (0..keys as u64).map(key));
        assert!((1..keys / 100).contains(&lost), "{lost} of {keys}");
    }

    #[test]
    fn a_table_whose_slots_have_too_few_bits_for_an_id_gives_way_to_another() {
        let memtable = Memtable::new();
        let first = std::ptr::from_ref(memtable.newest.table());
        let mut unknown = 0;
        for seq in 0..500 {
            for user in [b"a", b"b"] {
                memtable.insert(KeyRef::new(user, seq, Kind::Put), &[7; 20_000]).unwrap();
                unknown += usize::from(matches!(memtable.newest(user), Found::Unknown));
                assert_eq!(seq_of(&memtable, user), Some(seq));
            }
        }
        assert!(memtable.used_bytes() > 8 << 20);
        assert!(!std::ptr::eq(first, memtable.newest.table()));
        assert_eq!(memtable.newest.table().state.load(Ordering::Relaxed), OPEN);
        assert!(unknown < 20, "the inserts that follow a table fill it: {unknown}");
    }

    #[test]
    fn a_memtable_of_more_bytes_than_slots_can_name_has_a_table_until_then_and_no_larger_one() {
        // Foreseen, if what was expected is cut to what slots can name; else made anew again and again.
        for expected_bytes in [0, 8 * MOST_BYTES] {
            let memtable = Memtable::with_budget(Arc::default(), expected_bytes);
            let mut most_bytes_at_once = 0;
            let mut index = 0;
            while memtable.entries.arena().used_bytes() < MOST_BYTES + (4 << 20) {
                let (user, used) = (spread(index).to_be_bytes(), memtable.used_bytes());
                memtable.insert(KeyRef::new(&user, index, Kind::Put), &[7; 600]).unwrap();
                most_bytes_at_once = most_bytes_at_once.max(memtable.used_bytes() - used);
                let is_named = memtable.entries.arena().used_bytes() < MOST_BYTES - (1 << 20);
                let state = memtable.newest.table().state.load(Ordering::Relaxed);
                assert!(!is_named || state == OPEN || state == FILLING, "{state} at {used}");
                index += 1;
            }
            assert_eq!(memtable.newest.table().state.load(Ordering::Relaxed), GIVEN_UP);
            assert!(most_bytes_at_once < MOST_BYTES / 32, "{most_bytes_at_once}");
            for sought in 0..index {
                assert_eq!(seq_of(&memtable, &spread(sought).to_be_bytes()), Some(sought));
            }
            assert_eq!(seq_of(&memtable, b"none"), None);
        }
    }

    #[test]
    fn keys_that_share_a_line_of_every_table_do_not_make_one_after_the_other() {
        let memtable = Memtable::new();
        let keys = (0_u64..).map(u64::to_be_bytes).filter(|key| hash(key) >> 56 == 0);
        let keys: Vec<_> = keys.take(40).collect();
        let mut tables = vec![std::ptr::from_ref(memtable.newest.table())];
        for seq in 0..200 {
            for key in &keys {
                memtable.insert(KeyRef::new(key, seq, Kind::Put), b"").unwrap();
                let table = std::ptr::from_ref(memtable.newest.table());
                if tables.last() != Some(&table) {
                    tables.push(table);
                }
            }
        }
        assert!(tables.len() <= 30, "{} tables for 8,000 inserts", tables.len());
        assert!(keys.iter().all(|key| seq_of(&memtable, key) == Some(199)));
    }
}
