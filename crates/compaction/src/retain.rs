//! [`Retain`]: which versions of a key survive a merge. Pure: keys in, yes or no out.
//!
//! Snapshots cut history into stripes: versions in one stripe are seen by the same snapshots. In
//! each stripe only the newest version of a key can ever be read again.
//!
//! ```text
//! snapshots          10          20
//! stripes      0 (≤10)   1 (≤20)    2 (newer)
//! versions     4  9      12  17     23  30
//! kept            9          17         30
//! ```
//!
//! # Invariants
//! - RETAIN-1: of each user key, the newest version of each stripe is kept, and no other.
//! - RETAIN-2: a tombstone in the oldest stripe is dropped, with everything that it hides, only if
//!   nothing older of its key can stand in a level below the merge.

use stratalog_base::{KeyRef, Kind, SeqNo};

/// Decides over the versions of keys that come in internal order.
#[derive(Debug)]
pub struct Retain {
    /// Ascending.
    snapshots: Vec<SeqNo>,
    user: Vec<u8>,
    /// The stripe of the last version of `user`, or `None` before the first key.
    stripe: Option<usize>,
}

impl Retain {
    /// For the sequence numbers of all open snapshots, in any order.
    pub fn new(mut snapshots: Vec<SeqNo>) -> Retain {
        snapshots.sort_unstable();
        snapshots.dedup();
        Retain { snapshots, user: Vec::new(), stripe: None }
    }

    /// Whether `key`, which follows the last one asked about, survives. `may_exist_below` tells
    /// whether a level below the merge may hold its user key; it is asked only about tombstones.
    #[inline]
    pub fn keep(&mut self, key: KeyRef<'_>, may_exist_below: impl FnOnce(&[u8]) -> bool) -> bool {
        let seq = key.trailer.seq();
        let stripe = match self.snapshots.last() {
            None => 0,
            Some(_) => self.snapshots.partition_point(|&snapshot| snapshot < seq),
        };
        if self.stripe.is_none() || *self.user != *key.user {
            self.user.clear();
            self.user.extend_from_slice(key.user);
        } else if self.stripe == Some(stripe) {
            return false; // RETAIN-1: a newer version of the stripe came before.
        }
        self.stripe = Some(stripe);
        // RETAIN-2: the stripe is remembered all the same, so that older versions go, too.
        stripe > 0 || key.trailer.kind() != Kind::Delete || may_exist_below(key.user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(snapshots: &[SeqNo], below: bool, versions: &[(&str, SeqNo, Kind)]) -> Vec<SeqNo> {
        let mut retain = Retain::new(snapshots.to_vec());
        let keys =
            versions.iter().map(|&(user, seq, kind)| KeyRef::new(user.as_bytes(), seq, kind));
        keys.filter(|&key| retain.keep(key, |_| below)).map(|key| key.trailer.seq()).collect()
    }

    #[test]
    fn the_newest_version_of_each_stripe_is_kept() {
        let versions = [30, 23, 17, 12, 9, 4].map(|seq| ("k", seq, Kind::Put));
        assert_eq!(kept(&[10, 20], false, &versions), [30, 17, 9], "RETAIN-1");
        assert_eq!(kept(&[], false, &versions), [30]);
        assert_eq!(kept(&[4, 9, 12, 17, 23, 30], false, &versions).len(), 6);
        assert_eq!(kept(&[17], false, &versions), [30, 17], "a snapshot sees its own number");
    }

    #[test]
    fn a_tombstone_goes_only_when_nothing_can_be_below() {
        let versions = [("k", 9, Kind::Delete), ("k", 4, Kind::Put), ("l", 5, Kind::Put)];
        assert_eq!(kept(&[], false, &versions), [5], "RETAIN-2");
        assert_eq!(kept(&[], true, &versions), [9, 5]);
        assert_eq!(kept(&[4], false, &versions), [9, 4, 5], "the snapshot still sees the value");
        assert_eq!(kept(&[9], false, &versions), [5]);
    }

    #[test]
    fn an_empty_key_is_a_key() {
        assert_eq!(kept(&[], false, &[("", 3, Kind::Put), ("", 1, Kind::Put)]), [3]);
    }
}
