//! The engine as its users see it: behaviour, models, crashes, damage, faults.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod api;
mod budget;
mod common;
mod concurrent;
mod crash;
mod damage;
mod faults;
mod model;
mod open_tables;
mod regressions;
mod values;
#[cfg(feature = "zstd")]
mod zstd;
