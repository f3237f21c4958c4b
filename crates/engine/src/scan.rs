//! The two ways through a view: what [`crate::Iter`] does at each of its ends.
//!
//! Both walk a merge of everything in the view and show of each user key the newest version that the
//! sequence number sees, unless that is a tombstone. Versions of a key come newest first, so forwards
//! the first one seen decides and the rest are passed over; backwards the last one seen decides.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use stratalog_base::{Cursor, KeyBuf, KeyRef, Kind, Result, SeqNo, Slice};
use stratalog_compaction::Merge;
use stratalog_sstable::{Bounds, ValuesAhead};

use crate::bounds::{KeyBound, lower_key, upper_key};
use crate::sources::{Source, merge};
use crate::values::Values;
use crate::view::View;

/// What an iterator walks over.
#[derive(Debug)]
pub(crate) struct Scope {
    pub view: Arc<View>,
    /// The newest write that it sees.
    pub seq: SeqNo,
    pub lower: KeyBound,
    pub upper: KeyBound,
    /// Whether nobody will ask for a value.
    pub keys_only: bool,
}

impl Scope {
    #[inline]
    pub fn lower(&self) -> Bound<&[u8]> {
        self.lower.as_ref().map(|key| &**key)
    }

    #[inline]
    pub fn upper(&self) -> Bound<&[u8]> {
        self.upper.as_ref().map(|key| &**key)
    }
}

/// From the first key on.
#[derive(Debug)]
pub(crate) struct Forward {
    merge: Merge<Source>,
    seq: SeqNo,
    user: KeyBuf,
    /// Whether the entry's value lies in a value file.
    separated: bool,
    /// Where it was put, if so, once asked for.
    fetched: Slice,
    ahead: ValuesAhead,
}

impl Forward {
    pub fn new(scope: &Scope) -> Forward {
        // Forwards, only the upper bound can be passed.
        let bounds = Bounds { lower: None, upper: upper_key(scope.upper()).map(KeyRef::to_owned) };
        Forward {
            merge: merge(scope, bounds),
            seq: scope.seq,
            user: KeyBuf::default(),
            separated: false,
            fetched: Slice::default(),
            ahead: ValuesAhead::default(),
        }
    }

    /// Moves to the first entry within `lower`; false if there is none.
    pub fn seek(&mut self, lower: Bound<&[u8]>) -> Result<bool> {
        match lower_key(lower) {
            Some(target) => self.merge.seek(target)?,
            None => self.merge.seek_first()?,
        }
        self.settle(false)
    }

    /// Moves to the next entry; false if there is none.
    #[inline]
    pub fn next(&mut self) -> Result<bool> {
        if !self.merge.valid() {
            return Ok(false);
        }
        self.merge.next()?;
        self.settle(true)
    }

    /// Shows `seen` the entries behind the present one, until it breaks, as far as one source is ahead of all
    /// others. Stops at a value that has to be read, unless only keys are wanted, and says whether it did:
    /// that entry has not been shown.
    #[inline]
    pub fn next_while<B>(
        &mut self,
        keys_only: bool,
        mut seen: impl FnMut(&[u8], &[u8]) -> ControlFlow<B>,
    ) -> ControlFlow<B, bool> {
        let Forward { merge, seq, user, separated, .. } = self;
        let mut end = ControlFlow::Continue(false);
        merge.next_while(usize::MAX, |key, value| {
            if key.trailer.seq() > *seq || user.is(key.user) {
                return true;
            }
            user.set(key.user);
            match key.trailer.kind() {
                Kind::Delete => return true,
                Kind::Separated if !keys_only => {
                    *separated = true;
                    end = ControlFlow::Continue(true);
                    return false;
                }
                _ => {}
            }
            match seen(key.user, value) {
                ControlFlow::Continue(()) => true,
                ControlFlow::Break(value) => {
                    end = ControlFlow::Break(value);
                    false
                }
            }
        });
        end
    }

