//! Alerts: a listener is told when the log fares badly.
//!
//! Without a listener each report costs one branch.
//!
//! # Invariants
//! - ALERT-1: a depth or size above its threshold is told once, and again only after a report of at
//!   most half the threshold. A value that swings about the threshold is not told twice.
//! - ALERT-2: no lock of this module is held while the listener runs, and no panic of it gets out.
//! - ALERT-3: the death of a thread is told once.
//! - ALERT-4: each record that waits is counted at most once, for in a ring that takes a look at each. So the depth is
//!   looked at only where it may change what is told, and again when all that was counted is written.

use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use stratalog_base::Error;
use stratalog_base::sync::{AtomicBool, AtomicU64, Mutex, Ordering};

use crate::{Callback, Position, calls, frame};

/// From where on the listener is told. A value at the threshold is not yet told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertThresholds {
    /// Records that wait to be written: 10 000 by default.
    pub depth_records: u64,
    /// How long one sync takes: 100 ms by default.
    pub sync: Duration,
    /// The bytes of all segments of the log: 1 GiB by default. Looked at when it is opened and whenever a segment is
    /// full.
    pub log_bytes: u64,
}

impl Default for AlertThresholds {
    fn default() -> AlertThresholds {
        AlertThresholds {
            depth_records: 10_000,
            sync: Duration::from_millis(100),
            log_bytes: 1 << 30,
        }
    }
}

/// What a listener is told; see [`AlertThresholds`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Alert {
    /// More records wait to be written than the threshold. Told again only after no more than half
    /// of it waited.
    Depth {
        /// How many wait.
        records: u64,
    },
    /// A sync took longer than the threshold. Told for each.
    SlowSync {
        /// How long it took.
        took: Duration,
    },
    /// A thread of the log has died. Told once for each.
    ThreadDied {
        /// Its name.
        thread: &'static str,
    },
    /// What [`crate::LogOptions::retention`] does not keep could not be archived or removed. Tried again, and told
    /// again only after it has gone well.
    RetentionFailed {
        /// Why.
        why: String,
    },
    /// The log is longer than the threshold. Told again only after it was at most half as long.
    LogSize {
        /// The bytes of all its segments.
        bytes: u64,
    },
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Alert::Depth { records } => write!(f, "{records} records wait to be written"),
            Alert::SlowSync { took } => write!(f, "a sync took {took:.1?}"),
            Alert::ThreadDied { thread } => write!(f, "thread {thread} has died"),
            Alert::RetentionFailed { why } => write!(f, "retention failed: {why}"),
            Alert::LogSize { bytes } => write!(f, "the log has grown to {bytes} bytes"),
        }
    }
}

/// A function that is told of alerts, on the thread that noticed: often the one that writes or syncs
/// for all others, once it holds nothing that others wait for. So it may use the log, but should be quick.
///
/// If it panics, the log goes on as if it had returned (unless panics abort the process); the panic
/// hook runs, and the next alert is told again.
#[derive(Clone)]
pub struct AlertListener(Arc<dyn Fn(&Alert) + Send + Sync>);

impl AlertListener {
    /// A listener that calls `tell`, from several threads at once.
    pub fn new(tell: impl Fn(&Alert) + Send + Sync + 'static) -> AlertListener {
        AlertListener(Arc::new(tell))
    }

    /// Calls it, and keeps its panics (ALERT-2).
    fn tell(&self, alert: &Alert) {
        // Nothing of ours can be left half done: the listener gets a value and hands none back.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (self.0)(alert)))
            // What it panicked with may panic when dropped; what that panics with is left alone.
            && let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic)))
        {
            std::mem::forget(again);
        }
    }
}

impl fmt::Debug for AlertListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AlertListener(..)")
    }
}

/// Decides what the listener is told. Threads may report at the same time; a report that comes late
/// counts as if its value were new.
#[derive(Debug)]
pub struct Alerts {
    watch: Option<Box<Watch>>,
}

#[derive(Debug)]
struct Watch {
    listener: AlertListener,
    depth: Edge,
    /// Up to here all was counted already.
    counted: AtomicU64,
    size: Edge,
    sync: Duration,
    /// The threads whose death has been told.
    dead: Mutex<Vec<&'static str>>,
}

impl Alerts {
    /// Tells `listener`, if there is one.
    pub fn new(thresholds: AlertThresholds, listener: Option<AlertListener>) -> Alerts {
        let watch = listener.map(|listener| {
            Box::new(Watch {
                listener,
                depth: Edge::new(thresholds.depth_records),
                counted: AtomicU64::new(0),
                size: Edge::new(thresholds.log_bytes),
                sync: thresholds.sync,
                dead: Mutex::new(Vec::new()),
            })
        });
        Alerts { watch }
    }

    /// Whether anybody is told.
    #[inline]
    pub fn is_listening(&self) -> bool {
        self.watch.is_some()
    }

