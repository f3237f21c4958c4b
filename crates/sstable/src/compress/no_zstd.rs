//! What stands for Zstd in a build without it: types that have no values.

pub(crate) const AVAILABLE: bool = false;

pub(crate) fn bound(len: usize) -> usize {
    len
}

#[derive(Debug)]
pub(crate) enum Encoder {}

impl Encoder {
    pub(crate) fn new(_level: i32) -> Option<Encoder> {
        None
    }

    pub(crate) fn compress(&mut self, _contents: &[u8], _to: &mut [u8]) -> Option<usize> {
        match *self {}
    }

    pub(crate) fn dictionary(&mut self) -> Option<&[u8]> {
        match *self {}
    }
}

#[derive(Debug)]
pub(crate) enum Dictionary {}

impl Dictionary {
    pub(crate) fn new(_bytes: &[u8]) -> Option<Dictionary> {
        None
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        match *self {}
    }
}

pub(crate) fn decompress(
    _packed: &[u8],
    _dictionary: Option<&Dictionary>,
    _contents: &mut [u8],
) -> Option<usize> {
    None
}
