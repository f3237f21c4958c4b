//! A slice of what the fuzz targets run: decoders meet any bytes without a panic.

use std::path::Path;

use stratalog_base::codec::{Decoder, put_varint};
use stratalog_base::fs::SimRng;
use stratalog_sstable::{Compression, FilterPolicy, TableOptions, fuzz};

use crate::support::{PATH, options, random_entries, random_ranges, tiny, write, write_with};

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
    ranges: usize,
    top: usize,
    properties: usize,
}

impl<'a> Parts<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let footer = &bytes[bytes.len() - 80..];
        let word = |at: usize| u32::from_le_bytes(*footer[at..].first_chunk().unwrap()) as usize;
        let partitions = word(0);
        let ranges = partitions + word(8);
        let top = ranges + word(16);
        Parts { bytes, partitions, ranges, top, properties: top + word(24) }
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
        put_varint(&mut out, (self.ranges - self.partitions) as u64);
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
        out.extend(self.block(index..self.ranges));
        (self.block(self.partitions..index), out)
    }

    fn ranges(&self) -> Vec<u8> {
        self.block(self.ranges..self.top)
    }

    fn properties(&self) -> Vec<u8> {
        self.block(self.properties..self.bytes.len() - 80)
    }

    fn footer(&self) -> Vec<u8> {
        self.bytes[self.bytes.len() - 80..][..64].to_vec()
    }
}

/// Whether bytes decode.
type Decode = fn(&[u8]) -> bool;

/// Valid inputs, each with the name of a fuzz target that takes it.
fn seeds() -> Vec<(&'static str, Vec<u8>, Decode)> {
    let entries = random_entries(31, 40, 3);
    let written = |options: &TableOptions| write(&entries, options).0.read_file(PATH);
    let (fs, summary) = write_with(&entries, &random_ranges(31, 9), &options(1 << 20, 4));
    let (whole, split) = (fs.read_file(PATH), written(&options(64, 4)));
    let parted = written(&TableOptions { partition_bytes: 1, ..options(64, 4) });
    let packed = |compression, code| {
        let bytes = written(&TableOptions { compression, ..options(1 << 20, 4) });
        [&Parts::of(&bytes).data(), &[1, code, 0, 0, 0, 0][..]].concat()
    };
    let ribbon = TableOptions { filter: FilterPolicy::Ribbon, ..options(64, 4) };
    // Of fewer keys it would be a Bloom filter.
    let ribbon = write(&random_entries(31, 900, 1), &ribbon).0.read_file(PATH);
    let small = write(&tiny(), &options(1 << 20, 16)).0.read_file(PATH);

    let mut encoded = Vec::new();
    summary.encode(&mut encoded);
    let (filter, index) = Parts::of(&split).partition();
    let whole = Parts::of(&whole);
    let mut seeds: Vec<(&str, Vec<u8>, Decode)> = vec![
        ("sstable_block", whole.data(), |bytes| fuzz::block(bytes).is_ok_and(|n| n > 40)),
        ("sstable_block", Parts::of(&small).data(), |bytes| fuzz::block(bytes) == Ok(5)),
        ("sstable_filter", filter, |bytes| fuzz::filter(bytes).is_ok()),
        ("sstable_filter", Parts::of(&ribbon).partition().0, |bytes| {
            bytes.ends_with(&[2]) && fuzz::filter(bytes).is_ok()
        }),
        ("sstable_index", index, |bytes| fuzz::index(bytes).is_ok_and(|n| n > 20)),
        ("sstable_index", Parts::of(&parted).top(), |bytes| fuzz::top(bytes).is_ok_and(|n| n > 20)),
        ("sstable_tail", whole.properties(), |bytes| fuzz::properties(bytes).is_ok_and(|n| n > 40)),
        ("sstable_tail", whole.ranges(), |bytes| fuzz::ranges(bytes).is_ok_and(|n| n > 2)),
        ("sstable_tail", whole.footer(), |bytes| fuzz::footer(bytes) == Ok(true)),
        ("sstable_tail", encoded, |bytes| fuzz::summary(bytes).is_ok()),
        ("sstable_frame", packed(Compression::Lz4, 1), |bytes| fuzz::frame(bytes).is_ok()),
    ];
    if cfg!(feature = "zstd") {
        let zstd = packed(Compression::Zstd { level: 1 }, 2);
        seeds.push(("sstable_frame", zstd, |bytes| fuzz::frame(bytes).is_ok()));
    }
    seeds
}

#[test]
fn mutated_blocks_never_panic() {
    let seeds = seeds();
    for (target, seed, decode) in &seeds {
        assert!(decode(seed), "{target}");
    }
    let mut rng = SimRng::new(32);
    for _ in 0..ROUNDS {
        for (_, seed, decode) in &seeds {
            let mut bytes = seed.clone();
            mutate(&mut bytes, &mut rng);
            decode(&bytes);
        }
    }
}

/// What is committed for the fuzz targets to begin with must not go stale: as many inputs as the above have to be
/// valid, of each kind. `STRATALOG_SEEDS=1` writes them anew, with the feature `zstd`.
#[test]
fn the_fuzz_targets_begin_with_valid_inputs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    for (number, (target, seed, decode)) in seeds().into_iter().enumerate() {
        let dir = root.join(target);
        if std::env::var_os("STRATALOG_SEEDS").is_some() {
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join(format!("valid-{number:02}")), &seed).unwrap();
        }
        let files = std::fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path());
        assert!(
            files.into_iter().any(|file| decode(&std::fs::read(file).unwrap())),
            "{target} {number}"
        );
    }
}
