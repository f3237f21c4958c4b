//! [`VersionEdit`]: one atomic change of the tree, and its bytes in the manifest.
//!
//! # Bytes
//! A sequence of fields, each a tag byte and its contents, in any order. Unknown tags are refused.
//!
//! | tag | field | contents |
//! |---:|---|---|
//! | 1 | removed | varint keyspace (0), varint level, varint table id |
//! | 2 | added | varint keyspace (0), varint level, [`TableSummary`] |
//! | 3 | flushed | varint position: every write below is in tables |
//! | 4 | next id | varint: every file id below has been given out |
//! | 5 | log start | varint position: the log has a segment that starts here or later |
//! | 6 | closed at | varint position: the log ends here, cleanly closed |
//! | 7 | added values | varint keyspace (0), [`ValueSummary`] |

use stratalog_base::codec::{Decoder, Malformed, put_varint};
use stratalog_sstable::{TableSummary, ValueSummary};

use crate::{LEVELS, Shape, Version};

/// A change of the tree and of the numbers that go with it. Absent numbers stay as they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionEdit {
    /// Level and id of tables that leave.
    pub removed: Vec<(usize, u64)>,
    /// Level and summary of tables that come (or move).
    pub added: Vec<(usize, TableSummary)>,
    /// Value files that come: added tables refer to each. They leave by themselves (VALUES-1).
    pub added_values: Vec<ValueSummary>,
    /// The numbers that change.
    pub numbers: Numbers,
}

/// What a store has to know besides its tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Every write below this position is in tables.
    pub flushed: Option<u64>,
    /// Every file id below has been given out.
    pub next_id: Option<u64>,
    /// The log has a segment that starts here or later.
    pub log_start: Option<u64>,
    /// The log was cleanly closed and ends here. Any later change voids it.
    pub closed_at: Option<u64>,
}

impl Numbers {
    /// These numbers after the change to `newer`.
    #[must_use]
    pub fn then(self, newer: Numbers) -> Numbers {
        Numbers {
            flushed: newer.flushed.or(self.flushed),
            next_id: newer.next_id.or(self.next_id),
            log_start: newer.log_start.or(self.log_start),
            closed_at: newer.closed_at,
        }
    }
}

/// The keyspace that every table belongs to until there are more.
const DEFAULT_KEYSPACE: u64 = 0;

impl VersionEdit {
    /// The edit that builds `version` from nothing.
    pub fn snapshot<T: Shape + Clone>(version: &Version<T>) -> VersionEdit {
        let added =
            version.tables().map(|(level, table)| (level, table.summary().clone())).collect();
        let added_values = version.values().iter().map(|it| it.summary).collect();
        VersionEdit { added, added_values, ..VersionEdit::default() }
    }

    /// Appends the bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for &(level, id) in &self.removed {
            out.push(1);
            put_varint(out, DEFAULT_KEYSPACE);
            put_varint(out, level as u64);
            put_varint(out, id);
        }
        for (level, summary) in &self.added {
            out.push(2);
            put_varint(out, DEFAULT_KEYSPACE);
            put_varint(out, *level as u64);
            summary.encode(out);
        }
        for summary in &self.added_values {
            out.push(7);
            put_varint(out, DEFAULT_KEYSPACE);
            summary.encode(out);
        }
        let Numbers { flushed, next_id, log_start, closed_at } = self.numbers;
        for (tag, number) in [(3, flushed), (4, next_id), (5, log_start), (6, closed_at)] {
            if let Some(number) = number {
                out.push(tag);
                put_varint(out, number);
            }
        }
    }

    /// Takes an edit that fills `bytes`.
    ///
    /// # Errors
    /// If the bytes are not those of an edit.
    pub fn decode(bytes: &[u8]) -> Result<VersionEdit, Malformed> {
        let mut decoder = Decoder::new(bytes);
        let mut edit = VersionEdit::default();
        while !decoder.is_empty() {
            match decoder.u8()? {
                1 => {
                    let level = decode_level(&mut decoder)?;
                    edit.removed.push((level, decoder.varint()?));
                }
                2 => {
                    let level = decode_level(&mut decoder)?;
                    edit.added.push((level, TableSummary::decode(&mut decoder)?));
                }
                3 => edit.numbers.flushed = Some(decoder.varint()?),
                4 => edit.numbers.next_id = Some(decoder.varint()?),
                5 => edit.numbers.log_start = Some(decoder.varint()?),
                6 => edit.numbers.closed_at = Some(decoder.varint()?),
                7 => {
                    decode_keyspace(&mut decoder)?;
                    edit.added_values.push(ValueSummary::decode(&mut decoder)?);
                }
                _ => return Err(decoder.malformed("unknown field of a version edit")),
            }
        }
        Ok(edit)
    }
}

fn decode_level(decoder: &mut Decoder<'_>) -> Result<usize, Malformed> {
    decode_keyspace(decoder)?;
    decoder.varint_max(LEVELS - 1)
}

fn decode_keyspace(decoder: &mut Decoder<'_>) -> Result<(), Malformed> {
    match decoder.varint()? {
        DEFAULT_KEYSPACE => Ok(()),
        _ => Err(decoder.malformed("unknown keyspace")),
    }
}
