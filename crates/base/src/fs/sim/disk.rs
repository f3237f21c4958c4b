//! All directories and files of a machine. Errors are those of the system calls.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{Error, ErrorKind, Result};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::SimRng;
use super::crash::Fate;
use super::dir::{Dir, Ino, NameOp, Names};
use super::image::Image;
use super::inode::Inode;

/// Files end before this offset, as they do on a real system, so that a wild offset is an error.
const MAX_FILE_BYTES: u64 = 1 << 36;

pub(super) struct Disk {
    dirs: BTreeMap<PathBuf, Dir>,
    inodes: BTreeMap<Ino, Inode>,
    next_ino: Ino,
}

/// `path` without its `.` parts, as it is known here.
pub(super) fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| !matches!(part, Component::CurDir)).collect()
}

impl Disk {
    /// Holds the root and the working directory, empty.
    pub(super) fn new() -> Disk {
        let dirs = ["", "/"].map(|dir| (PathBuf::from(dir), Dir::default()));
        Disk { dirs: dirs.into(), inodes: BTreeMap::new(), next_ino: 0 }
    }

    pub(super) fn inode(&self, ino: Ino) -> &Inode {
        &self.inodes[&ino]
    }

    pub(super) fn inode_mut(&mut self, ino: Ino) -> &mut Inode {
        self.inodes.get_mut(&ino).expect("a named or open file has its inode")
    }

    pub(super) fn find(&self, path: &Path) -> Result<Ino> {
        let (dir, name) = self.split(path)?;
        match self.dirs[&dir].names().get(&name) {
            Some(ino) => Ok(*ino),
            None if self.dirs.contains_key(&plain(path)) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn create(&mut self, path: &Path) -> Result<Ino> {
        let (dir, name) = self.split(path)?;
        match self.find(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            _ => return Err(ErrorKind::AlreadyExists.into()),
        }
        let ino = self.next_ino;
        self.next_ino += 1;
        self.inodes.insert(ino, Inode::default());
        self.apply(&dir, NameOp::Link(name, ino));
        Ok(ino)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        self.find(from)?;
        let ((dir, from), (to_dir, to_name)) = (self.split(from)?, self.split(to)?);
        if dir != to_dir {
            return Err(Error::new(ErrorKind::InvalidInput, "renames stay in a directory"));
        }
        if self.dirs.contains_key(&plain(to)) {
            return Err(ErrorKind::IsADirectory.into());
        }
        if from != to_name {
            self.apply(&dir, NameOp::Rename { from, to: to_name });
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> Result<()> {
        self.find(path)?;
        let (dir, name) = self.split(path)?;
        self.apply(&dir, NameOp::Unlink(name));
        Ok(())
    }

    pub(super) fn list(&self, dir: &Path) -> Result<Vec<String>> {
        let dir = self.dirs.get(&plain(dir)).ok_or(ErrorKind::NotFound)?;
        // `OsString` sorts by bytes, as `str` does.
        Ok(dir.names().keys().filter_map(|name| name.clone().into_string().ok()).collect())
    }

    /// The directories to create before `dir` exists, outermost first.
    pub(super) fn missing_dirs(&self, dir: &Path) -> Vec<PathBuf> {
        let dir = plain(dir);
        let missing = dir.ancestors().take_while(|dir| !self.dirs.contains_key(*dir));
        let mut missing: Vec<_> = missing.map(Path::to_owned).collect();
        missing.reverse();
        missing
    }

    pub(super) fn create_dir(&mut self, dir: &Path) -> Result<()> {
        match self.find(dir) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) if e.kind() == ErrorKind::IsADirectory => return Ok(()),
            Err(e) => return Err(e),
            Ok(_) => return Err(ErrorKind::AlreadyExists.into()),
        }
        self.dirs.insert(plain(dir), Dir::default());
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> Result<()> {
        self.dirs.get_mut(&plain(dir)).ok_or(ErrorKind::NotFound)?.sync();
        // Names that this sync took off the disk may have been the last of their files.
        let named: BTreeSet<Ino> = self.dirs.values().flat_map(Dir::inodes).collect();
        self.inodes.retain(|ino, inode| named.contains(ino) || inode.is_open());
        Ok(())
    }

    pub(super) fn write_at(&mut self, ino: Ino, buf: &[u8], offset: u64) -> Result<()> {
        match offset.checked_add(buf.len() as u64) {
            Some(..=MAX_FILE_BYTES) => self.inode_mut(ino).write_at(buf, offset),
            _ => return Err(ErrorKind::FileTooLarge.into()),
        }
        Ok(())
    }

    /// Ends every mapping: what is stored from now on reaches no file.
    pub(super) fn unmap_all(&mut self) {
        self.inodes.values_mut().for_each(Inode::unmap);
    }

    /// Makes `path`, in `dir`s created as needed, a durable file of these contents.
    pub(super) fn put(&mut self, path: &Path, image: Arc<Image>) {
        let path = plain(path);
        let parent = path.parent().expect("a file has a name").to_owned();
        for dir in self.missing_dirs(&parent) {
            self.create_dir(&dir).expect("no file stands in the way");
        }
        let ino = self.find(&path).or_else(|_| self.create(&path)).expect("not a directory");
        self.inode_mut(ino).replace(image);
        self.sync_dir(&parent).expect("the directory exists");
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (PathBuf, u64)> {
        self.dirs.iter().flat_map(|(dir, entries)| {
            entries.names().iter().map(|(name, ino)| (dir.join(name), self.inodes[ino].len()))
        })
    }

    pub(super) fn after_kill(&self) -> Disk {
        Disk {
            dirs: self.dirs.clone(),
            inodes: self.inodes.iter().map(|(ino, inode)| (*ino, inode.orphan())).collect(),
            next_ino: self.next_ino,
        }
    }

    pub(super) fn after_power_cut(&self, rng: &mut SimRng) -> Disk {
        let fate = Fate::choose(rng);
        let mut disk = Disk { dirs: BTreeMap::new(), inodes: BTreeMap::new(), next_ino: 0 };
        disk.next_ino = self.next_ino;
        for (path, dir) in &self.dirs {
            let names: Names = dir.after_power_cut(fate, rng);
            for ino in names.values() {
                let image = self.inodes[ino].after_power_cut(fate, rng);
                disk.inodes.insert(*ino, Inode::new(image));
            }
            disk.dirs.insert(path.clone(), Dir::new(names));
        }
        disk
    }

    fn apply(&mut self, dir: &Path, op: NameOp) {
        self.dirs.get_mut(dir).expect("found before").apply(op);
    }

    /// The existing directory and the name that `path` consists of.
    fn split(&self, path: &Path) -> Result<(PathBuf, OsString)> {
        let path = plain(path);
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(ErrorKind::IsADirectory.into());
        };
        match self.dirs.contains_key(dir) {
            true => Ok((dir.to_owned(), name.to_owned())),
            false => Err(ErrorKind::NotFound.into()),
        }
    }
}
