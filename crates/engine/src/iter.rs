//! [`Iter`]: the entries of a range, from both ends.

use std::ops::{Bound, ControlFlow, RangeBounds};

use stratalog_base::{Error, Result, SeqNo, Slice};

use crate::Keys;
use crate::bounds::{KeyBound, is_above, is_below, prefix_end};
use crate::scan::{Backward, Forward, Scope};
use crate::store::Store;

/// The entries of a range as of the moment when the iterator was made.
///
/// It owns what it needs: it outlives every handle, and may move to another thread. As an
/// [`Iterator`] it yields owned keys and values, from either end until the ends meet;
/// [`Iter::advance`] lends them instead, and allocates nothing but for values that
/// are read from value files. After an error it has ended.
///
/// It keeps the memtables, table files and value files of its moment: do not keep it for long.
#[derive(Debug)]
pub struct Iter {
    scope: Scope,
    front: Option<Forward>,
    back: Option<Backward>,
    /// Where the front end starts; `None` once it stands on an entry that was returned.
    front_at: Option<Start>,
    /// The same for the back end.
    back_at: Option<Start>,
    /// Whether the front end is on its way and there is no back end that it could meet.
    walking: bool,
    /// Whether the ends have met, or one of them has passed the whole range.
    met: bool,
    ended: bool,
    /// To be told by the next step.
    error: Option<Error>,
}

/// Where an end starts.
#[derive(Debug)]
enum Start {
    /// At the range's bound.
    Bound,
    /// At this key, which counts.
    Key(Box<[u8]>),
}

impl Start {
    fn or<'a>(&'a self, bound: Bound<&'a [u8]>) -> Bound<&'a [u8]> {
        match self {
            Start::Bound => bound,
            Start::Key(key) => Bound::Included(key),
        }
    }
}

impl Iter {
    pub(crate) fn range<K: AsRef<[u8]>>(
        store: &Store,
        at: Option<SeqNo>,
        range: &impl RangeBounds<K>,
    ) -> Iter {
        let own = |bound: Bound<&K>| bound.map(|key| Box::from(key.as_ref()));
        Iter::new(store, at, own(range.start_bound()), own(range.end_bound()))
    }

    pub(crate) fn prefix(store: &Store, at: Option<SeqNo>, prefix: &[u8]) -> Iter {
        Iter::new(store, at, Bound::Included(prefix.into()), prefix_end(prefix))
    }

    fn new(store: &Store, at: Option<SeqNo>, lower: KeyBound, upper: KeyBound) -> Iter {
        let view = store.view.pin().share();
        let seq = at.unwrap_or_else(|| store.newest_visible()); // VIEW-2: read after the pin.
        let scope = Scope { view, seq, lower, upper, keys_only: false };
        Iter {
            scope,
            front_at: Some(Start::Bound),
            back_at: Some(Start::Bound),
            walking: false,
            front: None,
            back: None,
            met: false,
            ended: false,
            // A snapshot goes on after its store was closed.
            error: at.map_or_else(|| store.check_open().err(), |_| None),
        }
    }

    /// The next entry from the front, lent until the next call. Nothing is allocated but for a value that is read
    /// from a value file.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Corrupt`] if a table or value file cannot be read; [`Error::Closed`] if the store
    /// was closed when the iterator was made. Then the iterator has ended.
    #[inline]
    pub fn advance(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        if self.step_front()? { self.front_entry().map(Some) } else { Ok(None) }
    }

    /// Shows `seen` the entries from the front on, lent, until it breaks: what [`Iter::advance`] does again and
    /// again, at less cost for each. Returns what `seen` breaks with; the iterator goes on behind that entry.
    ///
    /// ```no_run
    /// # use std::ops::ControlFlow;
    /// # let db = stratalog::Db::open("data")?;
    /// let mut bytes = 0;
    /// db.iter().visit(|key, value| {
    ///     bytes += key.len() + value.len();
    ///     ControlFlow::<()>::Continue(())
    /// })?;
    /// # Ok::<(), stratalog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Iter::advance`].
    pub fn visit<B>(
        &mut self,
        mut seen: impl FnMut(&[u8], &[u8]) -> ControlFlow<B>,
    ) -> Result<Option<B>> {
        while self.step_front()? {
            let mut to_read = true;
            while to_read {
                let (key, value) = self.front_entry()?;
                if let ControlFlow::Break(value) = seen(key, value) {
                    return Ok(Some(value));
                }
                to_read = match self.next_while(&mut seen) {
                    ControlFlow::Continue(to_read) => to_read,
                    ControlFlow::Break(value) => return Ok(Some(value)),
                };
            }
        }
        Ok(None)
    }

    /// Shows `seen` what can be had at once, if the front end is on its way; as [`Forward::next_while`].
    #[inline]
    pub(crate) fn next_while<B>(
        &mut self,
        seen: impl FnMut(&[u8], &[u8]) -> ControlFlow<B>,
    ) -> ControlFlow<B, bool> {
        match &mut self.front {
            // Tables show nothing beyond the upper bound, and there is no back end to be met.
            Some(front) if self.walking => front.next_while(self.scope.keys_only, seen),
            _ => ControlFlow::Continue(false),
        }
    }

