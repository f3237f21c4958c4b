//! The report as Markdown, to be pasted into a document.

use crate::report::format::ratio;
use crate::report::head::{classes, facts, method};
use crate::report::quantity::Quantity;
use crate::report::score::{Score, Tally, losses, not_done, nowhere};
use crate::report::summary::{CaseSummary, Subject, SuiteSummary, Summary};
use crate::report::table::{self, COLUMNS, is_words};
use crate::subjects::OURS;

/// The report.
pub(crate) fn markdown(summary: &Summary) -> String {
    let mut out = String::from("# Measured\n\n");
    for (name, value) in facts(summary) {
        out += &format!("- {name}: {}\n", escape(&value));
    }
    out += "\n";
    for line in method(summary) {
        out += &format!("- {}\n", escape(&line));
    }
    out += "\n";
    for line in classes(summary) {
        out += &format!("- {}\n", escape(&line));
    }
    out += "\n## Scoreboard\n\n";
    out += &tallies(summary);
    for suite in &summary.suites {
        out += &scoreboard(suite);
    }
    for suite in &summary.suites {
        out += &format!("\n## {}\n\n{}\n", escape(suite.name), escape(suite.about));
        for case in &suite.cases {
            out += &case_table(case);
        }
    }
    out + &behind(summary)
}

fn tallies(summary: &Summary) -> String {
    let mut out = line(["against the best peer of no weaker class", "wins", "ties", "losses"]);
    out += &line(["---", "--:", "--:", "--:"]);
    for quantity in Quantity::ALL {
        let tally = Tally::against_best(&Score::of_all(summary, quantity));
        let Tally { wins, ties, losses } = tally;
        let counts = [wins, ties, losses].map(|count| count.to_string());
        out += &line([quantity.name().to_owned()].into_iter().chain(counts));
    }
    out
}

fn scoreboard(suite: &SuiteSummary) -> String {
    let others = suite.others();
    if others.is_empty() {
        return String::new();
    }
    let mut out = format!("\nRate in `{}`: {OURS} ÷ peer\n\n", suite.name);
    out += &line(
        ["case", "step", OURS]
            .map(str::to_owned)
            .into_iter()
            .chain(others.iter().map(Subject::to_string)),
    );
    out += &line(["---", "---"].into_iter().chain(std::iter::repeat_n("--:", others.len() + 1)));
    for case in &suite.cases {
        for score in Score::of_case(case, Quantity::Rate) {
            let mut cells = vec![case.info.case.clone(), score.step.name.to_owned()];
            cells.push(table::value(score.step, score.ours, Quantity::Rate));
            cells.extend(others.iter().map(|other| table::score(case, &score, other.name)));
            out += &line(cells);
        }
    }
    let scores = Score::of_suite(suite, Quantity::Rate);
    let against = others.iter().map(|other| {
        if other.baseline {
            return String::new();
        }
        let Tally { wins, ties, losses } = Tally::against(&scores, other.name);
        format!("{wins} / {ties} / {losses}")
    });
    let first = ["**all**", "wins / ties / losses", ""].map(str::to_owned);
    out + &line(first.into_iter().chain(against))
}

fn case_table(case: &CaseSummary) -> String {
    let mut out = format!("\n### {}\n\n{}\n\n", escape(&case.info.case), escape(&case.info.about));
    if !case.steps.is_empty() {
        out += &line(["step"].into_iter().chain(COLUMNS));
        let rule = (0..COLUMNS.len()).map(|column| if is_words(column) { "---" } else { "--:" });
        out += &line(["---"].into_iter().chain(rule));
    }
    for step in &case.steps {
        for (index, row) in step.rows.iter().enumerate() {
            let name = match index {
                0 => format!("{} ({})", step.name, table::step_unit(step)),
                _ => String::new(),
            };
            out += &line([name].into_iter().chain(table::cells(step, row)));
        }
    }
    for failure in &case.failures {
        let text = format!("{} {}", failure.subject, table::failure(failure));
        out += &format!("\n{}\n", escape(&text));
    }
    out
}

fn behind(summary: &Summary) -> String {
    let mut out = String::from("\n## Behind a peer in rate, worst first\n\n");
    let scores = Score::of_all(summary, Quantity::Rate);
    let losses = losses(&scores);
    for (case, step) in not_done(summary) {
        out += &format!("- not done: {}\n", escape(&table::place(case, step)));
    }
    for score in &losses {
        let worst = ratio(score.ahead()[0].1.median);
        let place = table::place(score.case, score.step.name);
        let text = format!("{worst} {place}: {}", table::loss(score));
        out += &format!("- {}\n", escape(&text));
    }
    if losses.is_empty() {
        out += &format!("- {}\n", nowhere(&scores));
    }
    out
}

fn line<Cell: AsRef<str>>(cells: impl IntoIterator<Item = Cell>) -> String {
    let cells: Vec<String> = cells.into_iter().map(|cell| escape(cell.as_ref())).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// `text` such that it neither ends a cell or a line nor begins an element.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('|', "\\|")
        .replace('\n', " ")
        .replace('_', "\\_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::{Sample, record};

    #[test]
    fn tables_are_whole_and_nothing_breaks_out_of_a_cell() {
        let mut record = record(&[
            Sample::new("stratalog", &[1e3]),
            Sample { step: "a|b <c>", ..Sample::new("stratalog", &[2e3]) },
            Sample { step: "a|b <c>", ..Sample::new("lmdb", &[4e3]) },
        ]);
        record.runs[0].failed = Some("bad |\n<b>".to_owned());
        let text = markdown(&Summary::new(&record));
        assert!(text.contains("a\\|b &lt;c>") && !text.contains("<c>") && !text.contains("<b>"));
        assert!(text.contains("- 0.50× kv · base · a\\|b"), "{text}");
        assert!(text.contains("failed: bad \\| &lt;b>"), "{text}");
        // Every row of a table has the columns of its head.
        let columns = |line: &str| line.replace("\\|", "").matches('|').count();
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.windows(2).filter(|pair| pair.iter().all(|l| l.starts_with('|'))) {
            assert_eq!(columns(pair[0]), columns(pair[1]), "{pair:?}");
        }
    }
}
