//! The memory of a mapped file (SIM-7).

use std::sync::Arc;

use super::SimFs;
use super::dir::Ino;
use super::image::{PAGE, pieces};
use crate::fs::Mapping;
use crate::sync::{AtomicU64, Ordering};

const WORD: usize = size_of::<u64>();

/// Bytes that are read while others may store to them: by words, each as it is at some moment.
pub(super) struct Memory {
    words: Box<[AtomicU64]>,
    len: usize,
}

impl Memory {
    pub(super) fn new(bytes: &[u8]) -> Memory {
        let word = |part: &[u8]| {
            let mut word = [0; WORD];
            word[..part.len()].copy_from_slice(part);
            AtomicU64::new(u64::from_ne_bytes(word))
        };
        Memory { words: bytes.chunks(WORD).map(word).collect(), len: bytes.len() }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Fills `buf` from `offset` on as far as the memory reaches; returns how far.
    pub(super) fn read_at(&self, buf: &mut [u8], offset: u64) -> usize {
        let len = self.reach(buf.len(), offset);
        for (index, range) in pieces(offset, len, WORD) {
            let word = self.words[index as usize].load(Ordering::Relaxed).to_ne_bytes();
            let start = in_word(offset, range.start);
            buf[range.clone()].copy_from_slice(&word[start..][..range.len()]);
        }
        len
    }

    /// Whether page `index` holds `page`, or zeros if that is `None`. May say no of the last page.
    pub(super) fn has_page(&self, index: usize, page: Option<&[u8; PAGE]>) -> bool {
        let start = (index * PAGE / WORD).min(self.words.len());
        let words = &self.words[start..self.words.len().min(start + PAGE / WORD)];
        let words = words.iter().map(|word| word.load(Ordering::Relaxed));
        let differing = match page {
            Some(page) => {
                let (page, _) = page.as_chunks::<WORD>();
                words.zip(page).fold(0, |all, (word, old)| all | (word ^ u64::from_ne_bytes(*old)))
            }
            None => words.fold(0, |all, word| all | word),
        };
        differing == 0
    }

    /// Stores `buf` at `offset` as far as the memory reaches. Neighbouring bytes of the same word may
    /// change at the same time.
    pub(super) fn write_at(&self, buf: &[u8], offset: u64) {
        let len = self.reach(buf.len(), offset);
        for (index, range) in pieces(offset, len, WORD) {
            let start = in_word(offset, range.start);
            let store = |word: u64| {
                let mut bytes = word.to_ne_bytes();
                bytes[start..][..range.len()].copy_from_slice(&buf[range.clone()]);
                Some(u64::from_ne_bytes(bytes))
            };
            let word = &self.words[index as usize];
            let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, store);
        }
    }

    fn reach(&self, len: usize, offset: u64) -> usize {
        let rest = (self.len as u64).saturating_sub(offset);
        usize::try_from(rest).unwrap_or(usize::MAX).min(len)
    }
}

fn in_word(offset: u64, start: usize) -> usize {
    ((offset + start as u64) % WORD as u64) as usize
}

/// A mapping; keeps the inode as an open handle does.
pub(super) struct SimMapping {
    pub(super) fs: SimFs,
    pub(super) ino: Ino,
    pub(super) memory: Arc<Memory>,
    pub(super) _open: Arc<()>,
}

impl std::fmt::Debug for SimMapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimMapping").field("ino", &self.ino).finish_non_exhaustive()
    }
}

impl Mapping for SimMapping {
    fn as_ptr(&self) -> *mut u8 {
        self.memory.words.as_ptr().cast_mut().cast()
    }

    fn len(&self) -> usize {
        self.memory.len
    }
}

impl Drop for SimMapping {
    fn drop(&mut self) {
        self.fs.0.lock().disk.inode_mut(self.ino).drop_mapping(&self.memory);
    }
}
