//! Those who are called back may do anything with the log: whoever calls them holds nothing that they might need.

use std::io::IoSlice;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use stratalog_base::Error;
use stratalog_base::fs::{Fault, FaultKind, Op, SimFs};
use stratalog_base::sync::{AtomicBool, AtomicUsize, Mutex, Ordering, spawn};
use stratalog_wal::{
    Alert, AlertListener, AlertThresholds, Backend, Durability, Log, LogOptions, Overflow,
    RecoveryMode, Ticket, Wal,
};

use crate::support::*;

const CLASSES: [Durability; 3] = [Durability::Process, Durability::Interval, Durability::Sync];

fn all_options_soon() -> Vec<LogOptions> {
    let soon = |base| LogOptions {
        batch_delay: Duration::from_millis(1),
        interval: Duration::from_millis(1),
        ..base
    };
    all_options(2000).into_iter().map(soon).collect()
}

fn ticket<'a>(log: &'a Log, record: &[u8], class: Durability) -> Ticket<'a> {
    log.append(&[IoSlice::new(record)], class).unwrap()
}

/// Runs `body` in a thread of its own, which must end.
fn must_end(what: &str, body: impl FnOnce() + Send + 'static) {
    let ended = Arc::new(AtomicBool::new(false));
    let end = ended.clone();
    let thread = spawn("body", move || {
        body();
        end.store(true, Ordering::Release);
    });
    let thread = thread.unwrap();
    eventually(what, || ended.load(Ordering::Acquire) || thread.is_finished());
    thread.join().unwrap();
}

/// All that a caller can do with a log, but closing it.
fn use_all(log: &Log) {
    for class in CLASSES {
        append(log, b"from a callback", class).unwrap();
    }
    log.append_batch(&[b"a", b"b"], Durability::Process, &mut Vec::new()).unwrap().wait().unwrap();
    log.sync().unwrap();
    log.truncate_before(log.watermarks().durable).unwrap();
    assert!(log.stats().failed.is_none());
    let backend = log.backend();
    for other in Backend::ALL {
        log.set_backend(other).unwrap();
        append(log, b"elsewhere", Durability::Sync).unwrap();
    }
    log.set_backend(backend).unwrap();
    log.resume().unwrap();
}

#[test]
fn a_callback_may_do_anything_whoever_calls_it() {
    for options in all_options_soon() {
        for class in CLASSES {
            let what = format!("{:?}, {class:?}", options.backend);
            let options = options.clone();
            must_end(&what, move || {
                let log = Arc::new(create(&SimFs::new(), options));
                let called = Arc::new(AtomicUsize::new(0));
                for round in 0..30 {
                    let (user, call) = (log.clone(), called.clone());
                    ticket(&log, b"x", class).then(move |outcome| {
                        outcome.unwrap();
                        use_all(&user);
                        call.fetch_add(1, Ordering::Relaxed);
                    });
                    // Called by a thread of the log, by who syncs, writes, changes the backend, or finds no room.
                    match round % 5 {
                        0 => log.sync().unwrap(),
                        1 => log.set_backend(Backend::ALL[round / 5 % 3]).unwrap(),
                        2 => drop(append(&*log, &[7; 3000], Durability::Process).unwrap()),
                        3 => drop(fill(&*log, some_records(200))),
                        _ => {}
                    }
                }
                eventually("all are called", || called.load(Ordering::Relaxed) == 30);
                log.close().unwrap();
            });
        }
    }
}

