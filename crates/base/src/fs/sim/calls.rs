//! The calls of [`Fs`], [`File`] and [`Lock`]: each is counted, meets the power and the faults, and
//! then the disk.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dir::Ino;
use super::disk::plain;
use super::fault::{eio, refuse};
use super::mapping::SimMapping;
use super::{FaultKind, Machine, Op, SimFs, SimRng};
use crate::fs::{File, Fs, Lock, Mapping};
use crate::{Error, Result};

impl SimFs {
    /// Runs one call: counts it, and lets it fail as the power and the faults demand. `body` gets the
    /// fault, which it must ask whether to [`refuse`].
    fn call<T>(
        &self,
        op: Op,
        path: &Path,
        body: impl FnOnce(&mut Machine, Option<FaultKind>) -> io::Result<T>,
    ) -> Result<T> {
        let hook = self.0.lock().hook.clone();
        if let Some(hook) = hook {
            hook(op, path);
        }
        let run = || {
            let mut machine = self.0.lock();
            machine.check_power()?;
            let fault = machine.meet(op, path);
            if let Some(FaultKind::Delay(time)) = fault {
                drop(machine);
                crate::sync::sleep(time);
                machine = self.0.lock();
                machine.check_power()?;
            }
            let value = body(&mut machine, fault);
            machine.note_power_cut();
            // A mapping in `value` locks the machine when it drops.
            drop(machine);
            match fault {
                Some(FaultKind::EioAfter) => value.and(Err(eio())),
                _ => value,
            }
        };
        run().map_err(|e| Error::io(op.name(), path, e))
    }

    /// As [`SimFs::call`], for calls that a fault keeps from happening at all.
    fn simple<T>(
        &self,
        op: Op,
        path: &Path,
        body: impl FnOnce(&mut Machine) -> io::Result<T>,
    ) -> Result<T> {
        self.call(op, path, |machine, fault| {
            refuse(fault)?;
            body(machine)
        })
    }

    fn open_to(&self, path: &Path, writes: bool) -> Result<Arc<dyn File>> {
        self.simple(Op::Open, path, |machine| {
            let ino = machine.disk.find(path)?;
            Ok(self.handle(machine, ino, path, writes))
        })
    }

    fn handle(&self, machine: &Machine, ino: Ino, path: &Path, writes: bool) -> Arc<dyn File> {
        let _open = machine.disk.inode(ino).handle();
        Arc::new(SimFile { fs: self.clone(), ino, path: path.to_owned(), writes, _open })
    }
}

impl Fs for SimFs {
    fn create(&self, path: &Path) -> Result<Arc<dyn File>> {
        self.simple(Op::Create, path, |machine| {
            let ino = machine.disk.create(path)?;
            Ok(self.handle(machine, ino, path, true))
        })
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn File>> {
        self.open_to(path, false)
    }

    fn open_write(&self, path: &Path) -> Result<Arc<dyn File>> {
        self.open_to(path, true)
    }

    fn map(&self, path: &Path, len: usize) -> Result<Option<Box<dyn Mapping>>> {
        self.simple(Op::Map, path, |machine| {
            let ino = machine.disk.find(path)?;
            let inode = machine.disk.inode_mut(ino);
            // loom's atomics are no plain memory.
            if !machine.maps || cfg!(loom) {
                return Ok(None);
            }
            let (fs, _open) = (self.clone(), inode.handle());
            let mapping = |memory| Box::new(SimMapping { fs, ino, memory, _open }) as Box<_>;
            Ok(inode.map(len).map(mapping))
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.simple(Op::Rename, from, |machine| machine.disk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.simple(Op::Remove, path, |machine| machine.disk.remove(path))
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        self.simple(Op::List, dir, |machine| machine.disk.list(dir))
    }

    fn create_dir(&self, dir: &Path) -> Result<()> {
        let missing = self.0.lock().disk.missing_dirs(dir);
        for dir in missing {
            self.simple(Op::CreateDir, &dir, |machine| machine.disk.create_dir(&dir))?;
        }
        let on = self.0.lock().check_power();
        on.map_err(|e| Error::io(Op::CreateDir.name(), dir, e))
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.simple(Op::SyncDir, dir, |machine| machine.disk.sync_dir(dir))
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>> {
        let find = |machine: &mut Machine| match machine.disk.find(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            found => found.map(|_| true),
        };
        if !self.simple(Op::Lock, path, find)? {
            // Another thread may have been faster.
            self.simple(Op::Create, path, |machine| match machine.disk.create(path) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
                created => created.map(drop),
            })?;
        }
        let path = plain(path);
        if !self.0.lock().locks.insert(path.clone()) {
            let dir = path.parent().unwrap_or(Path::new(""));
            return Err(Error::Locked { path: dir.to_owned() });
        }
        Ok(Box::new(SimLock { fs: self.clone(), path }))
    }
}

#[derive(Debug)]
struct SimLock {
    fs: SimFs,
    path: PathBuf,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.fs.0.lock().locks.remove(&self.path);
    }
}

#[derive(Debug)]
struct SimFile {
    fs: SimFs,
    ino: Ino,
    path: PathBuf,
    /// Whether it was opened for writing.
    writes: bool,
    _open: Arc<()>,
}

impl File for SimFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.fs.call(Op::Read, &self.path, |machine, fault| {
            refuse(fault)?;
            let read = machine.disk.inode(self.ino).read_at(buf, offset);
            if let (Some(FaultKind::FlipBit), 1..) = (fault, read) {
                let bit = SimRng::new(machine.reads).below(read as u64 * 8);
                buf[bit as usize / 8] ^= 1 << (bit % 8);
            }
            Ok(read)
        })
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.fs.call(Op::Write, &self.path, |machine, fault| {
            if !self.writes {
                return Err(ErrorKind::PermissionDenied.into());
            }
            if let (Some(FaultKind::ShortWrite), 1..) = (fault, buf.len()) {
                let part = SimRng::new(machine.ops).below(buf.len() as u64) as usize;
                machine.write_at(self.ino, &buf[..part], offset)?;
            }
            refuse(fault)?;
            machine.write_at(self.ino, buf, offset)
        })
    }

    fn len(&self) -> Result<u64> {
        self.fs.simple(Op::Len, &self.path, |machine| Ok(machine.disk.inode(self.ino).len()))
    }

    fn sync(&self) -> Result<()> {
        self.fs.call(Op::Sync, &self.path, |machine, fault| {
            let inode = machine.disk.inode_mut(self.ino);
            let answer = refuse(fault);
            match answer {
                Ok(()) => inode.sync(),
                Err(_) => inode.fail_sync(),
            }
            answer
        })
    }
}
