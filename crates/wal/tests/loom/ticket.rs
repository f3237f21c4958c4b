//! The ticket: who awaits it, is called back or waits is told once, and how it ended. On a log reduced to a
//! watermark.

use std::future::Future;
use std::io::IoSlice;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use stratalog_base::sync::{Condvar, Instant, Mutex};
use stratalog_base::{Error, Result};
use stratalog_wal::group::GroupCommit;
use stratalog_wal::{
    Callback, Durability, FIRST_POSITION, Place, Position, Records, Ticket, Wal, Watermarks,
};

const END: Position = 24;

/// Where all that is there is durable once the group has got there.
#[derive(Debug)]
struct Mark(GroupCommit<()>);

impl Mark {
    fn new() -> Arc<Mark> {
        Arc::new(Mark(GroupCommit::new(FIRST_POSITION, ())))
    }

    fn ticket(&self) -> Ticket<'_> {
        let place = Place { start: FIRST_POSITION, position: FIRST_POSITION, end: END };
        Ticket::new(self, place, Durability::Sync)
    }
}

impl Wal for Mark {
    fn wait(&self, end: Position, _: Durability, deadline: Option<Instant>) -> Result<bool> {
        self.0.follow(end, deadline)
    }
    fn when(&self, end: Position, _: Durability, then: Callback) {
        self.0.when(end, then);
    }
    fn append(&self, _: &[IoSlice<'_>], _: Durability) -> Result<Ticket<'_>> {
        unreachable!()
    }
    fn append_batch(
        &self,
        _: &[&[u8]],
        _: Durability,
        _: &mut Vec<Position>,
    ) -> Result<Ticket<'_>> {
        unreachable!()
    }
    fn reserve(&self, _: u64) -> Result<Place> {
        unreachable!()
    }
    fn sync(&self) -> Result<()> {
        unreachable!()
    }
    fn watermarks(&self) -> Watermarks {
        unreachable!()
    }
    fn truncate_before(&self, _: Position) -> Result<()> {
        unreachable!()
    }
    fn reader(&self, _: Position) -> Result<Box<dyn Records>> {
        unreachable!()
    }
    fn close(&self) -> Result<()> {
        unreachable!()
    }
}

/// Wakes a thread that sleeps in `block_on`.
#[derive(Default)]
struct Bell(Mutex<bool>, Condvar);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.0.lock() = true;
        self.1.notify_one();
    }
}

/// Polls, and sleeps until it is woken; loom reports a deadlock if it never is.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let (bell, mut future) = (Arc::new(Bell::default()), pin!(future));
    let waker = Waker::from(bell.clone());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        let mut rung = bell.0.lock();
        while !*rung {
            rung = bell.1.wait(rung);
        }
        *rung = false;
    }
}

#[test]
fn who_awaits_a_ticket_is_woken() {
    loom::model(|| {
        let mark = Mark::new();
        let leader = mark.clone();
        let leader = thread::spawn(move || leader.0.reach(END, |()| Ok(END)).unwrap());
        assert_eq!(block_on(mark.ticket()).unwrap().end, END);
        assert!(mark.0.reached() >= END);
        leader.join().unwrap();
    });
}

/// A second poll brings another waker: that one counts.
#[test]
fn the_last_waker_of_a_ticket_counts() {
    loom::model(|| {
        let mark = Mark::new();
        let leader = mark.clone();
        let leader = thread::spawn(move || leader.0.raise(END));
        let mut ticket = mark.ticket();
        let first = pin!(&mut ticket).poll(&mut Context::from_waker(Waker::noop()));
        if first.is_pending() {
            block_on(ticket).unwrap();
        }
        leader.join().unwrap();
    });
}

#[test]
fn who_awaits_a_ticket_is_told_of_a_failure() {
    loom::model(|| {
        let mark = Mark::new();
        let leader = mark.clone();
        let leader = thread::spawn(move || leader.0.fail(&Error::Full));
        let outcome = block_on(mark.ticket());
        assert!(matches!(outcome, Err(Error::Full | Error::Poisoned(_))), "{outcome:?}");
        leader.join().unwrap();
    });
}

/// GROUP-5
#[test]
fn a_callback_and_a_waiter_agree_about_how_it_ended() {
    loom::model(|| {
        let mark = Mark::new();
        let (raiser, failer) = (mark.clone(), mark.clone());
        let raiser = thread::spawn(move || raiser.0.raise(END));
        let failer = thread::spawn(move || failer.0.fail(&Error::Full));
        let (calls, errors) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (called, failed) = (calls.clone(), errors.clone());
        mark.ticket().then(move |outcome| {
            called.fetch_add(1, Ordering::AcqRel);
            failed.fetch_add(u64::from(outcome.is_err()), Ordering::AcqRel);
        });
        let waited = mark.ticket().wait();
        raiser.join().unwrap();
        failer.join().unwrap();
        assert_eq!(calls.load(Ordering::Acquire), 1);
        assert_eq!(errors.load(Ordering::Acquire) == 1, waited.is_err());
    });
}
