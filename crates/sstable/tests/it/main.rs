//! Tables as their users see them, on the simulated file system.
#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod cache;
mod compress;
mod cursor;
mod damage;
mod filter;
mod format;
mod fuzz;
mod handles;
mod model;
mod ranges;
mod support;
mod value_file;