    /// The entry to which the front end has moved.
    #[inline]
    fn front_entry(&mut self) -> Result<(&[u8], &[u8])> {
        let front = self.front.as_mut().expect("it made the step");
        let entry = front.entry(&self.scope.view.tree.values);
        entry.inspect_err(|_| (self.ended, self.walking) = (true, false))
    }

    /// The next entry from the back, lent until the next call.
    ///
    /// # Errors
    /// As [`Iter::advance`].
    pub fn advance_back(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        if !self.step_back()? {
            return Ok(None);
        }
        let back = self.back.as_mut().expect("it made the step");
        let entry = back.entry(&self.scope.view.tree.values).inspect_err(|_| self.ended = true);
        entry.map(|(user, value)| Some((user, &**value)))
    }

    /// Makes the first entry at or behind `key`, within the range, the next one from the front. May go
    /// back to entries that were returned before.
    pub fn seek(&mut self, key: impl AsRef<[u8]>) {
        let key = key.as_ref();
        let start = match is_below(key, self.scope.lower()) {
            true => Start::Bound,
            false => Start::Key(key.into()),
        };
        self.front_at = Some(start);
        self.walking = false;
        self.met = false;
    }

    /// The keys alone, from here on. No value is read: neither from a value file nor, where it lies beside
    /// its key, from memory.
    pub fn keys(mut self) -> Keys {
        self.scope.keys_only = true;
        Keys::new(self)
    }

    /// Where the front end stands, after a step that found an entry.
    #[inline]
    pub(crate) fn front_key(&self) -> &[u8] {
        self.front.as_ref().expect("it made the step").user()
    }

    /// The same of the back end.
    pub(crate) fn back_key(&self) -> &[u8] {
        self.back.as_ref().expect("it made the step").user()
    }

    /// Moves the front end to its next entry; false if there is none.
    #[inline]
    pub(crate) fn step_front(&mut self) -> Result<bool> {
        let found = match &mut self.front {
            Some(front) if self.walking => match front.next() {
                Ok(found) => found && !is_above(front.user(), self.scope.upper()),
                Err(error) => {
                    (self.ended, self.walking) = (true, false);
                    return Err(error);
                }
            },
            _ => self.start_front()?,
        };
        self.met |= !found;
        self.walking &= found;
        Ok(found)
    }

    /// The same where the front end starts, or may meet the back end.
    fn start_front(&mut self) -> Result<bool> {
        if !self.may_go_on()? {
            return Ok(false);
        }
        // A back end that has not returned what it stands on bounds this one from there.
        let upper = self.back_at.as_ref().unwrap_or(&Start::Bound).or(self.scope.upper());
        let front = self.front.get_or_insert_with(|| Forward::new(&self.scope));
        let moved = match self.front_at.take() {
            Some(start) => front.seek(start.or(self.scope.lower())),
            None => front.next(),
        };
        let found = moved.inspect_err(|_| self.ended = true)?;
        let back = self.back.as_ref().filter(|_| self.back_at.is_none());
        let beyond = back.is_some_and(|back| front.user() >= back.user());
        self.walking = self.back.is_none();
        Ok(found && !beyond && !is_above(front.user(), upper))
    }

    /// Moves the back end to its next entry; false if there is none.
    pub(crate) fn step_back(&mut self) -> Result<bool> {
        if !self.may_go_on()? {
            return Ok(false);
        }
        // A front end that was sent somewhere bounds this one from there.
        let lower = self.front_at.as_ref().unwrap_or(&Start::Bound).or(self.scope.lower());
        self.walking = false;
        let back = self.back.get_or_insert_with(|| Backward::new(&self.scope));
        let moved = match self.back_at.take() {
            Some(start) => back.seek(start.or(self.scope.upper())),
            None => back.next(),
        };
        let found = moved.inspect_err(|_| self.ended = true)?;
        let front = self.front.as_ref().filter(|_| self.front_at.is_none());
        let beyond = front.is_some_and(|front| back.user() <= front.user());
        self.met = !found || beyond || is_below(back.user(), lower);
        if found && self.met {
            // Not returned: after a seek of the front end it may be within the range again.
            self.back_at = Some(Start::Key(back.user().into()));
        }
        Ok(!self.met)
    }

    /// Tells the error of the start, once.
    #[inline]
    fn may_go_on(&mut self) -> Result<bool> {
        if let Some(error) = self.error.take() {
            self.ended = true;
            return Err(error);
        }
        Ok(!self.ended && !self.met)
    }
}

impl Iterator for Iter {
    type Item = Result<(Slice, Slice)>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.step_front();
        let entry = found.and_then(|found| {
            let Some(front) = self.front.as_mut().filter(|_| found) else { return Ok(None) };
            let value = front.value_slice(&self.scope.view.tree.values);
            let value = value.inspect_err(|_| (self.ended, self.walking) = (true, false))?;
            Ok(Some((Slice::copy(front.user()), value)))
        });
        entry.transpose()
    }
}

impl DoubleEndedIterator for Iter {
    fn next_back(&mut self) -> Option<Self::Item> {
        let found = self.step_back();
        let entry = found.and_then(|found| {
            let Some(back) = self.back.as_mut().filter(|_| found) else { return Ok(None) };
            let entry = back.entry(&self.scope.view.tree.values).inspect_err(|_| self.ended = true);
            entry.map(|(user, value)| Some((Slice::copy(user), value.clone())))
        });
        entry.transpose()
    }
}
