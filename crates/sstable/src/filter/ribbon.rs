//! The Ribbon filter: a system of linear equations over bits, solved once.
//!
//! Each key asks for an equation: of the solution's rows from its start on, those that its
//! coefficients name must sum up to its result. To probe is to look whether the sum is right; an
//! absent key's is so by chance, once in 2^columns. All equations lie in a narrow band, so that
//! elimination runs in nearly linear time and a probe reads two neighbouring segments (Dillinger and
//! Walzer, "Ribbon filter: practically smaller than Bloom and Xor", 2021: standard Ribbon of width
//! 64, its solution stored by columns within segments).
//!
//! # Body
//! | bytes | field | meaning |
//! |---:|---|---|
//! | 8 × words | segments | each of 64 rows: its columns, 8 bytes each; row i is bit i |
//! | 4 | narrow | segments from the first on that have one column less than the others |
//! | 1 | columns | of the narrow segments, 0 to 31 |
//! | 1 | seed | |
//!
//! There are at least two segments. With h the hash and m = h ⊕ (seed × [`SEED_STEP`]), mixed by
//! [`Equation::of`]: start = high half of (mix × starts), with starts = rows − 63; coefficients and
//! result are products of the mix. A key is held to the columns of the segment that its start lies in.
//!
//! # Invariants
//! - RIBBON-1: the columns never become fewer from one segment to the next, so the segment behind a
//!   start has all the columns that the key is held to.

use stratalog_base::codec::{Decoder, Malformed};

/// Rows that an equation may name.
const WIDTH: usize = 64;
const MAX_COLUMNS: usize = 32;
const TRAILER_BYTES: usize = 6;
/// For fewer keys, whole segments waste what the structure saves.
const MIN_KEYS: usize = 512;
/// Each seed is another try at a system that can be solved; the chance of one is better than a half.
const SEEDS: u8 = 64;
const SEED_STEP: u64 = 0x9e37_79b9_7f4a_7c15;
const MIX: u64 = 0xff51_afd7_ed55_8ccd;
const MIX_COEFFICIENTS: u64 = 0xc4ce_b9fe_1a85_ec53;
const MIX_RESULT: u64 = 0xd6e8_feb8_6659_fd93;

/// What a key asks of the solution.
struct Equation {
    start: usize,
    /// Bit i is the coefficient of row start + i; the first is 1.
    coefficients: u64,
    /// Bit j is the sum in column j.
    result: u32,
}

impl Equation {
    #[inline]
    fn of(hash: u64, seed: u8, starts: usize) -> Equation {
        let mut mixed = (hash ^ u64::from(seed).wrapping_mul(SEED_STEP)).wrapping_mul(MIX);
        mixed ^= mixed >> 32;
        let spread = mixed.wrapping_mul(MIX_COEFFICIENTS);
        Equation {
            start: ((u128::from(spread) * starts as u128) >> 64) as usize,
            coefficients: (spread.rotate_left(32) ^ spread).wrapping_mul(MIX) | 1,
            result: ((mixed ^ spread.swap_bytes()).wrapping_mul(MIX_RESULT) >> 32) as u32,
        }
    }
}

/// How the bits are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    segments: usize,
    /// Of the first `narrow` segments; the others have one more.
    columns: usize,
    narrow: usize,
}

impl Shape {
    /// The shape for `keys` keys of `bits_per_key` bits; `None` if they are fewer than [`MIN_KEYS`].
    fn new(keys: usize, bits_per_key: f64) -> Option<Shape> {
        if keys < MIN_KEYS {
            return None;
        }
        let segments = rows_for(keys).div_ceil(WIDTH);
        let words = (keys as f64 * bits_per_key) as usize / WIDTH;
        let columns = (words / segments).min(MAX_COLUMNS - 1);
        let wide = (words - columns * segments).min(segments);
        Some(Shape { segments, columns, narrow: segments - wide })
    }

    fn rows(&self) -> usize {
        self.segments * WIDTH
    }

    fn starts(&self) -> usize {
        self.rows() - WIDTH + 1
    }

    fn words(&self) -> usize {
        self.segments * (self.columns + 1) - self.narrow
    }

    #[inline]
    fn columns_of(&self, segment: usize) -> usize {
        self.columns + usize::from(segment >= self.narrow)
    }

    /// The first word of a segment.
    #[inline]
    fn word_of(&self, segment: usize) -> usize {
        segment * self.columns + segment.saturating_sub(self.narrow)
    }
}

