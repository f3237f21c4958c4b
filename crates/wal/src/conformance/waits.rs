//! How tickets end.

use std::future::Future;
use std::io::IoSlice;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use stratalog_base::Error;
use stratalog_base::fs::{Fault, FaultKind, Op, SimFs};
use stratalog_base::sync::{Condvar, Mutex, spawn};

use super::*;

/// Wakes the thread that polls.
#[derive(Default)]
struct Signal(Mutex<bool>, Condvar);

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        *self.0.lock() = true;
        self.1.notify_one();
    }
}

fn poll_to_end<F: Future>(future: F, promise: &str) -> F::Output {
    let signal = Arc::new(Signal::default());
    let waker = Waker::from(signal.clone());
    let (mut future, deadline) = (pin!(future), Instant::now() + PATIENCE);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let mut woken = signal.0.lock();
        while !std::mem::take(&mut *woken) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{promise}, but nobody wakes it");
            woken = signal.1.wait_timeout(woken, left).0;
        }
    }
}

/// A ticket of each class is done in each way: waited for, called back once, awaited.
///
/// # Panics
/// If the promise is broken.
pub fn tickets_end_for_every_class(subject: &dyn Subject) {
    let fs = SimFs::new();
    let log = opened(subject, &fs);
    let place = |class| ok(log.append(&[IoSlice::new(b"ticket")], class), "an append succeeds");
    for class in CLASSES.into_iter().chain([Durability::None]) {
        for _ in 0..10 {
            let ticket = place(class);
            assert_eq!(ticket.durability(), class, "a ticket knows its class");
            assert_eq!(
                ok(ticket.wait(), "a wait ends"),
                ticket.place(),
                "a ticket knows its place"
            );
            let limit = place(class).wait_timeout(PATIENCE);
            assert!(ok(limit, "a wait with a limit ends"), "and says that it is done");
            let (calls, sender) = (Arc::new(Mutex::new(Vec::new())), place(class));
            let callback = calls.clone();
            let end = sender.end();
            sender.then(move |outcome| callback.lock().push(outcome.is_ok()));
            eventually("a callback is called", || !calls.lock().is_empty());
            ok(log.wait(end, class, None), "what was called back for is done");
            ok(poll_to_end(place(class), "an awaited ticket ends"), "an awaited ticket ends");
            assert_eq!(*calls.lock(), [true], "a callback is called once");
        }
    }
    let beyond = log.wait(log.watermarks().reserved + 8, Durability::Sync, None);
    let refused = matches!(beyond, Err(Error::InvalidArgument(_)));
    assert!(refused, "nobody can wait for what has no ticket: {beyond:?}");
}

/// Waiting with a limit ends without the record being done, and later it is done all the same.
///
/// # Panics
/// If the promise is broken.
pub fn a_limit_ends_a_wait(subject: &dyn Subject) {
    let fs = SimFs::new();
    let log = opened(subject, &fs);
    let syncs = fs.syncs();
    fs.inject(Fault::new(Op::Sync, FaultKind::Delay(SLOW)).for_ever());
    let syncing = log.clone();
    let leader = spawn("leader", move || {
        ok(append(&*syncing, b"first", Durability::Sync), "a slow sync succeeds");
    });
    let leader = leader.expect("a thread");
    eventually("a record of class Sync is synced", || fs.syncs() > syncs);
    let ticket = ok(log.append(&[IoSlice::new(b"second")], Durability::Sync), "an append succeeds");
    let done = ok(ticket.wait_timeout(SLOW / 15), "a wait with a limit ends");
    assert!(!done, "a wait with a limit ends when its time is up, and says so");
    ok(ticket.wait(), "a ticket can be waited for again");
    leader.join().expect("a slow sync succeeds");
}
