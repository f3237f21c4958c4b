//! The ways to learn that a record is done.

use std::future::Future;
use std::io::IoSlice;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use stratalog_base::Error;
use stratalog_base::fs::{Fault, FaultKind, Op, SimFs};
use stratalog_base::sync::{AtomicBool, Instant, Mutex, Ordering, spawn, yield_now};
use stratalog_wal::{Backend, Durability, LogOptions, Wal};

use crate::support::*;

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park_timeout(Duration::from_secs(20)),
        }
    }
}

fn is_mapped(options: &LogOptions) -> bool {
    options.backend == Backend::LockFree && options.ring_mapped
}

fn soon(options: LogOptions) -> LogOptions {
    LogOptions { batch_delay: Duration::from_millis(1), ..options }
}

#[test]
fn a_wait_ends_in_time_while_a_sync_takes_long() {
    for options in all_options(1 << 20) {
        let fs = SimFs::new();
        let log = Arc::new(create(&fs, options));
        fs.inject(Fault::new(Op::Sync, FaultKind::Delay(Duration::from_millis(100))));
        let (syncs, syncing) = (fs.syncs(), log.clone());
        let leader = spawn("leader", move || {
            append(&*syncing, b"first", Durability::Sync).unwrap();
        });
        eventually("a sync begins", || fs.syncs() > syncs);
        let ticket = log.append(&[IoSlice::new(b"second")], Durability::Sync).unwrap();
        assert!(!ticket.wait_timeout(Duration::from_millis(5)).unwrap());
        assert!(ticket.wait_timeout(Duration::from_secs(20)).unwrap());
        leader.unwrap().join().unwrap();
    }
}

/// Also if another thread writes; and who has more time, or waits behind it, is done all the same.
#[test]
fn a_wait_for_a_sync_ends_in_time_while_a_write_takes_long() {
    for options in all_options(1 << 20).into_iter().filter(|it| !is_mapped(it)) {
        let fs = SimFs::new();
        let log = Arc::new(create(&fs, options));
        let (is_writing, is_released) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (writes, released) = (is_writing.clone(), is_released.clone());
        fs.before_calls(move |op, _| {
            if op == Op::Write && !writes.swap(true, Ordering::Relaxed) {
                eventually("it is released", || released.load(Ordering::Relaxed));
            }
        });
        let start = |class, limit: Option<Duration>| {
            let log = log.clone();
            spawn("waiter", move || {
                let ticket = log.append(&[IoSlice::new(b"x")], class).unwrap();
                match limit {
                    Some(limit) => assert!(!ticket.wait_timeout(limit).unwrap()),
                    None => _ = ticket.wait().unwrap(),
                }
            })
            .unwrap()
        };
        let writer = start(Durability::Process, None);
        eventually("a write begins", || is_writing.load(Ordering::Relaxed));
        let late = start(Durability::Sync, Some(Duration::from_millis(20)));
        let other = start(Durability::Sync, None);
        let deadline = Instant::now() + Duration::from_secs(5);
        while !late.is_finished() && Instant::now() < deadline {
            yield_now();
        }
        let was_in_time = late.is_finished();
        is_released.store(true, Ordering::Relaxed);
        assert!(was_in_time);
        [writer, late, other].into_iter().for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn an_awaited_ticket_and_a_batch_are_done() {
    for options in all_options(1 << 20) {
        let log = create(&SimFs::new(), soon(options));
        for class in [Durability::Process, Durability::Interval, Durability::Sync] {
            for _ in 0..20 {
                let ticket = log.append(&[IoSlice::new(b"x")], class).unwrap();
                let end = ticket.end();
                assert_eq!(block_on(ticket).unwrap().end, end);
                let mut positions = Vec::new();
                let batch = log.append_batch(&[b"one", b"two"], class, &mut positions).unwrap();
                assert_eq!(block_on(batch).unwrap().position, positions[0]);
                let marks = log.watermarks();
                let mark = if class == Durability::Sync { marks.durable } else { marks.logged };
                assert!(mark > positions[1]);
            }
        }
    }
}

/// How a callback ended, each time that it was called.
type Heard = Arc<Mutex<Vec<Result<(), Error>>>>;

fn heard_later(log: &dyn Wal, class: Durability) -> Heard {
    let heard = Heard::default();
    let sender = heard.clone();
    let ticket = log.append(&[IoSlice::new(b"x")], class).unwrap();
    ticket.then(move |outcome| sender.lock().push(outcome));
    heard
}

#[test]
fn a_callback_is_called_once_also_if_the_log_is_dropped_or_fails() {
    for options in all_options(1 << 20) {
        let classes = [Durability::Process, Durability::Interval, Durability::Sync];
        let log = create(&SimFs::new(), soon(options.clone()));
        for _ in 0..50 {
            let all = classes.map(|class| heard_later(&log, class));
            eventually("all are called", || all.iter().all(|heard| heard.lock().len() == 1));
            assert!(all.iter().all(|heard| heard.lock()[0].is_ok()));
        }

        let all = classes.map(|class| heard_later(&log, class));
        drop(log);
        assert!(all.iter().all(|heard| heard.lock().len() == 1), "the drop tells the rest");

        let fs = SimFs::new();
        let log = create(&fs, soon(options));
        fs.inject(Fault::new(Op::Sync, FaultKind::Eio));
        let heard = heard_later(&log, Durability::Sync);
        eventually("the failure is told", || heard.lock().len() == 1);
        assert!(matches!(heard.lock()[0], Err(Error::Io { .. })));
        assert!(log.sync().is_err());
        drop(log);
        assert_eq!(heard.lock().len(), 1);
    }
}

/// Waiting for such a place without a sync wrote nothing, again and again, for ever.
#[test]
fn a_place_that_nobody_has_is_not_waited_for() {
    for options in all_options(1000) {
        let log = create(&SimFs::new(), options);
        let end = append(&log, b"the last", Durability::Process).unwrap().end;
        for class in [Durability::Process, Durability::Interval, Durability::Sync] {
            let outcome = log.wait(end + 8, class, None);
            assert!(matches!(outcome, Err(Error::InvalidArgument(_))), "{class:?}: {outcome:?}");
            let told = Arc::new(Mutex::new(None));
            let teller = told.clone();
            log.when(end + 8, class, Box::new(move |outcome| *teller.lock() = Some(outcome)));
            assert!(matches!(*told.lock(), Some(Err(Error::InvalidArgument(_)))), "{class:?}");
        }
    }
}
