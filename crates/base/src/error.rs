//! The one error type. Errors speak of the outside world; our own bugs assert.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::Malformed;

/// What every fallible function of the Stratalog crates returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, where. Cloneable, so that one failure can be told to every waiter.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file operation. Nothing that was acknowledged is lost.
    #[error("{op} {}: {source}", path.display())]
    Io {
        /// What was attempted: `read`, `write`, `sync`, `create`, …
        op: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// The disk or quota is full. Reads go on.
    #[error("{op} {}: no space left", path.display())]
    NoSpace {
        /// What was attempted.
        op: &'static str,
        /// The file or directory.
        path: PathBuf,
    },
    /// Stored bytes are not what was written.
    #[error("{} is damaged at byte {offset}: {what}", path.display())]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// Where in the file the damage was noticed.
        offset: u64,
        /// What does not hold.
        what: String,
    },
    /// Another handle or process has the directory open.
    #[error("{} is in use by another process or handle", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds something else than a store of this kind.
    #[error("{} is not a Stratalog store: {why}", path.display())]
    NotOurs {
        /// The directory or file.
        path: PathBuf,
        /// What gave it away.
        why: String,
    },
    /// The file was written by a newer release.
    #[error("{} has format version {found}; this release reads up to {supported}", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format version.
        found: u32,
        /// The newest version this release reads.
        supported: u32,
    },
    /// The file needs a part of the library that this build was made without.
    #[error("{} needs the cargo feature `{feature}`, which this build lacks", path.display())]
    MissingFeature {
        /// The file.
        path: PathBuf,
        /// The feature's name.
        feature: &'static str,
    },
    /// The caller asked for something that cannot be. Nothing was changed.
    #[error("invalid argument: {0}")]
    InvalidArgument(String),
    /// A log's queue or ring has no room, and the caller chose not to wait, or has waited long enough.
    /// Nothing was changed.
    #[error("the log has no room: its queue is full")]
    Full,
    /// An earlier write or sync failed, so the log takes no more writes until it is resumed or opened
    /// anew. Reads go on.
    #[error("writes stopped by an earlier failure: {0}")]
    Poisoned(Arc<Error>),
    /// The handle has been closed.
    #[error("the handle is closed")]
    Closed,
}

impl Error {
    /// Wraps a system error; a full disk becomes [`Error::NoSpace`].
    pub fn io(op: &'static str, path: &Path, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Error::NoSpace { op, path: path.to_owned() }
            }
            _ => Error::Io { op, path: path.to_owned(), source: Arc::new(source) },
        }
    }

    /// Damage at `offset` of `path`.
    pub fn corrupt(path: &Path, offset: u64, what: impl Into<String>) -> Error {
        Error::Corrupt { path: path.to_owned(), offset, what: what.into() }
    }

    /// The error that later callers get once `self` has stopped the writes.
    #[must_use]
    pub fn poison(&self) -> Error {
        match self {
            Error::Poisoned(_) | Error::Closed => self.clone(),
            first => Error::Poisoned(Arc::new(first.clone())),
        }
    }

    /// Whether the file or directory was not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl Malformed {
    /// The same as an error of the file `path`, in which the decoder's input started at `start`.
    pub fn at(self, path: &Path, start: u64) -> Error {
        Error::corrupt(path, start + self.offset as u64, self.what)
    }
}
