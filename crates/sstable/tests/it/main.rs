//! Tables as their users see them, on the simulated file system.
#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod cache;
mod damage;
mod format;
mod fuzz;
mod model;
mod support;
