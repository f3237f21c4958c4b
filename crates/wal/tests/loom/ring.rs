//! The ring. Frames have 16 bytes if nothing else is said, and their contents tell their positions.

use std::io::IoSlice;

use loom::thread;
use stratalog_base::sync::Arc;
use stratalog_wal::queue::Refused;
use stratalog_wal::ring::{Drain, Reservation, Ring, RingMemory, frame_bytes};

const FRAME: u64 = 16;

/// A ring with room for so many frames.
fn ring(frames: u64) -> (Arc<Ring>, Drain) {
    Ring::new(RingMemory::heap((frames * FRAME) as usize), 0)
}

/// The frame at `position`, of `words` words.
fn expected(position: u64, words: u64) -> Vec<u8> {
    let (checksum, payload) =
        (position as u32 | 1, vec![position as u8 | 2; words as usize * 8 - 12]);
    let head = (position + 1) << 32 | payload.len() as u64;
    [&head.to_le_bytes()[..], &checksum.to_le_bytes(), &payload].concat()
}

fn publish(mut reserved: Reservation<'_>) {
    let (start, end) = (reserved.position(), reserved.end());
    let frame = expected(start, (end - start) / 8);
    let head = u64::from_le_bytes(frame[..8].try_into().expect("a head"));
    assert_eq!(frame_bytes(head), end - start);
    let checksum = u32::from_le_bytes(frame[8..12].try_into().expect("a checksum"));
    reserved.publish(head, checksum, &[IoSlice::new(&frame[12..])]);
}

/// Publishes a frame as soon as there is room, and returns where it ends.
fn put(ring: &Ring) -> u64 {
    loop {
        match ring.try_reserve(FRAME) {
            Ok(reserved) => {
                let end = reserved.end();
                publish(reserved);
                return end;
            }
            Err(why) => assert_eq!(why, Refused::Full),
        }
        thread::yield_now();
    }
}

/// Takes at most `max_bytes`, looks at each byte, and frees them. Returns how many frames they were.
fn take(drain: &mut Drain, max_bytes: u64, words: u64) -> u64 {
    let chunk = drain.next(max_bytes);
    let (start, end, frames) = (chunk.start, chunk.end, chunk.frames as u64);
    assert_eq!(end - start, frames * words * 8);
    let positions = (start..end).step_by(words as usize * 8);
    let bytes: Vec<u8> = positions.flat_map(|position| expected(position, words)).collect();
    assert_eq!(chunk.parts().concat(), bytes, "RING-3");
    drain.free(end);
    frames
}

/// RING-5
#[test]
fn of_two_who_publish_neighbours_and_advance_none_is_left_behind() {
    loom::model(|| {
        let (ring, _drain) = ring(2);
        let other = ring.clone();
        let other = thread::spawn(move || {
            put(&other);
            other.advance();
        });
        put(&ring);
        ring.advance();
        other.join().unwrap();
        assert_eq!(ring.published(), 2 * FRAME);
    });
}

/// RING-5: the zeros that the drain leaves do not pass for frames that others will advance over.
#[test]
fn none_is_left_behind_while_the_first_are_drained_and_freed() {
    loom::model(|| {
        let (ring, mut drain) = ring(2);
        let other = ring.clone();
        let writer = thread::spawn(move || {
            put(&other);
            other.advance();
        });
        let draining = thread::spawn(move || {
            // Without the drain's own advance, which would help.
            let published = drain.ring().published();
            if published > 0 {
                drain.free(published);
            }
        });
        put(&ring);
        ring.advance();
        writer.join().unwrap();
        draining.join().unwrap();
        assert_eq!(ring.published(), 2 * FRAME);
    });
}

/// RING-3 and RING-5: who reserved first publishes last.
#[test]
fn a_stalled_writer_holds_all_back_and_then_all_is_covered() {
    loom::model(|| {
        let (ring, _drain) = ring(2);
        let stalled = ring.try_reserve(FRAME).unwrap();
        let other = ring.clone();
        let other = thread::spawn(move || {
            put(&other);
            other.advance();
        });
        assert_eq!(ring.advance(), 0);
        publish(stalled);
        let covered = ring.advance();
        assert!(covered >= FRAME);
        other.join().unwrap();
        assert_eq!(ring.published(), 2 * FRAME);
    });
}

/// RING-3, with a frame of which more than the head can be missing.
#[test]
fn a_frame_is_drained_whole_or_not_at_all() {
    loom::model(|| {
        let (ring, mut drain) = ring(4);
        let writer = ring.clone();
        let writer = thread::spawn(move || {
            publish(writer.try_reserve(32).unwrap());
            writer.advance();
        });
        let early = take(&mut drain, u64::MAX, 4);
        writer.join().unwrap();
        assert_eq!(early + take(&mut drain, u64::MAX, 4), 1);
    });
}

