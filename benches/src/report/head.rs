//! What stands above every report: where it was measured and how, and what the figures mean.

use crate::engine::Durability;
use crate::report::format::{count, length, three_digits, utc};
use crate::report::summary::{KEPT, LEAST_CPU_SECONDS, LEAST_SECONDS, Row, Subject, Summary};
use crate::subjects::OURS;

/// What a reader must know to judge a figure: names and values.
pub(crate) fn facts(summary: &Summary) -> Vec<(&'static str, String)> {
    let record = summary.record;
    let machine = &record.machine;
    let memory = three_digits(machine.memory_bytes as f64 / f64::from(1 << 30));
    let subjects = summary.subjects().into_iter().map(|(name, version)| {
        format!("{} {version}", Subject::new(record, name)).trim_end().to_owned()
    });
    vec![
        ("command", record.command.clone()),
        ("commit", machine.commit.clone()),
        ("date", format!("{}, took {}", utc(record.began), length(record.seconds))),
        ("machine", format!("{}, {}, {memory} GiB", machine.cpu, count(machine.cores, "core"))),
        ("system", format!("Linux {}, {}", machine.kernel, machine.file_system)),
        ("measured", subjects.collect::<Vec<_>>().join(", ")),
        ("rounds", record.rounds.to_string()),
    ]
}

/// How the figures came about.
pub(crate) fn method(summary: &Summary) -> Vec<String> {
    let rounds = match summary.record.rounds {
        1 => "There was one round only, so nothing tells how much the figures vary.".to_owned(),
        rounds => format!(
            "A figure is the median of {rounds} rounds; the least and the most stand beside the rate. \
             Subjects took turns, in another order each round."
        ),
    };
    vec![
        rounds,
        format!(
            "A ratio tells how many times better {OURS} was than the peer: above 1 it is ahead, \
             whether much or little is good. It is taken within each round, so that a drift of the \
             machine cancels; then comes the median."
        ),
        "Within ± 5 % is a tie (latency 25 %, worst call 50 %, other costs 10 %). The best peer is \
         the one that does best among those of the same durability class, and those of a stronger \
         one that are ahead. Baselines tell what the work costs by itself: they are shown and not judged."
            .to_owned(),
        format!(
            "A – stands where a ratio would say nothing. Rates are not compared of steps of many \
             calls shorter than {} ms, nor where calls were due at a pace and both did {} % of it; processor time not \
             below {LEAST_CPU_SECONDS} s, nor where calls were due at a pace, for whoever makes them \
             spins; peak memory and disk only where both did the same number of units.",
            LEAST_SECONDS * 1e3,
            KEPT * 1e2
        ),
        "CPU is the time of all threads of the process for a unit. Written are the bytes for a unit \
         that the process made dirty in the page cache or wrote directly (write_bytes of the kernel), \
         also those of files that were removed before they went to the device; fs, what the engine \
         counted. Peak is the most memory resident during the step: a mapped file (LMDB) counts with \
         its pages, the page cache behind the reads of other engines does not. Disk is what the files \
         hold afterwards."
            .to_owned(),
    ]
}

/// What the classes mean, of those that appear.
pub(crate) fn classes(summary: &Summary) -> Vec<String> {
    let rows = || summary.cases().flat_map(|case| &case.steps).flat_map(|step| &step.rows);
    let mut met: Vec<Durability> = rows().filter_map(|row| row.class).collect();
    met.sort();
    met.dedup();
    let mut lines: Vec<String> = met
        .into_iter()
        .map(|class| {
            let survives = match class {
                Durability::None => {
                    "a write that has returned may be lost when the process is killed"
                }
                Durability::Process => "it survives a kill of the process, not a power cut",
                Durability::Interval => {
                    "it survives a kill of the process; a sync follows within 100 ms"
                }
                Durability::Sync => "it survives a power cut",
            };
            format!("{class}: {survives}")
        })
        .collect();
    if rows().any(Row::weaker) {
        lines.push(format!("{WEAKER}: a weaker class than {OURS} had in the same step"));
    }
    if rows().any(Row::stronger) {
        lines.push(format!(
            "{STRONGER}: a stronger class than {OURS} had in the same step; it counts only where it is \
             ahead"
        ));
    }
    lines
}

/// What marks a class that is weaker than ours.
pub(crate) const WEAKER: &str = "⚠";

/// What marks a class that is stronger than ours.
pub(crate) const STRONGER: &str = "↑";
