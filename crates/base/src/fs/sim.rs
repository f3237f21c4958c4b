//! A machine with one disk, in memory, that can lose power: [`SimFs`].
//!
//! What [`SimFs::crash`] leaves:
//! - SIM-1: what was synced survives whole, if the file's name does (FS-1).
//! - SIM-2: writes since the last sync survive in any legal part: none, all, a prefix, sectors, pages
//!   or bytes in any order. Bytes within the length that never arrived read as before or as zeros;
//!   the length lies between the synced and the last one.
//! - SIM-3: a failed sync leaves its writes in doubt (FS-4): readers see them, no later sync makes
//!   them durable, and a power cut keeps any part of them or none. Bytes written anew and synced are
//!   durable.
//! - SIM-4: names survive from [`Fs::sync_dir`] on (FS-2). Later operations on names survive as a
//!   prefix (as in a journal) or in any order. Syncing a file says nothing about its name.
//! - SIM-5: an operation on a name survives only together with the earlier ones on the same names, so
//!   a rename is whole or did not happen (FS-3), and a file with a durable name keeps it or gets its
//!   next one unless it was removed or replaced.
//! - SIM-6: directories survive, as [`Fs::create_dir`] promises.
//! - SIM-7: what was stored to a mapping counts as written when the file is next synced, when one of its
//!   pages is next written to by a call, or when the state is taken: a sync that comes after a store
//!   makes it durable (SIM-1, as Linux does) or leaves it in doubt (SIM-3), [`SimFs::kill`] keeps it,
//!   and a power cut keeps any part (SIM-2). Stores after a power cut reach nothing.
//!
//! Stores to a mapping are not calls, so they are neither counted nor failed. The memory is read by
//! relaxed loads of aligned words: a store that runs in another thread during a call is seen in any
//! part and had better be atomic, too. Take states between a test's operations.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Fs;
use crate::sync::Mutex;

mod calls;
mod crash;
mod dir;
mod disk;
mod fault;
mod image;
mod inode;
mod mapping;
mod rng;

pub use fault::{Fault, FaultKind, On, Op};
pub use rng::SimRng;

use dir::Ino;
use disk::Disk;
use image::Image;

/// A simulated file system. Clones are the same machine; [`SimFs::crash`] and [`SimFs::kill`] make
/// another one, so that many ends of one moment can be tried while the first goes on.
///
/// A new machine has the root and the working directory, both empty, no faults and counters at 0.
///
/// ```
/// use std::path::Path;
/// use stratalog_base::fs::{Fs, SimFs};
/// let fs = SimFs::new();
/// let file = fs.create(Path::new("a"))?;
/// file.write_at(b"synced", 0)?;
/// file.sync()?;
/// fs.sync_dir(Path::new(""))?;
/// file.write_at(b"not so", 6)?;
/// for seed in 0..100 {
///     assert!(fs.crash(seed).read_file("a").starts_with(b"synced"));
/// }
/// # Ok::<(), stratalog_base::Error>(())
/// ```
#[derive(Clone)]
pub struct SimFs(Arc<Mutex<Machine>>);

/// See [`SimFs::before_calls`].
type Hook = Arc<dyn Fn(Op, &Path) + Send + Sync>;

struct Machine {
    disk: Disk,
    /// Whether files can be mapped.
    maps: bool,
    locks: BTreeSet<PathBuf>,
    faults: Vec<Fault>,
    hook: Option<Hook>,
    cut_at: Option<u64>,
    ops: u64,
    reads: u64,
    syncs: u64,
    written_bytes: u64,
    faults_hit: u64,
}

impl Machine {
    fn check_power(&self) -> io::Result<()> {
        match self.cut_at {
            Some(at) if at <= self.ops => Err(io::Error::other("power is off")),
            _ => Ok(()),
        }
    }

    /// Keeps from the disk what is stored to mappings once the power is off (SIM-7).
    fn note_power_cut(&mut self) {
        if self.check_power().is_err() {
            self.disk.unmap_all();
        }
    }

    /// Counts a call and says how it is to fail.
    fn meet(&mut self, op: Op, path: &Path) -> Option<FaultKind> {
        self.ops += u64::from(op.is_mutating());
        self.reads += u64::from(op == Op::Read);
        self.syncs += u64::from(op == Op::Sync);
        // Every rule sees the call; the oldest that fails it decides.
        let kinds: Vec<_> = self.faults.iter_mut().filter_map(|f| f.meet(op, path)).collect();
        self.faults_hit += u64::from(!kinds.is_empty());
        kinds.first().copied()
    }

    fn write_at(&mut self, ino: Ino, buf: &[u8], offset: u64) -> io::Result<()> {
        self.disk.write_at(ino, buf, offset)?;
        self.written_bytes += buf.len() as u64;
        Ok(())
    }
}

impl Default for SimFs {
    fn default() -> SimFs {
        SimFs::new()
    }
}

impl fmt::Debug for SimFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFs").field("ops", &self.ops()).finish_non_exhaustive()
    }
}

impl SimFs {
    /// A machine with an empty disk.
    pub fn new() -> SimFs {
        SimFs::with_disk(Disk::new(), true)
    }

