//! Files mapped into memory, where no store can find the disk full.
//!
//! - MMAP-1: a mapping covers bytes that the file had when it was made. No call of this crate cuts a file
//!   short, so every byte of the memory stays backed by the file.
//! - MMAP-2: the memory is one mapping of its own, made by [`map`] and given back by its drop only.
//! - MMAP-3: memory that is mapped to be read is never written, and given out as copies only.
#![expect(unsafe_code, reason = "maps files; threads share the memory")]

use std::fs::File;
use std::io::Result;
use std::ptr;

use rustix::fs::fstatfs;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::fs::Mapping;

/// File systems that write in place what has been written before, whatever was done to the file since: ext2/3/4, tmpfs.
/// Others may need new space for it: Btrfs and ZFS always, XFS if somebody has made a copy that shares the file's
/// blocks (`cp --reflink`), which nobody tells who has it mapped.
const IN_PLACE: [u32; 2] = [0xEF53, 0x0102_1994];

#[derive(Debug)]
pub(super) struct Mapped {
    start: *mut u8,
    len: usize,
}

// SAFETY: MMAP-2: the memory belongs to no thread, and here it is only given back, by one owner.
unsafe impl Send for Mapped {}
// SAFETY: a shared `Mapped` gives out its two numbers and reads no memory.
unsafe impl Sync for Mapped {}

impl Mapping for Mapped {
    fn as_ptr(&self) -> *mut u8 {
        self.start
    }

    fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: MMAP-2: these are the bounds of a mapping, and whoever has the pointer has it from a
        // borrow that is over.
        let unmapped = unsafe { munmap(self.start.cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "MMAP-2: {unmapped:?}");
    }
}

/// Maps the first `len` bytes of `file`, unless there is danger in it; see [`crate::fs::Fs::map`].
pub(super) fn map(file: &File, len: usize) -> Result<Option<Box<dyn Mapping>>> {
    let kind = fstatfs(file)?.f_type as u64;
    // MMAP-1
    if len == 0 || file.metadata()?.len() < len as u64 || !writes_in_place(kind) {
        return Ok(None);
    }
    let access = ProtFlags::READ | ProtFlags::WRITE;
    let flags = MapFlags::SHARED | MapFlags::POPULATE;
    // SAFETY: the address is left to the system, so no memory in use is replaced.
    let start = unsafe { mmap(ptr::null_mut(), len, access, flags, file, 0) }?;
    Ok(Some(Box::new(Mapped { start: start.cast(), len })))
}

/// Whether the file system of this kind (`f_type` of `statfs`) is one of [`IN_PLACE`].
fn writes_in_place(kind: u64) -> bool {
    IN_PLACE.iter().any(|known| u64::from(*known) == kind & u64::from(u32::MAX))
}

/// Maps all of `file`; `None` if it is empty or does not fit in the address space.
pub(super) fn map_to_read(file: &File) -> Result<Option<Mapped>> {
    let Ok(len) = usize::try_from(file.metadata()?.len()) else { return Ok(None) };
    if len == 0 {
        return Ok(None);
    }
    // SAFETY: the address is left to the system, so no memory in use is replaced.
    let start = unsafe { mmap(ptr::null_mut(), len, ProtFlags::READ, MapFlags::SHARED, file, 0) }?;
    Ok(Some(Mapped { start: start.cast(), len }))
}

impl Mapped {
    /// Fills `buf` from `offset` on as far as the mapping reaches; returns how far.
    pub(super) fn read_at(&self, buf: &mut [u8], offset: u64) -> usize {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len);
        let len = buf.len().min(self.len - offset);
        // SAFETY: MMAP-2: the range lies in the mapping. MMAP-3: `buf` does not.
        unsafe { ptr::copy_nonoverlapping(self.start.add(offset), buf.as_mut_ptr(), len) };
        len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A full disk became a signal on XFS, once the file shared its blocks with a copy.
    #[test]
    fn only_file_systems_whose_files_never_share_blocks_are_mapped() {
        let (ext4, tmpfs) = (0xEF53, 0x0102_1994);
        let (xfs, btrfs, zfs, overlay) = (0x5846_5342, 0x9123_683E, 0x2FC1_2FC1, 0x794C_7630);
        assert!([ext4, tmpfs].into_iter().all(writes_in_place));
        assert!(![xfs, btrfs, zfs, overlay].into_iter().any(writes_in_place));
    }
}
