//! One directory: the names in force, those surely on the disk, and the operations in between.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};

use super::SimRng;
use super::crash::Fate;

/// The number of an inode.
pub(super) type Ino = u64;
pub(super) type Names = BTreeMap<OsString, Ino>;

#[derive(Clone)]
pub(super) enum NameOp {
    Link(OsString, Ino),
    Rename { from: OsString, to: OsString },
    Unlink(OsString),
}

impl NameOp {
    fn apply(&self, names: &mut Names) {
        match self {
            NameOp::Link(name, ino) => {
                names.insert(name.clone(), *ino);
            }
            NameOp::Rename { from, to } => {
                let ino = names.remove(from).expect("renamed names exist (SIM-5)");
                names.insert(to.clone(), ino);
            }
            NameOp::Unlink(name) => {
                names.remove(name);
            }
        }
    }

    fn touched(&self) -> [&OsStr; 2] {
        match self {
            NameOp::Link(name, _) | NameOp::Unlink(name) => [name, name],
            NameOp::Rename { from, to } => [from, to],
        }
    }
}

#[derive(Clone, Default)]
pub(super) struct Dir {
    names: Names,
    durable: Names,
    pending: Vec<NameOp>,
}

impl Dir {
    pub(super) fn new(names: Names) -> Dir {
        Dir { durable: names.clone(), names, pending: Vec::new() }
    }

    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    pub(super) fn apply(&mut self, op: NameOp) {
        op.apply(&mut self.names);
        self.pending.push(op);
    }

    pub(super) fn sync(&mut self) {
        for op in self.pending.drain(..) {
            op.apply(&mut self.durable);
        }
    }

    /// Every file that has a name here now or may have one after a power cut.
    pub(super) fn inodes(&self) -> impl Iterator<Item = Ino> {
        let pending = self.pending.iter().filter_map(|op| match op {
            NameOp::Link(_, ino) => Some(*ino),
            _ => None,
        });
        self.names.values().chain(self.durable.values()).copied().chain(pending)
    }

    /// The names that a power cut leaves (SIM-4, SIM-5).
    pub(super) fn after_power_cut(&self, fate: Fate, rng: &mut SimRng) -> Names {
        let count = self.pending.len() as u64;
        let (prefix, odds) = match fate {
            Fate::Nothing => (0, 16),
            Fate::Everything => (count, 16),
            Fate::Mixed if rng.chance(1, 2) => (rng.below(count + 1), 16),
            Fate::Mixed => (count, [1, 8, 15][rng.below(3) as usize]),
        };
        let mut names = self.durable.clone();
        let mut stale = HashSet::new();
        for op in &self.pending[..prefix as usize] {
            let touched = op.touched();
            if rng.chance(odds, 16) && !touched.iter().any(|name| stale.contains(name)) {
                op.apply(&mut names);
            } else {
                stale.extend(touched);
            }
        }
        names
    }
}
