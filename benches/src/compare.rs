//! Two records, and what changed between them beyond noise.
//!
//! **Beyond noise** is a change of the median that meets all of:
//! - The ranges of both records, from the least to the most of their rounds, do not overlap.
//! - It is larger than the tie of its quantity: 5 % for rates, 25 % for p99 latency, whose tail varies
//!   more, 10 % for bytes written, peak memory and disk.
//! - It is larger than the ranges are wide, as a part of their medians: than the wider of the two, or,
//!   with three rounds or fewer, than both together.
//!
//! Of steps that did not change, with rates that vary by 1 to 8 % (standard deviation), this reports at
//! most 1.4 of 100 with three rounds and 0.2 of 100 with five; a change of 20 % under 4 % of noise is
//! found in 83 and 95 of 100. With fewer than three rounds a range says little: the change must be four
//! times the tie.
//!
//! The machine may drift between records. Where peers are in both, the rate and the latency of ours are
//! therefore judged by how they stand to those peers: in each round, ours is divided by the geometric
//! mean of the peers, and these ratios are compared by the rules above. Baselines are not among the
//! peers. What peers and baselines themselves changed stands apart: it tells of the machine, or of
//! another version.
//!
//! Peak memory and disk are compared only where all rounds of both records did the same number of
//! units: who did less has less in memory and on disk.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::engine::Durability;
use crate::machine::Machine;
use crate::record::{Record, Step};
use crate::report::format::{count, percent, utc};
use crate::report::quantity::Quantity;
use crate::report::summary::{Spread, Subject};
use crate::subjects::OURS;

/// What is compared.
const QUANTITIES: [Quantity; 5] =
    [Quantity::Rate, Quantity::P99, Quantity::Written, Quantity::Peak, Quantity::Disk];

/// What changed from `old` to `new`, as text.
pub fn compare(old: &Record, new: &Record) -> String {
    let mut out = header(old, new);
    let (was, is) = (steps(old), steps(new));
    let mut pairs: Vec<Pair> = Vec::new();
    for (key, rounds) in &is {
        let Some(before) = find(&was, key) else { continue };
        let peer = key.subject != OURS && !Subject::new(new, key.subject).baseline;
        pairs.push(Pair { key, peer, old: before, new: rounds });
    }
    out += &classes(&pairs);
    out += &drift(&pairs);
    let changes: Vec<Change> = pairs.iter().flat_map(|pair| changes(pair, &pairs)).collect();
    let of = |ours: bool| changes.iter().filter(move |change| (change.key.subject == OURS) == ours);
    out += &list("improved", of(true).filter(|change| change.better));
    out += &list("regressed", of(true).filter(|change| !change.better));
    out += &list("peers and baselines (the machine, or another version)", of(false));
    let changed = pairs.iter().filter(|pair| changes.iter().any(|change| change.key == pair.key));
    let unchanged = pairs.len() - changed.count();
    let _ = writeln!(out, "\n{} unchanged within noise", count(unchanged, "step"));
    out += &alone("only in the old record", &was, &is);
    out += &alone("only in the new record", &is, &was);
    out + &failures("new failures", new, old) + &failures("failures that are gone", old, new)
}

/// What is compared with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key<'a> {
    suite: &'a str,
    case: &'a str,
    step: &'a str,
    subject: &'a str,
}

/// A step of a subject, and its rounds.
type Rounds<'a> = Vec<(usize, &'a Step)>;
type Steps<'a> = Vec<(Key<'a>, Rounds<'a>)>;

struct Pair<'a> {
    key: &'a Key<'a>,
    /// Whether ours is judged beside it: it is neither ours nor a baseline.
    peer: bool,
    old: &'a Rounds<'a>,
    new: &'a Rounds<'a>,
}

/// A change beyond noise.
struct Change<'a> {
    key: &'a Key<'a>,
    quantity: Quantity,
    /// As a part of the old value; measured by `peers`, if there are any.
    change: f64,
    better: bool,
    peers: usize,
    old: String,
    new: String,
    /// Of the figure itself.
    plain: f64,
}

fn steps(record: &Record) -> Steps<'_> {
    let mut steps: Steps = Vec::new();
    let mut places: HashMap<Key, usize> = HashMap::new();
    for run in &record.runs {
        for step in &run.steps {
            let (suite, case) = (run.suite.as_str(), run.case.as_str());
            let key = Key { suite, case, step: &step.name, subject: &run.subject };
            let place = *places.entry(key).or_insert(steps.len());
            if place == steps.len() {
                steps.push((key, Vec::new()));
            }
            steps[place].1.push((run.round, step));
        }
    }
    steps
}

fn find<'a>(steps: &'a Steps<'a>, wanted: &Key) -> Option<&'a Rounds<'a>> {
    steps.iter().find(|(key, _)| key == wanted).map(|(_, rounds)| rounds)
}

