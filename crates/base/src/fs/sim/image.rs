//! The bytes of one file, in pages shared between copies until one of them is written.

use std::ops::Range;
use std::sync::Arc;

pub(super) const PAGE: usize = 4096;

/// The pieces, aligned to `size`, of the `len` bytes at `offset`: each with its index in the file and
/// its range in the bytes.
pub(super) fn pieces(
    offset: u64,
    len: usize,
    size: usize,
) -> impl Iterator<Item = (u64, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let start = done;
        done = len.min(start + size - (at % size as u64) as usize);
        (start < done).then_some((at / size as u64, start..done))
    })
}

/// A file's contents. A missing page is zeros; bytes of a page beyond `len` are zero.
#[derive(Clone, Default)]
pub(super) struct Image {
    pages: Vec<Option<Arc<[u8; PAGE]>>>,
    len: u64,
}

impl Image {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// A page that is there and is not known to be zeros.
    pub(super) fn page(&self, index: usize) -> Option<&[u8; PAGE]> {
        self.pages.get(index)?.as_deref()
    }

    pub(super) fn read_at(&self, buf: &mut [u8], offset: u64) -> usize {
        let rest = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = buf.len().min(rest);
        for (index, range) in pieces(offset, len, PAGE) {
            let start = in_page(offset, &range);
            match &self.pages[index as usize] {
                Some(page) => buf[range.clone()].copy_from_slice(&page[start..][..range.len()]),
                None => buf[range].fill(0),
            }
        }
        len
    }

    pub(super) fn write_at(&mut self, buf: &[u8], offset: u64) {
        if buf.is_empty() {
            return;
        }
        self.grow(offset + buf.len() as u64);
        for (index, range) in pieces(offset, buf.len(), PAGE) {
            let start = in_page(offset, &range);
            let bytes = &buf[range];
            let page = &mut self.pages[index as usize];
            // A preallocated file of zeros takes no memory.
            if bytes == [0; PAGE] {
                *page = None;
            } else {
                let page = page.get_or_insert_with(|| Arc::new([0; PAGE]));
                Arc::make_mut(page)[start..][..bytes.len()].copy_from_slice(bytes);
            }
        }
    }

    /// Takes over from `other` the pages that hold the `len` bytes at `offset`, whole.
    pub(super) fn adopt(&mut self, other: &Image, offset: u64, len: usize) {
        if len == 0 {
            return;
        }
        self.grow(offset + len as u64);
        for (index, _) in pieces(offset, len, PAGE) {
            self.pages[index as usize].clone_from(&other.pages[index as usize]);
        }
    }

    /// Cuts the file, or extends it by zeros.
    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.pages.truncate(len.div_ceil(PAGE as u64) as usize);
            let tail = (len % PAGE as u64) as usize;
            if let (1.., Some(Some(page))) = (tail, self.pages.last_mut()) {
                Arc::make_mut(page)[tail..].fill(0);
            }
            self.len = len;
        } else {
            self.grow(len);
        }
    }

    fn grow(&mut self, len: u64) {
        if len > self.len {
            self.len = len;
            self.pages.resize(len.div_ceil(PAGE as u64) as usize, None);
        }
    }
}

/// Where in its page a piece of the bytes at `offset` starts.
fn in_page(offset: u64, range: &Range<usize>) -> usize {
    ((offset + range.start as u64) % PAGE as u64) as usize
}
