//! Fabricated records for the tests of the reports.

use crate::engine::Durability;
use crate::machine::Machine;
use crate::record::{CaseInfo, Latency, Record, Run, Shape, ShapeAt, Step, Window};

/// A step of a subject, its rate in each round.
pub(crate) struct Sample<'a> {
    pub(crate) suite: &'a str,
    pub(crate) case: &'a str,
    pub(crate) step: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) class: Option<Durability>,
    pub(crate) rates: &'a [f64],
}

impl<'a> Sample<'a> {
    pub(crate) fn new(subject: &'a str, rates: &'a [f64]) -> Sample<'a> {
        let class = Some(Durability::Process);
        Sample { suite: "kv", case: "base", step: "step", subject, class, rates }
    }
}

/// A record of these.
pub(crate) fn record(samples: &[Sample]) -> Record {
    let mut record = Record {
        command: "cargo xtask bench kv".to_owned(),
        began: 1_795_262_240,
        seconds: 200.0,
        machine: Machine {
            cpu: "A <\"Processor\"> & more".to_owned(),
            cores: 2,
            memory_bytes: 24 << 30,
            kernel: "6.1".to_owned(),
            file_system: "ext4".to_owned(),
            commit: "abc1234".to_owned(),
        },
        subjects: Vec::new(),
        rounds: samples.iter().map(|sample| sample.rates.len()).max().unwrap_or(0),
        cases: Vec::new(),
        runs: Vec::new(),
    };
    for sample in samples {
        if !record.subjects.iter().any(|(name, _)| name == sample.subject) {
            record.subjects.push((sample.subject.to_owned(), "1.2.3".to_owned()));
        }
        if !record.cases.iter().any(|c| c.suite == sample.suite && c.case == sample.case) {
            record.cases.push(CaseInfo {
                suite: sample.suite.to_owned(),
                about_suite: "what it measures".to_owned(),
                case: sample.case.to_owned(),
                about: "1000 entries".to_owned(),
            });
        }
        for (round, rate) in sample.rates.iter().enumerate() {
            add(&mut record.runs, sample, round, *rate);
        }
    }
    record
}

fn add(runs: &mut Vec<Run>, sample: &Sample, round: usize, rate: f64) {
    let is_it = |run: &Run| {
        run.suite == sample.suite
            && run.case == sample.case
            && run.subject == sample.subject
            && run.round == round
    };
    if let Some(run) = runs.iter_mut().find(|run| is_it(run)) {
        run.steps.push(step(sample, rate));
        return;
    }
    runs.push(Run {
        suite: sample.suite.to_owned(),
        case: sample.case.to_owned(),
        subject: sample.subject.to_owned(),
        round,
        steps: vec![step(sample, rate)],
        failed: None,
    });
}

/// Ten seconds at `rate`, with latencies that go with its inverse.
fn step(sample: &Sample, rate: f64) -> Step {
    let micros = 1e6 / rate;
    let quantiles = Latency::QUANTILES.map(|at| (at, micros * (1.0 + 10.0 * at.powi(50))));
    let window = |index: u32| Window {
        end_seconds: f64::from(index + 1),
        ops: (rate * (1.0 + f64::from(index % 3))) as u64,
        p99_us: micros * 8.0,
        p999_us: micros * 9.0,
        worst_us: micros * f64::from(11 + index),
    };
    let shape = |index: u64| ShapeAt {
        seconds: index as f64,
        shape: Shape {
            levels: vec![(index % 4, (index % 4) << 20), (index / 4, (index / 4) << 22)],
            memtable_bytes: (index % 4) << 20,
            log_bytes: index << 18,
        },
    };
    Step {
        name: sample.step.to_owned(),
        unit: "op".to_owned(),
        threads: 1,
        class: sample.class,
        ops: (rate * 1000.0) as u64,
        seconds: 1000.0,
        pace: None,
        cut: false,
        cpu_seconds: 900.0,
        written_bytes: (rate * 2000.0) as u64,
        fs_written_bytes: Some((rate * 1800.0) as u64),
        read_bytes: 0,
        peak_bytes: 50 << 20,
        disk_bytes: 70 << 20,
        latency: Some(Latency { calls: 1_000_000, quantiles: quantiles.to_vec() }),
        windows: (0..10).map(window).collect(),
        shapes: (0..10).map(shape).collect(),
        figures: vec![("amplification".to_owned(), 1.5)],
    }
}
