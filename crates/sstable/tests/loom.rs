//! Every interleaving of two or three threads, on the shipped code.
//!
//! `RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=2 cargo test -p stratalog-sstable --test loom --release`
//!
//! | module | models |
//! |---|---|
//! | [`cache`] | slots that are filled, looked at and emptied; what was evicted is freed in time |
//! | [`handles`] | files that are closed and opened again |
#![cfg(loom)]
#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers, too")]

#[path = "loom/cache.rs"]
mod cache;
#[path = "loom/handles.rs"]
mod handles;
