//! Measures Stratalog and its peers under the same workloads: the same keys, the same memory, the
//! same durability, and every answer checked.
//!
//! | module | holds |
//! |---|---|
//! | [`plan`] | what the command line asked for |
//! | [`suite`] | the suites: workloads, cut into cases and parts |
//! | [`engine`], [`log`], [`map`] | the faces that stores, logs and memtables show to a suite, and their adapters |
//! | [`subjects`] | all that can be measured: ours, baselines, peers |
//! | [`counting_fs`] | a file system that counts the bytes written |
//! | [`data`], [`draw`] | keys and values that can be checked without being kept; which one comes next |
//! | `check` | calls whose answers are checked |
//! | [`measure`], [`latency`], [`meter`] | a step: threads, when it ends; latency; what the kernel counts |
//! | [`round`] | rounds in which subjects take turns, each part in a process of its own |
//! | [`record`] | what was measured, as plain values |
//! | [`report`] | the record as a table, as Markdown, as a page |
//! | [`compare`] | two records, and what changed beyond noise |
//! | [`machine`] | where it was measured |

mod check;
pub mod compare;
pub mod counting_fs;
pub mod data;
pub mod draw;
pub mod engine;
pub mod latency;
pub mod log;
pub mod machine;
pub mod map;
pub mod measure;
pub mod meter;
pub mod plan;
pub mod record;
pub mod report;
pub mod round;
pub mod subjects;
pub mod suite;
pub mod tables;

/// The outcome of anything that a bench does; the outside world's errors end the bench.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
