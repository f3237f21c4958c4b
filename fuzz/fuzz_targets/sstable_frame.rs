//! A framed block with its checksum made right: opened and decompressed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stratalog_sstable::fuzz;

fuzz_target!(|bytes: &[u8]| {
    let _ = fuzz::frame(bytes);
});
