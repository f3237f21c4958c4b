//! The report on the terminal: the scoreboard's end, which stays in sight, is what one asks first.

use crate::report::format::ratio;
use crate::report::head::{classes, facts, method};
use crate::report::quantity::Quantity;
use crate::report::score::{Score, Tally, losses, not_done, nowhere};
use crate::report::summary::{CaseSummary, Subject, SuiteSummary, Summary};
use crate::report::table::{self, COLUMNS, is_words};
use crate::subjects::OURS;

/// Columns of a terminal that lines are broken to fit, where they can be.
const WIDTH: usize = 150;

/// The report.
pub(crate) fn text(summary: &Summary) -> String {
    let mut out = String::new();
    for (name, value) in facts(summary) {
        out += &wrapped(&format!("{name:9} {value}"), 10);
    }
    out += "\n";
    for line in method(summary).into_iter().chain(classes(summary)) {
        out += &wrapped(&line, 2);
    }
    for case in summary.cases() {
        out += &case_table(case);
    }
    for suite in &summary.suites {
        out += &scoreboard(suite);
    }
    out + &behind(summary) + &tallies(summary)
}

fn case_table(case: &CaseSummary) -> String {
    let mut out = heading(&format!("{} · {}", case.info.suite, case.info.case));
    out += &wrapped(&case.info.about, 0);
    let mut lines = vec![COLUMNS.map(str::to_owned).to_vec()];
    // The line that each step begins at, and its notes, which would make the table too wide.
    let mut steps = Vec::new();
    for step in &case.steps {
        steps.push((lines.len(), format!("{} ({})", step.name, table::step_unit(step))));
        lines.extend(step.rows.iter().map(|row| table::cells(step, row).to_vec()));
    }
    let notes: Vec<String> = lines.iter_mut().filter_map(Vec::pop).collect();
    let aligned = align(&lines, is_words);
    for (index, line) in aligned.iter().enumerate() {
        if let Some((_, step)) = steps.iter().find(|(at, _)| *at == index) {
            out += &format!("{step}\n");
        }
        out += &format!("  {line}\n");
        if index > 0 && !notes[index].is_empty() {
            out += &wrapped(&format!("    {}", notes[index]), 6);
        }
    }
    for failure in &case.failures {
        out += &wrapped(&format!("  {} {}", failure.subject, table::failure(failure)), 4);
    }
    out
}

fn scoreboard(suite: &SuiteSummary) -> String {
    let others = suite.others();
    if others.is_empty() {
        return String::new();
    }
    let mut out = heading(&format!("{}: rate of {OURS} ÷ rate of the peer", suite.name));
    let head = ["case · step", OURS]
        .map(str::to_owned)
        .into_iter()
        .chain(others.iter().map(Subject::to_string));
    let mut lines: Vec<Vec<String>> = vec![head.collect()];
    for case in &suite.cases {
        for score in Score::of_case(case, Quantity::Rate) {
            let mut line = vec![format!("{} · {}", case.info.case, score.step.name)];
            line.push(table::value(score.step, score.ours, Quantity::Rate));
            line.extend(others.iter().map(|other| table::score(case, &score, other.name)));
            lines.push(line);
        }
    }
    for line in align(&lines, |_| true) {
        out += &format!("{line}\n");
    }
    out
}

fn behind(summary: &Summary) -> String {
    let scores = Score::of_all(summary, Quantity::Rate);
    let losses = losses(&scores);
    let mut out = heading("behind a peer in rate, worst first");
    for (case, step) in not_done(summary) {
        out += &format!("  not done  {}\n", table::place(case, step));
    }
    for score in &losses {
        let worst = score.ahead()[0].1.median;
        let place = table::place(score.case, score.step.name);
        let line = format!("{:>8}  {place}: {}", ratio(worst), table::loss(score));
        out += &wrapped(&line, 12);
    }
    if losses.is_empty() {
        out += &format!("  {}\n", nowhere(&scores));
    }
    out
}

fn tallies(summary: &Summary) -> String {
    let failed = failed(summary);
    let subjects = summary.subjects().into_iter();
    let peers: Vec<&str> = subjects
        .filter(|(name, version)| *name != OURS && !version.is_empty())
        .map(|(name, _)| name)
        .collect();
    if peers.is_empty() {
        return failed;
    }
    let mut out = heading(&format!("{OURS} against the best peer of no weaker class"));
    let all = Score::of_all(summary, Quantity::Rate);
    for suite in &summary.suites {
        let tally = Tally::against_best(&Score::of_suite(suite, Quantity::Rate));
        if tally.total() > 0 {
            out += &format!("  {:24} {tally}\n", format!("rate, {}", suite.name));
        }
    }
    for quantity in Quantity::ALL {
        let tally = Tally::against_best(&Score::of_all(summary, quantity));
        out += &format!("  {:24} {tally}\n", quantity.name());
    }
    out += "against each peer in rate; of a weaker class, too, of a stronger one only where it is ahead\n";
    for peer in peers {
        let tally = Tally::against(&all, peer);
        out += &format!("  {peer:24} {tally}\n");
    }
    out + &failed
}

fn failed(summary: &Summary) -> String {
    let runs = &summary.record.runs;
    match runs.iter().filter(|run| run.failed.is_some()).count() {
        0 => String::new(),
        failed => format!("\n{failed} of {} runs failed\n", runs.len()),
    }
}

fn heading(text: &str) -> String {
    format!("\n── {text} {}\n", "─".repeat(WIDTH.saturating_sub(text.chars().count() + 4)))
}

/// Columns of equal width, two spaces between them. All lines have as many cells.
fn align(lines: &[Vec<String>], is_words: impl Fn(usize) -> bool) -> Vec<String> {
    let width =
        |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines.first().map_or(0, Vec::len)).map(width).collect();
    let aligned = |line: &Vec<String>| {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if is_words(column) { format!("{cell:width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(aligned).collect()
}

/// `text` broken at spaces, further lines indented.
fn wrapped(text: &str, indent: usize) -> String {
    let (mut out, mut width) = (String::new(), 0);
    for word in text.split_inclusive(' ') {
        let count = word.trim_end().chars().count();
        if width > indent && width + count > WIDTH {
            out.truncate(out.trim_end().len());
            out += "\n";
            out += &" ".repeat(indent);
            width = indent;
        }
        out += word;
        width += word.chars().count();
    }
    out + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Durability;
    use crate::report::sample::{Sample, record};

    #[test]
    fn the_report_tells_all_and_fits_the_terminal() {
        let mut record = record(&[
            Sample::new("stratalog", &[312e3, 300e3, 320e3]),
            Sample { step: "scan", ..Sample::new("stratalog", &[1e6, 1e6, 1e6]) },
            Sample { step: "scan", ..Sample::new("lmdb", &[2e6, 2e6, 2e6]) },
            Sample { class: Some(Durability::None), ..Sample::new("redb", &[10e3, 12e3, 14e3]) },
        ]);
        record.runs[0].failed = Some("the disk is full ".repeat(20));
        let text = text(&Summary::new(&record));
        for part in ["kv · base", "312 k", "None ⚠", "25.0×", "failed: the disk is full", "abc1234"]
        {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(text.contains("0.50×  kv · base · scan: 1.00 M op/s Process, lmdb 2.00 M op/s"));
        assert!(text.contains("rate                     0 wins, 0 ties, 1 loss\n"), "{text}");
        let longest = text.lines().max_by_key(|line| line.chars().count()).unwrap();
        assert!(longest.chars().count() <= WIDTH, "{longest}");
    }
}
