//! The shape of a log-structured merge tree, and how it changes: no locks, no threads, no manifest.
//!
//! A [`Version`] says which tables stand in which level. [`plan`] looks at one and decides, as a pure
//! function, what to merge next ([`is_due`]: whether anything is); [`write_tables`] does it, by a
//! [`Merge`] of cursors that a [`Retain`] thins out; the outcome is a [`VersionEdit`], and applying it
//! gives the next version.
//! Who may call what when, and what is durable when, is the engine's business.
//!
//! | file | holds |
//! |---|---|
//! | `version` | the tree's shape and its invariants |
//! | `edit` | a change of shape, and its bytes |
//! | `planner` | what to merge next |
//! | `filter_bits` | filter bits for the keys of each level |
//! | `retain` | which versions of a key survive a merge |
//! | `merge` | many sorted cursors as one, by a tree of losers |
//! | `values` | which value files a version has, what of them is garbage |
//! | `separate` | large values out of tables, into value files |
//! | `level` | the disjoint tables of a level as one cursor |
//! | `job` | entries in, tables out |

mod edit;
mod filter_bits;
mod job;
mod level;
mod merge;
mod planner;
mod retain;
mod separate;
mod values;
mod version;

pub use edit::{Numbers, VersionEdit};
pub use filter_bits::{Runs, filter_bits, runs_after};
pub use job::{NewFile, Output, Written, run, write_tables};
pub use level::{LevelCursor, Run};
pub use merge::Merge;
pub use planner::{Plan, Policy, is_due, plan, plan_all};
pub use retain::Retain;
pub use separate::Separation;
pub use values::ValueUse;
pub use version::{LEVELS, Readable, Shape, Version};
