//! Locks, condition variables, letters, bells, atomics, threads and time: the only place where Stratalog chooses
//! between `parking_lot` and std for production and loom for model checking (`--cfg loom`).
//!
//! Every concurrent part of every crate takes these names from here, so a loom model runs the shipped
//! code. Guards come without a `Result`: a panic under a lock does not poison it; what must stop
//! after a failure says so itself (see [`crate::Error::Poisoned`]).
//!
//! loom treats `SeqCst` loads and stores as acquire and release; where a protocol needs the total
//! order, it uses [`fence`]`(SeqCst)`, which loom models, or read-modify-writes.

use std::time::Duration;

#[cfg(not(loom))]
#[expect(
    missing_docs,
    clippy::missing_errors_doc,
    reason = "the names and contracts are those of std and loom"
)]
mod imp {
    pub use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
    pub use std::sync::Arc;
    pub use std::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering,
        compiler_fence, fence,
    };
    pub use std::thread::{JoinHandle, ThreadId, current, yield_now};
    pub use std::thread_local;

    /// A condition variable.
    #[derive(Debug, Default)]
    pub struct Condvar(parking_lot::Condvar);

    impl Condvar {
        pub fn new() -> Self {
            Self::default()
        }
        pub fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(&mut guard);
            guard
        }
        pub fn wait_timeout<'a, T>(
            &self,
            mut guard: MutexGuard<'a, T>,
            timeout: super::Duration,
        ) -> (MutexGuard<'a, T>, bool) {
            let timed_out = self.0.wait_for(&mut guard, timeout).timed_out();
            (guard, timed_out)
        }
        pub fn notify_one(&self) {
            self.0.notify_one();
        }
        pub fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    pub fn spawn(
        name: &str,
        body: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name(name.to_owned()).spawn(body)
    }

    /// Locks `mutex`, or gives up at `deadline`.
    pub fn lock_until<T>(
        mutex: &Mutex<T>,
        deadline: Option<super::Instant>,
    ) -> Option<MutexGuard<'_, T>> {
        match deadline {
            None => Some(mutex.lock()),
            Some(deadline) => mutex.try_lock_until(deadline),
        }
    }

    /// Unlocks, and gives the lock to who has waited longest, if anybody waits.
    pub fn unlock_fair<T>(guard: MutexGuard<'_, T>) {
        MutexGuard::unlock_fair(guard);
    }

    /// Messages to one thread, which sleeps until one is there. Only the newest is kept.
    #[derive(Debug)]
    pub struct Letter<T> {
        message: Mutex<Option<T>>,
        reader: std::thread::Thread,
    }

    impl<T> Letter<T> {
        /// To the thread that calls this: only it may receive.
        pub fn to_this_thread() -> Self {
            Letter { message: Mutex::new(None), reader: std::thread::current() }
        }
        pub fn send(&self, message: T) {
            *self.message.lock() = Some(message);
            self.reader.unpark();
        }
        pub fn receive(&self) -> T {
            loop {
                if let Some(message) = self.message.lock().take() {
                    return message;
                }
                std::thread::park();
            }
        }
        /// `None` if nothing came until `deadline`; something may still come then.
        pub fn receive_until(&self, deadline: super::Instant) -> Option<T> {
            loop {
                if let Some(message) = self.message.lock().take() {
                    return Some(message);
                }
                let left = deadline.saturating_duration_since(super::Instant::now());
                if left.is_zero() {
                    return None;
                }
                std::thread::park_timeout(left);
            }
        }
    }

    /// Wakes all who wait for it, by one call to the system; whoever comes later does not wait.
    #[derive(Debug, Default)]
    pub struct Bell(std::sync::OnceLock<()>);

    impl Bell {
        pub fn ring(&self) {
            _ = self.0.set(());
        }
        pub fn wait(&self) {
            self.0.wait();
        }
    }

    /// Memory that several threads reach under a protocol of their own.
    #[derive(Debug, Default)]
    pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub const fn new(value: T) -> Self {
            UnsafeCell(std::cell::UnsafeCell::new(value))
        }
        #[inline]
        pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }
        #[inline]
        pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

