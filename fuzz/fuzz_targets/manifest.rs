//! A whole manifest.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stratalog::fuzz::manifest(bytes));
