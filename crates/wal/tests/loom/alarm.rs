//! The alarm: whoever raises it is heard.

use std::sync::Arc;
use std::time::Duration;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use stratalog_base::sync::light_fence;
use stratalog_wal::alarm::{Alarm, Urgency, Wake};

/// Two threads do something and raise the alarm; the waiter leaves until it has seen both. Ends only if
/// it is let out after the last raise; loom reports a deadlock else.
fn two_raise(raise: fn(&Alarm, Urgency)) {
    loom::model(move || {
        let alarm = Arc::new(Alarm::new(Duration::ZERO));
        let logged = Arc::new(AtomicU64::new(0));
        let raisers = [Urgency::Soon, Urgency::Now].map(|urgency| {
            let (alarm, logged) = (alarm.clone(), logged.clone());
            thread::spawn(move || {
                logged.fetch_add(1, Ordering::Relaxed);
                raise(&alarm, urgency);
            })
        });
        while logged.load(Ordering::Relaxed) < 2 {
            assert_eq!(alarm.wait(None), Wake::Raised);
        }
        raisers.into_iter().for_each(|raiser| raiser.join().unwrap());
    });
}

/// ALARM-1: whatever was done before a raise is seen by a waiter that leaves after it.
#[test]
fn no_raised_alarm_is_lost() {
    two_raise(Alarm::raise);
}

/// ALARM-1
#[test]
fn no_alarm_raised_after_a_fence_is_lost() {
    two_raise(|alarm, urgency| {
        light_fence();
        alarm.raise_after_fence(urgency);
    });
}

/// ALARM-1, where what is done is a plain store: the fences alone make it visible.
#[test]
fn what_comes_before_the_fence_of_a_raise_is_seen_by_the_waiter() {
    loom::model(|| {
        let alarm = Arc::new(Alarm::new(Duration::ZERO));
        let logged = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let raisers = [0, 1].map(|which| {
            let (alarm, logged) = (alarm.clone(), logged.clone());
            thread::spawn(move || {
                logged[which].store(1, Ordering::Relaxed);
                light_fence();
                alarm.raise_after_fence(Urgency::Soon);
            })
        });
        while logged.iter().any(|it| it.load(Ordering::Relaxed) == 0) {
            assert_eq!(alarm.wait(None), Wake::Raised);
        }
        raisers.into_iter().for_each(|raiser| raiser.join().unwrap());
    });
}

#[test]
fn a_stopped_alarm_lets_its_waiter_go() {
    loom::model(|| {
        let alarm = Arc::new(Alarm::new(Duration::ZERO));
        let waiter = alarm.clone();
        let waiter = thread::spawn(move || while waiter.wait(None) == Wake::Raised {});
        alarm.raise(Urgency::Soon);
        alarm.stop();
        waiter.join().unwrap();
    });
}
