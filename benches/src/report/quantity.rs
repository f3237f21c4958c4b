//! [`Quantity`]: what is compared of a step, which way is better, and what is too little to tell.

use crate::record::Step;
use crate::report::format::{bytes, mib, micros, rate_with_unit};

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
    /// What the scoreboard counts: the rate, then the costs.
    pub(crate) const ALL: [Quantity; 8] = [
        Quantity::Rate,
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

    /// Its value for `step`; `None` if it was not taken, or is nothing that could be divided by. Bytes
    /// written may be 0, see [`Quantity::floor`].
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
        let zero = self == Quantity::Written;
        value.filter(|value| value.is_finite() && (*value > 0.0 || zero && *value == 0.0))
    }

    /// What less than it counts as when it is compared: who writes nothing is ahead of who writes
    /// something, but not infinitely far.
    pub(crate) fn floor(self) -> f64 {
        if self == Quantity::Written { 0.01 } else { 0.0 }
    }

    /// How many times better one value is than another: above 1 it is better, whether more or less of
    /// the quantity is. `None` if both are 0.
    pub(crate) fn times_better(self, one: f64, other: f64) -> Option<f64> {
        let ratio = one.max(self.floor()) / other.max(self.floor());
        let turned = if self.more_is_better() { ratio } else { 1.0 / ratio };
        (one > 0.0 || other > 0.0).then_some(turned)
    }

    /// A value in words: `312 k op/s`.
    pub(crate) fn show(self, value: f64, unit: &str) -> String {
        match self {
            Quantity::Rate => rate_with_unit(value, unit),
            Quantity::P99 | Quantity::P999 | Quantity::Worst => micros(value),
            Quantity::Cpu => format!("{}/{unit}", micros(value)),
            Quantity::Written => format!("{}/{unit}", bytes(value)),
            Quantity::Peak | Quantity::Disk => format!("{} MiB", mib(value)),
        }
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