/// Rows for `keys` keys that let about three systems in four be solved: measured for 1 000 to
/// 1 000 000 keys, where each doubling asks for 1.15 % more.
fn rows_for(keys: usize) -> usize {
    let doublings = f64::from(keys.max(1).ilog2() + 1);
    let spare = (0.0115 * doublings - 0.115).max(0.0);
    keys + (keys as f64 * spare) as usize + WIDTH
}

/// See the module page.
#[derive(Debug)]
pub(crate) struct Ribbon {
    words: Box<[u64]>,
    shape: Shape,
    seed: u8,
}

impl Ribbon {
    /// The body of a filter of `bits_per_key` bits for each of `hashes`; `None` if they are too few,
    /// or, which nobody will see who does not choose hashes to that end, no seed suits them.
    pub(crate) fn build(hashes: &[u64], bits_per_key: f64) -> Option<Vec<u8>> {
        let shape = Shape::new(hashes.len(), bits_per_key)?;
        let mut bands = Bands::new(shape);
        let seed = (0..SEEDS).find(|&seed| bands.eliminate(hashes, seed))?;
        let mut body = bands.solve();
        body.extend_from_slice(&(shape.narrow as u32).to_le_bytes());
        body.extend_from_slice(&[shape.columns as u8, seed]);
        Some(body)
    }

    #[inline]
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        let shape = &self.shape;
        let Equation { start, coefficients, result } =
            Equation::of(hash, self.seed, shape.starts());
        let (segment, row) = (start / WIDTH, start % WIDTH);
        let columns = shape.columns_of(segment);
        let first = shape.word_of(segment);
        let here = &self.words[first..first + columns];
        let low = coefficients << row;
        let high = coefficients >> 1 >> (WIDTH - 1 - row);
        let next = shape.word_of(segment + 1);
        // RIBBON-1. The last segment has none behind, and only equations that fill it.
        let behind = self.words.get(next..next + columns).unwrap_or(here);
        let wrong = (0..columns).fold(0, |wrong, j| {
            wrong | ((here[j] & low) ^ (behind[j] & high)).count_ones() ^ result >> j
        });
        wrong & 1 == 0
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.words.len() * 8
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Ribbon, Malformed> {
        let malformed = |what| Err(Malformed { offset: body.len(), what });
        let Some((words, trailer)) = body.split_last_chunk::<TRAILER_BYTES>() else {
            return malformed("shorter than a Ribbon filter");
        };
        let mut decoder = Decoder::new(trailer);
        let narrow = decoder.u32()? as usize;
        let [columns, seed] = [trailer[4], trailer[5]];
        let columns = usize::from(columns);
        let (words, rest) = words.as_chunks::<8>();
        if columns >= MAX_COLUMNS || !rest.is_empty() {
            return malformed("Ribbon filter is not a whole number of words");
        }
        // words = segments × (columns + 1) − narrow
        let segments = (words.len() + narrow) / (columns + 1);
        let shape = Shape { segments, columns, narrow };
        if segments < 2 || narrow > segments || shape.words() != words.len() {
            return malformed("Ribbon filter is not a whole number of segments");
        }
        let words = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        Ok(Ribbon { words, shape, seed })
    }
}

/// The equations, one at most for each row, in echelon form.
struct Bands {
    shape: Shape,
    /// Of the equation that starts in the row; 0 for none.
    coefficients: Vec<u64>,
    results: Vec<u32>,
}

impl Bands {
    fn new(shape: Shape) -> Bands {
        Bands { shape, coefficients: vec![0; shape.rows()], results: vec![0; shape.rows()] }
    }

    /// Brings the equations of all `hashes` into echelon form; false if they contradict each other.
    fn eliminate(&mut self, hashes: &[u64], seed: u8) -> bool {
        self.coefficients.fill(0);
        self.results.fill(0);
        hashes.iter().all(|&hash| self.add(Equation::of(hash, seed, self.shape.starts())))
    }

    #[inline]
    fn add(&mut self, equation: Equation) -> bool {
        let Equation { mut start, mut coefficients, mut result } = equation;
        loop {
            let pivot = self.coefficients[start];
            if pivot == 0 {
                self.coefficients[start] = coefficients;
                self.results[start] = result;
                return true;
            }
            coefficients ^= pivot;
            result ^= self.results[start];
            if coefficients == 0 {
                return result == 0; // The same hash once more is no contradiction.
            }
            let zeros = coefficients.trailing_zeros();
            coefficients >>= zeros;
            start += zeros as usize;
        }
    }

