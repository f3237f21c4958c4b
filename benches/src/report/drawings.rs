//! What is drawn of a step beside its rates: latency by percentile, throughput and the slowest calls
//! over time, and the tree.

use crate::record::{Latency, Shape, ShapeAt, Step, Window};
use crate::report::format::{base_unit, bytes, micros, rate, si, three_digits, tick};
use crate::report::plot::{ACROSS, Axis, Plot, UPWARDS};
use crate::report::scale::Scale;
use crate::report::summary::{Row, StepSummary};
use crate::report::table;

/// Most points of a line.
const POINTS: usize = 240;
/// Fewest calls of a thread in a window that tell a rate.
const LEAST_CALLS: f64 = 4.0;
/// Fewest windows or shapes that are worth a drawing.
const LEAST_SAMPLES: usize = 3;
/// Levels that have a colour of their own; deeper ones share the last.
const LEVELS: usize = 7;

type Points = Vec<(f64, f64)>;

/// A line for each row that has points.
struct Lines<'a> {
    lines: Vec<(&'a Row<'a>, Points)>,
    class_of: &'a dyn Fn(&str) -> String,
}

impl<'a> Lines<'a> {
    fn new(
        step: &'a StepSummary<'a>,
        class_of: &'a dyn Fn(&str) -> String,
        points: impl Fn(&'a Row<'a>) -> Points,
    ) -> Lines<'a> {
        let lines = step.rows.iter().map(|row| (row, points(row)));
        Lines { lines: lines.filter(|(_, points)| !points.is_empty()).collect(), class_of }
    }

    /// The least and the most of a coordinate.
    fn bounds(&self, coordinate: fn(&(f64, f64)) -> f64) -> Option<(f64, f64)> {
        let mut all = self.lines.iter().flat_map(|(_, points)| points).map(coordinate);
        let first = all.next()?;
        Some(all.fold((first, first), |(least, most), at| (least.min(at), most.max(at))))
    }

    /// The drawing: ours last, on top of the others.
    fn draw(&self, mut plot: Plot, title: impl Fn(&[(f64, f64)]) -> String) -> String {
        for (row, points) in self.lines.iter().rev() {
            let title = format!("{}: {}", table::with_class(row.subject, row), title(points));
            plot.line(&(self.class_of)(row.subject), &title, points);
        }
        plot.finish()
    }
}

fn seconds_axis(most: f64) -> Axis<'static> {
    Axis {
        scale: Scale::linear(most, ACROSS),
        name: "seconds",
        show: &|at| tick(&three_digits(at)),
    }
}

/// Latency by percentile: the medians over rounds.
pub(crate) fn latency(step: &StepSummary, class_of: &dyn Fn(&str) -> String) -> String {
    let lines = Lines::new(step, class_of, |row| {
        let upper = Latency::QUANTILES.into_iter().filter(|at| *at >= 0.5);
        let median = |at| Some((at, row.median(|step| Some(step.latency.as_ref()?.at(at)))?));
        upper.filter_map(median).collect()
    });
    let Some((least, most)) = lines.bounds(|point| point.1) else { return String::new() };
    let percent = |at: f64| match at {
        at if at >= 1.0 => "worst".to_owned(),
        at => ((at * 1e5).round() / 1e3).to_string(),
    };
    let x = Axis { scale: Scale::nines(ACROSS), name: "percentile of calls", show: &percent };
    let scale = Scale::log(least, most, UPWARDS);
    let y = Axis { scale, name: "latency", show: &|at| tick(&micros(at)) };
    lines.draw(Plot::new(&format!("latency of {}", step.name), &x, &y), |points| {
        let at = |wanted: f64| {
            let found = points.iter().find(|(at, _)| *at >= wanted);
            found.map_or_else(String::new, |(_, value)| micros(*value))
        };
        format!("p50 {}, p99 {}, p99.9 {}, worst {}", at(0.5), at(0.99), at(0.999), at(1.0))
    })
}

