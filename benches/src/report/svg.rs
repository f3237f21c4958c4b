//! [`Svg`]: elements of a drawing as text. Our own, because the crates that draw put colours and fonts
//! into each element, whereas here classes follow the page's light or dark and `<title>` tells values.

use crate::report::format::escape;

/// A drawing, to stand within a page.
pub(crate) struct Svg {
    out: String,
}

impl Svg {
    /// An empty drawing. `label` says what it shows to those who do not see it.
    pub(crate) fn new(width: f64, height: f64, label: &str) -> Svg {
        let label = escape(label);
        let (width, height) = (pixels(width), pixels(height));
        let out =
            format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">");
        Svg { out }
    }

    /// The drawing.
    pub(crate) fn finish(self) -> String {
        self.out + "</svg>\n"
    }

    /// Draws `inner` as a group of a class.
    pub(crate) fn group(&mut self, class: &str, inner: impl FnOnce(&mut Svg)) {
        self.out += &format!("<g class=\"{class}\">");
        inner(self);
        self.out += "</g>";
    }

    /// A value that shows while the pointer is over what it stands in.
    pub(crate) fn title(&mut self, title: &str) {
        if !title.is_empty() {
            self.out += &format!("<title>{}</title>", escape(title));
        }
    }

    /// Words at a place; the class of the group says how they are aligned.
    pub(crate) fn text(&mut self, x: f64, y: f64, text: &str) {
        let text = escape(text);
        self.out += &format!("<text x=\"{}\" y=\"{}\">{text}</text>", pixels(x), pixels(y));
    }

    /// A number, and its durability class in a fainter tone.
    pub(crate) fn text_with_class(&mut self, x: f64, y: f64, text: &str, class: &str) {
        let (text, class) = (escape(text), escape(class));
        self.out += &format!(
            "<text x=\"{}\" y=\"{}\">{text} <tspan>{class}</tspan></text>",
            pixels(x),
            pixels(y)
        );
    }

    /// A path of a class.
    pub(crate) fn path(&mut self, class: &str, path: &str, title: &str) {
        if path.is_empty() {
            return;
        }
        self.out += &format!("<path class=\"{class}\" d=\"{path}\"");
        if title.is_empty() {
            self.out += "/>";
        } else {
            self.out += ">";
            self.title(title);
            self.out += "</path>";
        }
    }
}

/// A coordinate, rounded to a tenth.
pub(crate) fn pixels(value: f64) -> String {
    tenths((value * 10.0).round() as i64)
}

fn tenths(tenths: i64) -> String {
    let sign = if tenths < 0 { "-" } else { "" };
    let (whole, part) = (tenths.abs() / 10, tenths.abs() % 10);
    match (whole, part) {
        (_, 0) => format!("{sign}{whole}"),
        (0, _) => format!("{sign}.{part}"),
        _ => format!("{sign}{whole}.{part}"),
    }
}

/// A path through points: each relative to the last, which is shorter. Rounding does not add up.
pub(crate) fn through(points: &[(f64, f64)]) -> String {
    let rounded = |value: f64| (value * 10.0).round() as i64;
    let mut points = points.iter().map(|(x, y)| (rounded(*x), rounded(*y)));
    let Some((mut x, mut y)) = points.next() else { return String::new() };
    let mut out = format!("M{} {}", tenths(x), tenths(y));
    let mut command = "l";
    for (next_x, next_y) in points {
        let (right, down) = (tenths(next_x - x), tenths(next_y - y));
        let before = if command.is_empty() && !right.starts_with('-') { " " } else { command };
        let between = if down.starts_with('-') { "" } else { " " };
        out += &format!("{before}{right}{between}{down}");
        (x, y, command) = (next_x, next_y, "");
    }
    out
}

/// A path round the area between points and the line `base`.
pub(crate) fn area(points: &[(f64, f64)], base: f64) -> String {
    match (points.first(), points.last()) {
        (Some((first, _)), Some(_)) => {
            format!("{}V{}H{}z", through(points), pixels(base), pixels(*first))
        }
        _ => String::new(),
    }
}

/// A path round a box.
pub(crate) fn rectangle(x: f64, y: f64, width: f64, height: f64) -> String {
    let (x, y) = (pixels(x), pixels(y));
    let (width, height, back) = (pixels(width), pixels(height), pixels(-width));
    format!("M{x} {y}h{width}v{height}h{back}z")
}

/// A level or upright line from one place to another.
pub(crate) fn line(from: (f64, f64), to: (f64, f64)) -> String {
    let (command, by) = if from.1 == to.1 { ('h', to.0 - from.0) } else { ('v', to.1 - from.1) };
    format!("M{} {}{command}{}", pixels(from.0), pixels(from.1), pixels(by))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_short_and_do_not_drift() {
        assert_eq!([pixels(12.0), pixels(0.26), pixels(-0.33)], ["12", ".3", "-.3"]);
        assert_eq!(
            through(&[(1.0, 2.0), (2.26, 1.0), (2.26, 3.0), (1.0, 3.0)]),
            "M1 2l1.3-1 0 2-1.3 0"
        );
        // A thousand steps of 0.04 are 40 in sum, though each rounds to nothing.
        let points: Vec<(f64, f64)> = (0..=1000).map(|i| (f64::from(i) * 0.04, 0.0)).collect();
        let path = through(&points);
        let sum: f64 =
            path[1..].split(['l', ' ']).skip(2).step_by(2).map(|x| x.parse::<f64>().unwrap()).sum();
        assert!((sum - 40.0).abs() < 0.11, "{sum}");
        assert_eq!(area(&[(0.0, 5.0), (10.0, 4.0)], 9.0), "M0 5l10-1V9H0z");
        assert_eq!(through(&[]), "");
    }

    #[test]
    fn what_is_not_ours_is_escaped() {
        let mut svg = Svg::new(10.0, 10.0, "a\"b");
        svg.group("s0", |svg| svg.text(1.0, 2.0, "<&\""));
        svg.path("l", "M0 0", "x<y");
        let out = svg.finish();
        assert!(out.contains("aria-label=\"a&quot;b\"") && out.contains(">&lt;&amp;&quot;</text>"));
        assert!(out.contains("<title>x&lt;y</title></path>"));
    }
}
