//! What a step cost: time, latency, processor time, bytes written, peak memory. The kernel counts, in
//! `/proc/self`.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::Outcome;

/// A step's figures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// What was done.
    pub name: String,
    /// How often.
    pub ops: u64,
    /// In what time.
    pub seconds: f64,
    /// Processor time of all threads of the process, user and system.
    pub cpu_seconds: f64,
    /// Bytes that the kernel was made to write to the device, sooner or later.
    pub written_bytes: u64,
    /// Of each operation, where it was taken.
    pub latency: Option<Latency>,
}

impl Step {
    /// Operations a second.
    pub fn rate(&self) -> f64 {
        self.ops as f64 / self.seconds
    }
}

/// Percentiles, in microseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub p9999_us: f64,
    pub worst_us: f64,
}

/// Measures one step, from its creation on.
pub struct Meter {
    start: Instant,
    cpu: Duration,
    written_bytes: u64,
}

impl Meter {
    /// Starts.
    ///
    /// # Errors
    /// If the kernel's counters cannot be read.
    pub fn start() -> Outcome<Meter> {
        Ok(Meter { written_bytes: written_bytes()?, cpu: cpu_time()?, start: Instant::now() })
    }

    /// The figures of `ops` operations that ended at `end`.
    ///
    /// # Errors
    /// If the kernel's counters cannot be read.
    pub fn step(
        &self,
        name: &str,
        ops: u64,
        end: Instant,
        latency: Option<&Histogram<u64>>,
    ) -> Outcome<Step> {
        Ok(Step {
            name: name.to_owned(),
            ops,
            seconds: (end - self.start).as_secs_f64(),
            cpu_seconds: (cpu_time()? - self.cpu).as_secs_f64(),
            written_bytes: written_bytes()? - self.written_bytes,
            latency: latency.map(percentiles),
        })
    }
}

/// An empty histogram of nanoseconds, exact to three digits.
///
/// # Errors
/// Never; the range is fixed.
pub fn histogram() -> Outcome<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 3_600_000_000_000, 3)?)
}

fn percentiles(histogram: &Histogram<u64>) -> Latency {
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    Latency {
        p50_us: at(0.5),
        p99_us: at(0.99),
        p999_us: at(0.999),
        p9999_us: at(0.9999),
        worst_us: histogram.max() as f64 / 1e3,
    }
}

/// The most memory that this process has had resident, in bytes.
///
/// # Errors
/// If the kernel does not say.
pub fn peak_bytes() -> Outcome<u64> {
    Ok(field(&fs::read_to_string("/proc/self/status")?, "VmHWM:")? << 10)
}

/// Bytes allocated on disk by the files under `dir`.
///
/// # Errors
/// If it cannot be read.
pub fn disk_bytes(dir: &Path) -> Outcome<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() { disk_bytes(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(sum)
}

fn written_bytes() -> Outcome<u64> {
    field(&fs::read_to_string("/proc/self/io")?, "write_bytes:")
}

/// Processor time of all threads, living and gone. The kernel counts it in hundredths of a second for
/// user space, whatever its own clock.
fn cpu_time() -> Outcome<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name, in parentheses, may hold anything; user and system time are the 12th and 13th after it.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).flat_map(str::parse::<u64>).sum();
    Ok(Duration::from_millis(ticks * 10))
}

fn field(text: &str, name: &str) -> Outcome<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| format!("the kernel does not say `{name}`").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_counts() {
        let meter = Meter::start().unwrap();
        let mut sum = 0u64;
        while meter.start.elapsed() < Duration::from_millis(60) {
            sum = sum.wrapping_mul(3).wrapping_add(1);
        }
        let step = meter.step("spin", 1 + sum % 2, Instant::now(), None).unwrap();
        assert!(step.cpu_seconds > 0.0 && step.seconds >= 0.06 && step.rate() > 0.0);
        assert!(peak_bytes().unwrap() > 100 << 10);
    }
}
