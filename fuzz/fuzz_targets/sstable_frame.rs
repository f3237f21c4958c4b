//! A framed block with its checksum made right: opened and decompressed, also with some dictionary.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stratalog_sstable::fuzz;

fuzz_target!(|bytes: &[u8]| {
    let _ = fuzz::frame(bytes);
    if let Some((&[low, high], rest)) = bytes.split_first_chunk() {
        let at = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
        let _ = fuzz::dictionary(&rest[..at], &rest[at..]);
    }
});
