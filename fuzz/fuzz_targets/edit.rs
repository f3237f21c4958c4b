//! A version edit of the manifest; what decodes survives encoding and decoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stratalog_compaction::VersionEdit;

fuzz_target!(|bytes: &[u8]| {
    let Ok(edit) = VersionEdit::decode(bytes) else { return };
    let mut again = Vec::new();
    edit.encode(&mut again);
    assert_eq!(VersionEdit::decode(&again), Ok(edit));
});
