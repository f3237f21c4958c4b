//! Measures Stratalog and its peers under the same workloads: the same keys, the same memory, the
//! same durability, and every answer checked.
//!
//! | module | holds |
//! |---|---|
//! | [`engine`] | the face that all engines show to a workload, and their adapters |
//! | [`data`] | keys and values that can be checked without being kept |
//! | [`meter`] | time, latency, CPU, bytes written, peak memory |
//! | [`kv`] | the suite `kv`: fill, get, scan |
//! | [`round`] | rounds in which engines take turns, each step in a process of its own |
//! | [`report`] | medians and ratios, as a table and as JSON |
//! | [`machine`] | where it was measured |

pub mod data;
pub mod engine;
pub mod kv;
pub mod machine;
pub mod meter;
pub mod report;
pub mod round;

/// The outcome of anything that a bench does; the outside world's errors end the bench.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
