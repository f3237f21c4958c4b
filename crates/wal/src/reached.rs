//! [`Reached`]: the future of a watermark. Needs no runtime.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use stratalog_base::Result;
use stratalog_base::sync::Mutex;

use crate::group::GroupCommit;
use crate::waiters::Key;

/// Is ready once the watermark is at least its target, or the group has failed; see
/// [`GroupCommit::reached_future`]. Goes on the group's list when it is first polled, and leaves it
/// when it is dropped.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is polled"]
pub struct Reached<'a, L> {
    group: &'a GroupCommit<L>,
    target: u64,
    /// `None` until it is polled.
    shared: Option<Arc<Mutex<Shared>>>,
    /// Its entry on the list, which may be gone by now.
    key: Option<Key>,
}

/// What the future shares with the call on the list.
#[derive(Debug, Default)]
struct Shared {
    outcome: Option<Result<()>>,
    /// Of the last poll.
    waker: Option<Waker>,
}

impl<'a, L> Reached<'a, L> {
    pub(crate) fn new(group: &'a GroupCommit<L>, target: u64) -> Self {
        Reached { group, target, shared: None, key: None }
    }

    fn register(&mut self) -> Arc<Mutex<Shared>> {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let told = shared.clone();
        let then = move |outcome| {
            let waker = {
                let mut told = told.lock();
                told.outcome = Some(outcome);
                told.waker.take()
            };
            waker.into_iter().for_each(Waker::wake);
        };
        self.key = self.group.call_at(self.target, Box::new(then));
        shared
    }
}

impl<L> Future for Reached<'_, L> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let shared = match &self.shared {
            Some(shared) => shared.clone(),
            None => {
                let shared = self.register();
                self.shared.insert(shared).clone()
            }
        };
        let mut shared = shared.lock();
        match &shared.outcome {
            Some(outcome) => Poll::Ready(outcome.clone()),
            None => {
                shared.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<L> Drop for Reached<'_, L> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.group.remove(key);
        }
    }
}
