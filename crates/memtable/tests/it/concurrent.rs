//! Writers and readers at once.

use std::sync::Arc;

use stratalog_base::key::MAX_SEQ_NO;
use stratalog_base::sync::{AtomicU64, Ordering};
use stratalog_base::{Cursor, KeyRef, Kind};
use stratalog_memtable::Memtable;

const WRITERS: u64 = 3;
const ENTRIES: u64 = 20_000;

/// The `index`-th key of a writer. All writers' keys interleave; every third key is ascending text,
/// every third differs late.
fn key(writer: u64, index: u64) -> Vec<u8> {
    let scattered = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    match index % 3 {
        0 => format!("{index:07}/{writer}").into_bytes(),
        1 => [&scattered.to_be_bytes()[..], &[writer as u8]].concat(),
        _ => format!("shared prefix {scattered:020}/{writer}").into_bytes(),
    }
}

fn value(writer: u64, index: u64) -> Vec<u8> {
    vec![writer as u8; index as usize % 90]
}

fn check_walk(memtable: &Arc<Memtable>, least: u64, forwards: bool) {
    let mut cursor = memtable.cursor();
    if forwards { cursor.seek_first() } else { cursor.seek_last() }.unwrap();
    let (mut seen, mut old, mut last) = (0, 0, None);
    while cursor.valid() {
        let key = cursor.key().to_owned();
        if let Some(last) = last.replace(key.clone()) {
            let (last, key) = (last.as_ref(), key.as_ref());
            assert!(if forwards { last < key } else { key < last }, "{last:?} then {key:?}");
        }
        let (writer, index) = (key.trailer.seq() % WRITERS, key.trailer.seq() / WRITERS);
        assert_eq!(cursor.value(), value(writer, index));
        seen += 1;
        old += u64::from(index < least);
        if forwards { cursor.next() } else { cursor.prev() }.unwrap();
    }
    assert_eq!(old, least * WRITERS, "of {seen}: all that was there before the walk");
}

#[test]
fn readers_see_in_order_and_whole_what_writers_have_inserted() {
    let memtable = Arc::new(Memtable::new());
    let done: Vec<AtomicU64> = (0..WRITERS).map(|_| AtomicU64::new(0)).collect();
    let least = || done.iter().map(|done| done.load(Ordering::Acquire)).min().unwrap_or(0);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (memtable, done) = (&memtable, &done[writer as usize]);
            scope.spawn(move || {
                for index in 0..ENTRIES {
                    let (user, seq) = (key(writer, index), index * WRITERS + writer);
                    memtable
                        .insert(KeyRef::new(&user, seq, Kind::Put), &value(writer, index))
                        .unwrap();
                    let (trailer, read) = memtable.get(&user, MAX_SEQ_NO).expect("just inserted");
                    assert_eq!((trailer.seq(), &read[..]), (seq, &value(writer, index)[..]));
                    done.store(index + 1, Ordering::Release);
                }
            });
        }
        for forwards in [true, false] {
            let (memtable, least) = (&memtable, &least);
            scope.spawn(move || {
                while least() < ENTRIES {
                    check_walk(memtable, least(), forwards);
                }
            });
        }
    });
    assert_eq!(memtable.len() as u64, WRITERS * ENTRIES);
    check_walk(&memtable, ENTRIES, true);
    check_walk(&memtable, ENTRIES, false);
}

#[test]
fn writers_of_the_same_keys_leave_each_once() {
    let memtable = Arc::new(Memtable::new());
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let memtable = &memtable;
            scope.spawn(move || {
                for index in 0..ENTRIES {
                    let user = key(0, (index + writer * 7) % ENTRIES);
                    memtable.insert(KeyRef::new(&user, 1, Kind::Put), &[writer as u8; 40]).unwrap();
                }
            });
        }
    });
    assert_eq!(memtable.len() as u64, ENTRIES);
    let mut cursor = memtable.cursor();
    cursor.seek_first().unwrap();
    let mut seen = 0;
    while cursor.valid() {
        assert!(cursor.value().iter().all(|&byte| byte == cursor.value()[0]));
        seen += 1;
        cursor.next().unwrap();
    }
    assert_eq!(seen, ENTRIES);
}

#[test]
fn writers_go_on_through_seals_and_every_memtable_holds_its_stretch_of_history() {
    const MEMTABLES: usize = 20;
    let memtables: Vec<Arc<Memtable>> = (0..MEMTABLES).map(|_| Arc::default()).collect();
    let next = AtomicU64::new(0);
    let (memtables, next) = (&memtables, &next);
    let ends: Vec<u64> = std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                for index in 0..ENTRIES {
                    let seq = next.fetch_add(1, Ordering::AcqRel);
                    let user = key(writer, index);
                    let put = |memtable: &Arc<Memtable>| {
                        memtable.insert(KeyRef::new(&user, seq, Kind::Put), b"").is_ok()
                    };
                    assert!(memtables.iter().any(put));
                }
            });
        }
        // Each as soon as some more numbers have been handed out.
        let seal = |(count, memtable): (u64, &Arc<Memtable>)| {
            while next.load(Ordering::Relaxed) < count * WRITERS * ENTRIES / MEMTABLES as u64 {
                std::hint::spin_loop();
            }
            memtable.seal(|| next.fetch_add(0, Ordering::AcqRel))
        };
        (1..).zip(&memtables[..MEMTABLES - 1]).map(seal).collect()
    });
    let mut start = 0;
    for (memtable, end) in memtables.iter().zip(ends.into_iter().chain([WRITERS * ENTRIES])) {
        let (mut cursor, mut seqs) = (memtable.cursor(), Vec::new());
        cursor.seek_first().unwrap();
        while cursor.valid() {
            seqs.push(cursor.key().trailer.seq());
            cursor.next().unwrap();
        }
        seqs.sort_unstable();
        assert!(seqs.into_iter().eq(start..end), "{start}..{end}");
        start = end;
    }
}
