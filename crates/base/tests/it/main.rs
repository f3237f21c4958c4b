//! The file systems: one contract for both, and what the simulated one adds.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "a test fails by panic")]

mod fs_contract;
mod memory;
mod sim_crash;
mod sim_faults;
mod sim_mapping;
