//! Value files: what goes in comes out, only where it was put, and damage is told.

use std::path::Path;
use std::sync::Arc;

use stratalog_base::fs::{Fault, FaultKind, Fs, Op, SimFs, SimRng};
use stratalog_base::{Error, Result, Slice};
use stratalog_sstable::{
    BlockCache, Compression, ValueFile, ValueHandle, ValueSummary, ValueWriter, ValuesAhead,
};

const PATH: &str = "db/000007.val";
const ID: u64 = 7;

fn write(values: &[Vec<u8>], compression: Compression) -> (SimFs, Vec<ValueHandle>, ValueSummary) {
    let fs = SimFs::new();
    fs.create_dir(Path::new("db")).unwrap();
    let mut writer = ValueWriter::new(fs.create(Path::new(PATH)).unwrap(), ID, compression);
    let handles: Vec<_> = values.iter().map(|value| writer.append(value).unwrap()).collect();
    assert_eq!(handles.last().unwrap().end(), writer.bytes());
    let summary = writer.finish().unwrap();
    (fs, handles, summary)
}

fn open(fs: &SimFs) -> Result<ValueFile> {
    ValueFile::open(fs.open(Path::new(PATH))?, ID, BlockCache::new(1 << 20))
}

fn random_values(count: u64) -> Vec<Vec<u8>> {
    let mut rng = SimRng::new(count);
    let value = |_| {
        let mut value = vec![0; rng.below(3000) as usize];
        let half = value.len() / 2;
        rng.fill(&mut value[half..]);
        value
    };
    (0..count).map(value).collect()
}

#[test]
fn values_come_back_in_any_order_with_any_compression() {
    for compression in [Compression::None, Compression::Lz4] {
        let mut values = random_values(2000);
        values.extend([vec![], vec![1], vec![7; 400_000]]);
        let (fs, handles, summary) = write(&values, compression);
        let file = open(&fs).unwrap();
        assert_eq!(file.summary(), summary);
        assert_eq!(summary.bytes, fs.read_file(PATH).len() as u64);
        assert_eq!(summary.records, values.len() as u64);
        assert_eq!(summary.record_bytes, handles.iter().map(|handle| handle.bytes).sum::<u64>());
        assert_eq!(file.value_bytes(), values.iter().map(|value| value.len() as u64).sum::<u64>());
        assert_eq!(file.handles().unwrap(), handles);
        for (handle, value) in handles.iter().zip(&values).rev() {
            assert_eq!(file.get(handle).unwrap(), *value);
        }
        let mut seen = Vec::new();
        let mut all = |handle: &ValueHandle, value: &[u8]| {
            seen.push((*handle, value.to_vec()));
            Ok(())
        };
        assert_eq!(file.verify(&mut all).unwrap(), summary);
        assert!(seen.into_iter().eq(handles.into_iter().zip(values)));
    }
}

#[test]
fn the_same_values_give_the_same_bytes_and_these() {
    let bytes = |values: &[&[u8]]| {
        let values: Vec<_> = values.iter().map(|value| value.to_vec()).collect();
        write(&values, Compression::None).0.read_file(PATH)
    };
    let file = bytes(&[b"ab", b""]);
    assert_eq!(file, bytes(&[b"ab", b""]));
    let records = b"stratVALab\x10\0\x3d\xa7\x98\xc0\x10\0\x2f\xc2\xca\xd3";
    assert_eq!(file[..records.len()], *records);
    let index = b"\x08\x06\x11\0\xa0\x60\xef\xa9";
    assert_eq!(file[records.len()..][..index.len()], *index);
    assert_eq!(file.len(), records.len() + index.len() + 80, "VALUE-2");
}

