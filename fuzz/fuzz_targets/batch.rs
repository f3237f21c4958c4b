//! A log record's payload.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stratalog::fuzz::batch(bytes));
