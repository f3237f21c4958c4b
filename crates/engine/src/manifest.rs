//! The manifest: every change of the tree's shape, in order.
//!
//! One file, `MANIFEST`: a header and records. Opening a store, or recovering from a failed append,
//! writes a whole new manifest beside it and renames that over the old one; nothing is ever appended
//! to a manifest that was read back.
//!
//! # Header (24 bytes)
//! | offset | bytes | field | meaning |
//! |---:|---:|---|---|
//! | 0 | 8 | magic | `STRATMAN` |
//! | 8 | 4 | version | 2 (1 knew no value files and was never released) |
//! | 12 | 8 | store id | random; seeds the checksums here and names the log |
//! | 20 | 4 | checksum | CRC-32C of the 20 bytes before |
//!
//! # Record
//! | offset | bytes | field | meaning |
//! |---:|---:|---|---|
//! | 0 | 4 | checksum | CRC-32C, seeded with store id and file offset, of length and payload |
//! | 4 | 4 | length | payload bytes |
//! | 8 | … | payload | a [`VersionEdit`]; empty for a **mark** |
//!
//! # Invariants
//! - MANIFEST-1: a mark follows each record once that record is synced (the mark itself is not). So a
//!   bad record with a good mark behind it is damage, and without one a torn tail.
//! - MANIFEST-2: after a failed append, what the file holds is unknown; it is never appended to again,
//!   and no file that either outcome needs is removed before a new manifest is durable.

use std::path::Path;
use std::sync::Arc;

use stratalog_base::codec::{put_u32, put_u64};
use stratalog_base::fs::{File, Fs, read_all};
use stratalog_base::{Error, Result};
use stratalog_compaction::{Numbers, VersionEdit};

use crate::file_name::{DataFile, MANIFEST, MANIFEST_TMP};

const MAGIC: &[u8; 8] = b"STRATMAN";
const VERSION: u32 = 2;
const HEADER_BYTES: usize = 24;
const RECORD_HEADER_BYTES: usize = 8;
/// A manifest longer than this, and than twice what it began with, is replaced at the next edit.
const ROTATE_BYTES: u64 = 16 << 20;

/// The manifest that a store appends to.
#[derive(Debug)]
pub(crate) struct Manifest {
    file: Arc<dyn File>,
    store_id: u64,
    /// Where the next record goes.
    end: u64,
    /// Whether an append failed (MANIFEST-2).
    broken: bool,
    /// What the edits so far say of the numbers.
    numbers: Numbers,
    /// The file is replaced once it is longer than this.
    end_max: u64,
    /// Files that edits named whose append failed (MANIFEST-2).
    in_doubt: Vec<DataFile>,
}

impl Manifest {
    /// Makes a manifest that says `edit` and nothing else the one in force. When this returns, it is,
    /// also after a power cut.
    ///
    /// # Errors
    /// Of [`Manifest::begin`] and [`Manifest::put_in_force`].
    pub fn replace(fs: &dyn Fs, dir: &Path, store_id: u64, edit: &VersionEdit) -> Result<Manifest> {
        let manifest = Manifest::begin(fs, dir, store_id, edit)?;
        manifest.put_in_force(fs, dir)?;
        Ok(manifest)
    }

