//! [`Entries`]: the keys and values of the published workloads, made from their place and found again
//! from the key.

use std::io::Write as _;

/// How keys and values are made.
#[derive(Clone, Copy, Debug)]
pub enum Entries {
    /// `key-T-I` = `value-T-I`.
    Transactions,
    /// `key-T-I-J` = `value-T-I-J`.
    Operations,
    /// `threadT-keyI` = `value`.
    Own,
    /// `shared-keyI` = `value`, `I` below 10.
    Shared,
    /// Numbers of eight bytes that do not sort as numbers, each thread's from `thread_step` times its own
    /// on, and zeros.
    LittleEndian {
        /// How many numbers each thread has.
        thread_step: u64,
        /// Bytes of a value.
        value_bytes: usize,
    },
    /// Numbers of eight bytes that do, for each thread the same, and zeros.
    BigEndian {
        /// Bytes of a value.
        value_bytes: usize,
    },
}

/// Keys of [`Entries::Shared`].
const SHARED: u64 = 10;

/// Which entry: the `nth` of call `call` of thread `thread`, in a call that has `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The thread, and the family where each has its own.
    pub thread: u64,
    /// The thread's call.
    pub call: u64,
    /// The entry of the call.
    pub nth: u64,
}

impl Entries {
    /// Makes the entry at `place` of calls of `count` entries in `key` and `value`.
    pub fn make(self, place: Place, count: u64, key: &mut Vec<u8>, value: &mut Vec<u8>) {
        let Place { thread, call, nth } = place;
        key.clear();
        value.clear();
        // Writing to memory does not fail.
        let _ = match self {
            Entries::Transactions => write!(key, "key-{thread}-{call}")
                .and_then(|()| write!(value, "value-{thread}-{call}")),
            Entries::Operations => write!(key, "key-{thread}-{call}-{nth}")
                .and_then(|()| write!(value, "value-{thread}-{call}-{nth}")),
            Entries::Own => {
                write!(key, "thread{thread}-key{call}").and_then(|()| write!(value, "value"))
            }
            Entries::Shared => {
                write!(key, "shared-key{}", call % SHARED).and_then(|()| write!(value, "value"))
            }
            Entries::LittleEndian { thread_step, value_bytes } => {
                let number = thread * thread_step + call * count + nth;
                key.extend_from_slice(&number.to_le_bytes());
                value.resize(value_bytes, 0);
                Ok(())
            }
            Entries::BigEndian { value_bytes } => {
                key.extend_from_slice(&(call * count + nth).to_be_bytes());
                value.resize(value_bytes, 0);
                Ok(())
            }
        };
    }

    /// The place of the entry with the key `key`, met in the family of thread `family`. What several
    /// threads write is the first thread's.
    pub fn find(self, key: &[u8], count: u64, family: u64) -> Option<Place> {
        let text = || std::str::from_utf8(key).ok();
        let at = |number: u64, thread| Place { thread, call: number / count, nth: number % count };
        match self {
            Entries::Transactions | Entries::Operations => {
                let mut numbers = text()?.strip_prefix("key-")?.split('-').map(str::parse);
                let mut next = || numbers.next()?.ok();
                let (thread, call) = (next()?, next()?);
                let nth = if matches!(self, Entries::Operations) { next()? } else { 0 };
                Some(Place { thread, call, nth })
            }
            Entries::Own => {
                let (thread, call) = text()?.strip_prefix("thread")?.split_once("-key")?;
                Some(Place { thread: thread.parse().ok()?, call: call.parse().ok()?, nth: 0 })
            }
            Entries::Shared => {
                let call = text()?.strip_prefix("shared-key")?.parse().ok()?;
                Some(Place { thread: 0, call, nth: 0 })
            }
            Entries::LittleEndian { thread_step, .. } => {
                let number = u64::from_le_bytes(key.try_into().ok()?);
                Some(at(number.checked_sub(family * thread_step)?, family))
            }
            Entries::BigEndian { .. } => Some(at(u64::from_be_bytes(key.try_into().ok()?), family)),
        }
    }

    /// Of how many calls of each thread [`Entries::find`] gives the places, after `calls` calls of each.
    pub fn lasting(self, calls: &[u64]) -> Vec<u64> {
        match self {
            Entries::Shared => {
                let most = calls.iter().max().copied().unwrap_or(0);
                vec![most.min(SHARED)]
            }
            _ => calls.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: u64 = 20;

    fn made(entries: Entries, place: Place) -> (Vec<u8>, Vec<u8>) {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        entries.make(place, COUNT, &mut key, &mut value);
        (key, value)
    }

    #[test]
    fn keys_and_values_are_as_published() {
        let place = Place { thread: 3, call: 17, nth: 11 };
        let number = 17 * COUNT + 11;
        let zeros = vec![0; 150];
        let of = |text: &str| text.as_bytes().to_vec();
        for (entries, key, value) in [
            (Entries::Transactions, of("key-3-17"), of("value-3-17")),
            (Entries::Operations, of("key-3-17-11"), of("value-3-17-11")),
            (Entries::Own, of("thread3-key17"), of("value")),
            (Entries::Shared, of("shared-key7"), of("value")),
            (
                Entries::LittleEndian { thread_step: 1_000, value_bytes: 150 },
                (3_000 + number).to_le_bytes().to_vec(),
                zeros.clone(),
            ),
            (Entries::BigEndian { value_bytes: 150 }, number.to_be_bytes().to_vec(), zeros.clone()),
        ] {
            assert_eq!(made(entries, place), (key, value), "{entries:?}");
        }
    }

    #[test]
    fn a_key_tells_where_it_comes_from() {
        for entries in [
            Entries::Transactions,
            Entries::Operations,
            Entries::Own,
            Entries::LittleEndian { thread_step: 1_000, value_bytes: 1 },
            Entries::BigEndian { value_bytes: 1 },
        ] {
            let counts = !matches!(entries, Entries::Transactions | Entries::Own);
            let place = Place { thread: 3, call: 17, nth: if counts { 11 } else { 0 } };
            let (key, _) = made(entries, place);
            assert_eq!(entries.find(&key, COUNT, 3), Some(place), "{entries:?}");
            assert_eq!(entries.find(b"other", COUNT, 3), None, "{entries:?}");
        }
    }

    #[test]
    fn shared_keys_last_once() {
        assert_eq!(Entries::Shared.lasting(&[3, 5]), [5]);
        assert_eq!(Entries::Shared.lasting(&[30, 50]), [10]);
        let key = made(Entries::Shared, Place { thread: 3, call: 17, nth: 0 }).0;
        let found = Entries::Shared.find(&key, 1, 0);
        assert_eq!(found, Some(Place { thread: 0, call: 7, nth: 0 }));
    }
}