#[cfg(loom)]
#[expect(
    missing_docs,
    clippy::missing_errors_doc,
    reason = "the names and contracts are those of std and loom"
)]
mod imp {
    pub use loom::cell::UnsafeCell;
    pub use loom::sync::Arc;
    pub use loom::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    pub use loom::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};
    pub use loom::thread::{JoinHandle, ThreadId, current, yield_now};
    pub use loom::thread_local;

    #[derive(Debug, Default)]
    pub struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub fn new(value: T) -> Self {
            Mutex(loom::sync::Mutex::new(value))
        }
        pub fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("a model thread panicked")
        }
        pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
        pub fn into_inner(self) -> T {
            self.0.into_inner().expect("a model thread panicked")
        }
    }

    #[derive(Debug, Default)]
    pub struct RwLock<T>(loom::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub fn new(value: T) -> Self {
            RwLock(loom::sync::RwLock::new(value))
        }
        pub fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().expect("a model thread panicked")
        }
        pub fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().expect("a model thread panicked")
        }
    }

    #[derive(Debug, Default)]
    pub struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub fn new() -> Self {
            Condvar(loom::sync::Condvar::new())
        }
        pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(guard).expect("a model thread panicked")
        }
        pub fn wait_timeout<'a, T>(
            &self,
            guard: MutexGuard<'a, T>,
            timeout: super::Duration,
        ) -> (MutexGuard<'a, T>, bool) {
            let (guard, result) =
                self.0.wait_timeout(guard, timeout).expect("a model thread panicked");
            (guard, result.timed_out())
        }
        pub fn notify_one(&self) {
            self.0.notify_one();
        }
        pub fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    pub fn lock_until<T>(
        mutex: &Mutex<T>,
        _deadline: Option<super::Instant>,
    ) -> Option<MutexGuard<'_, T>> {
        Some(mutex.lock())
    }

    pub fn unlock_fair<T>(guard: MutexGuard<'_, T>) {
        drop(guard);
    }

    /// A lock and a condition variable: loom loses the token of `unpark` when its thread blocks on
    /// something else.
    #[derive(Debug)]
    pub struct Letter<T> {
        message: Mutex<Option<T>>,
        sent: Condvar,
    }

    impl<T> Letter<T> {
        pub fn to_this_thread() -> Self {
            Letter { message: Mutex::new(None), sent: Condvar::new() }
        }
        pub fn send(&self, message: T) {
            *self.message.lock() = Some(message);
            self.sent.notify_one();
        }
        pub fn receive(&self) -> T {
            let mut message = self.message.lock();
            loop {
                match message.take() {
                    Some(message) => return message,
                    None => message = self.sent.wait(message),
                }
            }
        }
        /// Time does not pass in a model: the deadline is over whenever this looks.
        pub fn receive_until(&self, _deadline: super::Instant) -> Option<T> {
            self.message.lock().take()
        }
    }

    #[derive(Debug, Default)]
    pub struct Bell {
        has_rung: Mutex<bool>,
        rings: Condvar,
    }

    impl Bell {
        pub fn ring(&self) {
            *self.has_rung.lock() = true;
            self.rings.notify_all();
        }
        pub fn wait(&self) {
            let mut has_rung = self.has_rung.lock();
            while !*has_rung {
                has_rung = self.rings.wait(has_rung);
            }
        }
    }

    pub fn spawn(
        _name: &str,
        body: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<JoinHandle<()>> {
        Ok(loom::thread::spawn(body))
    }
}

pub use imp::*;

pub use crate::fences::{heavy_fence, light_fence, prepare_heavy_fences};

pub use std::sync::OnceLock;
pub use std::thread::{panicking, sleep};

/// Monotonic time. The wall clock never decides what is stored, ordered or deleted.
pub use std::time::Instant;

/// How many threads can run at once, at least 1. Asks the system each time.
pub fn parallelism() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A small number that this thread has for itself, counted from 0 in the order in which threads first
/// ask: to spread them over parts of a counter. Not for protocols: loom does not see it.
#[inline]
pub fn thread_number() -> usize {
    use std::sync::atomic;
    static THREADS: atomic::AtomicUsize = atomic::AtomicUsize::new(0);
    std::thread_local!(static NUMBER: usize = THREADS.fetch_add(1, atomic::Ordering::Relaxed));
    NUMBER.with(|number| *number)
}

/// Keeps a hot word alone on its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Padded<T>(pub T);

impl<T> std::ops::Deref for Padded<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}
