//! What a run of the benches leaves behind: plain values, written as JSON and read again by the report
//! and by `compare`.

use serde::{Deserialize, Serialize};

use crate::engine::Durability;
use crate::machine::Machine;

/// Everything that one command measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The command line.
    pub command: String,
    /// When it began, in seconds since 1970.
    pub began: u64,
    /// How long it took.
    pub seconds: f64,
    /// Where.
    pub machine: Machine,
    /// Every subject and its version, ours first.
    pub subjects: Vec<(String, String)>,
    /// How often each case was measured.
    pub rounds: usize,
    /// What was measured, in the order of the report.
    pub cases: Vec<CaseInfo>,
    /// Every run of every subject.
    pub runs: Vec<Run>,
}

/// A case in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseInfo {
    /// The suite that it belongs to.
    pub suite: String,
    /// What the suite measures.
    pub about_suite: String,
    /// Its name within the suite.
    pub case: String,
    /// Sizes and settings.
    pub about: String,
}

/// What one subject did for one case in one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Of which suite.
    pub suite: String,
    /// Which case.
    pub case: String,
    /// What was measured: an engine, a log, a memtable.
    pub subject: String,
    /// Which round, from 0.
    pub round: usize,
    /// The steps that were done.
    pub steps: Vec<Step>,
    /// Why there are no more steps.
    pub failed: Option<String>,
}

/// A step's figures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// What was done.
    pub name: String,
    /// What is counted: "op", "entry", "commit", "MB".
    pub unit: String,
    /// By how many threads.
    pub threads: usize,
    /// What a write had survived when it returned, as the subject promises it: weaker than what was
    /// asked for where it offers nothing better. None: nothing was written.
    pub class: Option<Durability>,
    /// How many units.
    pub ops: u64,
    /// In what time.
    pub seconds: f64,
    /// Calls a second that were due, in an open loop.
    pub pace: Option<f64>,
    /// Whether it was stopped at the time limit before all was done.
    pub cut: bool,
    /// Processor time of all threads of the process, user and system.
    pub cpu_seconds: f64,
    /// Bytes that were written to the device or became dirty in the page cache, in whole pages (the
    /// kernel's `write_bytes`); also those of files that were removed before they went to the device.
    pub written_bytes: u64,
    /// Bytes written as the file-system trait counted them, where there is one.
    pub fs_written_bytes: Option<u64>,
    /// Bytes read by system calls, from the page cache or the device. Reads through a mapping do not
    /// count.
    pub read_bytes: u64,
    /// The most memory resident during the step.
    pub peak_bytes: u64,
    /// Bytes that the files hold afterwards.
    pub disk_bytes: u64,
    /// Of each call, where it was taken.
    pub latency: Option<Latency>,
    /// Throughput and latency over time.
    pub windows: Vec<Window>,
    /// The tree over time, where the subject tells.
    pub shapes: Vec<ShapeAt>,
    /// Further figures, such as amplification: name and value.
    pub figures: Vec<(String, f64)>,
}

impl Step {
    /// Units a second.
    pub fn rate(&self) -> f64 {
        self.ops as f64 / self.seconds
    }

    /// Adds a further figure.
    pub fn figure(&mut self, name: &str, value: f64) {
        self.figures.push((name.to_owned(), value));
    }

    /// This step as the end of a longer one that began with `first`: the units of `first`, the time and
    /// the cost of both.
    pub fn after(mut self, first: &Step) -> Step {
        self.ops = first.ops;
        self.threads = first.threads;
        self.cut |= first.cut;
        self.seconds += first.seconds;
        self.cpu_seconds += first.cpu_seconds;
        self.written_bytes += first.written_bytes;
        self.read_bytes += first.read_bytes;
        self.peak_bytes = self.peak_bytes.max(first.peak_bytes);
        self.fs_written_bytes =
            self.fs_written_bytes.zip(first.fs_written_bytes).map(|(own, before)| own + before);
        for shape in &mut self.shapes {
            shape.seconds += first.seconds;
        }
        self.shapes.splice(0..0, first.shapes.iter().cloned());
        self
    }
}

/// How long calls took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Of how many calls.
    pub calls: u64,
    /// Quantile, from 0 to 1, and microseconds; ascending. The last is the worst call.
    pub quantiles: Vec<(f64, f64)>,
}

impl Latency {
    /// The quantiles that are kept.
    pub const QUANTILES: [f64; 11] =
        [0.0, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999, 0.99999, 1.0];

    /// Microseconds at a quantile of [`Latency::QUANTILES`].
    pub fn at(&self, quantile: f64) -> f64 {
        let found = self.quantiles.iter().find(|(at, _)| *at >= quantile);
        found.map_or(f64::NAN, |(_, micros)| *micros)
    }
}

/// A stretch of a step. Windows of a step follow one another and are of one length, but for the last,
/// which may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// When it ended, in seconds since the step began.
    pub end_seconds: f64,
    /// Units done.
    pub ops: u64,
    /// Microseconds of a call.
    pub p99_us: f64,
    /// As `p99_us`.
    pub p999_us: f64,
    /// As `p99_us`.
    pub worst_us: f64,
}

/// What the tree looked like at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Tables and bytes of each level, level 0 first.
    pub levels: Vec<(u64, u64)>,
    /// Bytes in memtables.
    pub memtable_bytes: u64,
    /// Bytes of the log that are still needed.
    pub log_bytes: u64,
}

/// A [`Shape`] and its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShapeAt {
    /// Seconds since the step began.
    pub seconds: f64,
    /// What it was.
    pub shape: Shape,
}
