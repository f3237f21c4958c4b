//! What is read first of a table: footer, properties, range tombstones, and the summary that manifests
//! keep.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stratalog_sstable::fuzz;

fuzz_target!(|bytes: &[u8]| {
    let _ = fuzz::footer(bytes);
    let _ = fuzz::properties(bytes);
    let _ = fuzz::ranges(bytes);
    let _ = fuzz::summary(bytes);
});
