//! The merge, and the level cursor under it, against a sorted vector.

use std::path::Path;
use std::sync::Arc;

use stratalog_base::fs::{Fs, SimFs, SimRng};
use stratalog_base::{Cursor, InternalKey, KeyRef, Kind, Result, Slice, Trailer};
use stratalog_compaction::{LevelCursor, Merge};
use stratalog_sstable::{BlockCache, Bounds, ReadUse, Reads, Table, TableOptions, TableWriter};

type Entry = (InternalKey, Vec<u8>);

/// A cursor over a sorted vector: the contract, as plainly as it can be.
pub struct Sorted(pub Vec<Entry>, pub usize);

impl Sorted {
    /// Entries before `limit`.
    fn before(&self, limit: KeyRef<'_>) -> usize {
        self.0.partition_point(|(key, _)| key.as_ref() < limit)
    }
}

impl Cursor for Sorted {
    fn valid(&self) -> bool {
        self.1 < self.0.len()
    }
    fn key(&self) -> KeyRef<'_> {
        self.0[self.1].0.as_ref()
    }
    fn value(&self) -> &[u8] {
        &self.0[self.1].1
    }
    fn value_slice(&self) -> Slice {
        Slice::copy(self.value())
    }
    fn seek_first(&mut self) -> Result<()> {
        self.1 = 0;
        Ok(())
    }
    fn seek_last(&mut self) -> Result<()> {
        self.1 = self.0.len().wrapping_sub(1);
        Ok(())
    }
    fn seek(&mut self, target: KeyRef<'_>) -> Result<()> {
        self.1 = self.before(target);
        Ok(())
    }
    fn seek_before(&mut self, target: KeyRef<'_>) -> Result<()> {
        self.seek(target)?;
        self.1 = self.1.wrapping_sub(1);
        Ok(())
    }
    fn next(&mut self) -> Result<()> {
        self.1 += 1;
        Ok(())
    }
    fn prev(&mut self) -> Result<()> {
        self.1 = self.1.wrapping_sub(1);
        Ok(())
    }
    // Any number up to the right one will do, here too.
    fn next_while(
        &mut self,
        most: usize,
        mut seen: impl FnMut(KeyRef<'_>, &[u8]) -> bool,
    ) -> usize {
        let behind = self.0.len() - 1 - self.1;
        let most = most.min(behind * (self.1 % 3) / 2);
        for taken in 1..=most {
            self.1 += 1;
            if !seen(self.key(), self.value()) {
                return taken;
            }
        }
        most
    }
    // Any number up to the right one will do.
    fn run_before(&self, limit: KeyRef<'_>) -> usize {
        self.before(limit).saturating_sub(self.1 + 1) * (self.1 % 4) / 3
    }
    fn run_behind(&self, limit: KeyRef<'_>) -> usize {
        self.1.saturating_sub(self.before(limit)) * (self.1 % 4) / 3
    }
}

fn entries(rng: &mut SimRng, count: u64) -> Vec<Entry> {
    let mut entries: Vec<Entry> = (1..=count)
        .map(|seq| {
            let user = rng.below(count / 3 + 1).to_be_bytes();
            let kind = if rng.chance(1, 4) { Kind::Delete } else { Kind::Put };
            let user = &user[7 - rng.below(2) as usize..];
            (KeyRef::new(user, seq, kind).to_owned(), seq.to_le_bytes().to_vec())
        })
        .collect();
    entries.sort_by(|a, b| a.0.as_ref().cmp(&b.0.as_ref()));
    entries
}

/// Steps of `cursor` by [`Cursor::next_while`], each compared with the next of `model`; returns how many.
fn steps(cursor: &mut impl Cursor, model: &mut Sorted, rng: &mut SimRng) -> usize {
    let (most, mut left) = (rng.below(40) as usize, 1 + rng.below(40));
    let mut shown = 0;
    let taken = cursor.next_while(most, |key, value| {
        model.next().unwrap();
        assert_eq!((key, value), (model.key(), model.value()));
        (shown, left) = (shown + 1, left - 1);
        left > 0
    });
    assert!(taken == shown && taken <= most);
    taken
}

/// Random moves of `cursor`, each compared with the same move over `all`. Returns how many steps came
/// without `next`.
fn walk(cursor: &mut impl Cursor, all: &[Entry], rng: &mut SimRng) -> usize {
    let mut model = Sorted(all.to_vec(), usize::MAX);
    let mut at_once = 0;
    for _ in 0..2000 {
        for _ in 0..rng.below(3) * rng.below(7) {
            if model.valid() {
                at_once += steps(cursor, &mut model, rng);
                cursor.next().unwrap();
                model.next().unwrap();
                assert_eq!(cursor.valid(), model.valid());
            }
        }
        let user = rng.below(all.len() as u64 / 3 + 2).to_be_bytes();
        let target = KeyRef { user: &user[7..], trailer: Trailer::new(rng.below(60), Kind::Put) };
        match rng.below(12) {
            0 => [cursor.seek_first(), model.seek_first()],
            1 => [cursor.seek_last(), model.seek_last()],
            2 => [cursor.seek(target), model.seek(target)],
            3 => [cursor.seek_before(target), model.seek_before(target)],
            4..8 if model.valid() => [cursor.next(), model.next()],
            8.. if model.valid() => [cursor.prev(), model.prev()],
            _ => continue,
        }
        .into_iter()
        .for_each(|moved| moved.unwrap());
        assert_eq!(cursor.valid(), model.valid());
        if model.valid() {
            assert_eq!((cursor.key(), cursor.value()), (model.key(), model.value()));
            assert_eq!(cursor.value_slice(), *model.value());
        }
    }
    at_once
}

