//! A reader gives what a recovery would, while the log goes on.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stratalog_base::Error;
use stratalog_base::fs::{Op, SimFs};
use stratalog_base::sync::{JoinHandle, Mutex, spawn};
use stratalog_wal::{
    Backend, Durability, Health, Log, LogOptions, Position, Reader, RecoveryMode, Wal,
};

use crate::support::*;

fn rest(reader: &mut Reader) -> Vec<Record> {
    let next = || reader.next().unwrap().map(|it| (it.position, it.bytes.into_owned()));
    std::iter::from_fn(next).collect()
}

#[test]
fn a_reader_passes_marks_skips_and_segments() {
    for options in all_options(200) {
        let fs = SimFs::new();
        let log = create(&fs, options.clone());
        let mut written = Vec::new();
        for (i, record) in some_records(60).enumerate() {
            let class = if i % 5 == 0 { Durability::Sync } else { Durability::Process };
            written.push((append(&log, &record, class).unwrap().position, record));
            log.reserve(i as u64).unwrap();
        }
        assert_eq!(rest(&mut log.reader(0).unwrap()), written);
        assert_eq!(rest(&mut log.reader(written[33].0).unwrap()), written[33..]);
        let durable = rest(&mut log.reader(0).unwrap().durable_only());
        let mark = log.watermarks().durable;
        let expected: Vec<_> = written.iter().filter(|(at, _)| *at < mark).cloned().collect();
        assert_eq!(durable, expected);
        drop(log);

        let (log, _) = Log::open(fs.kill().shared(), Path::new(""), options).unwrap();
        let mut reader = log.reader(0).unwrap();
        assert_eq!(rest(&mut reader), written, "also after the log was opened anew");
        let new = fill(&log, some_records(30));
        assert_eq!(rest(&mut reader), new);
    }
}

/// It read them, if there were several: what was in them, or that they end too early.
#[test]
fn a_reader_passes_over_segments_that_a_later_session_replaced() {
    for options in all_options(200) {
        let (mut fs, mut written) = (SimFs::new(), Vec::new());
        for _ in 0..4 {
            let (log, _) = Log::open(fs.shared(), Path::new(""), options.clone()).unwrap();
            assert_eq!(rest(&mut log.reader(0).unwrap()), written);
            written.extend(fill(&log, some_records(40)));
            drop(log);
            fs = fs.kill(); // Not all was synced: the next session begins with the rest.
        }
    }
}

/// A reservation at the end of the log was taken for something to read: waiting was over at once.
#[test]
fn a_reader_waits_behind_what_is_no_record() {
    for options in all_options(1000) {
        let log = Arc::new(create(&SimFs::new(), options));
        let mut reader = log.reader(0).unwrap();
        log.reserve(100).unwrap();
        log.sync().unwrap();
        let (writer, class) = (log.clone(), Durability::Sync);
        let body = move || _ = append(&*writer, b"late", class).unwrap();
        let writer = spawn("writer", body).unwrap();
        let record = reader.wait_next(None).unwrap().expect("there is no limit");
        assert_eq!(*record.bytes, *b"late");
        writer.join().unwrap();
    }
}

