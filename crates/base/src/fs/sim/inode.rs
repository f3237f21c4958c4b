//! One file: what its readers see, what is surely on the disk, and the writes in between.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use super::SimRng;
use super::crash::{Fate, Survival};
use super::image::{Image, PAGE, pieces};
use super::mapping::Memory;

#[derive(Clone)]
struct Write {
    offset: u64,
    data: Arc<[u8]>,
}

impl Write {
    fn end(&self) -> u64 {
        self.offset + self.data.len() as u64
    }

    /// What of `self` lies outside of `other`.
    fn outside(&self, other: &Write) -> impl Iterator<Item = Write> + use<> {
        let part = |from: u64, to: u64| {
            let range = (from - self.offset) as usize..(to.max(from) - self.offset) as usize;
            Write { offset: from, data: self.data[range].into() }
        };
        let head = part(self.offset, self.end().min(other.offset));
        let tail = part(self.end().min(self.offset.max(other.end())), self.end());
        [head, tail].into_iter().filter(|w| !w.data.is_empty())
    }
}

#[derive(Clone, Default)]
pub(super) struct Inode {
    /// The page cache.
    cache: Arc<Image>,
    /// What every power cut leaves (SIM-1).
    disk: Arc<Image>,
    /// Writes since the last sync, in order.
    dirty: Vec<Write>,
    /// Writes that a failed sync left, in order, less what a good sync has covered since (SIM-3).
    doubtful: Vec<Write>,
    /// Shared with every open handle, so that the count tells whether there are any.
    handles: Arc<()>,
    /// While the file is mapped. Its bytes go before those of the cache, which gets them when that
    /// matters (SIM-7).
    mapped: Option<Arc<Memory>>,
}

impl Inode {
    pub(super) fn new(image: Arc<Image>) -> Inode {
        Inode { cache: Arc::clone(&image), disk: image, ..Inode::default() }
    }

    /// The same file without its handles and mapping, which belong to a process that is no more.
    pub(super) fn orphan(&self) -> Inode {
        Inode { handles: Arc::default(), ..self.unmapped() }
    }

    /// Makes `image` the durable contents, under the handles that there are. A mapping is cut off.
    pub(super) fn replace(&mut self, image: Arc<Image>) {
        *self = Inode { handles: self.handle(), ..Inode::new(image) };
    }

    pub(super) fn handle(&self) -> Arc<()> {
        Arc::clone(&self.handles)
    }

    pub(super) fn is_open(&self) -> bool {
        Arc::strong_count(&self.handles) > 1
    }

    pub(super) fn len(&self) -> u64 {
        self.cache.len()
    }

    pub(super) fn read_at(&self, buf: &mut [u8], offset: u64) -> usize {
        let read = self.cache.read_at(buf, offset);
        if let Some(memory) = &self.mapped {
            memory.read_at(&mut buf[..read], offset);
        }
        read
    }

    pub(super) fn write_at(&mut self, buf: &[u8], offset: u64) {
        // A page that was stored to before is not written back without those stores.
        self.absorb(offset..offset + buf.len() as u64);
        self.record(buf, offset);
        if let Some(memory) = &self.mapped {
            memory.write_at(buf, offset);
        }
    }

    /// The memory of the first `len` bytes; that of the mapping there is, if it reaches so far.
    pub(super) fn map(&mut self, len: usize) -> Option<Arc<Memory>> {
        if len == 0 || self.len() < len as u64 {
            return None;
        }
        let memory = match &self.mapped {
            Some(memory) if memory.len() < len => return None,
            Some(memory) => Arc::clone(memory),
            None => {
                let mut bytes = vec![0; len];
                self.cache.read_at(&mut bytes, 0);
                Arc::new(Memory::new(&bytes))
            }
        };
        self.mapped = Some(Arc::clone(&memory));
        Some(memory)
    }

    /// One of the mappings that have this memory is about to end.
    pub(super) fn drop_mapping(&mut self, memory: &Arc<Memory>) {
        let is_ours = self.mapped.as_ref().is_some_and(|mapped| Arc::ptr_eq(mapped, memory));
        // Held here and by the mapping itself: it is the last one.
        if is_ours && Arc::strong_count(memory) == 2 {
            self.unmap();
        }
    }

    /// Leaves the file as the mapping has it; later stores do not reach it.
    pub(super) fn unmap(&mut self) {
        self.absorb(0..u64::MAX);
        self.mapped = None;
    }

    fn unmapped(&self) -> Inode {
        let mut inode = self.clone();
        inode.unmap();
        inode
    }

