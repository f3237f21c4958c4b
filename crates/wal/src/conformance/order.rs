//! Records, their order and their places, and what reads and removes them.

use std::io::IoSlice;
use std::time::Duration;

use stratalog_base::Error;
use stratalog_base::fs::SimFs;
use stratalog_base::sync::{sleep, spawn};

use super::*;

/// Records come back: the same bytes at the same positions, which rise, in the same order; and a log
/// that is opened anew goes on behind them.
///
/// # Panics
/// If the promise is broken.
pub fn records_come_back_in_order(subject: &dyn Subject) {
    let mut fs = SimFs::new();
    let mut written: Vec<Found> = Vec::new();
    for life in 0..3 {
        let log = opened(subject, &fs);
        for i in 0..60 {
            let bytes = if i == 30 { vec![life; 3000] } else { record(i) };
            let place = ok(append(&*log, &bytes, CLASSES[i % 3]), "an append succeeds");
            let ordered = place.start <= place.position && place.position < place.end;
            assert!(ordered, "a place is in order: {place:?}");
            let last = written.last().map_or(0, |(position, _)| *position);
            assert!(place.position > last, "positions rise, also from life to life");
            written.push((place.position, bytes));
        }
        drop(log);
        fs = fs.kill();
        assert!(found(subject, &fs) == written, "records come back as they were appended");
    }
}

/// The parts of one append are one record.
///
/// # Panics
/// If the promise is broken.
pub fn parts_are_joined(subject: &dyn Subject) {
    let fs = SimFs::new();
    let log = opened(subject, &fs);
    let parts = [&b"one "[..], b"", b"two ", b"three"].map(IoSlice::new);
    let ticket = ok(log.append(&parts, Durability::Process), "an append succeeds");
    let place = ok(ticket.wait(), "an append succeeds");
    let expected = [(place.position, b"one two three".to_vec())];
    assert_eq!(found(subject, &fs.kill()), expected, "the parts of an append are joined");
}

/// The records of a batch lie in a row, whoever else appends, also if it is long.
///
/// # Panics
/// If the promise is broken.
pub fn batches_lie_in_a_row(subject: &dyn Subject) {
    let fs = SimFs::new();
    let log = opened(subject, &fs);
    let threads: Vec<_> = (0..3u8)
        .map(|thread| {
            let log = log.clone();
            let body = move || {
                for i in 0..40u8 {
                    let len = if i == 20 { 400 } else { 5 };
                    let records: Vec<_> =
                        (0..len).map(|n| [&[thread, i], &[n as u8; 9][..]].concat()).collect();
                    let records: Vec<_> = records.iter().map(Vec::as_slice).collect();
                    let mut positions = vec![0];
                    let ticket =
                        log.append_batch(&records, CLASSES[i as usize % 3], &mut positions);
                    let place = ok(ok(ticket, "a batch succeeds").wait(), "a batch succeeds");
                    assert_eq!(
                        positions.len(),
                        1 + len,
                        "a batch adds one position for each record"
                    );
                    assert_eq!(
                        positions[1], place.position,
                        "a batch's place is its first record's"
                    );
                }
            };
            spawn("batches", body).expect("a thread")
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("a batch lies in a row"));
    let records = found(subject, &fs.kill());
    assert_eq!(records.len(), 3 * (39 * 5 + 400), "each record of a batch is there once");
    for batch in records.chunk_by(|(_, one), (_, two)| one[..2] == two[..2]) {
        let whole = batch.len() == if batch[0].1[1] == 20 { 400 } else { 5 };
        let in_order = (0..).zip(batch).all(|(n, (_, record))| record[2] == n as u8);
        assert!(whole && in_order, "the records of a batch lie in a row");
    }
}

/// A record of class `None` takes positions, and no recovery finds it.
///
/// # Panics
/// If the promise is broken.
pub fn class_none_only_takes_positions(subject: &dyn Subject) {
    let fs = SimFs::new();
    let log = opened(subject, &fs);
    let ticket = ok(log.append(&[IoSlice::new(&[1; 50])], Durability::None), "class None is taken");
    let none = ok(ticket.wait(), "class None is done at once");
    assert!(none.end - none.position >= 50, "class None takes positions");
    let reserved = ok(log.reserve(7), "positions can be reserved");
    assert!(reserved.start >= none.end && reserved.end - reserved.position >= 7, "and so many");
    let place = ok(append(&*log, b"logged", Durability::Sync), "an append succeeds");
    assert!(place.start >= reserved.end, "positions are given out once");
    let expected = [(place.position, b"logged".to_vec())];
    assert_eq!(found(subject, &fs.crash(1)), expected, "what is not logged is not found");
    let batch = log.append_batch(&[b"x"], Durability::None, &mut Vec::new()).map(drop);
    let refused = matches!(batch, Err(Error::InvalidArgument(_)));
    assert!(refused, "a batch of class None is refused");
}

/// `durable` ≤ `logged` ≤ `reserved`, none ever falls, and each covers what was acknowledged for it.
///
/// # Panics
/// If the promise is broken.
pub fn watermarks_are_ordered_and_never_fall(subject: &dyn Subject) {
    let log = opened(subject, &SimFs::new());
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let log = log.clone();
            let body = move || {
                let mut last = log.watermarks();
                for i in 0..300 {
                    let class =
                        if (i + thread) % 16 == 0 { Durability::Sync } else { Durability::Process };
                    let end = ok(append(&*log, &record(i), class), "an append succeeds").end;
                    let now = log.watermarks();
                    let ordered = now.durable <= now.logged && now.logged <= now.reserved;
                    assert!(ordered, "watermarks are ordered: {now:?}");
                    let rises = last.durable <= now.durable
                        && last.logged <= now.logged
                        && last.reserved <= now.reserved;
                    assert!(rises, "watermarks never fall: {last:?}, {now:?}");
                    let covered = if class == Durability::Sync { now.durable } else { now.logged };
                    assert!(covered >= end, "a watermark covers what was acknowledged");
                    last = now;
                }
            };
            spawn("watermarks", body).expect("a thread")
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("watermarks are in order"));
}

