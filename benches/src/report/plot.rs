//! [`Plot`]: lines and areas over two axes.

use crate::report::scale::Scale;
use crate::report::svg::{Svg, area, line, through};

/// Pixels of the drawing, and where the axes begin and end.
const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 214.0;
const LEFT: f64 = 54.0;
const RIGHT: f64 = 440.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 178.0;

/// Where values from left to right, and from bottom to top, lie.
pub(crate) const ACROSS: (f64, f64) = (LEFT, RIGHT);
pub(crate) const UPWARDS: (f64, f64) = (BOTTOM, TOP);

/// An axis: its scale, its name with the unit, and how its ticks are written.
pub(crate) struct Axis<'a> {
    pub(crate) scale: Scale,
    pub(crate) name: &'a str,
    pub(crate) show: &'a dyn Fn(f64) -> String,
}

/// A drawing with axes.
pub(crate) struct Plot {
    svg: Svg,
    x: Scale,
    y: Scale,
}

impl Plot {
    /// Axes with nothing between them. `label` says what will be there.
    pub(crate) fn new(label: &str, x: &Axis, y: &Axis) -> Plot {
        let mut svg = Svg::new(WIDTH, HEIGHT, label);
        let (across, up) = (x.scale.ticks(7), y.scale.ticks(5));
        let levels = up.iter().map(|tick| y.scale.at(*tick));
        let grid: String = levels.map(|at| line((LEFT, at), (RIGHT, at))).collect();
        svg.path("grid", &grid, "");
        let places = across.iter().map(|tick| x.scale.at(*tick));
        let marks: String = places.map(|at| line((at, BOTTOM), (at, BOTTOM + 4.0))).collect();
        svg.path("axis", &(line((LEFT, BOTTOM), (RIGHT, BOTTOM)) + &marks), "");
        svg.group("x", |svg| {
            for tick in across {
                svg.text(x.scale.at(tick), BOTTOM + 16.0, &(x.show)(tick));
            }
            svg.text((LEFT + RIGHT) / 2.0, BOTTOM + 32.0, x.name);
        });
        svg.group("y", |svg| {
            for tick in up {
                svg.text(LEFT - 6.0, y.scale.at(tick) + 3.5, &(y.show)(tick));
            }
        });
        svg.group("n", |svg| svg.text(4.0, 11.0, y.name));
        Plot { svg, x: x.scale, y: y.scale }
    }

    fn places(&self, points: &[(f64, f64)]) -> Vec<(f64, f64)> {
        points.iter().map(|(x, y)| (self.x.at(*x), self.y.at(*y))).collect()
    }

    /// A line through points.
    pub(crate) fn line(&mut self, class: &str, title: &str, points: &[(f64, f64)]) {
        let path = through(&self.places(points));
        self.svg.path(&format!("l {class}"), &path, title);
    }

    /// The area under points.
    pub(crate) fn area(&mut self, class: &str, title: &str, points: &[(f64, f64)]) {
        let path = area(&self.places(points), BOTTOM);
        self.svg.path(&format!("a {class}"), &path, title);
    }

    /// The drawing.
    pub(crate) fn finish(self) -> String {
        self.svg.finish()
    }
}
