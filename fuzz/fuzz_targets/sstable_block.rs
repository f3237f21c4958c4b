//! The contents of a data block: decoded, walked and searched.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stratalog_sstable::fuzz;

fuzz_target!(|bytes: &[u8]| {
    let _ = fuzz::block(bytes);
});
