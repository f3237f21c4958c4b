//! The table of a case: the same columns on the terminal, in Markdown and on the page.

use std::cmp::Ordering;

use crate::report::format::{base_unit, bytes, count, mib, micros, rate, ratio, si, three_digits};
use crate::report::head::{STRONGER, WEAKER};
use crate::report::quantity::Quantity;
use crate::report::score::Score;
use crate::report::summary::{CaseSummary, Failure, Row, Spread, StepSummary};
use crate::subjects::OURS;

/// The columns that hold [`cells`].
pub(crate) const COLUMNS: [&str; 15] = [
    "subject",
    "class",
    "rate",
    "least–most",
    "ours ÷",
    "p50",
    "p99",
    "p99.9",
    "worst",
    "CPU µs",
    "written",
    "fs",
    "peak MiB",
    "disk MiB",
    "notes",
];

/// Stands where a ratio would say nothing.
const NO_RATIO: &str = "–";

/// Whether a column of [`COLUMNS`] holds words rather than numbers.
pub(crate) fn is_words(column: usize) -> bool {
    matches!(column, 0 | 1 | 14)
}

/// The figures of a subject, one for each of [`COLUMNS`]; empty where there is none.
pub(crate) fn cells(step: &StepSummary, row: &Row) -> [String; COLUMNS.len()] {
    let spread = row.spread(Quantity::Rate);
    let show = |value: Option<f64>, show: fn(f64) -> String| value.map_or_else(String::new, show);
    let latency = |at| row.median(|step| step.latency.as_ref().map(|latency| latency.at(at)));
    let range = |spread: Spread| {
        format!("{}–{}", rate(spread.least, step.unit), rate(spread.most, step.unit))
    };
    let beside = match step.ratio(row, Quantity::Rate) {
        _ if row.subject == OURS || step.row(OURS).is_none() => String::new(),
        Some(spread) => ratio(spread.median),
        None => NO_RATIO.to_owned(),
    };
    [
        row.who().to_string(),
        class(row),
        spread.map_or_else(String::new, |spread| rate(spread.median, step.unit)),
        spread.filter(|spread| spread.rounds > 1).map_or_else(String::new, range),
        beside,
        show(latency(0.5), micros),
        show(latency(0.99), micros),
        show(latency(0.999), micros),
        show(latency(1.0), micros),
        show(row.median(|step| Quantity::Cpu.of(step)), three_digits),
        show(row.median(|step| Some(step.written_bytes as f64 / step.ops as f64)), bytes),
        show(row.median(|step| Some(step.fs_written_bytes? as f64 / step.ops as f64)), bytes),
        show(row.median(|step| Some(step.peak_bytes as f64)), mib),
        show(row.median(|step| Some(step.disk_bytes as f64)), mib),
        notes(row),
    ]
}

/// The class of a row, marked if it is weaker or stronger than the one of ours; empty if it has none.
pub(crate) fn class(row: &Row) -> String {
    let Some(class) = row.class else { return String::new() };
    match row.beside_ours {
        Ordering::Less => format!("{class} {WEAKER}"),
        Ordering::Equal => class.to_string(),
        Ordering::Greater => format!("{class} {STRONGER}"),
    }
}

/// `text` and the class of a row, if it has one.
pub(crate) fn with_class(text: &str, row: &Row) -> String {
    format!("{text} {}", class(row)).trim_end().to_owned()
}

fn notes(row: &Row) -> String {
    let mut notes: Vec<String> =
        row.figures().into_iter().map(|(name, value)| format!("{name} {}", si(value))).collect();
    let cut = row.rounds.iter().filter(|(_, step)| step.cut).count();
    if cut > 0 {
        notes.push(format!("cut at the time limit in {cut} of {}", row.rounds.len()));
    }
    notes.join("; ")
}

/// A step and what its rates count: `fill random`, `op/s, 2 threads`.
pub(crate) fn step_unit(step: &StepSummary) -> String {
    format!("{}/s, {}", base_unit(step.unit).1, count(step.threads, "thread"))
}

