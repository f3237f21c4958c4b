//! What belongs to a case: bars of rates, latency, what happened over time, and all figures.

use crate::report::bars::bars;
use crate::report::drawings::{latency, throughput, trees, worst};
use crate::report::format::escape;
use crate::report::summary::{CaseSummary, Row, StepSummary, Subject};
use crate::report::table::{self, COLUMNS};

/// The suite whose steps are about the slowest calls over time.
const STALL: &str = "stall";

/// How a case is shown.
pub(crate) struct View<'a> {
    /// The class that gives a subject its colour.
    pub(crate) class_of: &'a dyn Fn(&str) -> String,
    /// Whether drawings are unfolded.
    pub(crate) open: bool,
    /// Whether drawings beside the bars are left out, because there are too many.
    pub(crate) lean: bool,
}

/// The case, without its heading.
pub(crate) fn panel(case: &CaseSummary, view: &View) -> String {
    let mut out = String::new();
    for failure in &case.failures {
        let text = format!("{} {}", failure.subject, table::failure(failure));
        out += &format!("<p class=\"failed\">{}</p>\n", escape(&text));
    }
    if case.steps.is_empty() {
        return out;
    }
    let class_of = view.class_of;
    out += &grid(&figures(case, &|step| bars(step, class_of)));
    let stall = case.info.suite == STALL;
    let legend = legend(case, view);
    let mut fold = |name: &str, open: bool, legend: &str, draw: &dyn Fn(&StepSummary) -> String| {
        let figures = figures(case, draw);
        if !figures.is_empty() {
            out += &folded(name, open && view.open, &(legend.to_owned() + &grid(&figures)));
        }
    };
    if stall {
        fold("Slowest call of each window", true, &legend, &|step| worst(step, class_of));
    }
    if !view.lean || stall {
        fold("Latency", true, &legend, &|step| latency(step, class_of));
        fold("Throughput over time", false, &legend, &|step| throughput(step, class_of));
        fold("The tree over time", false, LEVELS, &trees);
    }
    out + &folded("All figures", false, &table(case))
}

/// What `draw` makes of each step, under the step's name; nothing where it draws nothing.
fn figures(case: &CaseSummary, draw: &dyn Fn(&StepSummary) -> String) -> String {
    let figure = |step: &StepSummary| match draw(step) {
        drawing if drawing.is_empty() => String::new(),
        drawing => {
            let (name, unit) = (escape(step.name), escape(&table::step_unit(step)));
            let caption = format!("<figcaption>{name} <small>{unit}</small></figcaption>");
            format!("<figure>{caption}\n{drawing}</figure>\n")
        }
    };
    case.steps.iter().map(figure).collect()
}

fn grid(figures: &str) -> String {
    format!("<div class=\"grid\">{figures}</div>\n")
}

fn folded(name: &str, open: bool, inner: &str) -> String {
    let open = if open { " open" } else { "" };
    format!("<details{open}><summary>{name}</summary>\n{inner}</details>\n")
}

/// Names, colours and classes of all subjects.
fn legend(case: &CaseSummary, view: &View) -> String {
    let item = |subject: &Subject| {
        let rows = case.steps.iter().filter_map(|step| step.row(subject.name));
        let mut classes: Vec<String> = rows.map(table::class).collect();
        classes.retain(|class| !class.is_empty());
        classes.sort();
        classes.dedup();
        let (colour, name) = ((view.class_of)(subject.name), escape(&subject.to_string()));
        format!("<span class=\"{colour}\">{name} <small>{}</small></span>", classes.join(", "))
    };
    let items: String = case.subjects.iter().map(item).collect();
    format!("<p class=\"legend\">{items}</p>\n")
}

const LEVELS: &str = "<p class=\"legend\"><span class=\"v0\">level 0</span><span class=\"v1\">1</span>\
    <span class=\"v2\">2</span><span class=\"v3\">3</span><span class=\"v4\">4</span>\
    <span class=\"v5\">5</span><span class=\"v6\">6 and deeper</span>\
    <span class=\"vm\">memtables</span><span class=\"vl line\">log</span></p>\n";

/// The table of all figures.
fn table(case: &CaseSummary) -> String {
    let head: String = COLUMNS.iter().map(|column| format!("<th>{column}</th>")).collect();
    let mut out =
        format!("<div class=\"wide\"><table class=\"all\"><thead><tr>{head}</tr></thead>\n");
    for step in &case.steps {
        let (name, unit) = (escape(step.name), escape(&table::step_unit(step)));
        let columns = COLUMNS.len();
        out += "<tbody>";
        out += &format!("<tr><th colspan=\"{columns}\">{name} <small>{unit}</small></th></tr>\n");
        for row in &step.rows {
            out += &line(step, row);
        }
        out += "</tbody>";
    }
    out + "</table></div>\n"
}

fn line(step: &StepSummary, row: &Row) -> String {
    let cells = table::cells(step, row).map(|cell| format!("<td>{}</td>", escape(&cell)));
    format!("<tr>{}</tr>\n", cells.concat())
}
