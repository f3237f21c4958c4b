//! The decoder of `base` takes any bytes apart and never loses count; what it read encodes to the
//! same bytes again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stratalog_base::Trailer;
use stratalog_base::codec::{Decoder, put_bytes, put_u32, put_u64, put_varint};

fuzz_target!(|input: (Vec<u8>, &[u8])| {
    let (script, bytes) = input;
    let mut decoder = Decoder::new(bytes);
    let mut again = Vec::new();
    for step in script {
        let start = decoder.offset();
        let done = match step % 6 {
            0 => decoder.u8().map(|byte| again.push(byte)),
            1 => decoder.u32().map(|value| put_u32(&mut again, value)),
            2 => decoder.u64().map(|value| {
                let trailer = Trailer::from_bits(value);
                put_u64(&mut again, trailer.map_or(value, Trailer::bits));
            }),
            3 => decoder.varint().map(|value| put_varint(&mut again, value)),
            4 => decoder.bytes().map(|value| put_bytes(&mut again, value)),
            _ => decoder.varint_max(1000).map(|value| put_varint(&mut again, value as u64)),
        };
        match done {
            Ok(()) => assert_eq!(again, bytes[..decoder.offset()]),
            Err(malformed) => {
                assert!(malformed.offset >= start && malformed.offset <= bytes.len());
                again.truncate(start);
                again.extend_from_slice(&bytes[start..decoder.offset()]);
            }
        }
    }
    assert_eq!(decoder.offset() + decoder.rest().len(), bytes.len());
});