#[test]
fn a_handle_that_leads_elsewhere_is_damage() {
    // VALUE-1
    let (fs, handles, _) = write(&random_values(20), Compression::None);
    let file = open(&fs).unwrap();
    let last = handles[19];
    let wrong = [
        ValueHandle { offset: last.offset + 1, bytes: last.bytes - 1, ..last },
        ValueHandle { bytes: last.bytes + 1, ..last },
        ValueHandle { bytes: last.bytes - 1, ..last },
        ValueHandle { offset: u64::MAX - last.bytes, ..last },
        ValueHandle { offset: last.end(), bytes: 20 + 80, ..last },
    ];
    let assert_told = || {
        for handle in &wrong {
            let error = file.get(handle).unwrap_err();
            let told = matches!(&error, Error::Corrupt { path, offset, .. }
                if path == Path::new(PATH) && *offset == handle.offset);
            assert!(told, "{handle:?}: {error}");
        }
    };
    assert_told();
    file.get(&last).unwrap();
    assert_told(); // Also if the value is cached.
    // The same records under another number.
    let bytes = fs.read_file(PATH);
    fs.write_file("db/000008.val", &bytes);
    let other =
        ValueFile::open(fs.open(Path::new("db/000008.val")).unwrap(), 8, BlockCache::new(0));
    assert!(matches!(other, Err(Error::Corrupt { .. })));
}

#[test]
fn any_flipped_byte_is_told_with_file_and_offset_or_changes_nothing() {
    let values = vec![b"a large value".to_vec(), vec![7; 60], vec![]];
    for compression in [Compression::None, Compression::Lz4] {
        let (fs, handles, summary) = write(&values, compression);
        for at in 0..summary.bytes {
            for mask in [1, 0x80, 0xff] {
                fs.corrupt(PATH, at, mask);
                let mut told = 0;
                let mut check = |outcome: Result<()>| match outcome {
                    Ok(()) => {}
                    Err(Error::Corrupt { path, offset, .. }) => {
                        assert!(path == Path::new(PATH) && offset < summary.bytes);
                        told += 1;
                    }
                    Err(error) => panic!("byte {at}: {error}"),
                };
                match open(&fs) {
                    Ok(file) => {
                        for (handle, value) in handles.iter().zip(&values) {
                            check(file.get(handle).map(|found| assert_eq!(found, *value)));
                        }
                        check(file.verify(|_, _| Ok(())).map(|_| panic!("byte {at} unnoticed")));
                    }
                    Err(error) => check(Err(error)),
                }
                assert!(told > 0);
                fs.corrupt(PATH, at, mask);
            }
        }
    }
}

#[test]
fn a_cut_off_or_foreign_file_does_not_open() {
    let (fs, _, summary) = write(&random_values(3), Compression::Lz4);
    let bytes = fs.read_file(PATH);
    for len in 0..summary.bytes as usize {
        fs.write_file(PATH, &bytes[..len]);
        assert!(matches!(open(&fs), Err(Error::Corrupt { .. })), "{len} bytes");
    }
    fs.write_file(PATH, &[0; 200]);
    assert!(matches!(open(&fs), Err(Error::NotOurs { .. })));
    let mut newer = bytes.clone();
    let footer = newer.len() - 80;
    newer[footer + 64] = 9;
    let checksum = crc32c::crc32c(&newer[footer..footer + 68]);
    newer[footer + 68..footer + 72].copy_from_slice(&checksum.to_le_bytes());
    fs.write_file(PATH, &newer);
    assert!(matches!(open(&fs), Err(Error::NewerFormat { found: 9, supported: 1, .. })));
}

#[test]
fn a_failed_read_is_its_callers_alone() {
    let values = random_values(10);
    let (fs, handles, _) = write(&values, Compression::None);
    let file = open(&fs).unwrap();
    fs.inject(Fault::new(Op::Read, FaultKind::Eio));
    assert!(matches!(file.get(&handles[3]), Err(Error::Io { .. })));
    fs.clear_faults();
    assert_eq!(file.get(&handles[3]).unwrap(), values[3]);
}