fn header(old: &Record, new: &Record) -> String {
    let mut out = String::new();
    for (name, record) in [("old", old), ("new", new)] {
        let machine = &record.machine;
        let _ =
            writeln!(out, "{name}  {}, {}, {}", machine.commit, utc(record.began), record.command);
        let _ = writeln!(
            out,
            "     {}, Linux {}, {}, {}",
            hardware(machine),
            machine.kernel,
            machine.file_system,
            count(record.rounds, "round")
        );
    }
    for warning in warnings(old, new) {
        let _ = writeln!(out, "⚠ {warning}");
    }
    out
}

fn hardware(machine: &Machine) -> String {
    let (cores, gib) = (count(machine.cores, "core"), machine.memory_bytes >> 30);
    format!("{}, {cores}, {gib} GiB", machine.cpu)
}

/// What makes the records hard to compare.
fn warnings(old: &Record, new: &Record) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut differ = |what: &str, old: &str, new: &str| {
        if old != new {
            warnings.push(format!("{what} differs: {old} → {new}"));
        }
    };
    let (was, is) = (&old.machine, &new.machine);
    differ("the machine", &hardware(was), &hardware(is));
    differ("the kernel", &was.kernel, &is.kernel);
    differ("the file system", &was.file_system, &is.file_system);
    differ("the number of rounds", &old.rounds.to_string(), &new.rounds.to_string());
    for (name, version) in old.subjects.iter().filter(|(name, _)| name != OURS) {
        if let Some((_, now)) = new.subjects.iter().find(|(other, _)| other == name) {
            differ(&format!("the version of {name}"), version, now);
        }
    }
    for info in &new.cases {
        let same =
            |other: &&crate::record::CaseInfo| other.suite == info.suite && other.case == info.case;
        if let Some(before) = old.cases.iter().find(same) {
            let what = format!("what {} · {} measures", info.suite, info.case);
            differ(&what, &before.about, &info.about);
        }
    }
    if old.rounds.min(new.rounds) < 3 {
        warnings
            .push("fewer than three rounds: only changes of four times the tie count".to_owned());
    }
    warnings
}

/// Where writes of the records promise different things: a line for each suite, subject and change.
fn classes(pairs: &[Pair]) -> String {
    let mut found: Vec<(String, usize)> = Vec::new();
    for Pair { key, old, new, .. } in pairs {
        let (was, is) = (class(old), class(new));
        if was == is {
            continue;
        }
        let name = |class: Option<Durability>| class.map_or("–".to_owned(), |c| c.to_string());
        let (suite, subject) = (key.suite, key.subject);
        let what =
            format!("the class of {subject} in {suite} differs: {} → {}", name(was), name(is));
        match found.iter_mut().find(|(known, _)| *known == what) {
            Some((_, steps)) => *steps += 1,
            None => found.push((what, 1)),
        }
    }
    let line = |(what, steps): (String, usize)| format!("⚠ {what} ({})\n", count(steps, "step"));
    found.into_iter().map(line).collect()
}

/// The class of the writes; if rounds differ, the weakest.
fn class(rounds: &Rounds) -> Option<Durability> {
    rounds.iter().filter_map(|(_, step)| step.class).min()
}

/// How the rates of peers changed altogether.
fn drift(pairs: &[Pair]) -> String {
    let peers = pairs.iter().filter(|pair| pair.peer);
    let changes = peers.filter_map(|pair| {
        let (old, new) = (spread(pair.old, Quantity::Rate)?, spread(pair.new, Quantity::Rate)?);
        Some(new.median / old.median - 1.0)
    });
    Spread::of(changes).map_or_else(
        || "no peer is in both records: a drift of the machine looks like a change\n".to_owned(),
        |spread| {
            let (drift, steps) = (percent(spread.median), count(spread.rounds, "step"));
            format!(
                "rates of peers drifted by {drift} (median of {steps}); where a peer did a step, ours is \
                 judged beside it\n"
            )
        },
    )
}

fn spread(rounds: &Rounds, quantity: Quantity) -> Option<Spread> {
    Spread::of(rounds.iter().filter_map(|(_, step)| quantity.of(step)))
}

/// Whether `new` is beyond noise, and the change as a part of the old median.
fn beyond_noise(old: &Spread, new: &Spread, tie: f64) -> Option<f64> {
    let change = new.median / old.median - 1.0;
    let (was, is) = (old.relative(), new.relative());
    let least = match old.rounds.min(new.rounds) {
        ..3 => (4.0 * tie).max(was + is),
        3 => tie.max(was + is),
        _ => tie.max(was).max(is),
    };
    let apart = old.most < new.least || new.most < old.least;
    (apart && change.abs() > least).then_some(change)
}

