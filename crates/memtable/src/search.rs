//! How keys are found: the way down and to the right, and the pages of leaves.
//!
//! Every loop that tries again does so because a writer has finished something meanwhile: no reader
//! waits for a writer that stands still.

use stratalog_base::KeyRef;
use stratalog_base::sync::Ordering;

use crate::memtable::Memtable;
use crate::node::{Link, Node, SLOTS, View, common_prefix_bytes, prefix};
use crate::shortcuts::CROWDED_NODES;

/// What is known of the first bytes that a key has in common with a node's low key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shared {
    /// So many are the same.
    pub(crate) bytes: usize,
    /// The next one is not.
    pub(crate) exactly: bool,
}

impl Shared {
    /// What two prefixes tell that stand for what is behind the first `skip` bytes, which are the same.
    #[inline]
    fn by_prefixes(skip: u32, prefix: u32, low: u32) -> Shared {
        if prefix == Link::ABOVE {
            return Shared::default();
        }
        Shared { bytes: skip as usize + common_prefix_bytes(prefix, low), exactly: prefix != low }
    }
}

/// Where a key belongs in a node.
pub(crate) struct Place<'a> {
    pub(crate) id: u32,
    pub(crate) node: &'a Node,
    pub(crate) view: View,
    /// The key's own prefix by this node's `skip`.
    pub(crate) prefix: u32,
    pub(crate) shared: Shared,
    /// How many of the node's keys are less.
    pub(crate) rank: usize,
    /// How many nodes had to be passed to the right.
    pub(crate) passed: usize,
    /// A leaf's first link that is not less, an inner node's last that is less; or none.
    pub(crate) link: Link,
}

/// A leaf's entries at one moment, and its right neighbour.
#[derive(Default)]
pub(crate) struct Page {
    pub(crate) entries: [u32; SLOTS],
    pub(crate) len: usize,
    pub(crate) next: u32,
}

impl Memtable {
    /// The leaf in which `target` belongs, by the entries that are less, as a page and a rank in it.
    pub(crate) fn page_at(&self, target: KeyRef<'_>) -> (Page, usize) {
        let mut leaf = self.descend(target, 0, |_, _| ());
        loop {
            if let Some(page) = self.read_page(leaf.node, &leaf.view) {
                return (page, leaf.rank);
            }
            leaf = self.locate(leaf.id, leaf.node, target, leaf.shared);
        }
    }

    /// A leaf's page.
    pub(crate) fn page(&self, leaf: u32) -> Page {
        let leaf = self.node(leaf);
        loop {
            if let Some(page) = self.read_page(leaf, &leaf.view()) {
                return page;
            }
        }
    }

    pub(crate) fn first_page(&self) -> Page {
        self.page(self.first_leaf)
    }

    pub(crate) fn last_page(&self) -> Page {
        let mut node = self.node(self.root.load(Ordering::Acquire));
        loop {
            let view = node.view();
            let child = match view.next {
                Link::NONE if node.level == 0 => match self.read_page(node, &view) {
                    Some(page) => return page,
                    None => continue,
                },
                // An inner node is never empty, and any of its children leads to the right edge.
                Link::NONE => node.link(view.order, view.order.len() - 1).id(),
                next => next.id(),
            };
            node = self.node(child);
        }
    }

    #[inline]
    fn read_page(&self, leaf: &Node, view: &View) -> Option<Page> {
        let mut page = Page { len: view.order.len(), next: view.next.id(), ..Page::default() };
        for (rank, id) in page.entries[..page.len].iter_mut().enumerate() {
            *id = leaf.link(view.order, rank).id();
            self.prefetch_entry(*id);
        }
        if page.next != 0 && !cfg!(loom) {
            self.prefetch_node(page.next);
        }
        if view.is_splitting() && !view.next.is_none() {
            // NODE-3: what `next` has as well must not be met twice.
            let end = self.low_key(1, page.next);
            let within = |&id: &u32| Some(self.entry(id).key) < end;
            page.len = page.entries[..page.len].partition_point(within);
        }
        leaf.unchanged_since(view).then_some(page)
    }