#[test]
fn values_are_cached_by_their_number_and_told_by_their_place() {
    let values = random_values(20);
    let (fs, handles, _) = write(&values, Compression::None);
    let cache = BlockCache::new(1 << 20);
    let open = |cache: &Arc<BlockCache>| {
        ValueFile::open(fs.open(Path::new(PATH)).unwrap(), ID, cache.clone()).unwrap()
    };
    let file = open(&cache);
    let reads = |read: &dyn Fn() -> Result<Slice>| {
        let before = fs.reads();
        (read().unwrap(), fs.reads() - before)
    };
    for (handle, value) in handles.iter().zip(&values) {
        assert_eq!(reads(&|| file.get(handle)), (Slice::copy(value), 1));
        assert_eq!(reads(&|| file.get(handle)), (Slice::copy(value), 0));
        assert_eq!(
            reads(&|| file.scan(handle, &mut ValuesAhead::default())),
            (Slice::copy(value), 0)
        );
        assert_eq!(reads(&|| file.read(handle)), (Slice::copy(value), 1));
    }
    assert!(cache.used_bytes() > values.iter().map(Vec::len).sum());
    let swapped = ValueHandle { index: 4, ..handles[3] };
    assert_eq!(file.get(&swapped).unwrap(), values[3], "never another's value");
    assert_eq!(file.get(&handles[4]).unwrap(), values[4]);
    let beyond = ValueHandle { index: 20, ..handles[3] };
    assert!(matches!(file.get(&beyond), Err(Error::Corrupt { .. })));
    let kept = file.get(&handles[3]).unwrap();
    drop(file);
    assert_eq!((cache.used_bytes(), kept), (0, Slice::copy(&values[3])));
    let small = open(&BlockCache::new(4000));
    for _ in 0..3 {
        for (handle, value) in handles.iter().zip(&values) {
            assert_eq!(small.get(handle).unwrap(), *value);
        }
    }
}

/// How many reads it takes to scan the values at `indices`, none of which is cached, in that order.
fn reads_of_scan(count: u64, indices: impl IntoIterator<Item = usize>) -> u64 {
    let values: Vec<_> = (0..count).map(|i| vec![i as u8; 1000]).collect();
    let (fs, handles, _) = write(&values, Compression::None);
    let file = ValueFile::open(fs.open(Path::new(PATH)).unwrap(), ID, BlockCache::new(0)).unwrap();
    let (mut ahead, before) = (ValuesAhead::default(), fs.reads());
    for index in indices {
        assert_eq!(file.scan(&handles[index], &mut ahead).unwrap(), values[index]);
    }
    fs.reads() - before
}

#[test]
fn a_scan_reads_ahead_where_values_lie_together() {
    // One, one, two, four … 256 at once, and then 260.
    assert_eq!(reads_of_scan(1000, 0..1000), 2 + 8 + 2);
    assert_eq!(reads_of_scan(1000, (0..1000).rev()), 2 + 8 + 2);
    let with_gaps = reads_of_scan(1000, (0..1000).step_by(2));
    assert!((9..16).contains(&with_gaps), "{with_gaps}: half of what is read is wanted");
    assert_eq!(reads_of_scan(1000, (0..1000).step_by(3)), 334, "a third would be");
    let mut rng = SimRng::new(1);
    let anywhere: Vec<_> = (0..100).map(|_| rng.below(10_000) as usize).collect();
    assert_eq!(reads_of_scan(10_000, anywhere), 100);
}

#[test]
fn a_scan_over_cached_values_is_ahead_where_they_end() {
    let values: Vec<_> = (0..100).map(|i| vec![i as u8; 1000]).collect();
    let (fs, handles, _) = write(&values, Compression::None);
    let file = open(&fs).unwrap();
    for handle in &handles[..50] {
        file.get(handle).unwrap();
    }
    let (mut ahead, before) = (ValuesAhead::default(), fs.reads());
    for (handle, value) in handles.iter().zip(&values) {
        assert_eq!(file.scan(handle, &mut ahead).unwrap(), *value);
    }
    assert_eq!(fs.reads() - before, 2 + 5, "1, 1, 2, 4, 8, 16 and the rest of 50");
    let read = fs.reads();
    for (handle, value) in handles.iter().zip(&values).rev() {
        assert_eq!(file.scan(handle, &mut ahead).unwrap(), *value);
    }
    assert_eq!(fs.reads(), read, "what a scan met is cached");
}

