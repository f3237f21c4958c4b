//! A slice of what the fuzz targets run: decoders meet any bytes without a panic.

use stratalog_base::codec::{Decoder, put_varint};
use stratalog_base::fs::SimRng;
use stratalog_sstable::{Compression, TableOptions, fuzz};

use crate::support::{PATH, options, random_entries, tiny, write};

const ROUNDS: u64 = 20_000;

/// Changes, cuts and repeats a few bytes.
fn mutate(bytes: &mut Vec<u8>, rng: &mut SimRng) {
    for _ in 0..=rng.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.below(bytes.len() as u64) as usize;
        match rng.below(8) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.next_u64() as u8),
            2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.below(5) as usize],
            3 => bytes[at] ^= 1 << rng.below(8),
            4 => bytes[at] = bytes[at].wrapping_add(1),
            _ => bytes[at] = rng.next_u64() as u8,
        }
    }
}

/// What lies where in the bytes of a table.
struct Parts<'a> {
    bytes: &'a [u8],
    partitions: usize,
    top: usize,
    properties: usize,
}

impl<'a> Parts<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let footer = &bytes[bytes.len() - 80..];
        let word = |at: usize| u32::from_le_bytes(*footer[at..].first_chunk().unwrap()) as usize;
        let partitions = word(0);
        let top = partitions + word(8);
        Parts { bytes, partitions, top, properties: top + word(24) }
    }

    /// Contents of the block at `range`, not compressed.
    fn block(&self, range: std::ops::Range<usize>) -> Vec<u8> {
        self.bytes[range.start..range.end - 6].to_vec()
    }

    /// The only data block.
    fn data(&self) -> Vec<u8> {
        self.block(8..self.partitions)
    }

    /// The top index behind the two numbers that its decoder is told.
    fn top(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.partitions as u64 - 8);
        put_varint(&mut out, (self.top - self.partitions) as u64);
        [out, self.block(self.top..self.properties)].concat()
    }

    /// Filter and index of the only partition, the index behind the two numbers that it is told.
    fn partition(&self) -> (Vec<u8>, Vec<u8>) {
        let top = self.block(self.top..self.properties);
        let mut top = Decoder::new(&top);
        let [blocks, data_bytes, filter_bytes] = [(); 3].map(|()| top.varint().unwrap());
        let index = self.partitions + filter_bytes as usize;
        let mut out = Vec::new();
        put_varint(&mut out, blocks);
        put_varint(&mut out, data_bytes);
        out.extend(self.block(index..self.top));
        (self.block(self.partitions..index), out)
    }

    fn properties(&self) -> Vec<u8> {
        self.block(self.properties..self.bytes.len() - 80)
    }

    fn footer(&self) -> Vec<u8> {
        self.bytes[self.bytes.len() - 80..][..64].to_vec()
    }
}

type Decode = fn(&[u8]) -> bool;

#[test]
fn mutated_blocks_never_panic() {
    let entries = random_entries(31, 40, 3);
    let written = |options: &TableOptions| write(&entries, options).0.read_file(PATH);
    let (fs, summary) = write(&entries, &options(1 << 20, 4));
    let (whole, split) = (fs.read_file(PATH), written(&options(64, 4)));
    let parted = written(&TableOptions { partition_bytes: 1, ..options(64, 4) });
    let packed = written(&TableOptions { compression: Compression::Lz4, ..options(1 << 20, 4) });
    let small = write(&tiny(), &options(1 << 20, 16)).0.read_file(PATH);

    let mut encoded = Vec::new();
    summary.encode(&mut encoded);
    let data = Parts::of(&whole).data();
    let framed = [&Parts::of(&packed).data(), &[1, 1, 0, 0, 0, 0][..]].concat();
    let (filter, index) = Parts::of(&split).partition();
    let (top, properties) = (Parts::of(&parted).top(), Parts::of(&whole).properties());
    let footer = Parts::of(&whole).footer();

    assert_eq!(fuzz::block(&data), Ok(entries.len()));
    assert!(fuzz::filter(&filter).is_ok());
    assert!(fuzz::index(&index).is_ok_and(|blocks| blocks > 20));
    assert!(fuzz::top(&top).is_ok_and(|partitions| partitions > 20));
    assert_eq!(fuzz::properties(&properties), Ok(entries.len() as u64));
    assert_eq!(fuzz::footer(&footer), Ok(true));
    assert_eq!(fuzz::summary(&encoded), Ok(summary));
    assert_eq!(fuzz::frame(&framed), Ok(data.len()));

    let seeds: [(Vec<u8>, Decode); 9] = [
        (data, |bytes| fuzz::block(bytes).is_ok()),
        (Parts::of(&small).data(), |bytes| fuzz::block(bytes).is_ok()),
        (filter, |bytes| fuzz::filter(bytes).is_ok()),
        (index, |bytes| fuzz::index(bytes).is_ok()),
        (top, |bytes| fuzz::top(bytes).is_ok()),
        (properties, |bytes| fuzz::properties(bytes).is_ok()),
        (footer, |bytes| fuzz::footer(bytes).is_ok()),
        (encoded, |bytes| fuzz::summary(bytes).is_ok()),
        (framed, |bytes| fuzz::frame(bytes).is_ok()),
    ];
    let mut rng = SimRng::new(32);
    for _ in 0..ROUNDS {
        for (seed, decode) in &seeds {
            let mut bytes = seed.clone();
            mutate(&mut bytes, &mut rng);
            decode(&bytes);
        }
    }
}
