//! [`Kept`]: values that stay where they are until all of them go.
//!
//! # Invariants
//! - KEPT-1: a node is reached from `last`, in a chain of `before`, from its push until the list drops;
//!   nobody moves, changes or frees it meanwhile.
#![expect(unsafe_code, reason = "owns nodes by raw pointers, so that pushing needs no lock")]

use std::ptr::NonNull;

use stratalog_base::sync::{AtomicPtr, Ordering};

/// Values that were pushed, by any number of threads.
pub(crate) struct Kept<T> {
    last: AtomicPtr<Node<T>>,
}

struct Node<T> {
    value: T,
    before: *mut Node<T>,
}

// SAFETY: KEPT-1: it owns its values, hands out shared references only, and drops them wherever it drops.
unsafe impl<T: Send> Send for Kept<T> {}
// SAFETY: as above; a push moves a value in from any thread.
unsafe impl<T: Send + Sync> Sync for Kept<T> {}

impl<T> Kept<T> {
    /// Bytes that a value takes from the allocator, beside what it owns itself.
    pub(crate) const NODE_BYTES: usize = size_of::<Node<T>>();

    pub(crate) fn new() -> Kept<T> {
        Kept { last: AtomicPtr::new(std::ptr::null_mut()) }
    }

    /// Keeps `value`.
    pub(crate) fn push(&self, value: T) -> &T {
        let node = NonNull::from(Box::leak(Box::new(Node { value, before: std::ptr::null_mut() })));
        let mut before = self.last.load(Ordering::Relaxed);
        loop {
            // SAFETY: nobody else reaches the node yet.
            unsafe { (*node.as_ptr()).before = before };
            // Release: who finds the node, or drops the list, sees it whole; and those before it, since a
            // read-modify-write carries on what the ones before it released.
            let pushed = self.last.compare_exchange_weak(
                before,
                node.as_ptr(),
                Ordering::Release,
                Ordering::Relaxed,
            );
            match pushed {
                // SAFETY: KEPT-1.
                Ok(_) => return unsafe { &node.as_ref().value },
                Err(last) => before = last,
            }
        }
    }
}

impl<T> Kept<T> {
    /// The value that was pushed last.
    #[inline]
    pub(crate) fn last(&self) -> Option<&T> {
        // SAFETY: KEPT-1: null, or kept and seen whole by the Acquire load.
        unsafe { self.last.load(Ordering::Acquire).as_ref() }.map(|node| &node.value)
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        let mut last = self.last.load(Ordering::Acquire);
        while !last.is_null() {
            // SAFETY: KEPT-1: `push` leaked it from a box, and nobody reaches it any more.
            last = unsafe { Box::from_raw(last) }.before;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn values_stay_and_go_together() {
        let (kept, token) = (Kept::new(), Arc::new(()));
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (kept, token) = (&kept, &token);
                scope.spawn(move || {
                    let values = (0..1000).map(|index| (thread, index, token.clone()));
                    let pushed: Vec<_> = values.map(|value| kept.push(value)).collect();
                    assert!(
                        (0..).zip(pushed).all(|(index, kept)| (kept.0, kept.1) == (thread, index))
                    );
                });
            }
        });
        assert_eq!(Arc::strong_count(&token), 3001, "KEPT-1");
        drop(kept);
        assert_eq!(Arc::strong_count(&token), 1);
    }
}
