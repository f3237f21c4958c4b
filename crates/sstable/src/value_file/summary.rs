//! [`ValueSummary`]: what manifests keep of a value file.
//!
//! In a manifest edit: number, bytes, records and record bytes (varints), checksum (8 bytes).

use stratalog_base::codec::{Decoder, Malformed, put_u64, put_varint};

use super::MAX_RECORD_BYTES;
use crate::frame::FRAME_BYTES;

/// What the rest of the engine needs to know of a value file without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueSummary {
    /// The file number, which is in every record's checksum.
    pub id: u64,
    /// The length of the file.
    pub bytes: u64,
    /// How many values it holds.
    pub records: u64,
    /// The bytes of all records with their frames. What tables refer to of them is live.
    pub record_bytes: u64,
    /// A digest of the checksums of all records. It tells an older or other file of the same number.
    pub checksum: u64,
}

impl ValueSummary {
    /// Appends the summary.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.id, self.bytes, self.records, self.record_bytes] {
            put_varint(out, number);
        }
        put_u64(out, self.checksum);
    }

    /// Takes a summary.
    ///
    /// # Errors
    /// If the bytes are none, or contradict each other.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<ValueSummary, Malformed> {
        let start = decoder.offset();
        let summary = ValueSummary {
            id: decoder.varint()?,
            bytes: decoder.varint()?,
            records: decoder.varint()?,
            record_bytes: decoder.varint()?,
            checksum: decoder.u64()?,
        };
        let times = |bytes: usize| summary.records.saturating_mul(bytes as u64);
        let sizes = times(FRAME_BYTES)..=times(MAX_RECORD_BYTES);
        if summary.records == 0
            || !sizes.contains(&summary.record_bytes)
            || summary.record_bytes >= summary.bytes
        {
            return Err(Malformed { offset: start, what: "summary contradicts itself" });
        }
        Ok(summary)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const SUMMARY: ValueSummary =
        ValueSummary { id: 7, bytes: 1300, records: 2, record_bytes: 1030, checksum: 0x1122 };

    fn round_trip(summary: ValueSummary) -> Result<ValueSummary, Malformed> {
        let mut out = Vec::new();
        summary.encode(&mut out);
        ValueSummary::decode(&mut Decoder::new(&out))
    }

    #[test]
    fn a_summary_has_these_bytes_and_round_trips() {
        let mut out = Vec::new();
        SUMMARY.encode(&mut out);
        assert_eq!(out, *b"\x07\x94\x0a\x02\x86\x08\x22\x11\0\0\0\0\0\0");
        assert_eq!(round_trip(SUMMARY), Ok(SUMMARY));
    }

    #[test]
    fn contradictions_are_refused() {
        for summary in [
            ValueSummary { records: 0, ..SUMMARY },
            ValueSummary { records: 200, ..SUMMARY },
            ValueSummary { record_bytes: 1300, ..SUMMARY },
            ValueSummary { record_bytes: u64::MAX, bytes: u64::MAX, ..SUMMARY },
        ] {
            assert!(round_trip(summary).is_err(), "{summary:?}");
        }
    }
}
