//! The shape of the tree: text cases for the planner, models for the merge, round trips for edits.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod edit;
mod filter_bits;
mod job;
mod merge;
mod planner;
mod shape;