    /// Makes writes of what has been stored to the pages of the mapping that overlap `range`.
    fn absorb(&mut self, range: Range<u64>) {
        let Some(memory) = self.mapped.clone() else { return };
        let page_bytes = PAGE as u64;
        let end = range.end.min(memory.len() as u64);
        let (mut old, mut new) = ([0; PAGE], [0; PAGE]);
        for offset in (range.start / page_bytes * page_bytes..end).step_by(PAGE) {
            let index = (offset / page_bytes) as usize;
            if memory.has_page(index, self.cache.page(index)) {
                continue;
            }
            self.cache.read_at(&mut old, offset);
            let len = memory.read_at(&mut new, offset);
            let differs = |at: &usize| old[*at] != new[*at];
            if let (Some(first), Some(last)) = ((0..len).find(differs), (0..len).rfind(differs)) {
                self.record(&new[first..=last], offset + first as u64);
            }
        }
    }

    fn record(&mut self, buf: &[u8], offset: u64) {
        Arc::make_mut(&mut self.cache).write_at(buf, offset);
        self.dirty.push(Write { offset, data: buf.into() });
    }

    pub(super) fn sync(&mut self) {
        self.absorb(0..u64::MAX);
        let disk = Arc::make_mut(&mut self.disk);
        if self.doubtful.is_empty() {
            for write in self.dirty.drain(..) {
                disk.adopt(&self.cache, write.offset, write.data.len());
            }
            return;
        }
        // The cache shows doubtful bytes, which this sync does not make durable: go by the writes.
        for write in self.dirty.drain(..) {
            disk.write_at(&write.data, write.offset);
            self.doubtful = self.doubtful.iter().flat_map(|old| old.outside(&write)).collect();
        }
    }

    pub(super) fn fail_sync(&mut self) {
        self.absorb(0..u64::MAX);
        self.doubtful.append(&mut self.dirty);
    }

    /// Changes byte `offset` by `mask` in the cache, on the disk and in the mapping.
    pub(super) fn corrupt(&mut self, offset: u64, mask: u8) {
        self.absorb(offset..offset + 1);
        for image in [&mut self.cache, &mut self.disk] {
            let mut byte = [0];
            if image.read_at(&mut byte, offset) == 1 {
                Arc::make_mut(image).write_at(&[byte[0] ^ mask], offset);
            }
        }
        let mut byte = [0];
        self.cache.read_at(&mut byte, offset);
        if let Some(memory) = &self.mapped {
            memory.write_at(&byte, offset);
        }
    }

    /// What a power cut leaves of the file (SIM-2, SIM-7).
    pub(super) fn after_power_cut(&self, fate: Fate, rng: &mut SimRng) -> Arc<Image> {
        if self.mapped.is_some() {
            return self.unmapped().after_power_cut(fate, rng);
        }
        if fate == Fate::Nothing || self.dirty.is_empty() && self.doubtful.is_empty() {
            return Arc::clone(&self.disk);
        }
        let mut image = Image::clone(&self.disk);
        let doubtful = if rng.chance(1, 2) { Survival::None } else { Survival::choose(rng) };
        replay(&mut image, &self.doubtful, doubtful, rng);
        if fate == Fate::Everything {
            replay(&mut image, &self.dirty, Survival::All, rng);
            return Arc::new(image);
        }
        replay(&mut image, &self.dirty, Survival::choose(rng), rng);
        // The length travels apart from the bytes: it may lag behind them or run ahead of them.
        let synced = self.disk.len();
        match rng.below(4) {
            0 => image.set_len(self.cache.len()),
            1 => image.set_len(synced + rng.below(self.cache.len() - synced + 1)),
            _ => {}
        }
        Arc::new(image)
    }
}

fn replay(image: &mut Image, writes: &[Write], survival: Survival, rng: &mut SimRng) {
    match survival {
        Survival::None => {}
        Survival::All => writes.iter().for_each(|w| image.write_at(&w.data, w.offset)),
        Survival::Prefix => {
            let whole = rng.below(writes.len() as u64 + 1) as usize;
            writes[..whole].iter().for_each(|w| image.write_at(&w.data, w.offset));
            if let (Some(torn), true) = (writes.get(whole), rng.chance(1, 2)) {
                let len = rng.below(torn.data.len() as u64 + 1) as usize;
                image.write_at(&torn.data[..len], torn.offset);
            }
        }
        Survival::Pieces(size) => {
            // The cache writes a piece as it stands, so a later write to it never gets to the disk
            // without the earlier ones.
            let odds = [1, 8, 15][rng.below(3) as usize];
            let mut stale = HashSet::new();
            for write in writes {
                for (index, range) in pieces(write.offset, write.data.len(), size) {
                    if stale.contains(&index) {
                        continue;
                    }
                    if rng.chance(odds, 16) {
                        let offset = write.offset + range.start as u64;
                        image.write_at(&write.data[range], offset);
                    } else {
                        stale.insert(index);
                    }
                }
            }
        }
        Survival::Bytes => {
            for write in writes {
                let mut start = 0;
                while start < write.data.len() {
                    let rest = (write.data.len() - start) as u64;
                    let end = start + 1 + rng.below(rest) as usize;
                    if rng.chance(1, 2) {
                        image.write_at(&write.data[start..end], write.offset + start as u64);
                    }
                    start = end;
                }
            }
        }
    }
}
