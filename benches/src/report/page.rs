//! The page: its frame, what stands in it, and in which order.

use crate::report::board::{behind, board};
use crate::report::format::escape;
use crate::report::head::{classes, facts, method};
use crate::report::panel::{View, panel};
use crate::report::summary::{SuiteSummary, Summary};

/// Rows of all tables together above which only a suite's first case has drawings beside the bars.
const LEAN_ROWS: usize = 1_200;
/// Subjects that have a colour of their own.
const COLOURS: usize = 8;

/// The page.
pub(crate) fn page(summary: &Summary) -> String {
    let subjects = summary.subjects();
    let class_of = |subject: &str| {
        let index = subjects.iter().position(|(name, _)| *name == subject).unwrap_or(COLOURS);
        format!("s{}", if index == 0 { 0 } else { (index - 1) % (COLOURS - 1) + 1 })
    };
    let rows = summary.cases().flat_map(|case| &case.steps).map(|step| step.rows.len());
    let lean = rows.sum::<usize>() > LEAN_ROWS;
    let title = escape(&format!("Stratalog measured: {}", names(summary)));
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<style>\n{}</style></head>\n\
         <body>\n",
        include_str!("page.css")
    );
    out += &contents(summary);
    out += &format!("<main>\n<header id=\"head\"><h1>{title}</h1>\n{}</header>\n", head(summary));
    out += &section("glance", "At a glance", &board(summary, lean));
    out += &section("behind", "Where ours is behind", &behind(summary));
    for (index, suite) in summary.suites.iter().enumerate() {
        out += &self::suite(index, suite, lean, &class_of);
    }
    out + "</main>\n</body></html>\n"
}

fn names(summary: &Summary) -> String {
    summary.suites.iter().map(|suite| suite.name).collect::<Vec<_>>().join(", ")
}

fn section(id: &str, title: &str, inner: &str) -> String {
    format!("<section id=\"{id}\"><h2>{title}</h2>\n{inner}</section>\n")
}

fn contents(summary: &Summary) -> String {
    let mut out = String::from(
        "<nav><a href=\"#head\">What was measured</a><a href=\"#glance\">At a glance</a>",
    );
    out += "<a href=\"#behind\">Behind</a>\n";
    for (number, suite) in summary.suites.iter().enumerate() {
        out += &format!("<a class=\"suite\" href=\"#s{number}\">{}</a>", escape(suite.name));
        for (index, case) in suite.cases.iter().enumerate() {
            let name = escape(&case.info.case);
            out += &format!("<a class=\"case\" href=\"#s{number}-{index}\">{name}</a>");
        }
        out += "\n";
    }
    out + "</nav>\n"
}

fn head(summary: &Summary) -> String {
    let fact = |(name, value): (&str, String)| match name {
        "command" => format!("<dt>{name}</dt><dd><code>{}</code></dd>", escape(&value)),
        _ => format!("<dt>{name}</dt><dd>{}</dd>", escape(&value)),
    };
    let facts: String = facts(summary).into_iter().map(fact).collect();
    let method: String =
        method(summary).iter().map(|line| format!("<li>{}</li>", escape(line))).collect();
    let classes: String =
        classes(summary).iter().map(|line| format!("<li>{}</li>", escape(line))).collect();
    let failed = summary.record.runs.iter().filter(|run| run.failed.is_some()).count();
    let failed = match failed {
        0 => String::new(),
        _ => format!(
            "<p class=\"failed\">{failed} of {} runs failed</p>\n",
            summary.record.runs.len()
        ),
    };
    format!(
        "<dl>{facts}</dl>\n{failed}<p>How to read it</p>\n<ul>{method}</ul>\n<p>Durability: what a \
         write has survived once it has returned</p>\n<ul>{classes}</ul>\n"
    )
}

fn suite(
    number: usize,
    suite: &SuiteSummary,
    lean: bool,
    class_of: &dyn Fn(&str) -> String,
) -> String {
    let mut inner = format!("<p>{}</p>\n", escape(suite.about));
    if lean && suite.cases.len() > 1 {
        inner += "<p class=\"note\">Latency and what happened over time are drawn for the first case \
                  only, to keep this page light; the record holds all.</p>\n";
    }
    for (index, case) in suite.cases.iter().enumerate() {
        let view = View { class_of, open: index == 0, lean: lean && index > 0 };
        let (name, about) = (escape(&case.info.case), escape(&case.info.about));
        inner += &format!(
            "<article id=\"s{number}-{index}\"><h3>{name}</h3>\n<p class=\"about\">{about}</p>\n{}</article>\n",
            panel(case, &view)
        );
    }
    section(&format!("s{number}"), &escape(suite.name), &inner)
}
