use std::collections::VecDeque;

use stratalog_base::sync::{spawn, yield_now};

use super::*;

const CAPACITY: u64 = 4096;

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn ring(start: Position) -> (Arc<Ring>, Drain) {
    Ring::new(RingMemory::heap(CAPACITY as usize), start)
}

/// A frame made from a number alone: head, checksum, payload.
#[derive(Debug)]
struct Made {
    head: u64,
    checksum: u32,
    payload: Vec<u8>,
}

impl Made {
    fn new(number: u64, payload: u64) -> Made {
        let mut random = Random(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let head = payload | (number % 0xffff + 1) << 32;
        let payload = (0..payload).map(|_| random.below(256) as u8).collect();
        Made { head, checksum: random.below(1 << 32) as u32, payload }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.to_le_bytes().to_vec();
        bytes.extend(self.checksum.to_le_bytes());
        bytes.extend(&self.payload);
        bytes.resize(frame_bytes(self.head) as usize, 0);
        bytes
    }

    /// Publishes it in parts that are cut as `random` says.
    fn publish(&self, mut reserved: Reservation<'_>, random: &mut Random) {
        let mut parts = Vec::new();
        let mut rest = &self.payload[..];
        while !rest.is_empty() {
            let cut = 1 + random.below(rest.len() as u64) as usize;
            parts.extend([IoSlice::new(&rest[..cut]), IoSlice::new(&[])]);
            rest = &rest[cut..];
        }
        reserved.publish(self.head, self.checksum, &parts);
    }
}

fn put(ring: &Ring, payload: &[u8]) -> Position {
    let head = 1 << 40 | payload.len() as u64;
    let mut reserved = ring.try_reserve(frame_bytes(head)).expect("room");
    let position = reserved.position();
    reserved.publish(head, 0xc4ec_c4ec, &[IoSlice::new(payload)]);
    position
}

/// RING-2: what is free is zero.
fn assert_zero(ring: &Ring) {
    let start = ring.freed();
    assert!(ring.memory.bytes(start, start + CAPACITY).concat().iter().all(|&byte| byte == 0));
}

#[derive(Default)]
struct Model {
    /// From `freed` on: the frame, its end, whether it is published.
    frames: VecDeque<(Made, Position, bool)>,
}

fn run_against_a_model(seed: u64) {
    let random = &mut Random(seed | 1);
    let start = 8 * random.below(10_000);
    let (ring, mut drain) = ring(start);
    let (mut model, mut pending) = (Model::default(), Vec::new());
    let (mut end, mut freed) = (start, start);
    for number in 0..4000 {
        match random.below(8) {
            0..4 => {
                let limit = [40, 300, 2100, 6000][random.below(4) as usize];
                let made = Made::new(number, random.below(limit));
                let bytes = frame_bytes(made.head);
                let fits = bytes > CAPACITY / 2 || end + bytes <= freed + CAPACITY;
                match ring.try_reserve(bytes) {
                    Ok(reserved) => {
                        assert!(fits, "RING-1");
                        assert_eq!((reserved.position(), reserved.end()), (end, end + bytes));
                        assert_eq!(reserved.is_big(), bytes > CAPACITY / 2);
                        end += bytes;
                        pending
                            .extend((!reserved.is_big()).then_some((reserved, model.frames.len())));
                        model.frames.push_back((made, end, false));
                    }
                    Err(why) => assert!(!fits && why == Refused::Full),
                }
            }
            4 | 5 if !pending.is_empty() => {
                let (reserved, index) =
                    pending.swap_remove(random.below(pending.len() as u64) as usize);
                let frame = &mut model.frames[index];
                frame.0.publish(reserved, random);
                frame.2 = true;
            }
            6 => drop(ring.advance()),
            _ => {
                let whole = model.frames.iter().take_while(|frame| frame.2).count();
                let max_bytes = random.below(2 * CAPACITY);
                let chunk = drain.next(max_bytes);
                assert_eq!(chunk.start, freed);
                let taken: Vec<_> = model.frames.drain(..chunk.frames).collect();
                let bytes: Vec<u8> = taken.iter().flat_map(|frame| frame.0.bytes()).collect();
                assert_eq!(chunk.parts().concat(), bytes);
                assert_eq!(chunk.end, taken.last().map_or(freed, |frame| frame.1));
                if taken.len() < whole {
                    let next = taken.last().map_or(freed, |frame| frame.1);
                    assert!(
                        !taken.is_empty() && model.frames[0].1 - freed > max_bytes && next > freed
                    );
                }
                freed = chunk.end;
                let count = taken.len();
                drain.free(freed);
                pending.iter_mut().for_each(|(_, index)| *index -= count);
                if let Some((made, to, false)) = model.frames.front()
                    && frame_bytes(made.head) > CAPACITY / 2
                {
                    freed = *to;
                    model.frames.pop_front();
                    drain.pass(freed);
                    pending.iter_mut().for_each(|(_, index)| *index -= 1);
                }
            }
        }
        assert_eq!((ring.reserved(), ring.freed(), drain.start()), (end, freed, freed));
        assert!((freed..=end).contains(&ring.published()), "RING-1");
    }
}

#[test]
fn a_ring_holds_no_more_records_than_a_sixteenth_of_its_bytes() {
    let (ring, _drain) = ring(0);
    let smallest = u64::from(Kind::Record as u8) << 32;
    let mut records = 0;
    while let Ok(mut place) = ring.try_reserve(frame_bytes(smallest)) {
        place.publish(smallest, 0, &[]);
        records += 1;
    }
    assert_eq!(records, CAPACITY / 16);
    assert_eq!(ring.count_records(), CAPACITY / 16);
}

#[test]
fn single_threaded_the_ring_does_what_a_queue_of_frames_does() {
    for seed in 1..=100 {
        println!("seed {seed}");
        run_against_a_model(seed);
    }
}

#[test]
fn frames_of_every_length_at_every_place_come_out_as_they_went_in() {
    let (ring, mut drain) = ring(CAPACITY - 8);
    let random = &mut Random(7);
    for number in 0..2000 {
        let made = Made::new(number, number % 70);
        made.publish(ring.try_reserve(frame_bytes(made.head)).unwrap(), random);
        let chunk = drain.next(0);
        assert_eq!((chunk.frames, chunk.parts().concat()), (1, made.bytes()));
        let end = chunk.end;
        drain.free(end);
    }
    assert_zero(&ring);
}

/// A frame that says who published it, and as which of its frames.
fn named(thread: u64, number: u64) -> Made {
    let mut made = Made::new(number * 4 + thread, 16 + number * 7 % 300);
    made.payload[..8].copy_from_slice(&thread.to_le_bytes());
    made.payload[8..16].copy_from_slice(&number.to_le_bytes());
    made
}

fn publish_named(ring: &Ring, thread: u64, frames: u64) {
    let random = &mut Random(thread + 1);
    for number in 0..frames {
        let made = named(thread, number);
        let reserved = loop {
            match ring.try_reserve(frame_bytes(made.head)) {
                Ok(reserved) => break reserved,
                Err(why) => assert_eq!(why, Refused::Full),
            }
            yield_now();
        };
        made.publish(reserved, random);
        if number % 3 > 0 {
            assert!(ring.advance() <= ring.reserved());
        }
    }
}

#[test]
fn four_threads_get_each_frame_once_whole_and_in_its_threads_order() {
    const FRAMES: u64 = 50_000;
    let (ring, mut drain) = ring(0);
    let writer = |thread| {
        let ring = ring.clone();
        spawn("writer", move || publish_named(&ring, thread, FRAMES)).unwrap()
    };
    let writers: Vec<_> = (0..3).map(writer).collect();
    let mut next = [0; 3];
    while next != [FRAMES; 3] {
        let chunk = drain.next(1000);
        let (bytes, end, frames) = (chunk.parts().concat(), chunk.end, chunk.frames);
        drain.free(end);
        let mut rest = &bytes[..];
        for _ in 0..frames {
            let thread = u64::from_le_bytes(rest[12..20].try_into().unwrap());
            let expected = named(thread, next[thread as usize]).bytes();
            assert_eq!(rest[..expected.len()], expected);
            rest = &rest[expected.len()..];
            next[thread as usize] += 1;
        }
        assert!(rest.is_empty());
        if frames == 0 {
            yield_now();
        }
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!((ring.published(), ring.freed()), (ring.reserved(), ring.reserved()));
    assert_zero(&ring);
}

#[test]
fn a_full_ring_refuses_until_something_is_freed() {
    let (ring, mut drain) = ring(8);
    for _ in 0..CAPACITY / 512 {
        put(&ring, &[7; 500]);
    }
    assert_eq!(ring.try_reserve(16).unwrap_err(), Refused::Full);
    assert_eq!(ring.reserved(), 8 + CAPACITY, "no hole is left");
    assert_eq!(ring.advance(), 8 + CAPACITY, "the first frame is not taken for the next");
    let end = drain.next(1).end;
    drain.free(end);
    assert_eq!(put(&ring, &[8; 500]), 8 + CAPACITY);
    assert_eq!(ring.try_reserve(16).unwrap_err(), Refused::Full);
    assert_eq!(ring.advance(), 8 + CAPACITY + 512);
}

#[test]
fn a_big_frame_takes_positions_and_no_memory() {
    let (ring, mut drain) = ring(0);
    put(&ring, b"before");
    let big = ring.try_reserve(3 * CAPACITY).unwrap();
    let (start, end) = (big.position(), big.end());
    assert!(big.is_big());
    assert_eq!(ring.try_reserve(16).unwrap_err(), Refused::Full);
    let other = ring.try_reserve(CAPACITY / 2 + 8).unwrap();
    assert_eq!(other.position(), end, "another big one needs no room, either");
    let chunk = drain.next(u64::MAX);
    assert_eq!((chunk.frames, chunk.end), (1, start));
    drain.free(start);
    drain.pass(end);
    assert_eq!(put(&ring, b"behind"), other.end());
    assert_eq!(drain.next(u64::MAX).frames, 0);
    drain.pass(other.end());
    assert_eq!(ring.published(), ring.reserved(), "passing by advances");
    let chunk = drain.next(u64::MAX);
    assert_eq!(&chunk.parts()[0][12..18], b"behind");
    let end = chunk.end;
    drain.free(end);
    assert_zero(&ring);
}

#[test]
fn a_closed_ring_lets_in_nothing_but_what_is_reserved_and_opens_again_elsewhere() {
    let (ring, mut drain) = ring(0);
    let mut reserved = ring.try_reserve(16).unwrap();
    assert_eq!((ring.close(), ring.close()), (16, 16));
    assert_eq!(ring.try_reserve(16).unwrap_err(), Refused::Closed);
    assert_eq!(ring.try_reserve(CAPACITY).unwrap_err(), Refused::Closed);
    assert_eq!(ring.reserved(), 16);
    reserved.publish(4 | 1 << 32, 0, &[IoSlice::new(b"last")]);
    assert_eq!(drain.next(1).end, 16);
    drain.free(16);
    drain.reopen(1000);
    assert_eq!((ring.reserved(), ring.published(), ring.freed()), (1000, 1000, 1000));
    assert_eq!(put(&ring, b"again"), 1000);
    assert_eq!(drain.next(1).start, 1000);
}

#[test]
#[should_panic(expected = "more than was reserved")]
fn a_frame_that_is_longer_than_was_reserved_is_not_published() {
    let (ring, _drain) = ring(0);
    ring.try_reserve(16).unwrap().publish(5 | 1 << 32, 0, &[IoSlice::new(b"12345")]);
}

#[test]
#[should_panic(expected = "not closed, or not drained")]
fn a_ring_that_is_not_drained_is_not_opened_again() {
    let (ring, mut drain) = ring(0);
    put(&ring, b"x");
    ring.close();
    drain.reopen(100);
}

#[test]
#[should_panic(expected = "is not in")]
fn what_is_not_published_cannot_be_freed() {
    let (ring, mut drain) = ring(0);
    let _reserved = ring.try_reserve(16);
    drain.free(16);
}
