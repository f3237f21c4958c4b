//! Model checks of the shipped code: publishing and pinning a value, the visible watermark, and who does
//! the background work.
//! Run with `cargo xtask loom`.
#![cfg(loom)]

use std::sync::Arc as StdArc;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use stratalog::Error;
use stratalog::protocol::{Pinned, Task, Visible, Work};

/// A value whose drop is seen: reading it afterwards is a failure, not undefined behaviour.
struct Value {
    number: u64,
    alive: StdArc<loom::sync::atomic::AtomicBool>,
}

impl Value {
    fn new(number: u64) -> Value {
        Value { number, alive: StdArc::new(loom::sync::atomic::AtomicBool::new(true)) }
    }

    fn read(&self) -> u64 {
        assert!(self.alive.load(Ordering::Acquire), "PIN-1: the value was dropped under a pin");
        self.number
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.alive.store(false, Ordering::Release);
    }
}

#[test]
fn a_pinned_value_stays_whole_while_it_is_replaced() {
    loom::model(|| {
        let cell = Arc::new(Pinned::new(StdArc::new(Value::new(1))));
        let reader = {
            let cell = cell.clone();
            thread::spawn(move || {
                let pin = cell.pin();
                let first = pin.read();
                assert_eq!(pin.read(), first);
                drop(pin);
                let second = cell.pin().read();
                assert!(second >= first, "time went backwards");
            })
        };
        cell.update(|value| Value::new(value.read() + 1));
        cell.update(|value| Value::new(value.read() + 1));
        assert_eq!(cell.pin().read(), 3);
        reader.join().unwrap();
    });
}

#[test]
fn a_shared_value_outlives_its_replacement() {
    loom::model(|| {
        let cell = Arc::new(Pinned::new(StdArc::new(Value::new(1))));
        let writer = {
            let cell = cell.clone();
            thread::spawn(move || cell.update(|_| Value::new(2)))
        };
        let kept = cell.pin().share();
        writer.join().unwrap();
        cell.tidy();
        assert!((1..=2).contains(&kept.read()));
        assert_eq!(cell.pin().read(), 2);
    });
}

#[test]
fn writes_become_visible_in_the_order_of_the_log() {
    loom::model(|| {
        let visible = Arc::new(Visible::new(1));
        // The last is taken along by whichever comes before it, or comes last itself.
        let writers: Vec<_> = [(1, 5), (5, 9), (9, 12)]
            .into_iter()
            .map(|(start, end)| {
                let visible = visible.clone();
                thread::spawn(move || {
                    visible.publish(start, end);
                    assert!(visible.upto() >= end, "VISIBLE-2");
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert_eq!(visible.upto(), 12);
    });
}

#[test]
fn a_reader_that_sees_the_mark_sees_what_was_applied() {
    loom::model(|| {
        let visible = Arc::new(Visible::new(1));
        let applied = Arc::new(AtomicUsize::new(0));
        let writer = {
            let (visible, applied) = (visible.clone(), applied.clone());
            thread::spawn(move || {
                applied.store(1, Ordering::Relaxed);
                visible.publish(1, 5);
            })
        };
        let reader = thread::spawn(move || {
            let seen = visible.upto() == 5;
            assert!(!seen || applied.load(Ordering::Relaxed) == 1, "VISIBLE-1");
        });
        writer.join().unwrap();
        reader.join().unwrap();
    });
}

/// Work to do, and a thread that does it until the store closes. `fails` jobs fail first.
struct Served {
    work: Arc<Work>,
    left: Arc<AtomicUsize>,
    thread: thread::JoinHandle<()>,
}

fn serve(fails: usize) -> Served {
    let (work, left) = (Arc::new(Work::default()), Arc::new(AtomicUsize::new(0)));
    let thread = {
        let (work, left) = (work.clone(), left.clone());
        let fails = AtomicUsize::new(fails);
        thread::spawn(move || {
            let due = || left.load(Ordering::Acquire) > 0;
            let job = || {
                if fails.load(Ordering::Relaxed) > 0 {
                    fails.fetch_sub(1, Ordering::Relaxed);
                    return Err(Error::InvalidArgument("on purpose".into()));
                }
                left.fetch_sub(1, Ordering::AcqRel);
                Ok(())
            };
            work.serve(Task::Flush, due, job);
        })
    };
    Served { work, left, thread }
}

#[test]
fn work_that_becomes_due_is_done_and_its_waiter_wakes() {
    loom::model(|| {
        let Served { work, left, thread } = serve(0);
        left.fetch_add(1, Ordering::AcqRel);
        work.notify();
        let done = |_: &mut _| Ok((left.load(Ordering::Acquire) == 0).then_some(()));
        work.wait(done).unwrap();
        work.begin_close();
        thread.join().unwrap();
    });
}

#[test]
fn a_failure_is_told_once_and_the_job_is_tried_again() {
    loom::model(|| {
        let Served { work, left, thread } = serve(1);
        left.fetch_add(1, Ordering::AcqRel);
        work.notify();
        let wait = || {
            work.wait(|state| {
                state.take_failure(Task::Flush)?;
                Ok((left.load(Ordering::Acquire) == 0).then_some(()))
            })
        };
        assert!(matches!(wait(), Err(Error::InvalidArgument(_))), "WORK-1");
        wait().unwrap();
        work.begin_close();
        thread.join().unwrap();
    });
}

#[test]
fn no_job_runs_once_closing_has_waited() {
    loom::model(|| {
        let work = Arc::new(Work::default());
        let closed = Arc::new(AtomicUsize::new(0));
        let caller = {
            let (work, closed) = (work.clone(), closed.clone());
            thread::spawn(move || {
                let left = AtomicUsize::new(1);
                let job = || {
                    left.store(0, Ordering::Relaxed);
                    assert_eq!(closed.load(Ordering::Acquire), 0, "a job in a closed store");
                    thread::yield_now();
                    assert_eq!(closed.load(Ordering::Acquire), 0, "a job in a closed store");
                    Ok(())
                };
                work.run_due(Task::Compact, || left.load(Ordering::Relaxed) > 0, job).unwrap();
            })
        };
        work.begin_close();
        work.drain();
        closed.store(1, Ordering::Release);
        caller.join().unwrap();
    });
}

#[test]
fn two_who_have_the_same_work_to_do_do_it_one_after_the_other() {
    loom::model(|| {
        let work = Arc::new(Work::default());
        let (left, running) = (Arc::new(AtomicUsize::new(2)), Arc::new(AtomicUsize::new(0)));
        let worker = || {
            let (work, left, running) = (work.clone(), left.clone(), running.clone());
            move || {
                let job = || {
                    assert_eq!(running.fetch_add(1, Ordering::AcqRel), 0, "WORK-3");
                    left.fetch_sub(1, Ordering::AcqRel);
                    thread::yield_now();
                    running.fetch_sub(1, Ordering::AcqRel);
                    Ok(())
                };
                work.run_due(Task::Compact, || left.load(Ordering::Acquire) > 0, job).unwrap();
            }
        };
        let other = thread::spawn(worker());
        worker()();
        other.join().unwrap();
        assert_eq!(left.load(Ordering::Acquire), 0);
    });
}
