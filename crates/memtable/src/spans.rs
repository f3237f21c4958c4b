//! Trees over disjoint spans of keys, each with the tombstone that covers it.
//!
//! A tree is a B-tree of bounds that never changes, named by its root; 0 names the tree without bounds. A
//! tombstone newer than all in it replaces the bounds from its start to its end by these two; what
//! covered the keys behind its end covers them still. Only the nodes on the way to these two are made anew
//! (path copying), the rest is shared with the tree before.
//!
//! # Invariants
//! - SPAN-1: the bounds of a level rise; each but those in leaves has the key of the first below it.
//! - SPAN-2: a node has at most [`FANOUT`] bounds. It may have few, as nodes that lose bounds are not filled
//!   up; but half of that were added to a level for each node by which it grew. So after `n` tombstones there
//!   are at most `log 2n` levels to the base `FANOUT / 2`, and one.

use stratalog_base::budget::Account;

use crate::records::{Bound, Records, Tombstone};

/// The most bounds of a node. Of 5, 8, 12 and 16, 16 is the fastest; 5 takes 20 % less memory.
const FANOUT: usize = if cfg!(loom) { 3 } else { 16 };

/// Makes a tree of another.
struct Cover<'a> {
    records: &'a Records,
    account: &'a Account,
    start: &'a [u8],
    end: &'a [u8],
    /// What comes in the place of the bounds from `start` to `end`.
    bounds: [Bound; 2],
}

impl Records {
    /// The tombstone that covers `user` in the tree `root`: its name, 0 if there is none.
    #[inline]
    pub(crate) fn covering(&self, root: u32, user: &[u8]) -> u32 {
        let mut node = root;
        while node != 0 {
            let (level, bounds) = self.node(node);
            // The first of an inner node is not compared: below it lies what is less, too.
            let (mut below, mut above) = (usize::from(level > 0), bounds.len());
            while below < above {
                let middle = below.midpoint(above);
                if self.key(bounds[middle].key) <= user {
                    below = middle + 1;
                } else {
                    above = middle;
                }
            }
            let to = below.checked_sub(1).map_or(0, |last| bounds[last].to);
            if level == 0 {
                return to;
            }
            node = to;
        }
        0
    }

    /// A tree like `root`, but with `tombstone` over all that it covers. Compares and copies O(log n)
    /// bounds, beside those that the tombstone hides for good.
    pub(crate) fn cover(&self, root: u32, tombstone: u32, account: &Account) -> u32 {
        let &Tombstone { start, end, .. } = self.tombstone(tombstone);
        let after = self.covering(root, self.key(end));
        let cover = Cover {
            records: self,
            account,
            start: self.key(start),
            end: self.key(end),
            bounds: [Bound { key: start, to: tombstone }, Bound { key: end, to: after }],
        };
        cover.tree(root)
    }
}

impl Cover<'_> {
    fn tree(&self, root: u32) -> u32 {
        if root == 0 {
            return self.records.add_node(0, &self.bounds, self.account);
        }
        let mut nodes = self.replace(root, root);
        let (mut level, _) = self.records.node(root);
        while nodes.len() > 1 {
            level += 1;
            nodes = self.add_nodes(level, &nodes);
        }
        let mut root = nodes[0].to;
        while let (1.., &[only]) = self.records.node(root) {
            root = only.to;
        }
        root
    }

    /// New nodes with what lies below the start in the node `left`, what lies above the end in the node
    /// `right`, and the new bounds between. Both may be one.
    fn replace(&self, left: u32, right: u32) -> Vec<Bound> {
        let ((level, lefts), (_, rights)) = (self.records.node(left), self.records.node(right));
        let below = lefts.partition_point(|bound| self.records.key(bound.key) < self.start);
        let to_end = rights.partition_point(|bound| self.records.key(bound.key) <= self.end);
        let bounds = if level == 0 {
            [&lefts[..below], &self.bounds, &rights[to_end..]].concat()
        } else {
            let (first, last) = (below.saturating_sub(1), to_end.saturating_sub(1));
            let middle = self.replace(lefts[first].to, rights[last].to);
            [&lefts[..first], &middle, &rights[last + 1..]].concat()
        };
        self.add_nodes(level, &bounds)
    }

    /// Nodes of even length with `bounds`, and the bounds by which they are known above.
    fn add_nodes(&self, level: u16, bounds: &[Bound]) -> Vec<Bound> {
        let (len, nodes) = (bounds.len(), bounds.len().div_ceil(FANOUT));
        let node = |index: usize| {
            let bounds = &bounds[index * len / nodes..(index + 1) * len / nodes];
            Bound { key: bounds[0].key, to: self.records.add_node(level, bounds, self.account) }
        };
        (0..nodes).map(node).collect()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use stratalog_base::range::RangeTombstoneRef;

    use super::*;

    /// The level of the tree's root; its bounds are looked at.
    fn check(records: &Records, root: u32) -> u16 {
        let (level, bounds) = records.node(root);
        assert!((1..=FANOUT).contains(&bounds.len()), "SPAN-2");
        assert!(bounds.is_sorted_by(|a, b| records.key(a.key) < records.key(b.key)), "SPAN-1");
        if level > 0 {
            for (index, bound) in bounds.iter().enumerate() {
                assert_eq!(check(records, bound.to), level - 1);
                let (_, below) = records.node(bound.to);
                assert_eq!(records.key(below[0].key), records.key(bound.key), "SPAN-1");
                let next = bounds.get(index + 1).map(|next| records.key(next.key));
                assert!(next.is_none_or(|next| records.key(below[below.len() - 1].key) < next));
            }
        }
        level
    }

    /// For each key, which tombstone covers it.
    fn spans(records: &Records, root: u32, keys: u64) -> Vec<u32> {
        (0..keys).map(|key| records.covering(root, &key.to_be_bytes())).collect()
    }

    #[test]
    fn each_tree_stays_as_it_was_and_keeps_its_order_and_height() {
        for (seed, keys, longest) in [(1u64, 40, 40), (2, 3000, 3), (3, 3000, 300), (4, 3000, 3000)]
        {
            let (records, account) = (Records::new(), Account::default());
            let mut random = seed;
            let mut below = |end: u64| {
                random =
                    random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                (random >> 33) % end
            };
            let (mut model, mut trees) = (vec![0; keys as usize], vec![]);
            let mut root = 0;
            for seq in 1..=4000u64 {
                let start = below(keys);
                let end = (start + 1 + below(longest)).min(keys);
                let given =
                    RangeTombstoneRef { start: &start.to_be_bytes(), end: &end.to_be_bytes(), seq };
                let tombstone = records.add_tombstone(given, &account);
                root = records.cover(root, tombstone, &account);
                model[start as usize..end as usize].fill(tombstone);
                if seq % 250 == 1 {
                    let levels = f64::from(check(&records, root)) + 1.0;
                    let most = (2.0 * seq as f64).log(FANOUT as f64 / 2.0) + 1.0;
                    assert!(levels <= most, "SPAN-2: {levels}, {most}");
                    trees.push((root, model.clone()));
                }
            }
            for (root, model) in trees {
                assert_eq!(spans(&records, root, keys), model, "seed {seed}");
            }
        }
    }
}
