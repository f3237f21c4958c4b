//! A file that is read by way of a mapping; see [`crate::fs::Fs::open_mapped`].

use std::path::{Path, PathBuf};

use super::map::Mapped;
use crate::Result;
use crate::fs::{File, Mapping};

#[derive(Debug)]
pub(super) struct MappedFile {
    mapped: Mapped,
    path: PathBuf,
}

impl MappedFile {
    pub(super) fn new(mapped: Mapped, path: &Path) -> MappedFile {
        MappedFile { mapped, path: path.to_owned() }
    }
}

impl File for MappedFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        Ok(self.mapped.read_at(buf, offset))
    }

    fn len(&self) -> Result<u64> {
        Ok(self.mapped.len() as u64)
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }
}
