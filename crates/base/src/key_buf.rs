//! [`KeyBuf`]: room for the user key that a cursor stands on.

/// Keys up to this length lie in the buffer itself.
const INLINE_BYTES: usize = 64;

/// A user key that is replaced again and again, often by one that starts alike. Short keys, the usual
/// ones, are neither allocated for nor copied or compared by a call.
#[derive(Clone, Debug)]
pub struct KeyBuf {
    len: usize,
    inline: [u8; INLINE_BYTES],
    /// The key, if it is longer than `inline`.
    long: Vec<u8>,
}

impl Default for KeyBuf {
    fn default() -> Self {
        KeyBuf { len: 0, inline: [0; INLINE_BYTES], long: Vec::new() }
    }
}

impl KeyBuf {
    /// The key.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match self.inline.get(..self.len) {
            Some(key) => key,
            None => &self.long,
        }
    }

    /// Makes `key` the key.
    #[inline]
    pub fn set(&mut self, key: &[u8]) {
        self.replace_tail(0, key);
    }

    /// Keeps the first `kept` bytes of the key, which has as many, and puts `tail` behind them.
    #[inline]
    pub fn replace_tail(&mut self, kept: usize, tail: &[u8]) {
        debug_assert!(kept <= self.len);
        let len = kept + tail.len();
        match self.inline.get_mut(kept..len) {
            Some(place) if self.len <= INLINE_BYTES => copy_short(place, tail),
            _ => self.replace_tail_of_long(kept, tail),
        }
        self.len = len;
    }

    #[cold]
    fn replace_tail_of_long(&mut self, kept: usize, tail: &[u8]) {
        let len = kept + tail.len();
        if self.len <= INLINE_BYTES {
            self.long.clear();
            self.long.extend_from_slice(&self.inline[..kept]);
        }
        self.long.truncate(kept);
        self.long.extend_from_slice(tail);
        if len <= INLINE_BYTES {
            self.inline[..len].copy_from_slice(&self.long);
        }
    }

    /// Whether `key` is the key.
    #[inline]
    pub fn is(&self, key: &[u8]) -> bool {
        let own = self.as_slice();
        if own.len() != key.len() {
            return false;
        }
        match (own.first_chunk::<8>(), key.first_chunk::<8>()) {
            // Most differ here already.
            (Some(a), Some(b)) if a != b => false,
            (Some(_), Some(_)) if own.len() <= 16 => own.last_chunk::<8>() == key.last_chunk::<8>(),
            _ => own == key,
        }
    }
}

/// `copy_from_slice`, without a call for 4 to 32 bytes.
#[inline(always)]
fn copy_short(to: &mut [u8], from: &[u8]) {
    if !(copy_twice::<8>(to, from) || copy_twice::<16>(to, from) || copy_twice::<4>(to, from)) {
        to.copy_from_slice(from);
    }
}

/// Copies N to 2 × N bytes as two parts, which may overlap. Says whether there were so many.
#[inline(always)]
fn copy_twice<const N: usize>(to: &mut [u8], from: &[u8]) -> bool {
    if from.len() > 2 * N || to.len() != from.len() {
        return false;
    }
    let (Some(start), Some(end)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) else {
        return false;
    };
    if let Some(to) = to.first_chunk_mut() {
        *to = *start;
    }
    if let Some(to) = to.last_chunk_mut() {
        *to = *end;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_any_length_follows_one_of_any_length() {
        let bytes: Vec<u8> = (0..200).map(|i| i as u8 ^ 0x5a).collect();
        let lengths = [0, 1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 66, 100];
        let mut key = KeyBuf::default();
        let mut expected: Vec<u8> = Vec::new();
        for kept in lengths {
            for tail in lengths {
                for before in lengths.into_iter().filter(|&before| before >= kept) {
                    key.set(&bytes[100..100 + before]);
                    assert!(key.is(&bytes[100..100 + before]));
                    key.replace_tail(kept, &bytes[..tail]);
                    expected.clear();
                    expected.extend_from_slice(&bytes[100..100 + kept]);
                    expected.extend_from_slice(&bytes[..tail]);
                    assert_eq!(key.as_slice(), expected);
                    assert!(key.is(&expected));
                    for at in 0..expected.len() {
                        expected[at] ^= 1;
                        assert!(!key.is(&expected), "differs at {at}");
                        expected[at] ^= 1;
                    }
                    expected.push(0);
                    assert!(!key.is(&expected));
                }
            }
        }
    }
}
