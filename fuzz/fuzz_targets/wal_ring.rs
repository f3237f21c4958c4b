//! A ring file of any bytes, or one with frames in it, some of its bytes changed: what is read are
//! frames in a row, those before the first change are all there, and no length in it is believed.
#![no_main]

use std::io::IoSlice;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use stratalog_base::fs::SimFs;
use stratalog_wal::frame::{Draft, Frame, Kind};
use stratalog_wal::ring_file::{self, HEADER_BYTES, RingImage};
use stratalog_wal::scan::AtBad;
use stratalog_wal::segment::{Header, Identity, Link};

const CAPACITY: u64 = 4096;

fuzz_target!(|input: (u16, Vec<&[u8]>, Vec<(u16, u8)>, &[u8])| {
    let (start, payloads, changes, raw) = input;
    // A header of any bytes.
    if let Ok(image) = RingImage::decode(raw.to_vec(), Path::new("raw")) {
        assert_eq!(image.from(u64::from(start)).len() as u64, image.capacity());
    }

    let base = 8 + u64::from(start) * 8;
    let link = Link { base, previous: None, durable: base, session: 3 };
    let header = Header { id: Identity { log_id: 7, index: 3, is_ahead: false }, link };
    let fs = SimFs::new();
    ring_file::create(&fs, Path::new(""), 7, 3, CAPACITY).expect("the disk works");
    let mut bytes = fs.read_file(ring_file::NAME);
    let mut ends = vec![base];
    for payload in payloads {
        let position = ends[ends.len() - 1];
        let (mut frame, parts) = (Vec::new(), [IoSlice::new(payload)]);
        let draft = Draft::new(Kind::Record, &parts).expect("a short payload");
        draft.encode(header.stream(), position, &mut frame);
        if position + draft.frame_bytes() > base + CAPACITY {
            break;
        }
        for (at, byte) in (position..).zip(frame) {
            bytes[HEADER_BYTES + (at % CAPACITY) as usize] = byte;
        }
        ends.push(position + draft.frame_bytes());
    }
    let changes = changes.iter().filter(|(_, bits)| *bits != 0);
    let mut first_change = CAPACITY;
    for (at, bits) in changes {
        let at = u64::from(*at) % CAPACITY;
        bytes[HEADER_BYTES + at as usize] ^= bits;
        first_change = first_change.min((at + CAPACITY - base % CAPACITY) % CAPACITY);
    }

    let image = RingImage::decode(bytes, Path::new(ring_file::NAME)).expect("the header is whole");
    assert!(image.is_of(&header));
    let in_order = image.from(base);
    let (mut rest, mut at) = (&in_order[..], base);
    while let Ok(frame) = Frame::decode(rest, header.stream(), at) {
        if frame.kind.is_last() {
            break;
        }
        rest = &rest[frame.frame_bytes() as usize..];
        at = frame.end();
    }
    let sound = ends.iter().rev().find(|end| **end - base <= first_change).expect("the base");
    assert!(at >= *sound, "{at} {sound}");
    for at_bad in [AtBad::End, AtBad::Skip] {
        let mut end = base;
        let scan = image.scan(&header, base, at_bad, &mut |frame| {
            assert!(frame.position >= end && (at_bad == AtBad::Skip || frame.position == end));
            end = frame.end();
            let _ = frame.record();
            Ok(())
        });
        let scan = scan.expect("no error of ours");
        assert!(scan.end >= end && scan.end <= base + CAPACITY);
        assert!(at_bad == AtBad::Skip || scan.end == at);
    }
});