/// RING-3: `published` also carries the frames that somebody else has walked over.
#[test]
fn a_frame_that_others_walked_over_is_whole() {
    loom::model(|| {
        let (ring, mut drain) = ring(2);
        let (writer, walker) = (ring.clone(), ring.clone());
        let writer = thread::spawn(move || put(&writer));
        let walker = thread::spawn(move || walker.advance());
        take(&mut drain, u64::MAX, 2);
        writer.join().unwrap();
        walker.join().unwrap();
    });
}

/// RING-1, RING-2 and RING-4: the ring laps. Nobody writes what is not freed, or takes a frame of the
/// lap before for one of this lap.
#[test]
fn a_writer_waits_for_what_is_freed_and_older_laps_are_not_taken_for_frames() {
    loom::model(|| {
        let (ring, mut drain) = ring(2);
        let writer = ring.clone();
        let writer = thread::spawn(move || {
            for _ in 0..3 {
                let end = put(&writer);
                assert!(end <= writer.freed() + writer.capacity(), "RING-1");
                assert!(writer.advance() >= end);
            }
        });
        let mut left = 3;
        while left > 0 {
            match take(&mut drain, FRAME, 2) {
                0 => thread::yield_now(),
                frames => left -= frames,
            }
        }
        writer.join().unwrap();
        assert_eq!((ring.published(), ring.reserved()), (3 * FRAME, 3 * FRAME));
    });
}

/// RING-4: a full ring's next head is that of its first frame.
#[test]
fn a_full_ring_is_not_walked_twice() {
    loom::model(|| {
        let (ring, mut drain) = ring(2);
        let walker = ring.clone();
        put(&ring);
        put(&ring);
        let walker = thread::spawn(move || walker.advance());
        assert_eq!(ring.advance(), 2 * FRAME);
        assert_eq!(take(&mut drain, FRAME, 2), 1);
        assert_eq!(ring.advance(), 2 * FRAME);
        assert_eq!(walker.join().unwrap(), 2 * FRAME);
    });
}

/// RING-7: what a look finds whole is so, and an advance goes as far.
#[test]
fn what_is_seen_whole_is_published() {
    loom::model(|| {
        let (ring, _drain) = ring(4);
        let put_and_look = || {
            let ring = ring.clone();
            move || {
                let end = put(&ring);
                if ring.is_whole(end) {
                    assert!(ring.advance() >= end);
                }
            }
        };
        let other = thread::spawn(put_and_look());
        put_and_look()();
        other.join().unwrap();
        assert!(ring.is_whole(2 * FRAME) && !ring.is_whole(3 * FRAME));
    });
}

/// RING-8: a full ring's next head is that of its first frame.
#[test]
fn a_look_does_not_go_round_a_full_ring() {
    loom::model(|| {
        let (ring, _drain) = ring(2);
        let looker = ring.clone();
        let looker = thread::spawn(move || looker.is_whole(3 * FRAME));
        put(&ring);
        put(&ring);
        assert!(ring.is_whole(2 * FRAME) && !ring.is_whole(3 * FRAME));
        assert!(!looker.join().unwrap());
    });
}

/// RING-8: a look that finds a younger lap's word where a frame was does not believe it.
#[test]
fn a_look_that_began_a_lap_ago_is_not_believed() {
    loom::model(|| {
        let (ring, mut drain) = ring(4);
        publish(ring.try_reserve(FRAME).unwrap());
        publish(ring.try_reserve(FRAME).unwrap());
        // Nobody publishes what comes next.
        let hole = ring.try_reserve(FRAME).unwrap();
        let end = hole.end();
        let looker = ring.clone();
        let looker = thread::spawn(move || looker.is_whole(end));
        assert_eq!(take(&mut drain, u64::MAX, 2), 2);
        publish(ring.try_reserve(FRAME).unwrap());
        // Of this one, a word that passes for the head of a long frame lies where the second was.
        let mut long = ring.try_reserve(2 * FRAME).unwrap();
        let forged = [[1; 4], (2 * FRAME as u32).to_le_bytes(), [1; 4], [1; 4], [1; 4]].concat();
        long.publish(1 << 32 | forged.len() as u64, 1, &[IoSlice::new(&forged)]);
        assert!(!looker.join().unwrap());
    });
}

/// RING-2: two writers and the lap.
#[test]
fn two_writers_never_write_what_is_not_freed() {
    loom::model(|| {
        let (ring, mut drain) = ring(2);
        put(&ring);
        let writer = || {
            let ring = ring.clone();
            thread::spawn(move || match ring.try_reserve(FRAME) {
                Ok(reserved) => {
                    publish(reserved);
                    ring.advance();
                    1
                }
                Err(why) => {
                    assert_eq!(why, Refused::Full);
                    0
                }
            })
        };
        let writers = [writer(), writer()];
        let mut taken = take(&mut drain, FRAME, 2);
        let put: u64 = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
        assert!(put >= 1);
        taken += take(&mut drain, u64::MAX, 2);
        assert_eq!(taken, 1 + put);
    });
}

