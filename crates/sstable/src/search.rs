//! Finding entries in a decoded block, without rebuilding keys.

use std::cmp::Ordering;
use std::ops::Range;

use stratalog_base::KeyRef;

use crate::block::{Block, Entry, FEW, SAMPLED, word};

impl Block {
    /// The index of the first entry ≥ `target`, or [`Block::len`].
    #[inline]
    pub(crate) fn lower_bound(&self, target: KeyRef<'_>) -> usize {
        let common = self.common();
        let start = &target.user[..target.user.len().min(common.len())];
        match start.cmp(common) {
            Ordering::Less => 0,
            Ordering::Greater => self.len(),
            Ordering::Equal => self.narrow(self.candidates(target.user), target),
        }
    }

    /// [`Block::lower_bound`], which asks for `lines` lines of entries from there on before it has
    /// compared, or for keys alone.
    #[inline]
    pub(crate) fn lower_bound_ahead(
        &self,
        target: KeyRef<'_>,
        lines: usize,
        keys_only: bool,
    ) -> usize {
        let candidates = self.candidates(target.user);
        if candidates.start < self.len() {
            self.prefetch_from(candidates.start, lines, keys_only);
        }
        let common = self.common();
        match target.user.get(..common.len()) {
            Some(start) if start == common => self.narrow(candidates, target),
            _ => self.lower_bound(target),
        }
    }

    /// The index of the first version of `target.user` from `target` on, for a point read. `None` if
    /// the words tell that no entry has this user key: then no entry was touched.
    ///
    /// If there is none all the same, [`Block::len`] if the block ends with newer versions, else any
    /// entry of another key. So the caller compares the key, and this does not: not even with what all
    /// keys have in common, which would touch one more cache line.
    #[inline]
    pub(crate) fn find(&self, target: KeyRef<'_>) -> Option<usize> {
        let candidates = self.candidates(target.user);
        if candidates.is_empty() {
            return None;
        }
        self.prefetch_entry(candidates.start);
        if candidates.len() == 1 && self.trailer(candidates.start) <= target.trailer {
            return Some(candidates.start);
        }
        Some(self.narrow(candidates, target))
    }

    /// The entries with the same word as `user`, if it begins with what all keys have in common.
    #[inline]
    fn candidates(&self, user: &[u8]) -> Range<usize> {
        let wanted = word(user.get(self.common_bytes()..).unwrap_or_default());
        let words = self.words();
        let start = match self.samples() {
            [] => first_not_below(words, wanted),
            samples => {
                // BLOCK-5: it lies behind the last sample below, and not behind the next.
                let start = first_not_below(samples, wanted) * SAMPLED;
                let stretch = start..words.len().min(start + SAMPLED);
                self.prefetch_columns(&stretch);
                start + first_not_below(&words[stretch], wanted)
            }
        };
        let same = words[start..].iter().take_while(|word| **word == wanted.to_ne_bytes()).count();
        start..start + same
    }

    /// The first of `entries` that is ≥ `target`, or the end.
    #[inline]
    fn narrow(&self, entries: Range<usize>, target: KeyRef<'_>) -> usize {
        let Range { mut start, mut end } = entries;
        while start < end {
            let middle = start + (end - start) / 2;
            if self.compare(middle, target).is_lt() {
                start = middle + 1;
            } else {
                end = middle;
            }
        }
        start
    }

    /// The order of the entry and `target`.
    #[inline]
    fn compare(&self, index: usize, target: KeyRef<'_>) -> Ordering {
        let entry = self.entry(index);
        let (start, end) = target.user.split_at(entry.shared.min(target.user.len()));
        let order = match entry.shared {
            0 => Ordering::Equal,
            shared => self.key_start(index, shared).cmp(start),
        };
        order
            .then_with(|| self.suffix(&entry).cmp(end))
            .then_with(|| target.trailer.cmp(&self.trailer(index)))
    }

    /// Whether the entry is a version of `user`.
    #[inline]
    pub(crate) fn has_key(&self, index: usize, entry: &Entry, user: &[u8]) -> bool {
        let Some((start, end)) = user.split_at_checked(entry.shared) else { return false };
        self.suffix(entry) == end
            && (start.is_empty() || self.key_start(index, entry.shared) == start)
    }
}