/// As many value files, each with `values`, and their handles.
fn files(fs: &SimFs, count: u64, values: &[Vec<u8>]) -> Vec<(ValueFile, Vec<ValueHandle>)> {
    let cache = BlockCache::new(0);
    let file = |id| {
        let path = format!("{count}-{id}.val");
        let mut writer =
            ValueWriter::new(fs.create(Path::new(&path)).unwrap(), id, Compression::None);
        let handles = values.iter().map(|value| writer.append(value).unwrap()).collect();
        writer.finish().unwrap();
        let file = fs.open(Path::new(&path)).unwrap();
        (ValueFile::open(file, id, cache.clone()).unwrap(), handles)
    };
    (1..=count).map(file).collect()
}

#[test]
fn a_scan_reads_ahead_of_many_files_at_once_which_share_memory() {
    let values: Vec<_> = (0..200).map(|i| vec![i as u8; 1000]).collect();
    let fs = SimFs::new();
    // One, one, two, four … 64, the rest; the same to 32, three times the 41 that fit, the rest; one each.
    for (count, reads_a_file) in [(8, 9), (100, 11), (129, 200)] {
        let files = files(&fs, count, &values);
        let (mut ahead, before) = (ValuesAhead::default(), fs.reads());
        for (index, value) in values.iter().enumerate() {
            for (file, handles) in &files {
                assert_eq!(file.scan(&handles[index], &mut ahead).unwrap(), *value);
            }
        }
        assert_eq!(fs.reads() - before, count * reads_a_file, "{count} files in turn");
    }
}

#[test]
fn files_that_a_scan_has_left_take_no_memory_from_others() {
    let values: Vec<_> = (0..520).map(|i| vec![i as u8; 1000]).collect();
    let fs = SimFs::new();
    let (mut ahead, mut per_file) = (ValuesAhead::default(), Vec::new());
    for (file, handles) in files(&fs, 60, &values) {
        let before = fs.reads();
        for (handle, value) in handles.iter().zip(&values) {
            assert_eq!(file.scan(handle, &mut ahead).unwrap(), *value);
        }
        per_file.push(fs.reads() - before);
    }
    assert_eq!(per_file, [11; 60], "one, one, two, four … 256, the rest");
}

#[test]
fn a_failed_read_ahead_leaves_a_scan_that_can_go_on() {
    let values = random_values(300);
    let (fs, handles, _) = write(&values, Compression::Lz4);
    let file = ValueFile::open(fs.open(Path::new(PATH)).unwrap(), ID, BlockCache::new(0)).unwrap();
    let mut ahead = ValuesAhead::default();
    for (index, (handle, value)) in handles.iter().zip(&values).enumerate() {
        if index % 7 == 5 {
            fs.inject(Fault::new(Op::Read, FaultKind::Eio));
            if let Err(error) = file.scan(handle, &mut ahead) {
                assert!(matches!(error, Error::Io { .. }));
            }
            fs.clear_faults();
        }
        assert_eq!(file.scan(handle, &mut ahead).unwrap(), *value);
    }
    let beyond = ValueHandle { bytes: handles[299].bytes + 1, ..handles[299] };
    assert!(matches!(file.scan(&beyond, &mut ahead), Err(Error::Corrupt { .. })), "VALUE-1");
    let elsewhere = ValueHandle { offset: handles[299].offset - 1, ..handles[299] };
    assert!(matches!(file.scan(&elsewhere, &mut ahead), Err(Error::Corrupt { .. })), "VALUE-1");
}

#[test]
fn a_full_disk_fails_the_writer() {
    let fs = SimFs::new();
    let file = fs.create(Path::new("7.val")).unwrap();
    let mut writer = ValueWriter::new(file, 7, Compression::None);
    fs.inject(Fault::new(Op::Write, FaultKind::NoSpace));
    writer.append(b"buffered").unwrap();
    assert!(matches!(writer.append(&vec![0; 2 << 20]), Err(Error::NoSpace { .. })));
}
