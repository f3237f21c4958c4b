//! Zstd, in a build that has it (cargo feature `zstd`).
//!
//! The first blocks of a table are compressed alone. When they are enough to learn from, a dictionary
//! is trained, which the blocks behind them are compressed with; a table that is over before has none.
//! So no block waits for the dictionary, and training is as repeatable as the table's entries.

use std::cell::RefCell;

use zstd_safe::{CCtx, CDict, DCtx, DDict};

pub(crate) const AVAILABLE: bool = true;

/// Contents to train a dictionary from: near the hundred times its size that Zstd's documentation advises.
const SAMPLE_BYTES: usize = 1 << 20;
/// The most that a dictionary takes; each table keeps its own in memory, with tables for decoding.
const DICTIONARY_BYTES: usize = 16 << 10;

/// The most bytes that compression makes of `len`.
pub(crate) fn bound(len: usize) -> usize {
    zstd_safe::compress_bound(len)
}

pub(crate) struct Encoder {
    context: CCtx<'static>,
    level: i32,
    state: State,
}

enum State {
    /// Gathers blocks to train from, one behind another, and their lengths.
    Sampling(Vec<u8>, Vec<usize>),
    Trained(Vec<u8>, CDict<'static>),
    /// There is no dictionary, and will not be.
    Without,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("level", &self.level).finish_non_exhaustive()
    }
}

impl Encoder {
    /// `None` in a build without Zstd.
    pub(crate) fn new(level: i32) -> Option<Encoder> {
        let state = State::Sampling(Vec::new(), Vec::new());
        Some(Encoder { context: CCtx::create(), level, state })
    }

    /// Compresses `contents` to the front of `to`; returns how many bytes that took.
    pub(crate) fn compress(&mut self, contents: &[u8], to: &mut [u8]) -> Option<usize> {
        let Encoder { context, level, state } = self;
        let written = match state {
            State::Trained(_, prepared) => context.compress_using_cdict(to, contents, prepared),
            State::Sampling(..) | State::Without => context.compress(to, contents, *level),
        };
        if let State::Sampling(samples, lengths) = state {
            samples.extend_from_slice(contents);
            lengths.push(contents.len());
            if samples.len() >= SAMPLE_BYTES {
                *state = train(samples, lengths, *level);
            }
        }
        written.ok()
    }

    /// The dictionary, if there is one. From here on none is made.
    pub(crate) fn dictionary(&mut self) -> Option<&[u8]> {
        if let State::Sampling(..) = self.state {
            self.state = State::Without;
        }
        match &self.state {
            State::Trained(dictionary, _) => Some(dictionary),
            State::Sampling(..) | State::Without => None,
        }
    }
}

/// Samples that have nothing in common, or are too few, give no dictionary.
fn train(samples: &[u8], lengths: &[usize], level: i32) -> State {
    let mut dictionary = Vec::with_capacity(DICTIONARY_BYTES);
    match zstd_safe::train_from_buffer(&mut dictionary, samples, lengths) {
        Ok(_) => {
            let prepared = CDict::create(&dictionary, level);
            State::Trained(dictionary, prepared)
        }
        Err(_) => State::Without,
    }
}

/// A table's dictionary, prepared for decompression.
pub(crate) struct Dictionary(DDict<'static>);

impl std::fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Dictionary").field(&self.0.get_dict_id()).finish()
    }
}

impl Dictionary {
    /// `None` if the bytes are no dictionary.
    pub(crate) fn new(bytes: &[u8]) -> Option<Dictionary> {
        // Bytes without the magic number would be taken for contents to refer to.
        zstd_safe::get_dict_id_from_dict(bytes)?;
        DDict::try_create(bytes).map(Dictionary)
    }

    /// Heap bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.0.sizeof()
    }
}

/// Decompresses `packed` to the front of `contents`; returns how many bytes that took, or nothing if it
/// is not Zstd's, does not fit, or needs another dictionary.
pub(crate) fn decompress(
    packed: &[u8],
    dictionary: Option<&Dictionary>,
    contents: &mut [u8],
) -> Option<usize> {
    // A context takes more time to make than a block to decompress.
    thread_local!(static CONTEXT: RefCell<DCtx<'static>> = RefCell::new(DCtx::create()));
    CONTEXT.with_borrow_mut(|context| {
        let written = match dictionary {
            Some(Dictionary(prepared)) => {
                context.decompress_using_ddict(contents, packed, prepared)
            }
            None => context.decompress(contents, packed),
        };
        written.ok()
    })
}