    /// This machine, and those that [`SimFs::crash`] and [`SimFs::kill`] make of it, on which
    /// [`Fs::map`] returns `None`.
    #[must_use]
    pub fn without_mapping(self) -> SimFs {
        self.0.lock().maps = false;
        self
    }

    /// Calls `hook` before each call from now on, with nothing locked: it may wait, panic, or call the file
    /// system, for which it is called again.
    pub fn before_calls(&self, hook: impl Fn(Op, &Path) + Send + Sync + 'static) {
        self.0.lock().hook = Some(Arc::new(hook));
    }

    fn with_disk(disk: Disk, maps: bool) -> SimFs {
        SimFs(Arc::new(Mutex::new(Machine {
            disk,
            maps,
            locks: BTreeSet::new(),
            hook: None,
            faults: Vec::new(),
            cut_at: None,
            ops: 0,
            reads: 0,
            syncs: 0,
            written_bytes: 0,
            faults_hit: 0,
        })))
    }

    /// A handle to this machine, as options take it.
    pub fn shared(&self) -> Arc<dyn Fs> {
        Arc::new(self.clone())
    }

    /// How many calls so far changed anything or made it durable ([`Op::is_mutating`]), failed ones
    /// included, those without power not.
    pub fn ops(&self) -> u64 {
        self.0.lock().ops
    }

    /// How many calls of [`File::read_at`](super::File::read_at) so far.
    pub fn reads(&self) -> u64 {
        self.0.lock().reads
    }

    /// How many calls of [`File::sync`](super::File::sync) so far.
    pub fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    /// How many bytes writes have taken so far: calls of [`Op::Write`], not stores to mappings.
    pub fn written_bytes(&self) -> u64 {
        self.0.lock().written_bytes
    }

    /// Cuts the power once [`SimFs::ops`] is `op`: that many mutating calls happen, the next does
    /// not, and every call of any kind fails from then on. At once, if the count is there already.
    pub fn cut_power_at(&self, op: u64) {
        let mut machine = self.0.lock();
        machine.cut_at = Some(op);
        machine.note_power_cut();
    }

    /// Whether the power has been cut.
    pub fn power_is_off(&self) -> bool {
        self.0.lock().check_power().is_err()
    }

    /// A machine with what a power cut now would leave on the disk, one legal state by `seed`
    /// (SIM-1…SIM-7), and the power on again. Does not change `self`.
    #[must_use]
    pub fn crash(&self, seed: u64) -> SimFs {
        let machine = self.0.lock();
        let disk = machine.disk.after_power_cut(&mut SimRng::new(seed));
        SimFs::with_disk(disk, machine.maps)
    }

    /// A machine as it is after the process died: files as they were, synced or not, what is unsynced
    /// still unsynced, locks free. Does not change `self`.
    #[must_use]
    pub fn kill(&self) -> SimFs {
        let machine = self.0.lock();
        SimFs::with_disk(machine.disk.after_kill(), machine.maps)
    }

    /// Adds a rule; those before it come first.
    pub fn inject(&self, fault: Fault) {
        self.0.lock().faults.push(fault);
    }

    /// How many calls an injected fault has hit so far. A loop over the N-th call ends when it is 0.
    pub fn faults_hit(&self) -> u64 {
        self.0.lock().faults_hit
    }

    /// Removes all rules.
    pub fn clear_faults(&self) {
        self.0.lock().faults.clear();
    }

    /// The bytes of the file `path`. Like all that follow: for tests, neither counted nor failed.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn read_file(&self, path: impl AsRef<Path>) -> Vec<u8> {
        let machine = self.0.lock();
        let inode = machine.disk.inode(existing(&machine.disk, path.as_ref()));
        let mut bytes = vec![0; inode.len() as usize];
        inode.read_at(&mut bytes, 0);
        bytes
    }

    /// Makes `path` a durable file of `bytes`, whether it existed or not, in directories created as
    /// needed. Syncs its directory, so the other names in it are durable, too. Cuts off its mappings.
    ///
    /// # Panics
    /// If `path` is a directory or leads through a file.
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let mut image = Image::default();
        image.write_at(bytes, 0);
        self.0.lock().disk.put(path.as_ref(), Arc::new(image));
    }

    /// Changes the byte at `offset` of the file `path`, wherever it is stored, by `mask` (exclusive
    /// or).
    ///
    /// # Panics
    /// If there is no such byte.
    pub fn corrupt(&self, path: impl AsRef<Path>, offset: u64, mask: u8) {
        let mut machine = self.0.lock();
        let ino = existing(&machine.disk, path.as_ref());
        let inode = machine.disk.inode_mut(ino);
        assert!(offset < inode.len(), "{} has no byte {offset}", path.as_ref().display());
        inode.corrupt(offset, mask);
    }

    /// Flips bit `bit` of the file `path`, the lowest of byte 0 being number 0.
    ///
    /// # Panics
    /// If there is no such bit.
    pub fn flip_bit(&self, path: impl AsRef<Path>, bit: u64) {
        self.corrupt(path, bit / 8, 1 << (bit % 8));
    }

    /// Every file with its length, by directory and name.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        self.0.lock().disk.files().collect()
    }
}

fn existing(disk: &Disk, path: &Path) -> Ino {
    disk.find(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