    /// What lies in `waiting` waits to be written: `count` says how many records that is. For one thread at a time.
    pub fn depth(&self, waiting: Range<Position>, count: impl FnOnce() -> u64) {
        let Some(watch) = &self.watch else { return };
        let at_most = waiting.end.saturating_sub(waiting.start) / frame::frame_bytes(0);
        let records = if watch.depth.is_idle(at_most) {
            return; // ALERT-4
        } else if watch.depth.is_low(at_most) {
            at_most
        } else if waiting.start < watch.counted.load(Ordering::Relaxed) {
            return; // ALERT-4
        } else {
            watch.counted.store(waiting.end, Ordering::Relaxed);
            count()
        };
        if watch.depth.crossed(records) {
            watch.tell(Alert::Depth { records });
        }
    }

    /// A sync took so long.
    #[inline]
    pub fn synced(&self, took: Duration) {
        if let Some(watch) = &self.watch
            && took > watch.sync
        {
            watch.tell(Alert::SlowSync { took });
        }
    }

    /// A thread of the log has died, or has been found dead.
    pub fn thread_died(&self, thread: &'static str) {
        if let Some(watch) = &self.watch
            && watch.is_news(thread)
        {
            watch.tell(Alert::ThreadDied { thread });
        }
    }

    /// What is not to be kept could not go; for the first failure in a row.
    pub fn retention_failed(&self, error: &Error) {
        if let Some(watch) = &self.watch {
            watch.tell(Alert::RetentionFailed { why: error.to_string() });
        }
    }

    /// The segments have so many bytes.
    #[inline]
    pub fn log_bytes(&self, bytes: u64) {
        if let Some(watch) = &self.watch
            && watch.size.crossed(bytes)
        {
            watch.tell(Alert::LogSize { bytes });
        }
    }
}

impl Watch {
    fn tell(&self, alert: Alert) {
        let listener = self.listener.clone();
        let then: Callback = Box::new(move |_| listener.tell(&alert));
        calls::call([(then, Ok(()))]);
    }

    /// Whether the death of `thread` is to be told (ALERT-3). The lock is free on return (ALERT-2).
    fn is_news(&self, thread: &'static str) -> bool {
        let mut dead = self.dead.lock();
        let is_news = !dead.contains(&thread);
        if is_news {
            dead.push(thread);
        }
        is_news
    }
}

/// A threshold that is told when it is crossed upwards (ALERT-1).
#[derive(Debug)]
struct Edge {
    threshold: u64,
    /// Whether the crossing has been told, and the value has not been low since.
    told: AtomicBool,
}

impl Edge {
    fn new(threshold: u64) -> Edge {
        Edge { threshold, told: AtomicBool::new(false) }
    }

    /// Whether values up to `value` change nothing.
    fn is_idle(&self, value: u64) -> bool {
        value <= self.threshold && !self.told.load(Ordering::Relaxed)
    }

    /// Whether `value` lets it tell again.
    fn is_low(&self, value: u64) -> bool {
        value <= self.threshold / 2
    }

