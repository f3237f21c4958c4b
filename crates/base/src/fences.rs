//! Two fences that pair with each other, one of which costs next to nothing.
//!
//! Where two threads each store one word and then load the other's, a full fence in between on both sides
//! makes sure that not both miss what the other stored. Where one side does so far more often, it can do without
//! the instruction: the other has the kernel interrupt every processor that runs a thread of this process
//! (`membarrier(2)`, `PRIVATE_EXPEDITED`), and an interrupt is a full fence. Then it suffices that the compiler
//! keeps the order on the light side. Known as asymmetric fences (folly, C++ P1202).
//!
//! # Invariants
//! - FENCE-1: of a [`light_fence`] and a [`heavy_fence`], one comes first, and what is before that is seen by what
//!   is after the other: as with two `fence(SeqCst)`. Two light ones order nothing.
//!
//! A thread that is not running has gone through a full fence when it was switched, and will when it goes on. If
//! there is no such system call, or under loom, both are `fence(SeqCst)`.

#[cfg(all(target_os = "linux", not(loom)))]
mod imp {
    use rustix::thread::{MembarrierCommand, membarrier};

    use crate::sync::{AtomicBool, OnceLock, Ordering, compiler_fence, fence};

    /// Whether heavy fences are system calls. Set before the first of them, and never again: while it is not,
    /// light ones are whole.
    static IS_HEAVY: AtomicBool = AtomicBool::new(false);

    #[inline]
    pub fn light_fence() {
        if IS_HEAVY.load(Ordering::Relaxed) {
            compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
    }

    /// Whether there is such a call. The first one who asks registers the process for it.
    pub fn prepare() -> bool {
        static REGISTERED: OnceLock<bool> = OnceLock::new();
        *REGISTERED.get_or_init(|| {
            let answer = membarrier(MembarrierCommand::RegisterPrivateExpedited);
            IS_HEAVY.store(answer.is_ok(), Ordering::Relaxed);
            answer.is_ok()
        })
    }

    #[cold]
    pub fn heavy_fence() {
        if prepare() {
            let answer = membarrier(MembarrierCommand::PrivateExpedited);
            answer.expect("a process that is registered, or whose parent was, may call it");
        } else {
            fence(Ordering::SeqCst);
        }
    }
}

#[cfg(not(all(target_os = "linux", not(loom))))]
mod imp {
    use crate::sync::{Ordering, fence};

    #[inline]
    pub fn light_fence() {
        fence(Ordering::SeqCst);
    }

    pub fn heavy_fence() {
        fence(Ordering::SeqCst);
    }

    pub fn prepare() -> bool {
        false
    }
}

/// The side that is taken often: an order to the compiler. See [`heavy_fence`].
#[inline]
pub fn light_fence() {
    imp::light_fence();
}

/// The side that is taken seldom: a system call of half a microsecond, or several if other threads run. What is
/// before this is seen after any later [`light_fence`], or what was before that is seen after this (FENCE-1).
pub fn heavy_fence() {
    imp::heavy_fence();
}

/// Does what else the first heavy fence of a process would have to do: tells the kernel of it, which takes some
/// 20 ms if the process has other threads. For what is opened or made seldom, and has heavy fences later.
pub fn prepare_heavy_fences() {
    imp::prepare();
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sync::{AtomicU64, Instant, Ordering, Padded, yield_now};

    /// Looks most often without giving up the processor, so that both run at once if they can.
    fn wait_for(word: &AtomicU64, value: u64) {
        let mut looks = 0;
        while word.load(Ordering::Acquire) < value {
            looks += 1;
            if looks % 4_096 == 0 { yield_now() } else { std::hint::spin_loop() }
        }
    }

    /// FENCE-1: of two that store and then look, not both see nothing.
    #[test]
    fn not_both_miss_what_the_other_stored() {
        let words: [Padded<AtomicU64>; 4] = Default::default();
        let [round, often, seldom, answered] = words.each_ref().map(|word| &**word);
        heavy_fence(); // From here on light ones are light.
        let until = Instant::now() + Duration::from_secs(1);
        let mut both_missed = false;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for now in 1.. {
                    wait_for(round, now);
                    if round.load(Ordering::Relaxed) == u64::MAX {
                        break;
                    }
                    often.store(now, Ordering::Relaxed);
                    light_fence();
                    let missed = seldom.load(Ordering::Relaxed) < now;
                    answered.store(2 * now + u64::from(missed), Ordering::Release);
                }
            });
            for now in (1..).take_while(|_| Instant::now() < until) {
                round.store(now, Ordering::Release);
                // The other comes to its store a little earlier or later than this.
                (0..now % 64).for_each(|_| std::hint::spin_loop());
                seldom.store(now, Ordering::Relaxed);
                heavy_fence();
                let missed = often.load(Ordering::Relaxed) < now;
                wait_for(answered, 2 * now);
                both_missed |= missed && answered.load(Ordering::Relaxed) % 2 == 1;
            }
            round.store(u64::MAX, Ordering::Release);
        });
        assert!(!both_missed);
    }
}
