//! [`Keys`]: the keys of a range, from both ends, without their values.

use std::ops::ControlFlow;

use stratalog_base::{Result, Slice};

use crate::Iter;

/// The keys of an [`Iter`], made by [`Iter::keys`]. It goes on where that stood, and is in all else like it.
///
/// ```no_run
/// # let db = stratalog::Db::open("data")?;
/// let count = db.prefix("user/").keys().count();
/// let last = db.iter().keys().next_back().transpose()?;
/// # Ok::<(), stratalog::Error>(())
/// ```
#[derive(Debug)]
pub struct Keys {
    entries: Iter,
}

impl Keys {
    pub(crate) fn new(entries: Iter) -> Keys {
        Keys { entries }
    }

    /// The next key from the front, lent until the next call. Nothing is allocated.
    ///
    /// # Errors
    /// [`crate::Error::Io`] or [`crate::Error::Corrupt`] if a table cannot be read; [`crate::Error::Closed`] if
    /// the store was closed when the iterator was made. Then it has ended.
    #[inline]
    pub fn advance(&mut self) -> Result<Option<&[u8]>> {
        Ok(self.entries.step_front()?.then(|| self.entries.front_key()))
    }

    /// Shows `seen` the keys from the front on, lent, until it breaks, as [`Iter::visit`] does.
    ///
    /// # Errors
    /// As [`Keys::advance`].
    pub fn visit<B>(&mut self, mut seen: impl FnMut(&[u8]) -> ControlFlow<B>) -> Result<Option<B>> {
        while let Some(key) = self.advance()? {
            if let ControlFlow::Break(value) = seen(key) {
                return Ok(Some(value));
            }
            if let ControlFlow::Break(value) = self.entries.next_while(|key, _| seen(key)) {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// The next key from the back, lent until the next call.
    ///
    /// # Errors
    /// As [`Keys::advance`].
    pub fn advance_back(&mut self) -> Result<Option<&[u8]>> {
        Ok(self.entries.step_back()?.then(|| self.entries.back_key()))
    }

    /// Makes the first key at or behind `key` the next one from the front, as [`Iter::seek`] does.
    pub fn seek(&mut self, key: impl AsRef<[u8]>) {
        self.entries.seek(key);
    }
}

impl Iterator for Keys {
    type Item = Result<Slice>;

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.advance();
        key.map(|key| key.map(Slice::copy)).transpose()
    }
}

impl DoubleEndedIterator for Keys {
    fn next_back(&mut self) -> Option<Self::Item> {
        let key = self.advance_back();
        key.map(|key| key.map(Slice::copy)).transpose()
    }
}
