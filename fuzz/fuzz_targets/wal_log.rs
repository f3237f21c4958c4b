//! The directory of a log, with a start file and without, its files of any bytes or changed ones: recovery
//! in every mode, inspection and repair end without panic, and a log that opens takes a record that is
//! found again.
#![no_main]

use std::io::IoSlice;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use stratalog_base::fs::{Fs, SimFs};
use stratalog_wal::inspect::inspect;
use stratalog_wal::repair::salvage_into;
use stratalog_wal::start_file::{self, Start};
use stratalog_wal::{Backend, Durability, Log, LogOptions, Recovered, RecoveryMode, Wal, recover};

const LOG_ID: u64 = 7;
const MODES: [RecoveryMode; 4] = [
    RecoveryMode::TornTail,
    RecoveryMode::Strict,
    RecoveryMode::PointInTime,
    RecoveryMode::Salvage,
];

/// What becomes of one file.
#[derive(arbitrary::Arbitrary, Debug)]
enum Fate<'a> {
    Keep,
    Lose,
    Change(Vec<(u16, u8)>),
    Cut(u16),
    Replace(&'a [u8]),
    Swap(u8),
}

fn options(backend: Backend) -> LogOptions {
    LogOptions {
        backend,
        segment_bytes: 500,
        segments_ahead: false,
        interval: Duration::from_secs(3600),
        batch_delay: Duration::from_secs(3600),
        ring_bytes: 4096,
        compress_from_bytes: Some(40),
        ..LogOptions::default()
    }
}

type Files = Vec<(String, Vec<u8>)>;

/// Three segments and a ring that holds the last records; the second time, the segments before them were
/// removed, and a start file says so.
fn sound(is_cut: bool) -> &'static Files {
    static FILES: OnceLock<[Files; 2]> = OnceLock::new();
    &FILES.get_or_init(|| [false, true].map(make))[usize::from(is_cut)]
}

fn make(is_cut: bool) -> Files {
    let (fs, options) = (SimFs::new(), options(Backend::LockFree));
    let nothing = Recovered::empty(LOG_ID);
    let log = Log::create(fs.shared(), Path::new(""), options, &nothing, 0);
    let log = log.expect("the disk works");
    let append = |bytes: &[u8], class| {
        let ticket = log.append(&[IoSlice::new(bytes)], class).expect("there is room");
        ticket.wait().expect("the disk works")
    };
    if is_cut {
        let goes = (0..4).map(|_| append(&[b'x'; 300], Durability::Sync).end).max();
        append(b"stays", Durability::Sync);
        log.truncate_before(goes.expect("four records")).expect("the disk works");
    }
    for i in 0..24_u8 {
        let class = if i < 20 { Durability::Sync } else { Durability::Process };
        append(&vec![i; usize::from(i) * 3], class);
    }
    let fs = fs.kill();
    let name = |path: &Path| path.to_string_lossy().into_owned();
    fs.files().iter().map(|(path, _)| (name(path), fs.read_file(path))).collect()
}

fn build(fates: &[Fate<'_>], is_cut: bool) -> SimFs {
    let (fs, sound) = (SimFs::new(), sound(is_cut));
    for (i, (name, bytes)) in sound.iter().enumerate() {
        let mut bytes = bytes.clone();
        match fates.get(i) {
            None | Some(Fate::Keep) => {}
            Some(Fate::Lose) => continue,
            Some(Fate::Change(changes)) => {
                for (at, bits) in changes {
                    let len = bytes.len();
                    bytes[usize::from(*at) % len] ^= bits;
                }
            }
            Some(Fate::Cut(len)) => bytes.truncate(usize::from(*len)),
            Some(Fate::Replace(any)) => bytes = any.to_vec(),
            Some(Fate::Swap(with)) => bytes.clone_from(&sound[usize::from(*with) % sound.len()].1),
        }
        fs.write_file(name, &bytes);
    }
    fs
}

fuzz_target!(|input: (Vec<Fate<'_>>, u8, u16)| {
    let (fates, choice, start) = input;
    let (fs, dir) = (build(&fates, choice / 9 % 2 == 1), Path::new(""));
    let is_foreign = choice / 18 % 4 == 2;
    if is_foreign || choice / 18 % 4 == 3 {
        // Whole, but of another log, or of another time.
        let log_id = LOG_ID + u64::from(is_foreign);
        let start = Start { log_id, position: u64::from(start) * 8 };
        _ = fs.remove(Path::new(start_file::NAME));
        start.raise(&fs, dir).expect("the disk works");
    }
    let before = fs.ops();
    for mode in MODES {
        let mut last = 0;
        let _ = recover(&fs, dir, 0, mode, &mut |position, _| {
            assert!(position > last, "in order");
            last = position;
            Ok(())
        });
    }
    inspect(&fs, dir, &mut |_| Ok(())).expect("damage is no error");
    assert_eq!(fs.ops(), before, "reading writes nothing");
    if let Ok(repaired) = salvage_into(&fs, dir, 0, Path::new("fresh")) {
        let strict = recover(&fs, Path::new("fresh"), 0, RecoveryMode::Strict, &mut |_, _| Ok(()));
        assert_eq!(strict.expect("a repaired log is whole").records, repaired.found.records);
    }

    let backend = Backend::ALL[usize::from(choice) % 3];
    let mode = MODES[usize::from(choice / 3) % 3];
    let read_all = |fs: &SimFs, mode| {
        let mut records = Vec::new();
        let outcome = recover(fs, dir, 0, mode, &mut |position, record| {
            records.push((position, record.to_vec()));
            Ok(())
        });
        outcome.map(|_| records)
    };
    let before = read_all(&fs, mode);
    let Ok((log, _)) = Log::open_with(fs.shared(), dir, options(backend), mode) else { return };
    let ticket = log.append(&[IoSlice::new(b"the last")], Durability::Sync);
    let Ok(place) = ticket.and_then(|ticket| ticket.wait()) else { return };
    let mut expected = before.expect("a log that opens can be read");
    expected.push((place.position, b"the last".to_vec()));
    let after = read_all(&fs.crash(u64::from(choice)), RecoveryMode::TornTail);
    let after = after.expect("an opened log can be read");
    assert!(!after.is_empty() && expected.ends_with(&after));
    // What lies below a start that counts may be left out.
    assert!(after.len() == expected.len() || !is_foreign);
});
