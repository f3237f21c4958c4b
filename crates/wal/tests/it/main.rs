//! The log as its callers see it, on the simulated file system.
#![cfg(not(loom))]

mod classes;
mod crash;
mod damage;
mod faults;
mod round_trip;
mod support;
