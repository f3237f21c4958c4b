//! Bars: the rate of each subject for a step, with the least and the most of all rounds.

use crate::report::format::{self, base_unit, rate, si};
use crate::report::quantity::Quantity;
use crate::report::scale::Scale;
use crate::report::summary::{Row, StepSummary};
use crate::report::svg::{Svg, line, rectangle};
use crate::report::table;

const WIDTH: f64 = 460.0;
/// Names end and bars begin.
const LEFT: f64 = 92.0;
/// The longest bar ends; its value stands behind it.
const RIGHT: f64 = 310.0;
const BAR: f64 = 13.0;
const PITCH: f64 = 21.0;
const TOP: f64 = 4.0;

/// A bar for each subject. `class_of` tells the class that gives a subject its colour.
pub(crate) fn bars(step: &StepSummary, class_of: &dyn Fn(&str) -> String) -> String {
    let most = step.rows.iter().filter_map(|row| Some(row.spread(Quantity::Rate)?.most));
    let factor = base_unit(step.unit).0;
    let scale = Scale::linear(most.fold(0.0, f64::max) * factor, (LEFT, RIGHT));
    let bottom = TOP + PITCH * step.rows.len() as f64;
    let mut svg = Svg::new(WIDTH, bottom + 34.0, &format!("rates of {}", step.name));
    let ticks = scale.ticks(4);
    let grid: String = ticks
        .iter()
        .map(|tick| line((scale.at(*tick), TOP), (scale.at(*tick), bottom + 4.0)))
        .collect();
    svg.path("grid", &grid, "");
    let middle = |index: usize| TOP + PITCH * (index as f64 + 0.5);
    let rows = || step.rows.iter().enumerate();
    for (index, row) in rows() {
        let class = class_of(row.subject);
        svg.group(&class, |svg| bar(svg, step, row, &scale, middle(index)));
    }
    let whiskers: String = rows().map(|(i, row)| whisker(step, row, &scale, middle(i))).collect();
    svg.path("w", &whiskers, "");
    svg.group("r", |svg| {
        for (index, row) in rows() {
            svg.text(LEFT - 6.0, middle(index) + 4.0, row.subject);
        }
    });
    svg.group("x", |svg| {
        for tick in ticks {
            svg.text(scale.at(tick), bottom + 16.0, &format::tick(&si(tick)));
        }
        let name = format!("{}/s", base_unit(step.unit).1);
        svg.text((LEFT + RIGHT) / 2.0, bottom + 31.0, &name);
    });
    svg.finish()
}

/// The bar, and its value behind it.
fn bar(svg: &mut Svg, step: &StepSummary, row: &Row, scale: &Scale, middle: f64) {
    let Some(spread) = row.spread(Quantity::Rate) else { return };
    let at = |rate: f64| scale.at(rate * base_unit(step.unit).0);
    if spread.rounds > 1 {
        let (least, most) = (rate(spread.least, step.unit), rate(spread.most, step.unit));
        svg.title(&format!("{}: {least} to {most} in {} rounds", row.subject, spread.rounds));
    }
    let width = (at(spread.median) - LEFT).max(0.5);
    svg.path("b", &rectangle(LEFT, middle - BAR / 2.0, width, BAR), "");
    let value = rate(spread.median, step.unit);
    svg.text_with_class(at(spread.most) + 7.0, middle + 4.0, &value, &mark(row));
}

/// The class, and what a baseline is.
fn mark(row: &Row) -> String {
    let class = table::class(row);
    let marks = [class.as_str(), if row.baseline { "baseline" } else { "" }];
    marks.into_iter().filter(|mark| !mark.is_empty()).collect::<Vec<_>>().join(", ")
}

/// From the least to the most of all rounds.
fn whisker(step: &StepSummary, row: &Row, scale: &Scale, middle: f64) -> String {
    let Some(spread) = row.spread(Quantity::Rate).filter(|spread| spread.rounds > 1) else {
        return String::new();
    };
    let at = |rate: f64| scale.at(rate * base_unit(step.unit).0);
    let (least, most) = (at(spread.least), at(spread.most));
    let cap = |x| line((x, middle - 3.0), (x, middle + 3.0));
    line((least, middle), (most, middle)) + &cap(least) + &cap(most)
}
