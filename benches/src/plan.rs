//! [`Plan`]: what the command line asked for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::Durability;

/// What is to be measured, and how. Every process of a run gets it whole.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// What is measured beside ours.
    pub peers: Vec<String>,
    /// How often.
    pub rounds: usize,
    /// Fraction or multiple of each suite's size.
    pub scale: f64,
    /// The class of writes; none: each suite's own.
    pub durability: Option<Durability>,
    /// Calls a second of all threads together, in an open loop; none: as fast as it goes.
    pub calls_per_second: Option<f64>,
    /// How long a step runs that is not a matter of a count.
    pub step: Duration,
    /// When a step ends that has not done all.
    pub limit: Duration,
}

impl Plan {
    /// `count` at scale 1, scaled, at least `least`.
    pub fn scaled(&self, count: u64, least: u64) -> u64 {
        ((count as f64 * self.scale) as u64).max(least)
    }

    /// The class asked for, or `default`.
    pub fn class(&self, default: Durability) -> Durability {
        self.durability.unwrap_or(default)
    }
}
