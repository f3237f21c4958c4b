//! What happens to a log as a whole: closing, resuming after a failure, changing the backend, making
//! files ahead, and being asked how it is. All but the last two exclude one another by `switching`.

use std::time::Duration;

use stratalog_base::{Error, Result};

use crate::Position;
use crate::background::{self, Threads};
use crate::calls::Hold;
use crate::carry;
use crate::core::{Core, RingFront, Writer};
use crate::files::Files;
use crate::options::{Backend, LogOptions};
use crate::recovery::RecoveryMode;
use crate::ring::{Drain, Ring, RingMemory};
use crate::ring_file;
use crate::stats::{Cause, LogStats};

/// Makes the ring of a session, mapped if that is wanted and can be had, which begins at `at`.
///
/// # Errors
/// If the system refuses.
pub fn make_ring(files: &Files, options: &LogOptions, at: Position) -> Result<(RingFront, Drain)> {
    let capacity = options.ring_bytes;
    let mut mapped = None;
    if options.ring_mapped {
        let (fs, dir) = (files.fs(), files.dir());
        ring_file::create(fs, dir, files.log_id(), files.session(), capacity)?;
        let len = ring_file::HEADER_BYTES + capacity as usize;
        mapped = fs.map(&dir.join(ring_file::NAME), len)?;
    }
    let (memory, mapped) = match mapped {
        Some(mapping) => (RingMemory::mapped(mapping, ring_file::HEADER_BYTES), true),
        None => (RingMemory::heap(capacity as usize), false),
    };
    let (ring, drain) = Ring::new(memory, at);
    Ok((RingFront { ring, mapped }, drain))
}

/// Makes all that has a ticket survive a power cut, and then says so in the file. The first caller does so; others
/// wait for it, and are told the same.
///
/// # Errors
/// If a write or sync fails; the log is closed all the same, but recovery will not find it clean.
pub fn close(core: &Core, threads: &Threads) -> Result<()> {
    core.note_closed();
    let closed = core.closing.reach(1, |()| close_core(core).map(|()| 1));
    background::stop(core);
    core.abandon();
    threads.join();
    closed
}

fn close_core(core: &Core) -> Result<()> {
    let _switching = core.switching.lock();
    core.check()?;
    let end = core.stop(Error::Closed);
    core.write_to(end, None, Cause::Close)?;
    core.durable_to(end, None, Cause::Close)?;
    let end = core.write_close_mark(end)?;
    core.durable_to(end, None, Cause::Close).map(|_| ())
}

/// Lets another backend write from now on.
///
/// # Errors
/// Of the write, or of making the ring, and why the log takes no records.
pub fn set_backend(core: &Core, to: Backend) -> Result<()> {
    let _hold = Hold::take();
    let _switching = core.switching.lock();
    core.check()?;
    if core.backend() == to {
        return Ok(());
    }
    let mut made = None;
    if to == Backend::LockFree && core.any_ring().is_none() {
        let ring = make_ring(&core.files, &core.options, core.reserved())?;
        ring.0.ring.close(); // Until its time comes.
        made = Some(ring);
    }
    let end = core.close_front();
    core.write_to(end, None, Cause::Close)?;
    core.written.with_seat(|writer| {
        if let Some((front, drain)) = made {
            core.install_ring(front);
            writer.drain = Some(drain);
        }
        if !writer.segment.is_empty() {
            core.lead(|| core.rotate(&mut writer.segment))?;
        }
        core.open_front(to, writer, end); // LOG-2
        core.set_backend(to);
        Ok(())
    })?;
    core.published.raise(end);
    match core.check() {
        Ok(()) => Ok(()),
        Err(error) => {
            core.close_front(); // The log failed, or was dropped, in the meantime.
            Err(error)
        }
    }
}

