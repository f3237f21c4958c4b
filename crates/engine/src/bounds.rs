//! The bounds of ranges, and what follows from them.

use std::ops::Bound;

use stratalog_base::{KeyRef, Trailer};

/// An end of a range of user keys.
pub(crate) type KeyBound = Bound<Box<[u8]>>;

/// Whether `user` lies before every key within the lower bound.
pub(crate) fn is_below(user: &[u8], lower: Bound<&[u8]>) -> bool {
    match lower {
        Bound::Included(lower) => user < lower,
        Bound::Excluded(lower) => user <= lower,
        Bound::Unbounded => false,
    }
}

/// Whether `user` lies behind every key within the upper bound.
pub(crate) fn is_above(user: &[u8], upper: Bound<&[u8]>) -> bool {
    match upper {
        Bound::Included(upper) => user > upper,
        Bound::Excluded(upper) => user >= upper,
        Bound::Unbounded => false,
    }
}

/// The search key behind all versions of `user`.
fn behind(user: &[u8]) -> KeyRef<'_> {
    KeyRef { user, trailer: Trailer::OLDEST }
}

/// The search key before all entries within the lower bound.
pub(crate) fn lower_key(lower: Bound<&[u8]>) -> Option<KeyRef<'_>> {
    match lower {
        Bound::Included(user) => Some(KeyRef::before(user)),
        Bound::Excluded(user) => Some(behind(user)),
        Bound::Unbounded => None,
    }
}

/// The search key behind all entries within the upper bound.
pub(crate) fn upper_key(upper: Bound<&[u8]>) -> Option<KeyRef<'_>> {
    match upper {
        Bound::Included(user) => Some(behind(user)),
        Bound::Excluded(user) => Some(KeyRef::before(user)),
        Bound::Unbounded => None,
    }
}

/// The least key behind all that begin with `prefix`, as all of its bytes but the last, and that one;
/// `None` if no key lies behind them.
fn behind_prefix(prefix: &[u8]) -> Option<(&[u8], u8)> {
    let last = prefix.iter().rposition(|&byte| byte < u8::MAX)?;
    Some((&prefix[..last], prefix[last] + 1))
}

/// The upper bound of the keys that begin with `prefix`.
pub(crate) fn prefix_end(prefix: &[u8]) -> KeyBound {
    match behind_prefix(prefix) {
        Some((head, last)) => Bound::Excluded([head, &[last]].concat().into()),
        None => Bound::Unbounded,
    }
}

/// The first `len` bytes of all keys between the bounds, if they have so many in common.
pub(crate) fn common_prefix<'a>(
    lower: Bound<&'a [u8]>,
    upper: Bound<&[u8]>,
    len: usize,
) -> Option<&'a [u8]> {
    let (Bound::Included(first) | Bound::Excluded(first)) = lower else { return None };
    let prefix = first.get(..len).filter(|prefix| !prefix.is_empty())?;
    let is_next = |key: &[u8]| {
        behind_prefix(prefix).is_some_and(|(head, last)| key.split_last() == Some((&last, head)))
    };
    let common = match upper {
        Bound::Included(end) => end.starts_with(prefix),
        Bound::Excluded(end) => end.starts_with(prefix) || is_next(end),
        Bound::Unbounded => false,
    };
    common.then_some(prefix)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn bounds_have_a_prefix_in_common_only_if_all_keys_between_have_it() {
        use Bound::{Excluded, Included, Unbounded};
        let common = |lower: Bound<&'static str>, upper: Bound<&str>, len| {
            let bytes = |bound: Bound<&'static str>| bound.map(str::as_bytes);
            common_prefix(bytes(lower), upper.map(str::as_bytes), len)
        };
        for upper in [Excluded("abd"), Excluded("abc1"), Included("abc")] {
            assert_eq!(common(Included("abc"), upper, 3), Some(&b"abc"[..]), "{upper:?}");
            assert_eq!(common(Excluded("abc0"), upper, 3), Some(&b"abc"[..]), "{upper:?}");
            assert_eq!(common(Included("abc"), upper, 4), None);
        }
        for upper in [Included("abd"), Excluded("abd0"), Excluded("abe"), Excluded("ac"), Unbounded]
        {
            assert_eq!(common(Included("abc"), upper, 3), None, "{upper:?}");
        }
        assert_eq!(common(Unbounded, Excluded("abd"), 3), None);
        assert_eq!(common(Included("abc"), Excluded("abd"), 0), None);
        let ends_in_ff = |upper| common_prefix(Included(b"a\xff"), upper, 2);
        assert_eq!(ends_in_ff(Excluded(b"b")), Some(&b"a\xff"[..]));
        assert_eq!(ends_in_ff(Excluded(b"c")), None);
    }
    #[test]
    fn a_prefix_ends_before_the_least_key_behind_all_that_begin_with_it() {
        let end = |prefix: &[u8]| prefix_end(prefix).map(|key| key.to_vec());
        assert_eq!(end(b"abc"), Bound::Excluded(b"abd".to_vec()));
        assert_eq!(end(b"a\xff\xff"), Bound::Excluded(b"b".to_vec()));
        assert_eq!(end(b"\xff\xff"), Bound::Unbounded);
        assert_eq!(end(b""), Bound::Unbounded);
    }
}