    /// The segments of the solution.
    fn solve(&self) -> Vec<u8> {
        let Bands { shape, .. } = self;
        let mut words = vec![0u8; shape.words() * 8];
        // Bit i of column j is the solution in the row i behind the current one.
        let mut columns = [0u64; MAX_COLUMNS];
        for segment in (0..shape.segments).rev() {
            let count = shape.columns_of(segment);
            for row in (segment * WIDTH..(segment + 1) * WIDTH).rev() {
                let (coefficients, result) = (self.coefficients[row], self.results[row]);
                for (j, column) in columns[..shape.columns + 1].iter_mut().enumerate() {
                    let shifted = *column << 1;
                    let bit = (shifted & coefficients).count_ones() ^ (result >> j);
                    *column = shifted | u64::from(bit & 1);
                }
            }
            let first = shape.word_of(segment) * 8;
            for (j, column) in columns[..count].iter().enumerate() {
                words[first + j * 8..][..8].copy_from_slice(&column.to_le_bytes());
            }
        }
        words
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn hashes(count: u64) -> Vec<u64> {
        (0..count).map(|i| crate::filter::key_hash(&i.to_le_bytes())).collect()
    }

    #[test]
    fn a_ribbon_filter_has_these_bytes() {
        let body = Ribbon::build(&hashes(600), 7.5).unwrap();
        assert_eq!(body.len(), 70 * 8 + TRAILER_BYTES);
        assert_eq!(body[70 * 8..], [7, 0, 0, 0, 6, 0]);
        assert_eq!(crc32c::crc32c(&body), 3_744_776_806);
    }

    #[test]
    fn the_shape_uses_the_bits_that_it_is_given() {
        for (keys, bits) in [(512, 1.0), (3000, 7.3), (100_000, 9.99), (1 << 20, 32.0)] {
            let shape = Shape::new(keys, bits).unwrap();
            let words = (keys as f64 * bits) as usize / 64;
            assert_eq!(shape.words(), words.min(shape.segments * MAX_COLUMNS));
        }
    }

    #[test]
    fn a_hash_may_come_twice_but_contradictions_have_no_solution() {
        let mut twice = hashes(600);
        twice.extend(hashes(600));
        assert!(Ribbon::build(&twice, 10.0).is_some());
        let mut bands = Bands::new(Shape::new(600, 10.0).unwrap());
        let equation = |result| Equation { start: 3, coefficients: 5, result };
        assert!(bands.add(equation(1)) && bands.add(equation(1)));
        assert!(!bands.add(equation(2)));
    }

    #[test]
    fn seeds_are_tried_until_one_suits() {
        let seed = |round: u64| {
            let hashes = &hashes(4000 * (round + 1))[4000 * round as usize..];
            let ribbon = Ribbon::decode(&Ribbon::build(hashes, 10.0).unwrap()).unwrap();
            assert!(hashes.iter().all(|&hash| ribbon.may_contain(hash)));
            ribbon.seed
        };
        let seeds: Vec<u8> = (0..20).map(seed).collect();
        assert!(seeds.contains(&0) && seeds.iter().any(|&seed| seed > 0), "{seeds:?}");
    }

    #[test]
    fn too_few_keys_get_none() {
        assert!(Ribbon::build(&hashes(MIN_KEYS as u64 - 1), 10.0).is_none());
        assert!(Ribbon::build(&hashes(MIN_KEYS as u64), 10.0).is_some());
    }

    #[test]
    fn malformed_ribbon_filters_are_refused() {
        let body = Ribbon::build(&hashes(600), 7.5).unwrap();
        let words = body.len() - TRAILER_BYTES;
        let refused = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut body = body.clone();
            change(&mut body);
            Ribbon::decode(&body).is_err()
        };
        assert!(!refused(&|body| body[words + 5] = 1));
        assert!(refused(&|body| body[words] = 8));
        assert!(refused(&|body| body[words + 3] = 255));
        assert!(refused(&|body| body[words + 4] = 32));
        assert!(refused(&|body| drop(body.drain(..1))));
        assert!(refused(&|body| drop(body.drain(..8))));
        assert!(refused(&|body| drop(body.drain(..words + 1))));
    }
}
