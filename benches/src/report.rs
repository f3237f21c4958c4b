//! The report: medians over rounds, and ratios of ours to each peer, as a table and as JSON. A ratio
//! is the median of the ratios within each round, which a drift between rounds does not touch.

use std::fmt;

use serde::Serialize;

use crate::engine::{Config, OURS, version};
use crate::machine::Machine;
use crate::meter::{Latency, Step};
use crate::round::{Plan, Run};

/// All that was measured, and how.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The command line.
    pub command: String,
    /// Where.
    pub machine: Machine,
    /// Engines and their versions, ours first.
    pub engines: Vec<(String, String)>,
    /// How every engine was set up.
    pub config: Config,
    /// Entries of a store.
    pub entries: u64,
    /// Every run of every engine.
    pub runs: Vec<Run>,
}

impl Report {
    /// A report of `runs`, made by `command` as `plan` says.
    pub fn new(command: String, plan: &Plan, runs: Vec<Run>) -> Report {
        let engines = plan.engines.iter().map(|name| (name.clone(), version(name).to_owned()));
        Report {
            command,
            machine: Machine::here(&plan.dir),
            engines: engines.collect(),
            config: plan.config.clone(),
            entries: plan.entries,
            runs,
        }
    }

    fn rounds(&self) -> usize {
        self.runs.iter().map(|run| run.round + 1).max().unwrap_or(0)
    }

    /// What `figure` says of `engine`, in order of rounds.
    fn figures(&self, engine: &str, figure: impl Fn(&Run) -> f64) -> Vec<f64> {
        let mut runs: Vec<&Run> = self.runs.iter().filter(|run| run.engine == engine).collect();
        runs.sort_unstable_by_key(|run| run.round);
        runs.into_iter().map(figure).collect()
    }

    /// Ours over `peer`'s, median over rounds; nothing for ours itself.
    fn ratio(&self, peer: &str, figure: impl Fn(&Run) -> f64) -> String {
        if peer == OURS {
            return String::new();
        }
        let pairs = self.figures(OURS, &figure).into_iter().zip(self.figures(peer, &figure));
        format!("{:.2} ×", median(&pairs.map(|(ours, theirs)| ours / theirs).collect::<Vec<_>>()))
    }

    fn step_row(&self, f: &mut fmt::Formatter<'_>, engine: &str, index: usize) -> fmt::Result {
        let of = |figure: fn(&Step) -> f64| self.figures(engine, |run| figure(step(run, index)));
        let name = self.runs.first().map_or("", |run| &step(run, index).name);
        let rates = of(Step::rate);
        let latency = |figure: fn(&Latency) -> f64| {
            let runs = self.runs.iter().filter(|run| run.engine == engine);
            let values: Vec<f64> =
                runs.filter_map(|run| step(run, index).latency.as_ref().map(figure)).collect();
            if values.is_empty() { "-".to_owned() } else { format!("{:.1}", median(&values)) }
        };
        writeln!(
            f,
            "{name:14} {engine:10} {:8} {:>8.0} {:>13} {:>8} {:>8} {:>9} {:>9.2} {:>9.0}",
            self.config.durability,
            median(&rates) / 1e3,
            format!("{:.0}–{:.0}", least(&rates) / 1e3, most(&rates) / 1e3),
            self.ratio(engine, |run| step(run, index).rate()),
            latency(|latency| latency.p99_us),
            latency(|latency| latency.worst_us / 1e3),
            median(&of(|step| step.cpu_seconds * 1e6 / step.ops as f64)),
            median(&of(|step| step.written_bytes as f64)) / 1e6,
        )
    }
}

/// The `index`-th step of both parts of a run.
fn step(run: &Run, index: usize) -> &Step {
    let writes = run.fill.steps.len();
    run.fill.steps.get(index).unwrap_or_else(|| &run.read.steps[index - writes])
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { machine, config, .. } = self;
        writeln!(f, "{}", self.command)?;
        writeln!(
            f,
            "{}, {} cores, {:.0} GiB, kernel {}, {}; commit {}",
            machine.cpu,
            machine.cores,
            gib(machine.memory_bytes),
            machine.kernel,
            machine.file_system,
            machine.commit
        )?;
        let engines: Vec<String> =
            self.engines.iter().map(|(name, v)| format!("{name} {v}")).collect();
        writeln!(
            f,
            "{}; medians of {} rounds, ratios: stratalog to the peer",
            engines.join(", "),
            self.rounds()
        )?;
        writeln!(
            f,
            "{} entries, random 16 B keys, 100 B values, 1 thread; memtable {:.0} MiB, cache {:.0} MiB, \
             {} filter bits, {}\n",
            self.entries,
            mib(config.memtable_bytes as f64),
            mib(config.cache_bytes as f64),
            config.filter_bits_per_key,
            if config.lz4 { "LZ4" } else { "no compression" }
        )?;
        writeln!(
            f,
            "{:14} {:10} {:8} {:>8} {:>13} {:>8} {:>8} {:>9} {:>9} {:>9}",
            "step",
            "engine",
            "class",
            "k op/s",
            "least–most",
            "ratio",
            "p99 µs",
            "worst ms",
            "CPU µs/op",
            "written MB"
        )?;
        let steps = self.runs.first().map_or(0, |run| run.fill.steps.len() + run.read.steps.len());
        for index in 0..steps {
            for (engine, _) in &self.engines {
                self.step_row(f, engine, index)?;
            }
        }
        writeln!(
            f,
            "\n{:10} {:>17} {:>17} {:>9}",
            "engine", "peak filling MiB", "peak reading MiB", "disk MiB"
        )?;
        for (engine, _) in &self.engines {
            let of = |figure: fn(&Run) -> u64| {
                median(&self.figures(engine, |run| mib(figure(run) as f64)))
            };
            let filling = of(|run| run.fill.peak_bytes);
            let reading = of(|run| run.read.peak_bytes);
            let disk = of(|run| run.disk_bytes);
            writeln!(f, "{engine:10} {filling:>17.0} {reading:>17.0} {disk:>9.0}")?;
        }
        Ok(())
    }
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => f64::NAN,
        (len, middle) if len % 2 == 1 => sorted[middle],
        (_, middle) => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert!(median(&[]).is_nan());
    }
}