fn changes<'a>(pair: &Pair<'a>, pairs: &[Pair<'a>]) -> Vec<Change<'a>> {
    let change = |quantity: Quantity| {
        let (old, new) = (spread(pair.old, quantity)?, spread(pair.new, quantity)?);
        let held = matches!(quantity, Quantity::Peak | Quantity::Disk);
        if held && !same_ops(pair) {
            return None;
        }
        let timed = matches!(quantity, Quantity::Rate | Quantity::P99);
        let peers: Vec<&Pair> = match timed && pair.key.subject == OURS {
            true => pairs.iter().filter(|peer| is_peer(peer, pair, quantity)).collect(),
            false => Vec::new(),
        };
        let judged = if peers.is_empty() {
            Some((old.at_least(quantity.floor()), new.at_least(quantity.floor())))
        } else {
            let of = |side: for<'s> fn(&'s Pair<'a>) -> &'s Rounds<'a>| {
                beside(side(pair), peers.iter().map(|peer| side(peer)).collect(), quantity)
            };
            of(|pair| pair.old).zip(of(|pair| pair.new))
        };
        let (was, is) = judged?;
        let change = beyond_noise(&was, &is, quantity.tie())?;
        Some(Change {
            key: pair.key,
            quantity,
            change,
            better: (change > 0.0) == quantity.more_is_better(),
            peers: peers.len(),
            old: value(pair.old, quantity, &old),
            new: value(pair.new, quantity, &new),
            plain: new.median / old.median - 1.0,
        })
    };
    QUANTITIES.into_iter().filter_map(change).collect()
}

/// Whether every round of both records did as much.
fn same_ops(pair: &Pair) -> bool {
    let mut ops = pair.old.iter().chain(pair.new).map(|(_, step)| step.ops);
    let first = ops.next();
    ops.all(|ops| Some(ops) == first)
}

/// Whether `peer` did the same step as `ours` in both records.
fn is_peer(peer: &Pair, ours: &Pair, quantity: Quantity) -> bool {
    let same = Key { subject: peer.key.subject, ..*ours.key };
    *peer.key == same
        && peer.peer
        && spread(peer.old, quantity).is_some()
        && spread(peer.new, quantity).is_some()
}

/// Ours divided by the geometric mean of the peers, in each round that all of them did.
fn beside(ours: &Rounds, peers: Vec<&Rounds>, quantity: Quantity) -> Option<Spread> {
    let ratio = |(round, ours): &(usize, &Step)| {
        let of_round = |peer: &&Rounds| {
            let (_, step) = peer.iter().find(|(other, _)| other == round)?;
            Some(quantity.of(step)?.ln())
        };
        let logs: Vec<f64> = peers.iter().filter_map(of_round).collect();
        let all = logs.len() == peers.len();
        let mean = (logs.iter().sum::<f64>() / logs.len() as f64).exp();
        all.then_some(quantity.of(ours)? / mean)
    };
    Spread::of(ours.iter().filter_map(ratio))
}

/// A figure with its durability class.
fn value(rounds: &Rounds, quantity: Quantity, spread: &Spread) -> String {
    let Some((_, step)) = rounds.first() else { return String::new() };
    let text = quantity.show(spread.median, &step.unit);
    class(rounds).map_or_else(|| text.clone(), |class| format!("{text} {class}"))
}

fn list<'a>(title: &str, changes: impl Iterator<Item = &'a Change<'a>>) -> String {
    let mut changes: Vec<&Change> = changes.collect();
    // A halving is as large as a doubling.
    let size = |change: &Change| (1.0 + change.change).ln().abs();
    changes.sort_by(|a, b| size(b).total_cmp(&size(a)));
    let mut out = format!("\n{title} ({})\n", changes.len());
    for change in changes {
        let Change { key, quantity, old, new, .. } = change;
        let subject = if key.subject == OURS { "" } else { key.subject };
        let beside = match change.peers {
            0 => String::new(),
            peers => {
                format!(" beside {}; by itself {}", count(peers, "peer"), percent(change.plain))
            }
        };
        let _ = writeln!(
            out,
            "  {:>9}  {} · {} · {}{}{subject}: {}, {old} → {new}{beside}",
            percent(change.change),
            key.suite,
            key.case,
            key.step,
            if subject.is_empty() { "" } else { " · " },
            quantity.name(),
        );
    }
    out
}

fn alone(title: &str, these: &Steps, others: &Steps) -> String {
    let mut cases: Vec<(String, Vec<&str>)> = Vec::new();
    for (key, _) in these.iter().filter(|(key, _)| find(others, key).is_none()) {
        let place = format!("{} · {} · {}", key.suite, key.case, key.subject);
        match cases.iter_mut().find(|(known, _)| *known == place) {
            Some((_, steps)) => steps.push(key.step),
            None => cases.push((place, vec![key.step])),
        }
    }
    if cases.is_empty() {
        return String::new();
    }
    let lines =
        cases.into_iter().map(|(place, steps)| format!("  {place}: {}\n", steps.join(", ")));
    format!("\n{title}\n{}", lines.collect::<String>())
}

/// Failures in `these` of what did not fail in `others`.
fn failures(title: &str, these: &Record, others: &Record) -> String {
    let failed = |record: &Record| -> Vec<(String, String)> {
        let failed = record.runs.iter().filter_map(|run| {
            let place = format!("{} · {} · {}", run.suite, run.case, run.subject);
            Some((place, run.failed.clone()?))
        });
        failed.collect()
    };
    let before = failed(others);
    let mut fresh = failed(these);
    fresh.retain(|(place, _)| !before.iter().any(|(other, _)| other == place));
    fresh.dedup();
    if fresh.is_empty() {
        return String::new();
    }
    let lines =
        fresh.into_iter().map(|(place, why)| format!("  {place}: failed: {}\n", why.trim()));
    format!("\n{title}\n{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests;
