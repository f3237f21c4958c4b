//! A segment of valid frames, some of its bytes changed: what lies before the first change is read as
//! it was written, and the rest is sorted into whole, torn or damaged.
#![no_main]

use std::io::IoSlice;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use stratalog_wal::frame::{Draft, Kind, put_promise};
use stratalog_wal::scan::scan_segment;
use stratalog_wal::segment::{HEADER_BYTES, Header};

const HEADER: Header = Header { log_id: 7, index: 1, base: 1000, previous: None };

fuzz_target!(|input: (Vec<(u8, &[u8])>, Vec<(u16, u8)>, Option<u16>, &[u8])| {
    let (frames, changes, limit, raw) = input;
    let mut bytes = HEADER.encode();
    let mut written = Vec::new();
    for (kind, payload) in frames {
        let position = HEADER.base + (bytes.len() - HEADER_BYTES) as u64;
        let start = bytes.len();
        let kind =
            [Kind::Record, Kind::Skip, Kind::Mark, Kind::Close, Kind::Seal][usize::from(kind) % 5];
        if kind.promises() {
            let back = payload.len() as u64;
            put_promise(kind, position.saturating_sub(back), HEADER.log_id, position, &mut bytes);
        } else {
            let parts = [IoSlice::new(payload)];
            let draft = Draft::new(kind, &parts).expect("a short payload");
            draft.encode(HEADER.log_id, position, &mut bytes);
        }
        written.push((position, kind, bytes[start..].to_vec()));
        if kind.is_last() {
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
    let limit = limit.map(|limit| HEADER.base + u64::from(limit));

    let mut read = Vec::new();
    let scan = scan_segment(&bytes, &HEADER, limit, &mut |frame| {
        read.push((frame.position, frame.kind, frame.end()));
        Ok(())
    })
    .expect("no error of ours");
    let contiguous = read.windows(2).all(|pair| pair[0].2 == pair[1].0);
    assert!(contiguous && scan.end <= HEADER.base + room as u64);
    assert_eq!(scan.end, read.last().map_or(HEADER.base, |frame| frame.2));
    let sound = |end: u64| {
        HEADER_BYTES as u64 + end - HEADER.base <= first_change as u64
            && limit.is_none_or(|limit| end <= limit)
    };
    let expected = written.iter().map(|(at, kind, frame)| (*at, *kind, *at + frame.len() as u64));
    for (index, frame) in expected.take_while(|frame| sound(frame.2)).enumerate() {
        assert_eq!(read.get(index), Some(&frame));
    }
    // A header of any bytes.
    let _ = Header::decode(raw, Path::new("raw"));
});