    /// Writes a manifest that says `edit` and nothing else, under a temporary name.
    ///
    /// # Errors
    /// Of creating and writing. Then the one in force stays so.
    pub fn begin(fs: &dyn Fs, dir: &Path, store_id: u64, edit: &VersionEdit) -> Result<Manifest> {
        let tmp = dir.join(MANIFEST_TMP);
        match fs.remove(&tmp) {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
        let mut bytes = encode_header(store_id);
        encode_record(&mut bytes, store_id, 0, Some(edit));
        encode_record(&mut bytes, store_id, 0, None);
        let file = fs.create(&tmp)?;
        file.write_at(&bytes, 0)?;
        file.sync()?;
        let (end, numbers) = (bytes.len() as u64, edit.numbers);
        let (end_max, in_doubt) = (ROTATE_BYTES.max(2 * end), Vec::new());
        Ok(Manifest { file, store_id, end, broken: false, numbers, end_max, in_doubt })
    }

    /// Puts the manifest just begun in the place of the one in force.
    ///
    /// # Errors
    /// Of renaming and syncing the directory. Then either may be in force.
    pub fn put_in_force(&self, fs: &dyn Fs, dir: &Path) -> Result<()> {
        fs.rename(&dir.join(MANIFEST_TMP), &dir.join(MANIFEST))?;
        fs.sync_dir(dir)
    }

    /// Whether the next edit must go into a new manifest.
    pub fn must_be_replaced(&self) -> bool {
        self.broken || self.end > self.end_max
    }

    /// The store's id.
    pub fn store_id(&self) -> u64 {
        self.store_id
    }

    /// The numbers in force.
    pub fn numbers(&self) -> Numbers {
        self.numbers
    }

    /// Appends `edit`, durably.
    ///
    /// # Errors
    /// Of the write or the sync. Then it is unknown whether the edit will be read back (MANIFEST-2).
    pub fn append(&mut self, edit: &VersionEdit) -> Result<()> {
        debug_assert!(!self.must_be_replaced(), "MANIFEST-2");
        self.broken = true; // Until all of it is done.
        self.write(Some(edit))?;
        self.file.sync()?;
        self.write(None)?; // MANIFEST-1
        self.broken = false;
        self.numbers = self.numbers.then(edit.numbers);
        Ok(())
    }

    /// Takes note that an edit which names these new files failed: it may be found, or not.
    pub fn doubt(&mut self, files: impl Iterator<Item = DataFile>) {
        self.in_doubt.extend(files);
    }

    /// The files that this manifest may or may not name; to be asked when another is in force.
    pub fn in_doubt(self) -> impl Iterator<Item = DataFile> {
        self.in_doubt.into_iter()
    }

    fn write(&mut self, edit: Option<&VersionEdit>) -> Result<()> {
        let mut bytes = Vec::new();
        encode_record(&mut bytes, self.store_id, self.end, edit);
        self.file.write_at(&bytes, self.end)?;
        self.end += bytes.len() as u64;
        Ok(())
    }
}

/// What a manifest said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    pub store_id: u64,
    /// In order, each with the offset of its record.
    pub edits: Vec<(u64, VersionEdit)>,
}

/// Reads the manifest in `dir`.
///
/// # Errors
/// Not found, if there is none; [`Error::NotOurs`], [`Error::NewerFormat`] or [`Error::Corrupt`] for
/// what cannot be believed; of reading.
pub(crate) fn read(fs: &dyn Fs, dir: &Path) -> Result<Contents> {
    let file = fs.open(&dir.join(MANIFEST))?;
    decode(&read_all(&*file)?, file.path())
}

/// The contents of a manifest's bytes; `path` is for errors.
pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<Contents> {
    let store_id = decode_header(bytes, path)?;
    let mut edits = Vec::new();
    let mut at = HEADER_BYTES;
    while at < bytes.len() {
        let Some(payload) = record_at(bytes, store_id, at) else {
            return match (at + 1..bytes.len()).any(|later| is_mark(bytes, store_id, later)) {
                true => {
                    Err(Error::corrupt(path, at as u64, "a record does not match its checksum"))
                }
                false => Ok(Contents { store_id, edits }),
            };
        };
        if !payload.is_empty() {
            let start = (at + RECORD_HEADER_BYTES) as u64;
            edits.push((at as u64, VersionEdit::decode(payload).map_err(|e| e.at(path, start))?));
        }
        at += RECORD_HEADER_BYTES + payload.len();
    }
    Ok(Contents { store_id, edits })
}

fn encode_header(store_id: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    put_u32(&mut bytes, VERSION);
    put_u64(&mut bytes, store_id);
    let checksum = crc32c::crc32c(&bytes);
    put_u32(&mut bytes, checksum);
    debug_assert_eq!(bytes.len(), HEADER_BYTES);
    bytes
}

fn decode_header(bytes: &[u8], path: &Path) -> Result<u64> {
    let field = |from: usize, to: usize| bytes.get(from..to).unwrap_or_default();
    if field(0, 8) != MAGIC {
        return Err(Error::NotOurs {
            path: path.to_owned(),
            why: "the magic number is missing".into(),
        });
    }
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte));
    let found = number(field(8, 12)) as u32;
    if found > VERSION {
        return Err(Error::NewerFormat { path: path.to_owned(), found, supported: VERSION });
    }
    if number(field(20, 24)) as u32 != crc32c::crc32c(field(0, 20)) {
        return Err(Error::corrupt(path, 0, "the header does not match its checksum"));
    }
    if found < VERSION {
        let what = format!("format version {found} was never released and is not read");
        return Err(Error::corrupt(path, 8, what));
    }
    Ok(number(field(12, 20)))
}

