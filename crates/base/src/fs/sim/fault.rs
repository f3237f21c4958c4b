//! Faults by rule: which call fails, and how.

use std::io::{Error, ErrorKind, Result};
use std::path::Path;
use std::time::Duration;

/// The kinds of calls of a [`SimFs`](super::SimFs).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the call of its name")]
pub enum Op {
    Create,
    /// Also an [`open_write`](crate::fs::Fs::open_write).
    Open,
    Map,
    Rename,
    Remove,
    List,
    /// The creation of one directory; a [`create_dir`](crate::fs::Fs::create_dir) of nested ones is
    /// several, one of an existing directory none.
    CreateDir,
    SyncDir,
    /// A lock file that is absent is an [`Op::Create`] besides.
    Lock,
    Read,
    /// Also a [`write_parts_at`](crate::fs::File::write_parts_at), which is one call.
    Write,
    Len,
    Sync,
}

impl Op {
    /// Whether the call changes files or names, or makes changes durable. These are counted by
    /// [`SimFs::ops`](super::SimFs::ops).
    pub fn is_mutating(self) -> bool {
        !matches!(self, Op::Open | Op::Map | Op::List | Op::Lock | Op::Read | Op::Len)
    }

    /// As errors name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Op::Create => "create",
            Op::Open => "open",
            Op::Map => "map",
            Op::Rename => "rename",
            Op::Remove => "remove",
            Op::List => "list",
            Op::CreateDir => "create directory",
            Op::SyncDir => "sync directory",
            Op::Lock => "lock",
            Op::Read => "read",
            Op::Write => "write",
            Op::Len => "stat",
            Op::Sync => "sync",
        }
    }
}

/// The calls to which a [`Fault`] applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// Calls of one kind.
    Op(Op),
    /// Calls that [change something](Op::is_mutating).
    Mutating,
    /// All calls.
    Any,
}

impl From<Op> for On {
    fn from(op: Op) -> On {
        On::Op(op)
    }
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// An I/O error; the call has no effect. A failed [`Op::Sync`] leaves its writes in doubt (FS-4).
    Eio,
    /// An I/O error reported by a call that did all that it should.
    EioAfter,
    /// No space is left; otherwise as [`FaultKind::Eio`].
    NoSpace,
    /// A write stores a part of its bytes before it finds no space. Applies to [`Op::Write`] only.
    ShortWrite,
    /// A read returns one wrong bit. The file stays whole. Applies to [`Op::Read`] only.
    FlipBit,
    /// The call takes this long and succeeds.
    Delay(Duration),
}

pub(super) fn eio() -> Error {
    Error::from_raw_os_error(5)
}

/// Whether a call ends before it has its effect.
pub(super) fn refuse(fault: Option<FaultKind>) -> Result<()> {
    match fault {
        Some(FaultKind::Eio) => Err(eio()),
        Some(FaultKind::NoSpace | FaultKind::ShortWrite) => Err(ErrorKind::StorageFull.into()),
        Some(FaultKind::EioAfter | FaultKind::FlipBit | FaultKind::Delay(_)) | None => Ok(()),
    }
}

/// A rule: of the calls that match, let `after` pass, then fail `times`.
///
/// ```
/// use stratalog_base::fs::{Fault, FaultKind, On, Op, SimFs};
/// let fs = SimFs::new();
/// fs.inject(Fault::new(Op::Sync, FaultKind::Eio).path(".log").after(3)); // the fourth, once
/// fs.inject(Fault::new(On::Mutating, FaultKind::NoSpace).for_ever());
/// ```
#[derive(Clone, Debug)]
pub struct Fault {
    on: On,
    path: Option<String>,
    after: u64,
    times: u64,
    kind: FaultKind,
}

impl Fault {
    /// Fails the first matching call, once.
    pub fn new(on: impl Into<On>, kind: FaultKind) -> Fault {
        Fault { on: on.into(), path: None, after: 0, times: 1, kind }
    }

    /// Only calls whose path contains `part`; of a rename, the name before.
    #[must_use]
    pub fn path(mut self, part: impl Into<String>) -> Fault {
        self.path = Some(part.into());
        self
    }

    /// Lets `count` matching calls pass first.
    #[must_use]
    pub fn after(mut self, count: u64) -> Fault {
        self.after = count;
        self
    }

    /// Fails `count` calls instead of one.
    #[must_use]
    pub fn times(mut self, count: u64) -> Fault {
        self.times = count;
        self
    }

    /// Fails every matching call from the first on, until
    /// [`clear_faults`](super::SimFs::clear_faults).
    #[must_use]
    pub fn for_ever(self) -> Fault {
        self.times(u64::MAX)
    }

    /// Takes note of a call; says how it fails, if this rule fails it.
    pub(super) fn meet(&mut self, op: Op, path: &Path) -> Option<FaultKind> {
        let on = match self.on {
            On::Op(on) => on == op,
            On::Mutating => op.is_mutating(),
            On::Any => true,
        };
        let fits = match self.kind {
            FaultKind::ShortWrite => op == Op::Write,
            FaultKind::FlipBit => op == Op::Read,
            _ => true,
        };
        let named = self.path.as_ref().is_none_or(|part| path.to_string_lossy().contains(part));
        if !(on && fits && named && self.times > 0) {
            return None;
        }
        if self.after > 0 {
            self.after -= 1;
            return None;
        }
        self.times = if self.times == u64::MAX { u64::MAX } else { self.times - 1 };
        Some(self.kind)
    }
}