/// Goes on after a failure. All that has a ticket goes on, too: whoever has not looked at it yet is
/// told the truth then.
///
/// # Errors
/// If what was acknowledged cannot be read back or written anew: then the log stays as it was.
pub fn resume(core: &Core) -> Result<()> {
    let _hold = Hold::take();
    let _switching = core.switching.lock();
    if core.is_closed() {
        return Err(Error::Closed); // Its threads have ended.
    }
    let why = match core.check() {
        Ok(()) => return Ok(()),
        Err(Error::Closed) => return Err(Error::Closed),
        Err(why) => why,
    };
    let durable = core.durable.reached();
    let (logged, end) = core.come_to_rest(&why);
    // From here on nobody writes or rotates.
    let start = core.written.at_rest(|writer| writer.segment.end);
    core.durable.at_rest(|()| ()); // Nor does anybody sync.
    let (fs, dir) = (core.files.fs(), core.files.dir());
    let carried = carry::collect(fs, dir, durable, RecoveryMode::TornTail, &mut |_| {})?;
    let (read, owed) = (carried.end(), logged.max(start));
    if read < owed {
        let what = format!("the log can be read back to {read} only, but was written to {owed}");
        return Err(Error::corrupt(dir, 0, what));
    }
    let unwritten = core.written.at_rest(|writer| core.unwritten_frames(writer, read, end));
    let at = end.max(read);
    let segment = core.files.begin_anew(&carried, &unwritten, at)?;
    // Before records are let in, for it has no leader who would learn that the log has failed again.
    core.published.revive(at, |()| {});
    core.written.revive(at, |writer| {
        let drain = writer.drain.take();
        *writer = Writer::new(segment, drain);
        core.forget_holes();
        core.unstop(); // Before records are let in, for whoever is let in may fail again.
        core.open_front(core.backend(), writer, at);
    });
    core.durable.revive(at, |()| {});
    if let Err(error) = core.check() {
        core.fail_durable(&error); // Whoever failed in the meantime could not, and nobody has led since (LOG-3).
    }
    Ok(())
}

impl Core {
    /// What the files thread does when it is woken; returns after how long it wants to be again.
    pub fn step_files(&self) -> Option<Duration> {
        let mut next = None;
        if let Some(limit) = self.options.segment_age {
            let left = limit.saturating_sub(self.files.active_age());
            if left.is_zero() {
                // A failure has stopped the log, which tells everyone who asks.
                _ = self.written.with_seat(|writer| match writer.segment.is_empty() {
                    true => Ok(()),
                    false => self.lead(|| self.rotate(&mut writer.segment)),
                });
            }
            next = Some(if left.is_zero() { limit } else { left });
        }
        _ = self.files.make_ahead(); // The log goes on without.
        next.into_iter().chain(self.keep_to_limits()).min()
    }

    /// Removes what retention does not keep, and tells of the log's size; returns after how long to do so again.
    pub fn keep_to_limits(&self) -> Option<Duration> {
        let (unretained, next_unretained) = self.files.unretained();
        let retry = unretained.and_then(|position| self.retain_from(position));
        if self.alerts.is_listening()
            && let Ok(bytes) = self.files.bytes()
        {
            self.alerts.log_bytes(bytes);
        }
        next_unretained.into_iter().chain(retry).min()
    }

    /// Removes what lies below `position`. If that fails, tells so, for the log goes on with more segments than it
    /// should keep, and returns after how long to try again.
    fn retain_from(&self, position: Position) -> Option<Duration> {
        let failure = self.truncate_before(position).err();
        if failure.is_some() && self.check().is_err() {
            return None; // The log has failed, or is closed, which is told elsewhere.
        }
        let (retry, is_first) = self.files.note_retention(failure.clone())?;
        if let (true, Some(error)) = (is_first, failure) {
            self.alerts.retention_failed(&error);
        }
        Some(retry)
    }
}

/// What the log has done so far, and how it is.
pub fn stats(core: &Core) -> LogStats {
    let (records, bytes) = core.depth();
    let failed = match core.check() {
        Err(Error::Closed) | Ok(()) => None,
        Err(error) => Some(error),
    };
    LogStats {
        backend: core.backend().name(),
        threads: core.threads.list().to_vec(),
        segments: core.files.segment_count(),
        // An unreadable directory shows elsewhere.
        file_bytes: core.files.bytes().unwrap_or(0),
        failed,
        retention_failed: core.files.retention_failure(),
        ..core.counters.stats(records, bytes)
    }
}