/// Windows of the middle round, joined until there are few enough; each with its length.
fn windows(step: &Step) -> Vec<(f64, Window)> {
    let together = step.windows.len().div_ceil(POINTS).max(1);
    let (mut joined, mut end) = (Vec::new(), 0.0);
    for windows in step.windows.chunks(together) {
        let Some(last) = windows.last() else { continue };
        let most = |value: fn(&Window) -> f64| windows.iter().map(value).fold(0.0, f64::max);
        let window = Window {
            ops: windows.iter().map(|window| window.ops).sum(),
            p99_us: most(|window| window.p99_us),
            p999_us: most(|window| window.p999_us),
            worst_us: most(|window| window.worst_us),
            end_seconds: last.end_seconds,
        };
        joined.push((window.end_seconds - end, window));
        end = window.end_seconds;
    }
    // The last may be so short that it says nothing.
    let usual = joined.first().map_or(0.0, |(length, _)| *length);
    if joined.last().is_some_and(|(length, _)| *length < usual / 2.0) {
        joined.pop();
    }
    joined
}

fn over_time(row: &Row, value: impl Fn(f64, &Window) -> f64) -> Points {
    let windows = row.middle().map(windows).unwrap_or_default();
    if windows.len() < LEAST_SAMPLES {
        return Points::new();
    }
    let point = |(length, window): &(f64, Window)| {
        (window.end_seconds - length / 2.0, value(*length, window))
    };
    windows.iter().map(point).collect()
}

/// Whether usual calls take so long that what ended in a window is a matter of chance.
fn is_coarse(step: &Step) -> bool {
    let call_seconds = step.latency.as_ref().map_or(0.0, |latency| latency.at(0.5) / 1e6);
    step.windows.first().is_some_and(|window| call_seconds * LEAST_CALLS > window.end_seconds)
}

/// Throughput over time, of the round with the median rate; of subjects whose windows hold enough calls.
pub(crate) fn throughput(step: &StepSummary, class_of: &dyn Fn(&str) -> String) -> String {
    let (factor, unit) = base_unit(step.unit);
    let lines = Lines::new(step, class_of, |row| match row.middle() {
        Some(step) if is_coarse(step) => Points::new(),
        _ => over_time(row, |length, window| window.ops as f64 / length * factor),
    });
    let (Some((_, end)), Some((_, most))) = (lines.bounds(|p| p.0), lines.bounds(|p| p.1)) else {
        return String::new();
    };
    let name = format!("{unit}/s");
    let y =
        Axis { scale: Scale::linear(most * 1.02, UPWARDS), name: &name, show: &|at| tick(&si(at)) };
    let plot = Plot::new(&format!("throughput of {}", step.name), &seconds_axis(end), &y);
    lines.draw(plot, |points| {
        let least = points.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
        format!("least in a window {}/s", rate(least / factor, step.unit))
    })
}

/// The slowest call of each window, of the round with the median rate.
pub(crate) fn worst(step: &StepSummary, class_of: &dyn Fn(&str) -> String) -> String {
    let lines = Lines::new(step, class_of, |row| over_time(row, |_, window| window.worst_us));
    let (Some((_, end)), Some((least, most))) = (lines.bounds(|p| p.0), lines.bounds(|p| p.1))
    else {
        return String::new();
    };
    let scale = Scale::log(least, most, UPWARDS);
    let y = Axis { scale, name: "slowest call", show: &|at| tick(&micros(at)) };
    let plot = Plot::new(&format!("slowest calls of {}", step.name), &seconds_axis(end), &y);
    lines.draw(plot, |points| {
        let worst = points.iter().map(|point| point.1).fold(0.0, f64::max);
        format!("worst {}", micros(worst))
    })
}

/// A drawing for each subject whose tree is known and changed.
pub(crate) fn trees(step: &StepSummary) -> String {
    let shapes = step.rows.iter().filter_map(|row| Some((row, row.middle()?.shapes.as_slice())));
    let told = shapes.filter(|(_, shapes)| {
        shapes.len() >= LEAST_SAMPLES && shapes.iter().any(|at| at.shape != shapes[0].shape)
    });
    told.map(|(row, shapes)| tree(step, row, shapes)).collect()
}