/// Gives each of `all` to one of `count` parts: by runs of entries as long as `run`, on average.
fn deal(all: &[Entry], count: usize, run: u64, rng: &mut SimRng) -> Vec<Vec<Entry>> {
    let mut parts: Vec<Vec<Entry>> = vec![Vec::new(); count];
    let mut part = 0;
    for entry in all {
        if rng.chance(1, run) {
            part = rng.below(count as u64) as usize;
        }
        parts[part].push(entry.clone());
    }
    parts
}

#[test]
fn a_merge_is_the_union_of_its_sources_in_both_directions() {
    let (mut rng, mut at_once) = (SimRng::new(1), 0);
    for round in 0..120 {
        let mut all = entries(&mut rng, 1 + round * 2);
        if round % 3 == 0 {
            // Keys that differ behind their first word only, or end within it.
            for (key, _) in &mut all {
                key.user =
                    [b"same for all"[..rng.below(2) as usize * 12].to_vec(), key.user.to_vec()]
                        .concat()
                        .into();
            }
            all.sort_by(|a, b| a.0.as_ref().cmp(&b.0.as_ref()));
        }
        let (count, run) = (1 + rng.below(20) as usize, 1 + rng.below(3) * rng.below(20));
        let parts = deal(&all, count, run, &mut rng);
        let sources = parts.into_iter().map(|part| Sorted(part, usize::MAX)).collect();
        at_once += walk(&mut Merge::new(sources), &all, &mut rng);
    }
    assert!(at_once > 10_000, "{at_once} steps without `next`");
}

#[test]
fn a_merge_of_tables_is_their_union_in_both_directions() {
    let (mut rng, mut at_once) = (SimRng::new(4), 0);
    for round in 0..40 {
        let mut all = entries(&mut rng, 1 + round * 9);
        clear_tombstones(&mut all);
        let (count, run) = (1 + rng.below(6) as usize, 1 + rng.below(3) * rng.below(40));
        let parts = deal(&all, count, run, &mut rng);
        let fs = SimFs::new();
        let parts = parts.iter().filter(|part| !part.is_empty()).zip(1..);
        let tables = parts.map(|(part, id)| vec![table(&fs, id, part)]);
        let sources = tables.map(|tables| LevelCursor::new(tables, ReadUse::Lookup)).collect();
        at_once += walk(&mut Merge::new(sources), &all, &mut rng);
    }
    assert!(at_once > 10_000, "{at_once} steps without `next`");
}

#[test]
fn a_merge_of_nothing_is_empty() {
    let mut merge = Merge::new(Vec::<Sorted>::new());
    merge.seek_first().unwrap();
    assert!(!merge.valid());
}

pub fn table(fs: &SimFs, id: u64, entries: &[Entry]) -> Arc<Table> {
    let file = fs.create(Path::new(&format!("{id:06}.sst"))).unwrap();
    let options = TableOptions { block_bytes: 64, ..TableOptions::default() };
    let mut writer = TableWriter::new(file.clone(), id, &options);
    for (key, value) in entries {
        writer
            .add(key.as_ref(), if key.trailer.kind() == Kind::Delete { b"" } else { value })
            .unwrap();
    }
    writer.finish().unwrap();
    Table::open(file, id, BlockCache::new(1 << 20)).unwrap()
}

fn clear_tombstones(entries: &mut [Entry]) {
    for (key, value) in entries {
        if key.trailer.kind() == Kind::Delete {
            value.clear();
        }
    }
}

#[test]
fn a_level_is_its_tables_one_after_the_other() {
    let mut rng = SimRng::new(2);
    for round in 0..12 {
        let mut all = entries(&mut rng, 3 + round * 9);
        clear_tombstones(&mut all);
        let fs = SimFs::new();
        let parts = all.chunk_by(|a, b| a.0.user == b.0.user || a.0.user[0] % 4 != 0);
        let tables: Vec<_> = parts.zip(1..).map(|(part, id)| table(&fs, id, part)).collect();
        walk(&mut LevelCursor::new(tables.clone(), ReadUse::Lookup), &all, &mut rng);

        let (lower, upper) = (rng.below(all.len() as u64), rng.below(all.len() as u64));
        let bounds = Bounds {
            lower: rng.chance(2, 3).then(|| all[lower as usize].0.clone()),
            upper: rng.chance(2, 3).then(|| all[upper as usize].0.clone()),
        };
        let is_within = |key: KeyRef<'_>| {
            bounds.lower.as_ref().is_none_or(|lower| key >= lower.as_ref())
                && bounds.upper.as_ref().is_none_or(|upper| key < upper.as_ref())
        };
        all.retain(|(key, _)| is_within(key.as_ref()));
        let reads =
            Reads { purpose: ReadUse::Lookup, bounds: Some(Arc::new(bounds)), keys_only: false };
        walk(&mut LevelCursor::new(tables, reads), &all, &mut rng);
    }
    let mut empty = LevelCursor::new(Vec::new(), ReadUse::Sweep);
    empty.seek_last().unwrap();
    assert!(!empty.valid());
}
