//! What the start file counts for: it says what is not missed of the log that the segments hold, and of no other.

use stratalog_base::{Error, Result};

use super::Recovery;
use crate::segment::Header;
use crate::start_file::{self, Start};

impl Recovery<'_> {
    /// Reads the start file, if there is one.
    pub(super) fn read_start(&mut self) -> Result<()> {
        match Start::read(self.fs, self.dir) {
            Ok(start) => {
                self.start = start;
                Ok(())
            }
            Err(error) => self.pass_over_start(error),
        }
    }

    /// REC-10
    fn pass_over_start(&mut self, damage: Error) -> Result<()> {
        (self.start, self.is_start_unknown) = (None, true);
        self.tolerate(damage, 0)
    }

    fn bad_start(&self, what: &str) -> Error {
        Error::corrupt(&self.dir.join(start_file::NAME), 0, what)
    }

    /// The index of the segment before the one of `newer`, if it is needed: REC-1, REC-8, REC-10.
    pub(super) fn needed_before(&mut self, newer: &Header) -> Result<Option<u64>> {
        if self.start.is_some_and(|start| start.log_id != newer.id.log_id) {
            self.pass_over_start(self.bad_start("is the start of another log than the segments"))?;
        }
        let Some(previous) = newer.link.previous else { return Ok(None) };
        let from = self.from.max(self.start.map_or(0, |start| start.position));
        let is_older_than_all = self.indices.first().is_none_or(|&it| previous.index < it);
        let may_be_removed = self.is_start_unknown && self.from == 0 && is_older_than_all;
        Ok((previous.end > from && !may_be_removed).then_some(previous.index))
    }

    /// Notes where the log of `chain` starts, and whose it is if it has lost all segments.
    pub(super) fn settle_start(&mut self, chain: &[Header]) -> Result<()> {
        if self.is_start_unknown {
            let previous = chain.first().and_then(|oldest| oldest.link.previous);
            self.found.start = previous.map_or(0, |it| it.end);
        }
        let Some(start) = self.start else { return Ok(()) };
        (self.found.log_id, self.found.start) = (Some(start.log_id), start.position);
        match chain.is_empty() {
            true => self.tolerate(self.bad_start("is the start of a log without a segment"), 0),
            false => Ok(()),
        }
    }
}