    /// The entry's user key.
    #[inline]
    pub fn user(&self) -> &[u8] {
        self.user.as_slice()
    }

    /// The entry's user key and value, lent.
    ///
    /// # Errors
    /// Of reading the value from its value file.
    #[inline]
    pub fn entry(&mut self, values: &Values) -> Result<(&[u8], &[u8])> {
        if !self.separated {
            return Ok((self.user.as_slice(), self.merge.value()));
        }
        self.fetched = values.fetch(self.merge.value(), &mut self.ahead)?;
        Ok((self.user.as_slice(), &self.fetched))
    }

    /// The entry's value, pinned.
    ///
    /// # Errors
    /// As [`Forward::entry`].
    #[inline]
    pub fn value_slice(&mut self, values: &Values) -> Result<Slice> {
        match self.separated {
            false => Ok(self.merge.value_slice()),
            true => values.fetch(self.merge.value(), &mut self.ahead),
        }
    }

    /// Goes on to the first entry to show; `decided` says that the newest version of `user` was met.
    #[inline]
    fn settle(&mut self, mut decided: bool) -> Result<bool> {
        while self.merge.valid() {
            let key = self.merge.key();
            if key.trailer.seq() <= self.seq && !(decided && self.user.is(key.user)) {
                let kind = key.trailer.kind();
                self.user.set(key.user);
                if kind != Kind::Delete {
                    self.separated = kind == Kind::Separated;
                    return Ok(true);
                }
                decided = true;
            }
            self.merge.next()?;
        }
        Ok(false)
    }
}

/// From the last key back.
#[derive(Debug)]
pub(crate) struct Backward {
    /// Stands on the newest version of the first key not yet looked at.
    merge: Merge<Source>,
    seq: SeqNo,
    user: KeyBuf,
    /// What the entry stores: its value, or the handle to it. Empty if nobody will ask.
    value: Slice,
    separated: bool,
    ahead: ValuesAhead,
    keys_only: bool,
}

impl Backward {
    pub fn new(scope: &Scope) -> Backward {
        // Backwards, only the lower bound can be passed.
        let bounds = Bounds { lower: lower_key(scope.lower()).map(KeyRef::to_owned), upper: None };
        Backward {
            merge: merge(scope, bounds),
            seq: scope.seq,
            user: KeyBuf::default(),
            value: Slice::default(),
            separated: false,
            ahead: ValuesAhead::default(),
            keys_only: scope.keys_only,
        }
    }

    /// Moves to the last entry within `upper`; false if there is none.
    pub fn seek(&mut self, upper: Bound<&[u8]>) -> Result<bool> {
        match upper_key(upper) {
            Some(target) => self.merge.seek_before(target)?,
            None => self.merge.seek_last()?,
        }
        self.next()
    }

    /// Moves to the preceding entry; false if there is none.
    pub fn next(&mut self) -> Result<bool> {
        while self.merge.valid() {
            self.user.set(self.merge.key().user);
            let mut newest = None;
            while self.merge.valid() && self.user.is(self.merge.key().user) {
                let trailer = self.merge.key().trailer;
                if trailer.seq() <= self.seq {
                    let kind = trailer.kind();
                    newest = (kind != Kind::Delete).then(|| match self.keys_only {
                        true => (kind, Slice::default()),
                        false => (kind, self.merge.value_slice()),
                    });
                }
                self.merge.prev()?;
            }
            if let Some((kind, value)) = newest {
                (self.value, self.separated) = (value, kind == Kind::Separated);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The entry's user key.
    pub fn user(&self) -> &[u8] {
        self.user.as_slice()
    }

    /// The entry's user key and value.
    ///
    /// # Errors
    /// Of reading the value from its value file.
    pub fn entry(&mut self, values: &Values) -> Result<(&[u8], &Slice)> {
        if self.separated {
            self.value = values.fetch(&self.value, &mut self.ahead)?;
            self.separated = false;
        }
        Ok((self.user.as_slice(), &self.value))
    }
}