/// RING-6
#[test]
fn what_is_reserved_ends_at_or_below_what_closing_returned() {
    loom::model(|| {
        let (ring, _drain) = ring(4);
        let writer = || {
            let ring = ring.clone();
            thread::spawn(move || ring.try_reserve(FRAME).map_or(0, |reserved| reserved.end()))
        };
        let writers = [writer(), writer()];
        let end = ring.close();
        let ends = writers.map(|writer| writer.join().unwrap());
        assert_eq!(ends.into_iter().max(), Some(end));
        assert_eq!(ring.try_reserve(FRAME).unwrap_err(), Refused::Closed);
        assert_eq!(ring.reserved(), end);
    });
}

/// RING-1 and RING-5: frames behind a big one wait for it, and are covered when it is passed by.
#[test]
fn what_lies_behind_a_big_frame_is_covered_once_that_is_passed_by() {
    loom::model(|| {
        let (ring, mut drain) = ring(4);
        let big = ring.try_reserve(40).unwrap().end();
        let other = ring.clone();
        let other = thread::spawn(move || {
            let end = put(&other);
            let freed = other.freed();
            assert!(other.published() >= freed, "RING-1");
            other.advance();
            end
        });
        assert_eq!(drain.next(u64::MAX).frames, 0);
        drain.pass(big);
        let end = other.join().unwrap();
        assert_eq!((ring.published(), end), (end, big + FRAME));
        assert_eq!(take(&mut drain, u64::MAX, 2), 1);
    });
}

/// Whoever reserves in a ring that was opened again meets nothing of its former life.
#[test]
fn a_ring_that_is_opened_again_takes_frames_from_there() {
    loom::model(|| {
        let (ring, mut drain) = ring(2);
        put(&ring);
        take(&mut drain, u64::MAX, 2);
        // More than a lap away, so that no mark may stay behind.
        let at = ring.close() + 2 * ring.capacity() + 8;
        let other = ring.clone();
        let other = thread::spawn(move || match other.try_reserve(FRAME) {
            Ok(reserved) => {
                publish(reserved);
                other.advance()
            }
            Err(why) => {
                assert_eq!(why, Refused::Closed);
                0
            }
        });
        drain.reopen(at);
        let covered = other.join().unwrap();
        assert!([0, at + FRAME].contains(&covered));
        assert_eq!(take(&mut drain, u64::MAX, 2), u64::from(covered > 0));
    });
}

/// `published` is a watermark: a slow walk does not set it back.
#[test]
fn trap_14_published_never_falls() {
    loom::model(|| {
        let (ring, _drain) = ring(2);
        let walker = ring.clone();
        put(&ring);
        let walker = thread::spawn(move || {
            let first = walker.advance();
            assert!(walker.published() >= first);
            assert!(walker.advance() >= first);
        });
        put(&ring);
        let covered = ring.advance();
        assert_eq!(covered, 2 * FRAME);
        walker.join().unwrap();
        assert_eq!(ring.published(), covered);
    });
}

/// RING-4: a walk that loaded `published` before others went on neither moves it by what it finds there
/// now, nor holds anybody up.
#[test]
fn trap_19_a_walk_that_began_a_lap_ago_moves_nothing() {
    loom::model(|| {
        let (ring, mut drain) = ring(4);
        let walker = ring.clone();
        let walker = thread::spawn(move || walker.advance());
        // The last frame's payload lies where the first one's head was.
        let mut end = 0;
        for words in [2, 3, 4] {
            let reserved = ring.try_reserve(words * 8).unwrap();
            end = reserved.end();
            publish(reserved);
            assert_eq!(take(&mut drain, u64::MAX, words), 1);
            assert_eq!(ring.published(), end);
        }
        assert!(end > ring.capacity() && walker.join().unwrap() <= end);
        assert_eq!(ring.published(), end);
    });
}

#[test]
fn trap_20_a_lost_cas_is_not_full() {
    loom::model(|| {
        let (ring, _drain) = ring(2);
        let other = ring.clone();
        let other = thread::spawn(move || other.try_reserve(FRAME).unwrap().position());
        let mine = ring.try_reserve(FRAME).unwrap().position();
        assert_eq!(mine + other.join().unwrap(), FRAME, "one each, without a hole");
        assert_eq!(ring.try_reserve(FRAME).unwrap_err(), Refused::Full);
    });
}

/// Nothing that was let in before closing is forgotten.
#[test]
fn trap_22_what_was_reserved_before_closing_is_drained() {
    loom::model(|| {
        let (ring, mut drain) = ring(2);
        let writer = ring.clone();
        let writer = thread::spawn(move || match writer.try_reserve(FRAME) {
            Ok(reserved) => {
                publish(reserved);
                1
            }
            Err(why) => {
                assert_eq!(why, Refused::Closed);
                0
            }
        });
        let end = ring.close();
        let mut taken = 0;
        while drain.start() < end {
            match take(&mut drain, u64::MAX, 2) {
                0 => thread::yield_now(),
                frames => taken += frames,
            }
        }
        assert_eq!(taken, writer.join().unwrap());
    });
}
