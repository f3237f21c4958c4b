//! A file that is read by way of a mapping; see [`crate::fs::Fs::open_mapped`].

use std::io::{Error as IoError, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};

use super::map::Mapped;
use crate::fs::{File, Mapping};
use crate::{Error, Result};

#[derive(Debug)]
pub(super) struct MappedFile {
    mapped: Mapped,
    path: PathBuf,
}

impl MappedFile {
    pub(super) fn new(mapped: Mapped, path: &Path) -> MappedFile {
        MappedFile { mapped, path: path.to_owned() }
    }

    fn read_only<T>(&self, operation: &'static str) -> Result<T> {
        let why = IoError::new(ErrorKind::PermissionDenied, "mapped for reading only");
        Err(Error::io(operation, &self.path, why))
    }
}

impl File for MappedFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        Ok(self.mapped.read_at(buf, offset))
    }

    fn write_at(&self, _buf: &[u8], _offset: u64) -> Result<()> {
        self.read_only("write")
    }

    fn write_parts_at(&self, _parts: &[IoSlice<'_>], _offset: u64) -> Result<()> {
        self.read_only("write")
    }

    fn allocate(&self, _len: u64) -> Result<()> {
        self.read_only("allocate")
    }

    fn len(&self) -> Result<u64> {
        Ok(self.mapped.len() as u64)
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }
}