    /// The place of `target` on `level`, by way of the nodes that `visit` is told.
    #[inline]
    pub(crate) fn descend(
        &self,
        target: KeyRef<'_>,
        level: u8,
        mut visit: impl FnMut(u8, u32),
    ) -> Place<'_> {
        let mut shortcut = self.shortcuts.find(target.user, level);
        let (mut id, mut shared) = match &shortcut {
            Some(found) => (found.id, found.shared),
            None => (self.root.load(Ordering::Acquire), Shared::default()),
        };
        let mut node = self.node(id);
        loop {
            let place = self.locate(id, node, target, shared);
            if let Some(found) = shortcut.take()
                && place.passed >= CROWDED_NODES
            {
                found.crowded.store(true, Ordering::Relaxed);
            }
            visit(place.node.level, place.id);
            if place.node.level == level {
                return place;
            }
            id = place.link.id();
            node = self.prefetch_node(id);
            shared = Shared::by_prefixes(place.node.skip, place.prefix, place.link.prefix());
        }
    }

    /// The place of `target` in the node `id` or, if the node has lost it, in one to its right.
    #[inline]
    pub(crate) fn locate<'a>(
        &'a self,
        mut id: u32,
        mut node: &'a Node,
        target: KeyRef<'_>,
        mut shared: Shared,
    ) -> Place<'a> {
        let mut passed = 0;
        loop {
            let view = node.view();
            let prefix = self.prefix_in(node, target.user, shared);
            let next = view.next;
            // MAP-3, MAP-4: a key behind the neighbour's low key stands to the right.
            if !next.is_none()
                && next.prefix() <= prefix
                && (next.prefix() < prefix || self.low_key(1, next.id()) < Some(target))
            {
                shared = Shared::by_prefixes(node.skip, prefix, next.prefix());
                (id, node) = (next.id(), self.node(next.id()));
                passed += 1;
                continue;
            }
            let rank = self.rank(node, &view, prefix, target);
            let link = match rank.checked_sub(usize::from(node.level > 0)) {
                Some(at) if at < view.order.len() => node.link(view.order, at),
                _ => Link::NONE,
            };
            if node.unchanged_since(&view) {
                return Place { id, node, view, prefix, shared, rank, passed, link };
            }
        }
    }

    /// The first entry that is not less than the key whose place in a leaf this is, if their prefixes tie.
    #[inline]
    pub(crate) fn candidate(&self, leaf: &Place<'_>) -> Option<u32> {
        let is_here = !leaf.link.is_none();
        let link = if is_here { leaf.link } else { leaf.view.next };
        if link.is_none() || link.prefix() != leaf.prefix {
            return None;
        }
        Some(if is_here { link.id() } else { self.node(link.id()).low })
    }

    /// How many of the node's keys are less than `target`, whose prefix is `prefix`.
    #[inline]
    fn rank(&self, node: &Node, view: &View, prefix: u32, target: KeyRef<'_>) -> usize {
        let order = view.order;
        let mut rank = node.count_below(order, prefix);
        if rank < order.len() && node.link(order, rank).prefix() == prefix {
            let next_ties = rank + 1 < order.len() && node.link(order, rank + 1).prefix() == prefix;
            let mut end = if next_ties { node.count_to(order, prefix) } else { rank + 1 };
            while rank < end {
                let middle = rank.midpoint(end);
                let id = node.link(order, middle).id();
                if node.level == 0 {
                    self.prefetch_entry(id); // With its value, which a get looks at next.
                }
                if self.low_key(node.level, id) < Some(target) {
                    rank = middle + 1;
                } else {
                    end = middle;
                }
            }
        }
        rank
    }

    /// The prefix of `user`, a key not less than the node's low key, for that node's links (NODE-4).
    #[inline]
    fn prefix_in(&self, node: &Node, user: &[u8], shared: Shared) -> u32 {
        let skip = node.skip as usize;
        let shares_skipped = shared.bytes >= skip
            || user.len() >= skip && !shared.exactly && self.shares_skipped(node, user);
        if shares_skipped { prefix(user, skip) } else { Link::ABOVE }
    }

    #[cold]
    fn shares_skipped(&self, node: &Node, user: &[u8]) -> bool {
        let skip = node.skip as usize;
        self.entry(node.low).key.user[..skip] == user[..skip]
    }
}