/// Nobody else makes room: the thread that should is the one that calls.
#[test]
fn a_callback_of_the_write_thread_finds_room_in_a_full_log() {
    for base in all_options_soon() {
        for overflow in [Overflow::Block, Overflow::Wait(Duration::from_secs(20))] {
            let options = LogOptions { queue_records: 4, overflow, ..base.clone() };
            must_end("room is found", move || {
                let fs = SimFs::new();
                let log = Arc::new(create(&fs, options));
                let (user, done) = (log.clone(), Arc::new(AtomicBool::new(false)));
                let call = done.clone();
                ticket(&log, b"x", Durability::Process).then(move |_| {
                    (0..1000).for_each(|_| drop(ticket(&user, &[1; 40], Durability::Process)));
                    call.store(true, Ordering::Release);
                });
                // And others want room, too, and take turns.
                let others = [0; 3].map(|_| {
                    let user = log.clone();
                    let body = move || {
                        (0..1000).for_each(|_| drop(ticket(&user, &[2; 40], Durability::Process)));
                    };
                    spawn("other", body).unwrap()
                });
                others.into_iter().for_each(|other| other.join().unwrap());
                eventually("it is called", || done.load(Ordering::Acquire));
                log.close().unwrap();
                assert_eq!(read(&fs, RecoveryMode::Strict).unwrap().0.len(), 4001);
            });
        }
    }
}

/// A frame of more than half the ring is reserved, and all others wait behind it.
#[test]
fn a_callback_called_by_who_writes_a_big_frame_is_not_called_before_it_is_written() {
    let [.., options] = &all_options(1 << 20)[..] else { unreachable!("there are some") };
    let options = options.clone();
    must_end("the frame is written", move || {
        let log = Arc::new(create(&SimFs::new(), options));
        let (user, done) = (log.clone(), Arc::new(AtomicBool::new(false)));
        let call = done.clone();
        ticket(&log, b"x", Durability::Process).then(move |_| {
            append(&*user, b"behind", Durability::Process).unwrap();
            call.store(true, Ordering::Release);
        });
        append(&*log, &[7; 3000], Durability::Process).unwrap();
        eventually("it is called", || done.load(Ordering::Acquire));
    });
}

#[test]
fn a_callback_that_panics_fails_nothing() {
    for options in all_options(2000) {
        let log = create(&SimFs::new(), options);
        let heard = Arc::new(Mutex::new(0));
        // Called by a thread of the log, which dies of it, or by this one.
        let caught = |body: &dyn Fn()| _ = catch_unwind(AssertUnwindSafe(body));
        for class in [Durability::Process, Durability::Sync, Durability::Process] {
            caught(&|| {
                let count = heard.clone();
                ticket(&log, b"x", class).then(move |_| {
                    *count.lock() += 1;
                    resume_unwind(Box::new("on purpose"));
                });
            });
        }
        caught(&|| log.sync().unwrap());
        eventually("all are called", || *heard.lock() == 3);
        assert!(log.stats().failed.is_none());
        append(&log, b"goes on", Durability::Sync).unwrap();
        log.close().unwrap();
    }
}

#[test]
fn a_callback_may_close_the_log_whoever_closes_it_besides() {
    for options in all_options_soon() {
        for round in 0..20 {
            let options = options.clone();
            must_end("it is closed", move || {
                let fs = SimFs::new();
                let log = Arc::new(create(&fs, options));
                let closed = Arc::new(AtomicUsize::new(0));
                for class in CLASSES {
                    let (user, count) = (log.clone(), closed.clone());
                    // The log may be closed already.
                    let Ok(ticket) = log.append(&[], class) else { continue };
                    ticket.then(move |_| {
                        user.close().unwrap();
                        count.fetch_add(1, Ordering::Relaxed);
                    });
                }
                if round % 2 == 0 {
                    log.close().unwrap();
                }
                eventually("it is called", || closed.load(Ordering::Relaxed) > 0);
                assert!(matches!(log.append(&[], Durability::Sync), Err(Error::Closed)));
                log.close().unwrap();
                assert!(read(&fs, RecoveryMode::Strict).is_ok(), "the close mark is there");
            });
        }
    }
}

