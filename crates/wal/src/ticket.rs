//! [`Ticket`]: what an append gives back, to wait by, to await, or to be called back.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use stratalog_base::Result;
use stratalog_base::sync::{Instant, Mutex};

use crate::{Durability, Place, Position, Wal};

/// A record on its way. Dropping it changes nothing: the record goes its way all the same; one of class
/// [`Durability::Sync`] that nobody waits for is synced within [`crate::LogOptions::interval`].
///
/// It is done when the record survives what its class promises: at once for [`Durability::None`], once
/// it is logged for [`Durability::Process`] and [`Durability::Interval`], once it is durable for
/// [`Durability::Sync`]. Until then nothing is promised.
///
/// It is a [`Future`] that needs no runtime. Whoever awaits it, or is called back, is told by the
/// thread that did the work, and should be brief.
#[must_use = "nothing is promised until the ticket is waited for"]
pub struct Ticket<'a> {
    log: &'a dyn Wal,
    place: Place,
    durability: Durability,
    /// Between it and the callback, once it was polled.
    polled: Option<Arc<Mutex<Polled>>>,
}

#[derive(Default)]
struct Polled {
    outcome: Option<Result<()>>,
    waker: Option<Waker>,
}

impl<'a> Ticket<'a> {
    /// For implementations of [`Wal`]: the ticket of a record at `place` of `log`.
    pub fn new(log: &'a dyn Wal, place: Place, durability: Durability) -> Ticket<'a> {
        Ticket { log, place, durability, polled: None }
    }

    /// Where the record lies.
    #[inline]
    pub fn place(&self) -> Place {
        self.place
    }

    /// The record's position, its sequence number.
    #[inline]
    pub fn position(&self) -> Position {
        self.place.position
    }

    /// One past the record.
    #[inline]
    pub fn end(&self) -> Position {
        self.place.end
    }

    /// What it was appended for.
    #[inline]
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// Blocks until it is done.
    ///
    /// # Errors
    /// As [`Wal::wait`].
    #[inline]
    pub fn wait(&self) -> Result<Place> {
        self.log.wait(self.place.end, self.durability, None)?;
        Ok(self.place)
    }

    /// Blocks until it is done, or for so long; whether it is done. A write or sync that this very
    /// thread does for all is not broken off.
    ///
    /// # Errors
    /// As [`Wal::wait`].
    pub fn wait_timeout(&self, limit: Duration) -> Result<bool> {
        self.log.wait(self.place.end, self.durability, Instant::now().checked_add(limit))
    }

    /// Calls `then` once it is done, or with why it will not be: at once in this thread if that is so
    /// already, else in the one that did the work, as soon as that holds nothing that others wait for. So it may append,
    /// wait, sync, even close the log; but what else that thread has to do waits for it meanwhile, and other calls, too.
    /// That thread may be one that appends another record: who does so must not hold a lock that `then` takes. `then` must
    /// not panic, for that goes on in the thread that calls: see [`Wal::when`].
    pub fn then(self, then: impl FnOnce(Result<()>) + Send + 'static) {
        self.log.when(self.place.end, self.durability, Box::new(then));
    }
}

impl Future for Ticket<'_> {
    type Output = Result<Place>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Place>> {
        let waker = context.waker();
        if let Some(polled) = &self.polled {
            let mut polled = polled.lock();
            return match &polled.outcome {
                Some(outcome) => Poll::Ready(outcome.clone().map(|()| self.place)),
                None => {
                    polled.waker = Some(waker.clone());
                    Poll::Pending
                }
            };
        }
        let polled = Arc::new(Mutex::new(Polled { waker: Some(waker.clone()), outcome: None }));
        self.polled = Some(polled.clone());
        let then = {
            let polled = polled.clone();
            move |outcome| {
                let waker = {
                    let mut polled = polled.lock();
                    polled.outcome = Some(outcome);
                    polled.waker.take()
                };
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        };
        self.log.when(self.place.end, self.durability, Box::new(then));
        let outcome = polled.lock().outcome.clone();
        outcome.map_or(Poll::Pending, |outcome| Poll::Ready(outcome.map(|()| self.place)))
    }
}

impl fmt::Debug for Ticket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Ticket");
        out.field("place", &self.place).field("durability", &self.durability);
        out.finish_non_exhaustive()
    }
}
