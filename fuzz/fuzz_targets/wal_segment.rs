//! A segment of valid frames, some of its bytes changed: what lies before the first change is read as
//! it was written, a salvage reads what lies behind it, and the rest is sorted into whole, torn or
//! damaged.
#![no_main]

use std::io::IoSlice;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use stratalog_wal::frame::{Draft, Kind, compress, put_promise, put_seal};
use stratalog_wal::scan::{AtBad, greatest_promise, scan_segment};
use stratalog_wal::segment::{HEADER_BYTES, Header, Identity, Link, Previous};

const HEADER: Header = Header {
    id: Identity { log_id: 7, index: 4, is_ahead: true },
    link: Link {
        base: 1000,
        previous: Some(Previous { index: 3, end: 992 }),
        durable: 984,
        session: 2,
    },
};

/// Position, kind, where it ends, bytes of the frame, and the record.
type Written = (u64, Kind, u64, u64, Vec<u8>);

/// Appends a frame of any kind, with `payload` as its record or the length of that as a promise.
fn put(kind: u8, payload: &[u8], out: &mut Vec<u8>) -> Written {
    let stream = HEADER.stream();
    let (start, position) = (out.len(), HEADER.link.base + (out.len() - HEADER_BYTES) as u64);
    let promise = position.saturating_sub(payload.len() as u64);
    let mut packed = Vec::new();
    let plain = [IoSlice::new(payload)];
    let kind = match kind % 6 {
        0 => Kind::Record,
        1 => Kind::Skip,
        2 => Kind::Mark,
        3 => Kind::Close,
        4 => Kind::Seal,
        _ => {
            compress(&plain, &mut packed);
            let parts = [IoSlice::new(&packed)];
            Draft::compressed(&parts).expect("a short payload").encode(stream, position, out);
            let end = HEADER.link.base + (out.len() - HEADER_BYTES) as u64;
            return (position, Kind::Record, end, (out.len() - start) as u64, payload.to_vec());
        }
    };
    match kind {
        Kind::Seal => put_seal(promise, 5, stream, position, out),
        Kind::Mark | Kind::Close => put_promise(kind, promise, stream, position, out),
        _ => Draft::new(kind, &plain).expect("a short payload").encode(stream, position, out),
    }
    let bytes = (out.len() - start) as u64;
    let end = if kind == Kind::Seal { position } else { position + bytes };
    (position, kind, end, bytes, payload.to_vec())
}

fuzz_target!(|input: (Vec<(u8, &[u8])>, Vec<(u16, u8)>, Option<u16>, &[u8])| {
    let (frames, changes, limit, raw) = input;
    let mut bytes = HEADER.encode();
    let mut written: Vec<Written> = Vec::new();
    for (kind, payload) in frames {
        let frame = put(kind, payload, &mut bytes);
        let is_last = frame.1.is_last();
        written.push(frame);
        if is_last {
            break;
        }
    }
    let frames_end = bytes.len();
    bytes.extend_from_slice(raw);
    let room = bytes.len() - HEADER_BYTES;
    let mut first_change = frames_end;
    for (at, bits) in changes.iter().filter(|(_, bits)| room > 0 && *bits != 0) {
        let at = HEADER_BYTES + usize::from(*at) % room;
        bytes[at] ^= bits;
        first_change = first_change.min(at);
    }
    let base = HEADER.link.base;
    let limit = limit.map(|limit| base + u64::from(limit) * 8);

    for at_bad in [AtBad::End, AtBad::Skip] {
        let mut read: Vec<Written> = Vec::new();
        let scan = scan_segment(&bytes, &HEADER, limit, at_bad, &mut |frame| {
            assert_eq!(frame.next_segment().is_some(), frame.kind == Kind::Seal);
            let record = frame.record().map(|it| it.into_owned()).unwrap_or_default();
            read.push((frame.position, frame.kind, frame.end(), frame.frame_bytes(), record));
            Ok(())
        })
        .expect("no error of ours");
        let ordered = read.windows(2).all(|pair| pair[0].2 <= pair[1].0);
        let contiguous = read.windows(2).all(|pair| pair[0].2 == pair[1].0);
        assert!(ordered && scan.end <= base + room as u64);
        let end = read.last().map_or(base, |frame| frame.2);
        match at_bad {
            AtBad::End => assert!(contiguous && scan.gaps.is_empty() && scan.end == end),
            AtBad::Skip => assert!(scan.end >= end),
        }
        let sound = |frame: &Written| {
            HEADER.offset(frame.0) + frame.3 <= first_change as u64
                && limit.is_none_or(|limit| frame.0 < limit && frame.2 <= limit)
        };
        for (index, frame) in written.iter().take_while(|frame| sound(frame)).enumerate() {
            let got = read.get(index).expect("it is whole");
            assert_eq!((got.0, got.1, got.2, got.3), (frame.0, frame.1, frame.2, frame.3));
            assert!(frame.1 != Kind::Record || got.4 == frame.4);
        }
    }
    let _ = greatest_promise(&bytes, &HEADER);
    // A header of any bytes.
    let _ = Header::decode(raw, Path::new("raw"));
});
