//! [`Quantity`]: what is compared of a step, which way is better, and what is too little to tell.

use crate::record::Step;

/// A figure of a step that two subjects, or two records, are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantity {
    /// Units a second.
    Rate,
    /// Microseconds that 99 of 100 calls stay under.
    P99,
    /// Microseconds that 999 of 1000 calls stay under.
    P999,
    /// Microseconds of the slowest call.
    Worst,
    /// Microseconds of processor time for a unit.
    Cpu,
    /// Bytes that the kernel was made to write for a unit.
    Written,
    /// The most bytes of memory.
    Peak,
    /// Bytes on disk afterwards.
    Disk,
}

impl Quantity {
    /// What the scoreboard counts beside the rate.
    pub(crate) const COSTS: [Quantity; 7] = [
        Quantity::P99,
        Quantity::P999,
        Quantity::Worst,
        Quantity::Cpu,
        Quantity::Written,
        Quantity::Peak,
        Quantity::Disk,
    ];

    /// Its name in a report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Quantity::Rate => "rate",
            Quantity::P99 => "p99 latency",
            Quantity::P999 => "p99.9 latency",
            Quantity::Worst => "worst latency",
            Quantity::Cpu => "CPU per unit",
            Quantity::Written => "bytes written per unit",
            Quantity::Peak => "peak memory",
            Quantity::Disk => "disk",
        }
    }

    /// Its value for `step`; `None` if it was not taken, or is nothing that could be divided by.
    pub(crate) fn of(self, step: &Step) -> Option<f64> {
        let latency = |at| step.latency.as_ref().map(|latency| latency.at(at));
        let per_unit = |cost: f64| cost / step.ops as f64;
        let value = match self {
            Quantity::Rate => Some(step.rate()),
            Quantity::P99 => latency(0.99),
            Quantity::P999 => latency(0.999),
            Quantity::Worst => latency(1.0),
            Quantity::Cpu => Some(per_unit(step.cpu_seconds * 1e6)),
            Quantity::Written => Some(per_unit(step.written_bytes as f64)),
            Quantity::Peak => Some(step.peak_bytes as f64),
            Quantity::Disk => Some(step.disk_bytes as f64),
        };
        value.filter(|value| value.is_finite() && *value > 0.0)
    }

    /// Whether more is better.
    pub(crate) fn more_is_better(self) -> bool {
        self == Quantity::Rate
    }

    /// Differences up to this fraction are a tie, and no change: tails of latency vary most.
    pub(crate) fn tie(self) -> f64 {
        match self {
            Quantity::Rate => 0.05,
            Quantity::P99 | Quantity::P999 => 0.25,
            Quantity::Worst => 0.5,
            Quantity::Cpu | Quantity::Written | Quantity::Peak | Quantity::Disk => 0.1,
        }
    }
}