/// Truncation keeps all at or above the position, lets something go below it, and is durable.
///
/// # Panics
/// If the promise is broken.
pub fn truncation_keeps_what_is_at_or_above(subject: &dyn Subject) {
    let fs = SimFs::new();
    let log = opened(subject, &fs);
    let mut written = fill(&*log, 300, Durability::Sync);
    for i in [0, 1, 80, 150, 299] {
        let position = written[i].0;
        ok(log.truncate_before(position), "a truncation succeeds");
        let records = found(subject, &fs.kill());
        assert!(written.ends_with(&records), "truncation takes from the front only");
        let kept = records.len() >= written.len() - i;
        assert!(kept, "truncation keeps what is at or above its position");
    }
    let left = found(subject, &fs.kill());
    assert!(left.len() < written.len(), "truncation lets whole segments go");
    written.extend(fill(&*log, 20, Durability::Sync));
    for seed in 0..POWER_CUTS {
        let records = found(subject, &fs.crash(seed));
        let stays = records.len() == left.len() + 20 && written.ends_with(&records);
        assert!(stays, "what was truncated does not come back, what was not stays");
    }
}

/// A reader gives all records from its position on, then those that come, and waits for them.
///
/// # Panics
/// If the promise is broken.
pub fn readers_read_all_and_follow(subject: &dyn Subject) {
    let fs = SimFs::new();
    let log = opened(subject, &fs);
    let written = fill(&*log, 60, Durability::Process);
    let mut reader = ok(log.reader(0), "a log can be read");
    let mut from_middle = ok(log.reader(written[30].0), "a log can be read from a record on");
    let mut next = |promise| {
        let record = ok(reader.wait_next(Some(Duration::from_millis(5))), promise);
        record.map(|record| (record.position, record.bytes.into_owned()))
    };
    let all: Vec<_> = std::iter::from_fn(|| next("a reader reads")).collect();
    assert!(all == written, "a reader gives all records in order, then none until its time is up");
    let half = || {
        let record = ok(from_middle.next(), "a reader reads")?;
        Some((record.position, record.bytes.into_owned()))
    };
    let half: Vec<_> = std::iter::from_fn(half).collect();
    assert!(half == written[30..], "a reader begins at its position");

    let mut reader = ok(log.reader(log.watermarks().reserved), "a log can be read from its end on");
    let mut durable = ok(log.reader(0), "a log can be read").durable_only();
    let writer = log.clone();
    let body = move || {
        sleep(Duration::from_millis(20));
        _ = fill(&*writer, 50, Durability::Sync);
    };
    let writer = spawn("writer", body).expect("a thread");
    for i in 0..50 {
        let record = ok(reader.wait_next(Some(PATIENCE)), "a reader waits for what comes");
        let record = record.expect("a reader is woken by what comes");
        assert_eq!(&*record.bytes, &*self::record(i), "a reader follows in order");
    }
    writer.join().expect("a thread");
    let mut count = 0;
    while let Some(record) = ok(durable.next(), "a reader reads") {
        let position = record.position;
        assert!(position < log.watermarks().durable, "a durable-only reader gives what is durable");
        count += 1;
    }
    assert_eq!(count, 110, "a durable-only reader gives all that is durable");
}