/// Each appends the next, which may be done at once.
#[test]
fn a_long_chain_of_callbacks_needs_no_deep_stack() {
    const LINKS: usize = 100_000;

    fn link(log: &Arc<Log>, count: &Arc<AtomicUsize>) {
        let (user, counter) = (log.clone(), count.clone());
        ticket(log, b"x", Durability::Process).then(move |_| {
            if counter.fetch_add(1, Ordering::Relaxed) < LINKS {
                link(&user, &counter);
            }
        });
    }

    for options in all_options_soon() {
        if options.backend == Backend::Sync {
            continue; // Each link is a write, which a thread does a millisecond later.
        }
        let log =
            Arc::new(create(&SimFs::new(), LogOptions { batch_delay: Duration::ZERO, ..options }));
        let count = Arc::new(AtomicUsize::new(0));
        link(&log, &count);
        eventually("all are called", || count.load(Ordering::Relaxed) > LINKS);
        log.close().unwrap();
    }
}

#[test]
fn a_callback_may_resume_a_log_whose_failure_it_is_told() {
    for options in all_options(2000) {
        must_end("it is resumed", move || {
            let fs = SimFs::new();
            let log = Arc::new(create(&fs, options));
            append(&*log, b"early", Durability::Process).unwrap();
            let (user, resumed) = (log.clone(), Arc::new(AtomicBool::new(false)));
            let call = resumed.clone();
            fs.inject(Fault::new(Op::Sync, FaultKind::Eio));
            ticket(&log, b"x", Durability::Sync).then(move |outcome| {
                assert!(outcome.is_err());
                user.resume().unwrap();
                append(&*user, b"goes on", Durability::Sync).unwrap();
                call.store(true, Ordering::Release);
            });
            eventually("it is called", || resumed.load(Ordering::Acquire));
            assert!(log.stats().failed.is_none());
            log.close().unwrap();
        });
    }
}

#[test]
fn a_listener_may_use_the_log_of_which_it_is_told() {
    for base in all_options(2000) {
        must_end("it is told", move || {
            let (log, told) = (Arc::new(OnceLock::<Log>::new()), Arc::new(AtomicUsize::new(0)));
            let (user, count) = (log.clone(), told.clone());
            let tell = move |alert: &Alert| {
                // A sync that it makes itself would be told of, too.
                if count.fetch_add(1, Ordering::Relaxed) == 0
                    && matches!(alert, Alert::SlowSync { .. })
                    && let Some(log) = user.get()
                {
                    append(log, b"slow", Durability::Sync).unwrap();
                }
            };
            let options = LogOptions {
                alert_thresholds: AlertThresholds { sync: Duration::ZERO, ..Default::default() },
                alert_listener: Some(AlertListener::new(tell)),
                ..base
            };
            log.set(create(&SimFs::new(), options)).unwrap();
            let log = log.get().unwrap();
            append(log, b"x", Durability::Sync).unwrap();
            assert!(told.load(Ordering::Relaxed) >= 2);
            log.close().unwrap();
        });
    }
}

/// A close that takes long, or fails, is told so to all who close, each for as long as it wants to wait.
#[test]
fn all_who_close_are_told_how_it_ended() {
    for options in all_options(2000) {
        let fs = SimFs::new();
        let log = create(&fs, options.clone());
        append(&log, b"x", Durability::Process).unwrap();
        fs.inject(Fault::new(Op::Sync, FaultKind::Delay(Duration::from_millis(200))));
        assert!(!log.close_within(Duration::from_millis(1)).unwrap());
        assert!(!log.close_within(Duration::from_millis(1)).unwrap(), "still under way");
        let before = read(&fs.crash(1), RecoveryMode::TornTail).unwrap().1;
        assert!(!before.clean_close, "not yet durable");
        log.close().unwrap();
        assert!(log.close_within(Duration::ZERO).unwrap());
        assert!(read(&fs.crash(1), RecoveryMode::Strict).unwrap().1.clean_close);

        let fs = SimFs::new();
        let log = create(&fs, options);
        append(&log, b"x", Durability::Process).unwrap();
        fs.inject(Fault::new(Op::Sync, FaultKind::Eio));
        let first = log.close().unwrap_err();
        assert!(matches!(first, Error::Io { .. }), "{first}");
        for later in [log.close().unwrap_err(), log.close_within(Duration::ZERO).unwrap_err()] {
            assert!(matches!(later, Error::Poisoned(_)), "{later}");
        }
    }
}