#[test]
fn a_reader_follows_a_writer_until_the_log_is_closed() {
    for options in all_options(1000) {
        let fs = SimFs::new();
        let log = Arc::new(create(&fs, options));
        let mut reader = log.reader(0).unwrap();
        assert!(reader.wait_next(Some(Duration::from_millis(1))).unwrap().is_none());
        let writer = log.clone();
        let body = move || {
            fill(&*writer, some_records(500));
            writer.close().unwrap();
        };
        let writer = spawn("writer", body).unwrap();
        let mut count = 0;
        loop {
            match reader.wait_next(Some(Duration::from_millis(2))) {
                Ok(Some(record)) => {
                    assert_eq!(*record.bytes, *some_records(count + 1).last().unwrap());
                    count += 1;
                }
                Ok(None) => {}
                Err(Error::Closed) => break,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(count, 500, "the close comes after all records");
        writer.join().unwrap();
    }
}

/// What Linux says of a thread; S if it sleeps.
#[cfg(target_os = "linux")]
fn state_of(task: &Path) -> char {
    let stat = std::fs::read_to_string(Path::new("/proc").join(task).join("stat")).unwrap();
    stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap()
}

/// A thread that waits for the next record, without a limit, and is asleep.
#[cfg(target_os = "linux")]
fn asleep(mut reader: Reader) -> JoinHandle<(Reader, Vec<u8>)> {
    let task = Arc::new(Mutex::new(None));
    let own = task.clone();
    let body = move || {
        *own.lock() = Some(std::fs::read_link("/proc/thread-self").unwrap());
        let bytes = reader.wait_next(None).unwrap().expect("there is no limit").bytes.into_owned();
        (reader, bytes)
    };
    let thread = std::thread::spawn(body);
    let is_asleep = || task.lock().as_ref().is_some_and(|task| state_of(task) == 'S');
    // Twice: it also sleeps for a lock.
    (0..2).for_each(|_| eventually("it sleeps", is_asleep));
    thread
}

/// A record that is there waited for the write thread's next turn, here an hour away.
#[cfg(target_os = "linux")]
#[test]
fn a_reader_that_follows_a_mapped_ring_is_woken_by_who_appends() {
    let log = create(&SimFs::new(), LogOptions { backend: Backend::LockFree, ..options(1000) });
    assert_eq!(log.is_ring_mapped(), Some(true));
    let mut reader = log.reader(0).unwrap();
    for record in some_records(100) {
        let waiting = asleep(reader);
        let ticket = log.append(&[IoSlice::new(&record)], Durability::Process).unwrap();
        let bytes;
        (reader, bytes) = waiting.join().unwrap();
        assert_eq!(bytes, record, "nobody waited for it but the reader");
        drop(ticket);
        assert!(reader.wait_next(Some(Duration::from_micros(1))).unwrap().is_none());
    }
}

/// What was acknowledged stayed in the ring until that was more than half full.
#[cfg(target_os = "linux")]
#[test]
fn a_reader_follows_a_mapped_ring_whose_write_thread_is_dead() {
    let threaded = LogOptions { backend: Backend::SyncThread, ..options(1000) };
    let log = create(&SimFs::new(), threaded);
    let early = log.append(&[IoSlice::new(b"early")], Durability::Process).unwrap();
    early.then(|_| {
        if std::thread::current().name() == Some("stratalog-wal-write") {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    });
    let is_dead = || log.stats().threads.iter().any(|it| it.1 == Health::Dead);
    eventually("the thread dies of a callback", is_dead);
    log.set_backend(Backend::LockFree).unwrap();
    assert_eq!(log.is_ring_mapped(), Some(true));
    let mut reader = log.reader(0).unwrap();
    assert_eq!(rest(&mut reader).len(), 1);
    for record in some_records(50) {
        let waiting = asleep(reader);
        append(&log, &record, Durability::Process).unwrap();
        let bytes;
        (reader, bytes) = waiting.join().unwrap();
        assert_eq!(bytes, record);
    }
}

/// FOLLOW-1: also into a ring whose records are logged without being written, and that was the front before or not.
#[cfg(target_os = "linux")]
#[test]
fn a_reader_that_waits_notices_another_backend() {
    let all = Backend::ALL;
    let changes = all.into_iter().flat_map(|from| all.map(|to| (from, to)));
    for (from, to) in changes {
        for (first, ring_mapped) in [(from, true), (from, false), (to, true), (to, false)] {
            let base = LogOptions { backend: first, ring_mapped, ..options(1000) };
            let log = create(&SimFs::new(), base);
            log.set_backend(from).unwrap();
            let mut reader = log.reader(0).unwrap();
            let soon = Some(Duration::from_millis(1));
            (0..3).for_each(|_| assert!(reader.wait_next(soon).unwrap().is_none()));
            let waiting = asleep(reader);
            log.set_backend(to).unwrap();
            append(&log, b"late", Durability::Process).unwrap();
            eventually("it is woken", || waiting.is_finished());
            assert_eq!(waiting.join().unwrap().1, b"late");
        }
    }
}

/// A place in the midst of a record, or of a mark, was told as damage.
#[test]
fn a_reader_begins_at_the_first_record_at_or_above_any_position() {
    for options in all_options(200) {
        let fs = SimFs::new();
        let mut log = create(&fs, options.clone());
        let mut written = Vec::new();
        for life in 0..2 {
            for (i, record) in some_records(30).enumerate() {
                let class = if i % 5 == 0 { Durability::Sync } else { Durability::Process };
                written.push((append(&log, &record, class).unwrap().position, record));
                log.reserve(i as u64 % 3).unwrap();
            }
            log.close().unwrap();
            if life == 0 {
                // A gap, too.
                let (_, found) = read(&fs, RecoveryMode::Strict).unwrap();
                log = go_on(&fs, options.clone(), &found, found.end + 1000).unwrap();
                continue;
            }
            let end = log.watermarks().reserved;
            for from in 0..=end + 100 {
                let mut reader = log.reader(from).unwrap();
                let expected = written.partition_point(|(at, _)| *at < from);
                assert_eq!(rest(&mut reader), written[expected..], "from {from}");
            }
        }
    }
}

/// The same where it comes only later.
#[test]
fn a_reader_begins_at_or_above_a_position_that_nobody_has_yet() {
    for options in all_options(200) {
        let (fs, count) = (SimFs::new(), 12);
        let log = create(&fs, options.clone());
        let mut readers: Vec<_> = (0..500).map(|from| (from, log.reader(from).unwrap())).collect();
        for (_, reader) in &mut readers {
            assert!(reader.next().unwrap().is_none());
        }
        let written = fill(&log, some_records(count));
        log.sync().unwrap();
        assert!(log.watermarks().reserved < 500);
        for (from, reader) in &mut readers {
            let expected = written.partition_point(|(at, _)| at < from);
            assert_eq!(rest(reader), written[expected..], "from {from}");
        }
    }
}

#[test]
fn a_reader_of_removed_records_says_so() {
    let fs = SimFs::new();
    let log = create(&fs, options(200));
    let written = fill(&log, some_records(60));
    log.truncate_before(written[40].0).unwrap();
    let mut reader = log.reader(written[1].0).unwrap();
    assert!(matches!(reader.next(), Err(Error::InvalidArgument(_))));
    let left = rest(&mut log.reader(0).unwrap());
    assert!(written.ends_with(&left) && left.len() >= 20);
}

/// It went on behind what was removed, without a word, if it had stood before that in an open file; and
/// one that had been told went on all the same when it was asked again.
#[test]
fn a_reader_whose_segment_is_removed_under_it_says_so_again_and_again() {
    for options in all_options(4000) {
        let fs = SimFs::new();
        let log = create(&fs, LogOptions { segments_ahead: true, ..options });
        let early = fill(&log, some_records(10));
        let mut reader = log.reader(0).unwrap();
        assert_eq!(rest(&mut reader), early);
        let end = reader.position();
        // The rest of its segment, and segments enough that its file is used anew.
        let mut last = Vec::new();
        for _ in 0..12 {
            last = fill(&log, some_records(150));
            log.sync().unwrap();
            log.truncate_before(last[0].0).unwrap();
        }
        for _ in 0..2 {
            assert!(matches!(reader.next(), Err(Error::InvalidArgument(_))));
        }
        assert_eq!(reader.position(), end, "it stays where it was");
        assert!(rest(&mut log.reader(0).unwrap()).ends_with(&last));
    }
}

/// FILES-6: a file that goes between the look for it and its opening. (It was "not found".)
#[test]
fn a_reader_whose_segment_goes_before_it_is_opened_begins_later_or_says_so() {
    let fs = SimFs::new();
    let log = Arc::new(create(&fs, options(200)));
    let written = fill(&*log, some_records(60));
    // The log is truncated just before the next file of it is opened.
    let due = Arc::new(Mutex::new(None::<(Arc<Log>, Position)>));
    let shrink_to = |position| *due.lock() = Some((log.clone(), position));
    let next = due.clone();
    fs.before_calls(move |op, _| {
        let due = if op == Op::Open { next.lock().take() } else { None };
        if let Some((log, before)) = due {
            log.truncate_before(before).unwrap();
        }
    });

    shrink_to(written[20].0);
    let mut reader = log.reader(0).unwrap();
    let left = rest(&mut reader);
    assert!(written.ends_with(&left) && (40..55).contains(&left.len()));

    let mut reader = log.reader(left[0].0).unwrap();
    shrink_to(written[40].0);
    let gone = reader.next().map(drop);
    assert!(matches!(gone, Err(Error::InvalidArgument(_))), "{gone:?}");
    assert_eq!(reader.position(), left[0].0);
}

/// Files are used anew while readers open them and have them open: what they give is what was written
/// there, or that it was removed. (It was any error, also of a reader of all that there is.)
#[test]
fn a_reader_never_gives_what_a_file_holds_in_its_next_life() {
    for options in all_options(4000) {
        let fs = SimFs::new();
        let log = Arc::new(create(&fs, LogOptions { segments_ahead: true, ..options }));
        let writer = log.clone();
        let body = move || {
            for i in 0..4000u64 {
                // Records of one length lie in the same places in each life.
                let place = append(&*writer, &i.to_le_bytes(), Durability::Process).unwrap();
                if i % 100 == 99 {
                    writer.truncate_before(place.position).unwrap();
                }
            }
            writer.close().unwrap();
        };
        let mut reader = log.reader(0).unwrap();
        let writer = spawn("writer", body).unwrap();
        let mut last = None;
        loop {
            match reader.wait_next(None) {
                Ok(Some(it)) => {
                    let number = u64::from_le_bytes((*it.bytes).try_into().unwrap());
                    assert!(last.is_none_or(|(at, before)| at < it.position && before < number));
                    last = Some((it.position, number));
                }
                Ok(None) => unreachable!("there is no limit"),
                Err(Error::Closed) => break,
                // Removed, before it got there or in the midst of it.
                Err(Error::InvalidArgument(_)) => reader = log.reader(0).unwrap(),
                Err(other) => panic!("{other}"),
            }
        }
        writer.join().unwrap();
        assert_eq!(last.map(|(_, number)| number), Some(3999));
    }
}

#[test]
fn a_reader_of_damage_names_the_place() {
    let fs = SimFs::new();
    let log = create(&fs, options(1 << 20));
    let written = fill(&log, [[7; 40], [8; 40], [9; 40]]);
    let name = segment_names(&fs).remove(0);
    let offset = 128 + written[1].0 - stratalog_wal::FIRST_POSITION;
    fs.corrupt(&name, offset + 20, 1);
    let mut reader = log.reader(0).unwrap();
    assert_eq!(*reader.next().unwrap().unwrap().bytes, [7; 40]);
    match reader.next() {
        Err(Error::Corrupt { path, offset: at, .. }) => {
            assert_eq!((path.display().to_string(), at), (name, offset));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reader_sees_what_nobody_waited_for() {
    for options in all_options(1 << 20) {
        let log = create(&SimFs::new(), options.clone());
        let mut reader = log.reader(0).unwrap();
        log.append(&[IoSlice::new(b"on its way")], Durability::Process).unwrap().wait().unwrap();
        assert_eq!(rest(&mut reader).len(), 1, "{:?}", options.backend);
    }
}
