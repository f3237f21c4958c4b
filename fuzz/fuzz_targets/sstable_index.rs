//! The contents of an index partition or of a top index: decoded, each separator found.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stratalog_sstable::fuzz;

fuzz_target!(|bytes: &[u8]| {
    let _ = fuzz::index(bytes);
    let _ = fuzz::top(bytes);
});
