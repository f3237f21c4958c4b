//! A slice of what the fuzz targets run: decoders meet any bytes without a panic.

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

/// The parts of a table: contents of its only data block, filter, index, properties; its footer.
fn parts(bytes: &[u8]) -> [Vec<u8>; 5] {
    let footer = &bytes[bytes.len() - 80..];
    let field = |i: usize| {
        u64::from_le_bytes(*footer[8 * i..].first_chunk().expect("eight bytes")) as usize
    };
    let filter = field(0);
    let index = filter + field(1);
    let properties = index + field(2);
    let part = |from: usize, to: usize| bytes[from..to - 6].to_vec();
    [
        part(8, filter),
        part(filter, index),
        part(index, properties),
        part(properties, properties + field(3)),
        footer[..64].to_vec(),
    ]
}

#[test]
fn mutated_blocks_never_panic() {
    let entries = random_entries(31, 40, 3);
    let (fs, summary) = write(&entries, &options(1 << 20, 4));
    let mut seed = parts(&fs.read_file(PATH));
    // An index of many blocks is more to chew on.
    seed[2] = {
        let bytes = write(&entries, &options(64, 4)).0.read_file(PATH);
        parts(&bytes)[2].clone()
    };
    let mut encoded = Vec::new();
    summary.encode(&mut encoded);
    let packed = TableOptions { compression: Compression::Lz4, ..options(1 << 20, 4) };
    let bytes = write(&entries, &packed).0.read_file(PATH);
    let framed = [&parts(&bytes)[0], &[1, 1, 0, 0, 0, 0][..]].concat();

    assert_eq!(fuzz::block(&seed[0]), Ok(entries.len()));
    assert!(fuzz::filter(&seed[1]).is_ok());
    assert!(fuzz::index(&seed[2]).is_ok_and(|blocks| blocks > 20));
    assert_eq!(fuzz::properties(&seed[3]), Ok(entries.len() as u64));
    assert_eq!(fuzz::footer(&seed[4]), Ok(true));
    assert_eq!(fuzz::summary(&encoded), Ok(summary));
    assert_eq!(fuzz::frame(&framed), Ok(seed[0].len()));

    let mut rng = SimRng::new(32);
    for _ in 0..ROUNDS {
        let mut mutant = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            mutate(&mut bytes, &mut rng);
            bytes
        };
        let _ = fuzz::block(&mutant(&seed[0]));
        let _ = fuzz::index(&mutant(&seed[2]));
        let _ = fuzz::filter(&mutant(&seed[1]));
        let _ = fuzz::properties(&mutant(&seed[3]));
        let _ = fuzz::footer(&mutant(&seed[4]));
        let _ = fuzz::summary(&mutant(&encoded));
        let _ = fuzz::frame(&mutant(&framed));
    }
    let small = write(&tiny(), &options(1 << 20, 16)).0.read_file(PATH);
    for _ in 0..ROUNDS {
        let mut bytes = parts(&small)[0].clone();
        mutate(&mut bytes, &mut rng);
        let _ = fuzz::block(&bytes);
    }
}
