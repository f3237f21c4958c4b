//! What it means where frames end, and where a segment has no link: the tail of the log, or damage.

use stratalog_base::fs::read_all;
use stratalog_base::{Error, Result};

use super::Recovery;
use crate::Position;
use crate::frame::ALIGNMENT;
use crate::recovered::{Dropped, RecoveryMode};
use crate::scan::{Ending, Scan, greatest_promise};
use crate::segment::{HEADER_BYTES, Header, Identity, Link, UNLINKED};

impl Recovery<'_> {
    /// Decides what the end of a segment means, which `later` ones follow: whether the log goes on.
    pub(super) fn judge(
        &mut self,
        header: &Header,
        scan: &Scan,
        later: &[Header],
        whole: &mut bool,
    ) -> Result<bool> {
        let path = self.path(header.id.index);
        for gap in &scan.gaps {
            *whole = false;
            let (file, offset) = (path.clone(), header.offset(gap.position));
            self.found.dropped.push(Dropped {
                file,
                offset,
                bytes: gap.bytes,
                why: gap.why.into(),
            });
        }
        if self.salvages() {
            self.check_successor(scan, &[])?;
            let skipped = |id: &&Identity| Some(id.index) == scan.next_segment && !later.is_empty();
            if let Some(id) = self.unbegun.iter().find(skipped).copied() {
                self.lose_segment(id.index, UNLINKED)?; // REC-7
            }
        }
        let lost = self.lost_bytes(header, scan, later)?;
        let offset = header.offset(scan.end);
        let mut damage = |this: &mut Self, bytes, why: &str, promised| {
            *whole = false;
            let what = format!("{why}, below position {promised}, up to which all was durable");
            this.tolerate(Error::corrupt(&path, offset, what), bytes)
        };
        match scan.ending {
            Ending::Whole => self.check_successor(scan, later).map(|()| true),
            Ending::Damaged { bytes, why, promised } => {
                damage(self, bytes.max(lost), why, promised).map(|()| false)
            }
            Ending::Torn { bytes, why } => {
                let bytes = bytes.max(lost);
                // REC-5
                let promised = self.promised_later(later)?;
                if promised > scan.end {
                    return damage(self, bytes, why, promised).map(|()| false);
                }
                if self.mode == RecoveryMode::Strict {
                    return Err(Error::corrupt(&path, offset, why));
                }
                self.found.dropped.push(Dropped { file: path, offset, bytes, why: why.into() });
                Ok(false)
            }
        }
    }

    /// Bytes that a salvage has lost at the end of a segment, if `later` ones tell: up to where the next
    /// goes on, or, if that is lost, the rest of the file (REC-7).
    fn lost_bytes(&self, header: &Header, scan: &Scan, later: &[Header]) -> Result<u64> {
        if !self.salvages() || scan.ending == Ending::Whole {
            return Ok(0);
        }
        match later.first().and_then(|next| next.link.previous) {
            None => Ok(0),
            Some(next) if next.index == header.id.index => Ok(next.end.saturating_sub(scan.end)),
            Some(_) => {
                let len = self.open(header.id.index)?.len()?;
                Ok(len.saturating_sub(header.offset(scan.end)))
            }
        }
    }

    fn promised_later(&self, later: &[Header]) -> Result<Position> {
        later.iter().try_fold(0, |most, header| {
            let bytes = read_all(&*self.open(header.id.index)?)?;
            let promised = greatest_promise(&bytes, header).unwrap_or(0);
            Ok(most.max(promised).max(header.link.durable))
        })
    }

    /// REC-3
    fn check_successor(&mut self, scan: &Scan, later: &[Header]) -> Result<()> {
        let Some(next) = scan.next_segment.filter(|_| later.is_empty()) else { return Ok(()) };
        let path = self.path(next);
        let reported = self.found.dropped.iter().any(|it| it.file == path);
        if reported || self.indices.binary_search(&next).is_ok() {
            return Ok(());
        }
        let what = "is missing, though the segment before says that the log goes on in it";
        self.tolerate(Error::corrupt(&path, 0, what), 0)
    }

    /// REC-2: looks for promises in the segments after `newest`, where the log ends.
    pub(super) fn check_unbegun(&mut self, newest: Option<&Header>) -> Result<()> {
        let broken = self.unbegun.last().copied();
        if let (Some(broken), None) = (broken, newest) {
            // FILES-4: one that was begun is always there.
            if self.salvages() {
                self.lose_segment(broken.index, UNLINKED)?;
            } else {
                let (path, offset) = (self.path(broken.index), HEADER_BYTES as u64 / 2);
                self.tolerate(Error::corrupt(&path, offset, UNLINKED), 0)?;
            }
        }
        for id in std::mem::take(&mut self.unbegun) {
            let base = self.found.end;
            let session = newest.map_or(id.index, |newest| newest.link.session);
            let link = Link { base, previous: None, durable: 0, session };
            let bytes = read_all(&*self.open(id.index)?)?;
            let header = Header { id, link };
            let (path, offset) = (self.path(id.index), HEADER_BYTES as u64 / 2);
            // REC-7: where the log ends is not certain then.
            let used = bytes.iter().take(HEADER_BYTES + ALIGNMENT).skip(HEADER_BYTES / 2);
            let begun = self.salvages()
                && used.copied().any(|byte| byte != 0)
                && self.found.dropped.iter().all(|it| it.file != path);
            let promised = greatest_promise(&bytes, &header).or(begun.then_some(0));
            let Some(promised) = promised else { continue };
            let (bytes, why) = (bytes.len() as u64, UNLINKED);
            if promised > base || self.mode == RecoveryMode::Strict {
                self.tolerate(Error::corrupt(&path, offset, why), bytes)?;
            } else {
                self.found.dropped.push(Dropped { file: path, offset, bytes, why: why.into() });
            }
        }
        let hanging = std::mem::take(&mut self.hanging);
        if let (Some(broken), true) = (broken, self.promised_later(&hanging)? > self.found.end) {
            let (path, offset) = (self.path(broken.index), HEADER_BYTES as u64 / 2);
            self.tolerate(Error::corrupt(&path, offset, UNLINKED), 0)?;
        }
        hanging.iter().rev().try_for_each(|header| self.drop_segment(header.id.index))
    }
}