/// Appends a record for `edit`, or a mark, to `out`, which begins at offset `base` of the file.
fn encode_record(out: &mut Vec<u8>, store_id: u64, base: u64, edit: Option<&VersionEdit>) {
    let start = out.len();
    out.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
    if let Some(edit) = edit {
        edit.encode(out);
        assert!(
            out.len() > start + RECORD_HEADER_BYTES,
            "an edit that says nothing would be a mark"
        );
    }
    let len = u32::try_from(out.len() - start - RECORD_HEADER_BYTES).expect("edits are short");
    out[start + 4..start + 8].copy_from_slice(&len.to_le_bytes());
    let checksum = checksum(store_id, base + start as u64, &out[start + 4..]);
    out[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
}

/// The payload of the record at `at`, if there is a good one.
fn record_at(bytes: &[u8], store_id: u64, at: usize) -> Option<&[u8]> {
    let (expected, rest) = bytes.get(at..)?.split_first_chunk::<4>()?;
    let len = u32::from_le_bytes(*rest.first_chunk::<4>()?) as usize;
    let checked = rest.get(..len.checked_add(4)?)?;
    let good = checksum(store_id, at as u64, checked) == u32::from_le_bytes(*expected);
    good.then(|| &checked[4..])
}

/// Whether a mark stands at `at`. Looks at a mark's bytes only: it is asked of every offset, and what stands
/// there may claim to be a record of any length.
fn is_mark(bytes: &[u8], store_id: u64, at: usize) -> bool {
    let header = bytes.get(at..).unwrap_or_default().first_chunk::<RECORD_HEADER_BYTES>();
    header.is_some_and(|header| {
        header[4..] == [0; 4] && record_at(bytes, store_id, at).is_some_and(<[u8]>::is_empty)
    })
}

fn checksum(store_id: u64, offset: u64, bytes: &[u8]) -> u32 {
    let seed = crc32c::crc32c(&store_id.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &offset.to_le_bytes()), bytes)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const STORE: u64 = 7;

    fn edit(flushed: u64) -> VersionEdit {
        let numbers = Numbers { flushed: Some(flushed), ..Numbers::default() };
        VersionEdit { numbers, ..VersionEdit::default() }
    }

    /// A manifest of two edits, the last without its mark, and where that one starts.
    fn manifest() -> (Vec<u8>, usize) {
        let mut bytes = encode_header(STORE);
        encode_record(&mut bytes, STORE, 0, Some(&edit(1)));
        encode_record(&mut bytes, STORE, 0, None);
        let last = bytes.len();
        encode_record(&mut bytes, STORE, 0, Some(&edit(2)));
        (bytes, last)
    }

    fn flushed(bytes: &[u8]) -> Result<Vec<Option<u64>>> {
        let contents = decode(bytes, Path::new("MANIFEST"))?;
        Ok(contents.edits.iter().map(|(_, edit)| edit.numbers.flushed).collect())
    }

    #[test]
    fn a_record_without_a_mark_behind_it_is_a_torn_tail_and_with_one_damage() {
        let (whole, last) = manifest();
        assert_eq!(flushed(&whole).unwrap(), [Some(1), Some(2)]);
        for len in last..whole.len() {
            assert_eq!(flushed(&whole[..len]).unwrap(), [Some(1)], "MANIFEST-1: {len} bytes");
        }
        for at in last..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert_eq!(flushed(&damaged).unwrap(), [Some(1)], "MANIFEST-1: at {at}");
            encode_record(&mut damaged, STORE, 0, None);
            let error = flushed(&damaged).unwrap_err();
            let is_there = matches!(error, Error::Corrupt { offset, .. } if offset == last as u64);
            assert!(is_there, "MANIFEST-1: {error}");
        }
    }

    /// The search for a mark computed a checksum over whatever length it found at each offset: minutes for a
    /// damaged manifest of megabytes.
    #[test]
    fn lengths_behind_damage_are_not_believed() {
        let (mut bytes, last) = manifest();
        // At every second offset, what claims to be a record of 3 MiB.
        bytes.extend([0x30, 0].into_iter().cycle().take(8 << 20));
        bytes[last] ^= 1;
        assert_eq!(flushed(&bytes).unwrap(), [Some(1)]);
        encode_record(&mut bytes, STORE, 0, None);
        flushed(&bytes).unwrap_err();
    }
}