/// The index of the first word that is at least `wanted`.
#[inline]
fn first_not_below(words: &[[u8; 4]], wanted: u32) -> usize {
    // Few words are counted, not bisected: that reads their cache lines at once, not in turn.
    let below = |word: &[u8; 4]| u32::from_ne_bytes(*word) < wanted;
    let (mut start, mut len) = (0, words.len());
    while len > FEW {
        let half = len / 2;
        if below(&words[start + half]) {
            start += half;
        }
        len -= half;
    }
    // BLOCK-4
    start
        + words[start..start + len].iter().map(|word| u32::from(below(word))).sum::<u32>() as usize
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::block::BlockBuilder;
    use stratalog_base::{InternalKey, Kind};

    /// All keys of up to three letters behind a prefix, in order: words that tie, end early, or
    /// begin in the head of a run; with two versions each.
    fn keys() -> Vec<InternalKey> {
        let mut users = vec![b"pre".to_vec()];
        for round in 0..3 {
            let longer = users.iter().filter(|user| user.len() == 3 + round);
            let longer =
                longer.flat_map(|user| [0, b'a', 0xff].map(|b| [&user[..], &[b]].concat()));
            users.extend(longer.collect::<Vec<_>>());
        }
        users.extend(["aaaaaX", "aaaaaY", "aaaaaYY"].map(|end| format!("pre{end}").into()));
        users.sort();
        let versions =
            |user: &Vec<u8>| [5, 3].map(|seq| KeyRef::new(user, seq, Kind::Put).to_owned());
        users.iter().flat_map(versions).collect()
    }

    #[test]
    fn blocks_of_any_number_of_entries_are_searched_right() {
        // Around each sample, with as many entries of a word as between samples, or a few more.
        let counts = [2, 63, 64, 65, 96, 97, 98, 128, 129, 130, 2048, 2049, 4500];
        for (count, same) in
            counts.into_iter().flat_map(|n| [1, 3, 32, 33, 70].map(|same| (n, same)))
        {
            // Words 2, 4, 6, … behind the one byte that all share, then a byte that tells entries apart.
            let user =
                |word: u32, entry: u32| [&[7], &word.to_be_bytes()[..], &[entry as u8]].concat();
            let middle = (0..count - 2).map(|i| user((i / same + 1) * 2, i % same));
            let users = [vec![7]].into_iter().chain(middle).chain([user(u32::MAX, 0)]);
            let users: Vec<_> = users.collect();
            let mut builder = BlockBuilder::new(16);
            users.iter().for_each(|user| builder.add(KeyRef::new(user, 5, Kind::Put), b""));
            let mut contents = Vec::new();
            builder.encode(&mut contents);
            let block = Block::decode(&contents).unwrap();
            let samples = if count > 64 { (count as usize - 1) / 32 } else { 0 };
            assert_eq!((block.samples().len(), block.common_bytes()), (samples, 1), "BLOCK-5");

            for word in 1..=(count / same + 2) * 2 + 1 {
                for entry in [0, same / 2, same] {
                    let target = user(word, entry);
                    let expected = users.partition_point(|user| *user < target);
                    let what = format!("{count} entries, {same} a word, word {word}, {entry}");
                    assert_eq!(block.lower_bound(KeyRef::before(&target)), expected, "{what}");
                    let found = block.find(KeyRef::seek(&target, 9));
                    match users.get(expected).is_some_and(|user| *user == target) {
                        true => assert_eq!(found, Some(expected), "{what}"),
                        false => assert!(found.is_none_or(|found| {
                            found == block.len() || users[found] != target
                        })),
                    }
                }
            }
        }
    }

    #[test]
    fn lower_bound_agrees_with_the_order_of_keys() {
        let keys = keys();
        for interval in [1, 3, 16, 1000] {
            let mut builder = BlockBuilder::new(interval);
            keys.iter().for_each(|key| builder.add(key.as_ref(), b"value"));
            let mut contents = Vec::new();
            builder.encode(&mut contents);
            let block = Block::decode(&contents).unwrap();
            let words: Vec<_> =
                block.words().iter().map(|word| u32::from_ne_bytes(*word)).collect();
            assert!(words.is_sorted() && words[0] < words[words.len() - 1]); // BLOCK-4

            let around = keys.iter().flat_map(|key| {
                let (user, cut) = (&key.user[..], &key.user[..key.user.len() - 1]);
                [user.to_vec(), cut.to_vec(), [user, b"!"].concat(), [cut, b"b"].concat()]
            });
            let users =
                around.chain([b"".to_vec(), b"pr".to_vec(), b"pra".to_vec(), b"q".to_vec()]);
            for (user, seq) in users.flat_map(|user| [0, 3, 4, 9].map(|seq| (user.clone(), seq))) {
                let target = KeyRef::seek(&user, seq);
                let expected = keys.partition_point(|key| key.as_ref() < target);
                assert_eq!(block.lower_bound(target), expected, "{target:?}");
                if keys.get(expected).is_some_and(|key| *key.user == *user) {
                    assert_eq!(block.find(target), Some(expected), "{target:?}");
                }
            }
        }
    }
}
