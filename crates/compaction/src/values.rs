//! Which value files a version has, and how much of each is garbage.
//!
//! Nothing counts garbage. Every table says how many bytes of which value file its entries refer to, so
//! what is live of a file is a sum over the tables of the version, and the rest is garbage. A merge that
//! drops an entry writes tables that refer to less.
//!
//! ```text
//! flush: value ≥ threshold ──▶ value file, handle ──▶ table
//! merge: handle ──▶ the same handle           (its file is mostly live)
//!               ──▶ value read, written to a new value file, new handle   (mostly garbage: it is collected)
//!               ──▶ dropped                   (superseded: its bytes have become garbage)
//! no table refers to the file ──▶ it is not in the next version ──▶ it is removed, as tables are
//! ```
//!
//! # Invariants (of a [`Version`](crate::Version))
//! - VALUES-1: a version has exactly the value files that its tables refer to: an edit adds files that
//!   its tables refer to, and applying it lets go of those that are no longer referred to. So no edit
//!   says that a value file leaves, and none can say it too early.
//! - VALUES-2: no two entries of a version refer to one record, so that the bytes referred to are those
//!   of different records. (A merge passes each handle to one table and removes the table it comes from.)

use std::collections::BTreeMap;

use stratalog_sstable::{TableSummary, ValueRef, ValueSummary};

/// A value file of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueUse {
    /// What the file holds.
    pub summary: ValueSummary,
    /// The bytes of its records that tables refer to.
    pub live_bytes: u64,
}

impl ValueUse {
    /// The bytes of its records that no table refers to.
    pub fn garbage_bytes(&self) -> u64 {
        self.summary.record_bytes - self.live_bytes
    }

    /// Whether more than half is garbage. Then live values are written anew by whatever merge comes
    /// across them, so value files are at most about twice as large as what is live in them.
    pub fn is_mostly_garbage(&self) -> bool {
        self.garbage_bytes() > self.live_bytes
    }
}

/// What `tables` use of the value files `known`, ascending; those without a use are left out (VALUES-1).
///
/// # Errors
/// A sentence that names a file which tables refer to and which is not known, or not so large.
pub(crate) fn uses<'a>(
    tables: impl Iterator<Item = &'a TableSummary>,
    known: impl Iterator<Item = ValueSummary>,
) -> Result<Vec<ValueUse>, String> {
    let mut live: BTreeMap<u64, u64> = BTreeMap::new();
    for ValueRef { file, bytes } in tables.flat_map(|table| table.value_refs.iter().copied()) {
        let sum = live.entry(file).or_insert(0);
        *sum = sum.saturating_add(bytes);
    }
    let mut uses = Vec::new();
    for summary in known {
        if let Some(live_bytes) = live.remove(&summary.id) {
            if live_bytes > summary.record_bytes {
                let (id, held) = (summary.id, summary.record_bytes);
                return Err(format!(
                    "VALUES-2: tables refer to {live_bytes} bytes of value file {id}, which holds {held}"
                ));
            }
            uses.push(ValueUse { summary, live_bytes });
        }
    }
    if let Some((id, _)) = live.first_key_value() {
        return Err(format!("VALUES-1: a table refers to value file {id}, which is not there"));
    }
    uses.sort_unstable_by_key(|value_file| value_file.summary.id);
    Ok(uses)
}
