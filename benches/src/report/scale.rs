//! [`Scale`]: from values to pixels, and the ticks of an axis.

/// An axis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    kind: Kind,
    /// The least and the most value, transformed.
    from: f64,
    to: f64,
    /// Where these lie.
    first_px: f64,
    last_px: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Linear,
    Log,
    Nines,
}

/// Where the worst call stands on the axis of quantiles: beyond 99.999 %.
const WORST_NINES: f64 = 5.7;

impl Scale {
    /// From 0 to `most`.
    pub(crate) fn linear(most: f64, pixels: (f64, f64)) -> Scale {
        let to = if most > 0.0 { most } else { 1.0 };
        Scale { kind: Kind::Linear, from: 0.0, to, first_px: pixels.0, last_px: pixels.1 }
    }

    /// Logarithmic, widened to whole steps of 1, 2, 5.
    pub(crate) fn log(least: f64, most: f64, pixels: (f64, f64)) -> Scale {
        let least = if least > 0.0 { least } else { 1e-3 };
        let below = nice_below(least * 1.0001).log10();
        let most = most.max(least * 1.0001);
        let above = nice_below(most).log10();
        // The next of 1, 2, 5 above.
        let above = if most > 10f64.powf(above) * 1.0001 { next(above) } else { above };
        let to = if above > below { above } else { next(below) };
        Scale { kind: Kind::Log, from: below, to, first_px: pixels.0, last_px: pixels.1 }
    }

    /// Quantiles from the median on, each nine as wide as the next; the worst call last.
    pub(crate) fn nines(pixels: (f64, f64)) -> Scale {
        let (first_px, last_px) = pixels;
        Scale { kind: Kind::Nines, from: 0.5f64.log10().abs(), to: WORST_NINES, first_px, last_px }
    }

    /// Where `value` lies.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let moved = match self.kind {
            Kind::Linear => value,
            Kind::Log => value.max(1e-12).log10(),
            Kind::Nines if value >= 1.0 => WORST_NINES,
            Kind::Nines => -(1.0 - value).log10(),
        };
        let part = ((moved - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        self.first_px + part * (self.last_px - self.first_px)
    }

    /// About `count` values that people find round.
    pub(crate) fn ticks(&self, count: usize) -> Vec<f64> {
        match self.kind {
            Kind::Nines => vec![0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 1.0],
            Kind::Linear => {
                let step = nice_above(self.to / count as f64);
                let last = (self.to / step + 1e-9).floor() as usize;
                (0..=last).map(|index| index as f64 * step).collect()
            }
            Kind::Log => {
                let (first, last) = (self.from.floor() as i32, self.to.ceil() as i32);
                let decades = (last - first).max(1) as usize;
                let within: &[f64] = if decades * 2 <= count { &[1.0, 2.0, 5.0] } else { &[1.0] };
                // Too many decades: every second, or third.
                let stride = decades.div_ceil(count + 2);
                let powers = (first..=last).step_by(stride);
                let all = powers.flat_map(|p| within.iter().map(move |w| w * 10f64.powi(p)));
                let inside =
                    |value: &f64| (self.from - 1e-6..=self.to + 1e-6).contains(&value.log10());
                all.filter(inside).collect()
            }
        }
    }
}

/// The largest of 1, 2, 5 × 10ⁿ that is not above `value`.
fn nice_below(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let within = [5.0, 2.0].into_iter().find(|step| step * power <= value);
    within.unwrap_or(1.0) * power
}

/// The least of 1, 2, 5 × 10ⁿ that is not below `value`.
fn nice_above(value: f64) -> f64 {
    let below = nice_below(value);
    if below >= value * 0.9999 { below } else { 10f64.powf(next(below.log10())) }
}

/// The logarithm of the number after the one with this logarithm in 1, 2, 5, 10, …
fn next(log: f64) -> f64 {
    let value = 10f64.powf(log);
    let leading = value / 10f64.powf((log + 1e-9).floor());
    (value * if leading > 1.5 && leading < 3.0 { 2.5 } else { 2.0 }).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, expected: f64) -> bool {
        (value - expected).abs() < 1e-6 * expected.abs().max(1.0)
    }

    #[test]
    fn linear_axes_begin_at_nothing_and_have_round_ticks() {
        let scale = Scale::linear(312e3, (50.0, 450.0));
        assert!(near(scale.at(0.0), 50.0) && near(scale.at(156e3), 250.0));
        assert!(near(scale.at(312e3), 450.0) && near(scale.at(1e9), 450.0));
        assert_eq!(scale.ticks(5), [0.0, 1e5, 2e5, 3e5]);
        assert_eq!(Scale::linear(1.0, (0.0, 1.0)).ticks(5).len(), 6);
        assert!(Scale::linear(0.0, (0.0, 1.0)).at(0.0).is_finite());
    }

    #[test]
    fn logarithmic_axes_are_widened_to_round_values() {
        // From the bottom up.
        let scale = Scale::log(0.7, 7_700.0, (200.0, 0.0));
        assert!(near(scale.at(0.5), 200.0) && near(scale.at(1e4), 0.0));
        assert!(near(scale.at((0.5f64 * 1e4).sqrt()), 100.0));
        let ticks = scale.ticks(6);
        assert!(near(ticks[0], 1.0) && near(ticks[4], 1e4) && ticks.len() == 5, "{ticks:?}");
        let ticks = Scale::log(11.0, 90.0, (0.0, 1.0)).ticks(6);
        assert!(near(ticks[0], 10.0) && near(ticks[1], 20.0) && near(ticks[3], 100.0), "{ticks:?}");
        let one = Scale::log(3.0, 3.0, (0.0, 1.0));
        assert!(one.at(3.0).is_finite() && one.ticks(5).len() >= 2);
    }

    #[test]
    fn each_nine_is_as_wide_as_the_next() {
        let scale = Scale::nines((0.0, 540.0));
        let nine = scale.at(0.99) - scale.at(0.9);
        assert!(near(scale.at(0.99999) - scale.at(0.9999), nine) && nine > 0.0);
        assert!(near(scale.at(0.5), 0.0) && near(scale.at(1.0), 540.0));
        assert!(scale.at(0.99999) < scale.at(1.0));
    }
}
