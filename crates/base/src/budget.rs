//! [`Budget`]: how much memory may be in use, and how much is.
//!
//! Nothing is refused: who charges needs the memory and has it already. What the budget is good for is to
//! know when to seal a memtable or to empty a cache.
//!
//! # Invariants
//! - BUDGET-1: what a budget says is in use is the sum of what its accounts hold; an account gives back
//!   all of it when it drops.

use std::sync::Arc;

use crate::sync::{AtomicUsize, Ordering, Padded};

/// Bytes in use by all who share it, beside the bytes that may be.
#[derive(Debug)]
pub struct Budget {
    limit_bytes: usize,
    used: Padded<AtomicUsize>,
    peak: AtomicUsize,
}

impl Budget {
    /// A budget of `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Budget {
        let (used, peak) = (Padded(AtomicUsize::new(0)), AtomicUsize::new(0));
        Budget { limit_bytes, used, peak }
    }

    /// Bytes that may be in use.
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Bytes in use; may be above the limit.
    pub fn used_bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The most bytes that were in use at one time.
    pub fn peak_bytes(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }
}

impl Default for Budget {
    /// Without a limit.
    fn default() -> Budget {
        Budget::new(usize::MAX)
    }
}

/// What one owner of memory has charged to a [`Budget`].
#[derive(Debug, Default)]
pub struct Account {
    budget: Arc<Budget>,
    bytes: AtomicUsize,
}

impl Account {
    /// An account of `budget` with nothing charged.
    pub fn new(budget: Arc<Budget>) -> Account {
        Account { budget, bytes: AtomicUsize::new(0) }
    }

    /// Counts `bytes` more.
    pub fn charge(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let used = self.budget.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // Mostly a load: the peak is seldom new.
        if used > self.budget.peak.load(Ordering::Relaxed) {
            self.budget.peak.fetch_max(used, Ordering::Relaxed);
        }
    }

    /// Counts `bytes` less.
    pub fn release(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "{bytes} bytes given back of {before}");
        self.budget.used.fetch_sub(bytes, Ordering::Relaxed); // BUDGET-1
    }

    /// Bytes that are charged.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// What they are charged to.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }
}

/// Bytes of an account for as long as something that takes them lives.
#[derive(Debug)]
pub struct Charge {
    account: Arc<Account>,
    bytes: usize,
}

impl Charge {
    /// Counts `bytes` more, until the value drops.
    pub fn new(account: Arc<Account>, bytes: usize) -> Charge {
        account.charge(bytes);
        Charge { account, bytes }
    }

    /// How many.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.release(self.bytes);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.release(self.bytes()); // BUDGET-1
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_budget_counts_all_accounts_and_keeps_the_peak() {
        let budget = Arc::new(Budget::new(100));
        let (a, b) = (Account::new(budget.clone()), Account::new(budget.clone()));
        a.charge(60);
        b.charge(40);
        assert_eq!(budget.used_bytes(), 100);
        let charge = Charge::new(Arc::new(Account::new(budget.clone())), 0);
        assert_eq!(Charge::new(charge.account.clone(), 1).account.bytes(), 1);
        assert_eq!((budget.used_bytes(), budget.peak_bytes()), (100, 101));
        b.charge(1);
        assert_eq!((budget.used_bytes(), b.bytes()), (101, 41));
        a.release(50);
        assert_eq!((budget.used_bytes(), a.bytes()), (51, 10));
        drop(b);
        drop(a);
        assert_eq!((budget.used_bytes(), budget.peak_bytes()), (0, 101), "BUDGET-1");
    }

    #[test]
    fn threads_that_charge_and_give_back_leave_nothing() {
        let budget = Arc::new(Budget::default());
        std::thread::scope(|scope| {
            for thread in 1..4 {
                let account = Account::new(budget.clone());
                scope.spawn(move || {
                    for round in 0..10_000 {
                        account.charge(thread * round);
                        account.release(thread * round / 2);
                    }
                });
            }
        });
        assert_eq!(budget.used_bytes(), 0);
        assert!(budget.peak_bytes() > 0);
    }
}
