//! Latencies of a step, window by window: each thread keeps those of the current window, and adds them
//! to what all threads share when it ends.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::Outcome;
use crate::record::{Latency, Window};

/// The windows of a step: units done, and nanoseconds of each call.
#[derive(Default)]
pub struct Windows(Mutex<Vec<(u64, Histogram<u64>)>>);

/// A thread's latencies of the current window; full windows go to the shared ones.
pub struct Recorder<'a> {
    windows: &'a Windows,
    window: Duration,
    start: Instant,
    end: Instant,
    index: usize,
    ops: u64,
    latency: Histogram<u64>,
}

impl<'a> Recorder<'a> {
    /// A recorder whose first window begins at `start`; `window` is the length of each.
    ///
    /// # Errors
    /// Never; the range of the histogram is fixed.
    pub fn new(windows: &'a Windows, window: Duration, start: Instant) -> Outcome<Recorder<'a>> {
        let latency = histogram()?;
        Ok(Recorder { windows, window, start, end: start + window, index: 0, ops: 0, latency })
    }

    /// Takes note of a call that ended at `now` and did `ops` units.
    #[inline]
    pub fn record(&mut self, now: Instant, latency: Duration, ops: u64) {
        if now >= self.end {
            self.turn(now);
        }
        self.ops += ops;
        self.latency.saturating_record(latency.as_nanos() as u64);
    }

    #[cold]
    fn turn(&mut self, now: Instant) {
        self.close_window();
        self.index = ((now - self.start).as_nanos() / self.window.as_nanos()) as usize;
        self.end = self.start + self.window * (self.index as u32 + 1);
    }

    /// Adds what was recorded since the current window began to the shared ones.
    pub fn close_window(&mut self) {
        let mut windows = self.windows.0.lock().unwrap_or_else(PoisonError::into_inner);
        while windows.len() <= self.index {
            let Ok(empty) = histogram() else { return };
            windows.push((0, empty));
        }
        let (ops, latency) = &mut windows[self.index];
        *ops += self.ops;
        // Both have the same bounds.
        let _ = latency.add(&self.latency);
        self.ops = 0;
        self.latency.reset();
    }
}

/// An empty histogram of nanoseconds up to an hour, exact to two digits.
fn histogram() -> Outcome<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 3_600_000_000_000, 2)?)
}

impl Windows {
    /// Latency of all windows, each `length` long, of a step that took `total`, and each window's.
    ///
    /// # Errors
    /// Never; all histograms have one range.
    pub fn summary(
        &self,
        length: Duration,
        total: Duration,
    ) -> Outcome<(Option<Latency>, Vec<Window>)> {
        let windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = histogram()?;
        let mut summaries = Vec::new();
        for (index, (ops, latency)) in windows.iter().enumerate() {
            all.add(latency)?;
            let at = |quantile| latency.value_at_quantile(quantile) as f64 / 1e3;
            summaries.push(Window {
                end_seconds: (length.as_secs_f64() * (index + 1) as f64).min(total.as_secs_f64()),
                ops: *ops,
                p99_us: at(0.99),
                p999_us: at(0.999),
                worst_us: latency.max() as f64 / 1e3,
            });
        }
        let at = |quantile: f64| (quantile, all.value_at_quantile(quantile) as f64 / 1e3);
        let quantiles = Latency::QUANTILES.into_iter().map(at).collect();
        let latency = (!all.is_empty()).then(|| Latency { calls: all.len(), quantiles });
        Ok((latency, summaries))
    }
}