    /// Whether `value` is to be told. Relaxed: the flag guards nothing but itself.
    #[inline]
    fn crossed(&self, value: u64) -> bool {
        // Loads first: the flag seldom changes, and its cache line stays shared.
        let told = self.told.load(Ordering::Relaxed);
        if value > self.threshold {
            // Of those that see it untold at once, one tells.
            return !told && !self.told.swap(true, Ordering::Relaxed);
        }
        if told && self.is_low(value) {
            self.told.store(false, Ordering::Relaxed);
        }
        false
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::tally::side_by_side;
    use stratalog_base::sync::AtomicU8;

    const LOW: AlertThresholds =
        AlertThresholds { depth_records: 10, sync: Duration::from_millis(5), log_bytes: 101 };

    /// Alerts, and what their listener has been told.
    fn heard() -> (Alerts, Arc<Mutex<Vec<Alert>>>) {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let listener = AlertListener::new({
            let heard = heard.clone();
            move |alert| heard.lock().push(alert.clone())
        });
        (Alerts::new(LOW, Some(listener)), heard)
    }

    /// So many records wait, each as short as can be, and all was written before they came.
    fn wait(alerts: &Alerts, records: u64) {
        let counted =
            alerts.watch.as_ref().map_or(0, |watch| watch.counted.load(Ordering::Relaxed));
        alerts.depth(counted..counted + 16 * records, || records);
    }

    /// ALERT-4
    #[test]
    fn records_that_wait_are_counted_once_and_only_if_they_may_be_too_many() {
        let (alerts, heard) = heard();
        alerts.depth(8..8 + 160, || unreachable!("ten at most"));
        alerts.depth(8..1008, || 10);
        alerts.depth(1000..5000, || unreachable!("some of these were counted"));
        alerts.depth(1008..5000, || 11);
        assert_eq!(*heard.lock(), [Alert::Depth { records: 11 }]);
        alerts.depth(4992..5072, || unreachable!("five at most"));
        alerts.depth(5000..9000, || 12);
        assert_eq!(heard.lock().len(), 2);
    }

    /// ALERT-1
    #[test]
    fn a_deep_queue_is_told_once_until_it_was_half_empty() {
        let (alerts, heard) = heard();
        for records in [0, 10, 11, 50, 10, 11, 6, 12, 5, 10, 13, 14, 0, 15] {
            wait(&alerts, records);
        }
        let expected = [11, 13, 15].map(|records| Alert::Depth { records });
        assert_eq!(*heard.lock(), expected);
    }

    /// ALERT-1: half of an odd threshold is rounded down.
    #[test]
    fn a_long_log_is_told_once_until_it_was_half_as_long() {
        let (alerts, heard) = heard();
        for bytes in [101, 102, 51, 200, 50, 101, 103] {
            alerts.log_bytes(bytes);
        }
        assert_eq!(*heard.lock(), [102, 103].map(|bytes| Alert::LogSize { bytes }));
    }

    #[test]
    fn a_threshold_of_nothing_is_left_and_crossed_again() {
        let edge = Edge::new(0);
        assert_eq!(
            [0, 1, 2, 0, 1].map(|value| edge.crossed(value)),
            [false, true, false, false, true]
        );
        assert!(!Edge::new(u64::MAX).crossed(u64::MAX));
    }

    #[test]
    fn each_slow_sync_is_told() {
        let (alerts, heard) = heard();
        for ms in [4, 5, 6, 6, 1] {
            alerts.synced(Duration::from_millis(ms));
        }
        let slow = Alert::SlowSync { took: Duration::from_millis(6) };
        assert_eq!(*heard.lock(), [slow.clone(), slow]);
    }

    /// ALERT-3
    #[test]
    fn each_death_is_told_once() {
        let (alerts, heard) = heard();
        for thread in ["writer", "syncer", "writer", "syncer"] {
            alerts.thread_died(thread);
        }
        let expected = ["writer", "syncer"].map(|thread| Alert::ThreadDied { thread });
        assert_eq!(*heard.lock(), expected);
    }

    /// ALERT-1
    #[test]
    fn of_threads_that_cross_at_once_one_tells() {
        let edges: Vec<(Edge, AtomicU8)> =
            (0..100_000).map(|_| (Edge::new(10), AtomicU8::new(0))).collect();
        let cross = |(edge, told): &(Edge, AtomicU8)| {
            told.fetch_add(edge.crossed(11).into(), Ordering::Relaxed);
        };
        side_by_side(&edges, [&cross, &cross]);
        let told_once = |(_, told): &&(Edge, AtomicU8)| told.load(Ordering::Relaxed) == 1;
        assert_eq!(edges.iter().filter(told_once).count(), edges.len());
    }

    /// Panics when it is dropped, too.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("dropped"));
        }
    }

    /// ALERT-2
    #[test]
    fn a_listener_that_panics_harms_nobody_and_is_told_again() {
        let calls = Arc::new(Mutex::new(0));
        let listener = AlertListener::new({
            let calls = calls.clone();
            move |_| {
                *calls.lock() += 1;
                // No hook, so the test prints nothing.
                std::panic::resume_unwind(Box::new(Bomb));
            }
        });
        let alerts = Alerts::new(LOW, Some(listener));
        wait(&alerts, 11);
        wait(&alerts, 12);
        alerts.synced(Duration::from_secs(1));
        alerts.thread_died("writer");
        alerts.thread_died("writer");
        alerts.log_bytes(1000);
        assert_eq!(*calls.lock(), 4);
    }

    /// ALERT-2: a listener that reports in turn would wait for itself if a lock were held.
    #[test]
    fn no_lock_is_held_while_the_listener_runs() {
        let alerts = Arc::new(std::sync::OnceLock::<Alerts>::new());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let listener = AlertListener::new({
            let (alerts, heard) = (alerts.clone(), heard.clone());
            move |alert| {
                heard.lock().push(alert.clone());
                alerts.get().unwrap().thread_died("writer");
                alerts.get().unwrap().thread_died("syncer");
            }
        });
        alerts.set(Alerts::new(LOW, Some(listener))).unwrap();
        alerts.get().unwrap().thread_died("writer");
        let expected = ["writer", "syncer"].map(|thread| Alert::ThreadDied { thread });
        assert_eq!(*heard.lock(), expected);
    }

    #[test]
    fn without_a_listener_nothing_is_told() {
        let alerts = Alerts::new(LOW, None);
        wait(&alerts, 1000);
        alerts.synced(Duration::MAX);
        alerts.thread_died("writer");
        alerts.log_bytes(u64::MAX);
        assert!(alerts.watch.is_none());
    }

    #[test]
    fn alerts_read_as_sentences() {
        let alerts = [
            (Alert::Depth { records: 11 }, "11 records wait to be written"),
            (Alert::SlowSync { took: Duration::from_millis(150) }, "a sync took 150.0ms"),
            (Alert::ThreadDied { thread: "wal-sync" }, "thread wal-sync has died"),
            (Alert::LogSize { bytes: 9 }, "the log has grown to 9 bytes"),
        ];
        for (alert, text) in alerts {
            assert_eq!(alert.to_string(), text);
        }
    }
}