/// `failed: why (1 round)`.
pub(crate) fn failure(failure: &Failure) -> String {
    format!("failed: {} ({})", failure.why.trim(), count(failure.rounds, "round"))
}

/// What the scoreboard says of a peer: the ratio and the class, or why there is none.
pub(crate) fn score(case: &CaseSummary, score: &Score, peer: &str) -> String {
    match score.others.iter().find(|(row, _)| row.subject == peer) {
        Some((row, spread)) => with_class(&ratio(spread.median), row),
        None => no_ratio(case, score, peer).to_owned(),
    }
}

/// Why there is no ratio: `–` where it would say nothing; empty where the step was not done.
pub(crate) fn no_ratio(case: &CaseSummary, score: &Score, peer: &str) -> &'static str {
    match score.step.row(peer) {
        Some(_) => NO_RATIO,
        None if case.failed(peer) => "failed",
        None => "",
    }
}

/// A quantity of a row, with its class: `312 k op/s Process`.
pub(crate) fn value(step: &StepSummary, row: &Row, quantity: Quantity) -> String {
    with_class(&value_only(step, row, quantity), row)
}

/// A quantity of a row: `312 k op/s`.
pub(crate) fn value_only(step: &StepSummary, row: &Row, quantity: Quantity) -> String {
    let Some(Spread { median, .. }) = row.spread(quantity) else { return "?".to_owned() };
    quantity.show(median, step.unit)
}

/// A loss in words: who is ahead of ours, and how far.
pub(crate) fn loss(score: &Score) -> String {
    let (ahead, quantity) = (score.ahead(), score.quantity);
    let Some(((first, _), others)) = ahead.split_first().map(|(first, others)| (*first, others))
    else {
        return String::new();
    };
    let mut text = format!(
        "{}, {} {}",
        value(score.step, score.ours, quantity),
        first.subject,
        value(score.step, first, quantity)
    );
    for (index, (row, spread)) in others.iter().enumerate() {
        text += if index == 0 { "; also " } else { ", " };
        text += &format!("{} {}", row.subject, with_class(&ratio(spread.median), row));
    }
    text
}

/// Where a score stands: `kv · base · scan`.
pub(crate) fn place(case: &CaseSummary, step: &str) -> String {
    format!("{} · {} · {step}", case.info.suite, case.info.case)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Durability;
    use crate::report::sample::{Sample, record};
    use crate::report::score::losses;
    use crate::report::summary::Summary;

    #[test]
    fn a_row_shows_every_figure() {
        let mut record = record(&[
            Sample::new("stratalog", &[100e3, 110e3, 90e3]),
            Sample { class: Some(Durability::None), ..Sample::new("peer", &[50e3, 55e3, 45e3]) },
        ]);
        record.runs[0].steps[0].cut = true;
        let summary = Summary::new(&record);
        let step = &summary.suites[0].cases[0].steps[0];
        let ours = cells(step, &step.rows[0]);
        assert_eq!(ours[..5], ["stratalog", "Process", "100 k", "90.0 k–110 k", ""]);
        assert_eq!(ours[14], "amplification 1.50; cut at the time limit in 1 of 3");
        let peer = cells(step, &step.rows[1]);
        assert_eq!(peer[..5], ["peer", "None ⚠", "50.0 k", "45.0 k–55.0 k", "2.00×"]);
        // 900 s of processor time, 100 MB written for 50 M units.
        assert_eq!(peer[9..14], ["18.0", "2.00 B", "1.80 B", "50.0", "70.0"]);
    }

    #[test]
    fn a_loss_names_all_who_are_ahead() {
        let record = record(&[
            Sample::new("stratalog", &[50e3]),
            Sample { class: Some(Durability::None), ..Sample::new("a", &[100e3]) },
            Sample::new("b", &[75e3]),
        ]);
        let summary = Summary::new(&record);
        let scores = Score::of_all(&summary, Quantity::Rate);
        let losses = losses(&scores);
        let text = loss(losses[0]);
        assert_eq!(text, "50.0 k op/s Process, a 100 k op/s None ⚠; also b 0.67× Process");
        assert_eq!(place(losses[0].case, losses[0].step.name), "kv · base · step");
    }
}
