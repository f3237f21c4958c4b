//! One file: what its readers see, what is surely on the disk, and the writes in between.

use std::collections::HashSet;
use std::sync::Arc;

use super::SimRng;
use super::crash::{Fate, Survival};
use super::image::{Image, pieces};

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
}

impl Inode {
    pub(super) fn new(image: Arc<Image>) -> Inode {
        Inode { cache: Arc::clone(&image), disk: image, ..Inode::default() }
    }

    /// The same file without its handles, which belong to a process that is no more.
    pub(super) fn orphan(&self) -> Inode {
        Inode { handles: Arc::default(), ..self.clone() }
    }

    /// Makes `image` the durable contents, under the handles that there are.
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
        self.cache.read_at(buf, offset)
    }

    pub(super) fn write_at(&mut self, buf: &[u8], offset: u64) {
        Arc::make_mut(&mut self.cache).write_at(buf, offset);
        self.dirty.push(Write { offset, data: buf.into() });
    }

    pub(super) fn sync(&mut self) {
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
        self.doubtful.append(&mut self.dirty);
    }

    /// Changes byte `offset` by `mask` in the cache and on the disk.
    pub(super) fn corrupt(&mut self, offset: u64, mask: u8) {
        for image in [&mut self.cache, &mut self.disk] {
            let mut byte = [0];
            if image.read_at(&mut byte, offset) == 1 {
                Arc::make_mut(image).write_at(&[byte[0] ^ mask], offset);
            }
        }
    }

    /// What a power cut leaves of the file (SIM-2).
    pub(super) fn after_power_cut(&self, fate: Fate, rng: &mut SimRng) -> Arc<Image> {
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
