//! Loads from and stores to mappings, in bounds.
#![expect(unsafe_code, reason = "a mapping is reached through its pointer")]

use std::ops::Range;

use stratalog_base::fs::Mapping;

pub fn store(mapping: &dyn Mapping, offset: usize, bytes: &[u8]) {
    assert!(offset + bytes.len() <= mapping.len());
    // SAFETY: within the mapping, which a test uses from one thread.
    unsafe { mapping.as_ptr().add(offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
}

pub fn load(mapping: &dyn Mapping, range: Range<usize>) -> Vec<u8> {
    assert!(range.start <= range.end && range.end <= mapping.len());
    // SAFETY: as above; nothing stores to it while the slice lives.
    unsafe { std::slice::from_raw_parts(mapping.as_ptr().add(range.start), range.len()) }.to_vec()
}
