//! The log as its callers see it, on the simulated file system.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod backend;
mod big_frames;
mod callbacks;
mod classes;
mod conformance;
mod crash;
mod crash_writers;
mod damage;
mod examples;
mod faults;
mod inspect;
mod kill;
mod overflow;
mod read_faults;
mod reader;
mod resume;
mod retention;
mod round_trip;
mod salvage;
mod start;
mod stats;
mod support;
mod threads;
mod tickets;
mod toy;