fn tree(step: &StepSummary, row: &Row, shapes: &[ShapeAt]) -> String {
    // Every nth, and the last.
    let nth = shapes.len().div_ceil(POINTS).max(1);
    let last = shapes.len() - 1;
    let kept = shapes.iter().enumerate().filter(|(index, _)| index % nth == 0 || *index == last);
    let kept: Vec<&ShapeAt> = kept.map(|(_, at)| at).collect();
    let levels = kept.iter().map(|at| at.shape.levels.len()).max().unwrap_or(0).min(LEVELS);
    let points = |value: &dyn Fn(&Shape) -> u64| -> Points {
        kept.iter().map(|at| (at.seconds, value(&at.shape) as f64)).collect()
    };
    let log = points(&|shape| shape.log_bytes);
    let all = points(&|shape| bytes_from(shape, 0) + shape.memtable_bytes);
    let most = log.iter().chain(&all).map(|point| point.1).fold(0.0, f64::max);
    let title = table::with_class(row.subject, row);
    let end = kept.last().map_or(0.0, |at| at.seconds);
    let y = Axis {
        scale: Scale::linear(most * 1.02, UPWARDS),
        name: &title,
        show: &|at| tick(&bytes(at)),
    };
    let mut plot = Plot::new(&format!("tree of {}: {title}", step.name), &seconds_axis(end), &y);
    // The deepest level lies at the bottom; each area hides the lower part of the one before.
    plot.area("vm", "memtables", &all);
    for level in 0..levels {
        let at = points(&|shape| bytes_from(shape, level));
        if at.iter().any(|point| point.1 > 0.0) {
            plot.area(&format!("v{level}"), &format!("level {level}"), &at);
        }
    }
    plot.line("vl", "log", &log);
    plot.finish()
}

/// Bytes in `level` and the deeper ones.
fn bytes_from(shape: &Shape, level: usize) -> u64 {
    shape.levels.iter().skip(level).map(|(_, bytes)| bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::{Sample, record};
    use crate::report::summary::Summary;

    #[test]
    fn many_windows_become_few_and_keep_what_was_worst() {
        let mut record = record(&[Sample::new("stratalog", &[100.0])]);
        let step = &mut record.runs[0].steps[0];
        let window = |index: u32| Window {
            end_seconds: 0.1 * f64::from(index + 1),
            ops: 10,
            p99_us: 1.0,
            p999_us: 2.0,
            worst_us: if index == 777 { 9000.0 } else { 3.0 },
        };
        step.windows = (0..1000).map(window).collect();
        step.windows.push(Window { end_seconds: 100.001, ..step.windows[0] });
        let joined = windows(step);
        assert!(joined.len() <= POINTS);
        assert_eq!(joined.iter().filter(|(_, window)| window.worst_us == 9000.0).count(), 1);
        assert!(joined.iter().all(|(length, w)| (w.ops as f64 / length - 100.0).abs() < 1e-6));
    }

    #[test]
    fn throughput_is_drawn_only_where_windows_hold_several_calls() {
        let mut record = record(&[Sample::new("stratalog", &[1e3])]);
        let drawn = |record: &crate::record::Record| {
            let summary = Summary::new(record);
            !throughput(&summary.suites[0].cases[0].steps[0], &|_| String::new()).is_empty()
        };
        assert!(drawn(&record));
        let latency = record.runs[0].steps[0].latency.as_mut().unwrap();
        latency.quantiles.iter_mut().for_each(|(_, micros)| *micros = 400_000.0);
        assert!(!drawn(&record), "windows of a second, calls of 0.4");
    }

    #[test]
    fn trees_are_drawn_only_where_something_changed() {
        let mut record = record(&[Sample::new("stratalog", &[100.0])]);
        let drawn = |record: &crate::record::Record| {
            let summary = Summary::new(record);
            trees(&summary.suites[0].cases[0].steps[0]).matches("<svg").count()
        };
        assert_eq!(drawn(&record), 1);
        let step = &mut record.runs[0].steps[0];
        let first = step.shapes[0].shape.clone();
        step.shapes.iter_mut().for_each(|at| at.shape = first.clone());
        assert_eq!(drawn(&record), 0);
    }
}
