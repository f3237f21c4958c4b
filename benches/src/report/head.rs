//! What stands above every report: where it was measured and how, and what the figures mean.

use crate::engine::Durability;
use crate::report::format::{count, length, three_digits, utc};
use crate::report::summary::Summary;
use crate::subjects::OURS;

/// What a reader must know to judge a figure: names and values.
pub(crate) fn facts(summary: &Summary) -> Vec<(&'static str, String)> {
    let record = summary.record;
    let machine = &record.machine;
    let memory = three_digits(machine.memory_bytes as f64 / f64::from(1 << 30));
    let subjects = summary.subjects().into_iter().map(|(name, version)| match version {
        "" => format!("{name} (baseline)"),
        version => format!("{name} {version}"),
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
             Subjects took turns, in reverse order every other round."
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
         the one that does best among those of the same or a stronger durability class."
            .to_owned(),
        "CPU is the time of all threads of the process for a unit; written, what the kernel was \
         made to write for a unit (fs: what the engine counted); peak, the most memory of the \
         process so far; disk, what the files hold afterwards."
            .to_owned(),
    ]
}

/// What the classes mean, of those that appear.
pub(crate) fn classes(summary: &Summary) -> Vec<String> {
    let rows = || summary.cases().flat_map(|case| &case.steps).flat_map(|step| &step.rows);
    let mut met: Vec<Durability> = rows().map(|row| row.class).collect();
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
    if rows().any(|row| row.weaker) {
        lines.push(format!("{WEAKER}: a weaker class than {OURS} had in the same case"));
    }
    lines
}

/// What marks a class that is weaker than ours.
pub(crate) const WEAKER: &str = "⚠";
