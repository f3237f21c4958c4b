//! What kills, power cuts and syncs make of mappings (SIM-7), allocations and writes in parts.

use std::collections::BTreeSet;
use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use stratalog_base::Error;
use stratalog_base::fs::{Fault, FaultKind, File, Fs, Mapping, Op, SimFs};

use crate::memory::{load, store};

const SEEDS: std::ops::Range<u64> = 0..2_000;
const LEN: usize = 16_384;

fn a() -> &'static Path {
    Path::new("a")
}

/// A durable file of `LEN` times 1, and its mapping.
fn mapped() -> (SimFs, Arc<dyn File>, Box<dyn Mapping>) {
    let fs = SimFs::new();
    fs.write_file(a(), &[1; LEN]);
    let file = fs.open_write(a()).unwrap();
    let mapping = fs.map(a(), LEN).unwrap().unwrap();
    (fs, file, mapping)
}

fn outcomes(fs: &SimFs) -> BTreeSet<Vec<u8>> {
    SEEDS.map(|seed| fs.crash(seed).read_file(a())).collect()
}

#[test]
fn a_kill_keeps_what_was_stored_and_takes_nothing_later() {
    let (fs, _, mapping) = mapped();
    store(&*mapping, 5_000, &[2; 100]);
    let next = fs.kill();
    store(&*mapping, 0, &[3; LEN]);
    let mut expected = vec![1; LEN];
    expected[5_000..5_100].fill(2);
    assert_eq!(next.read_file(a()), expected, "SIM-7");
    // What was unsynced still is.
    assert!(outcomes(&next).is_superset(&[vec![1; LEN], expected.clone()].into()));
    let again = next.map(a(), LEN).unwrap().unwrap();
    assert_eq!(load(&*again, 0..LEN), expected);
    assert_eq!(fs.read_file(a()), [3; LEN]);
}

#[test]
fn a_power_cut_keeps_any_part_of_what_was_stored() {
    let (fs, _, mapping) = mapped();
    store(&*mapping, 0, &[2; LEN]);
    let outcomes = outcomes(&fs);
    let torn = |bytes: &[u8], size: usize| {
        let mut pieces = bytes.chunks(size);
        let reordered = bytes.windows(2).any(|pair| pair == [1, 2]);
        reordered && pieces.all(|piece| piece.iter().all(|b| *b == piece[0]))
    };
    let some = |what: &str, test: &dyn Fn(&[u8]) -> bool| {
        assert!(outcomes.iter().any(|bytes| test(bytes)), "SIM-7: never {what}");
    };
    some("all lost", &|b| b == [1; LEN]);
    some("all kept", &|b| b == [2; LEN]);
    some("torn between pages", &|b| torn(b, 4096));
    some("torn between sectors", &|b| torn(b, 512) && !torn(b, 4096));
    for bytes in outcomes {
        assert!(bytes.len() == LEN && bytes.iter().all(|b| [1, 2].contains(b)));
    }
    assert_eq!(fs.read_file(a()), [2; LEN], "a crash changes nothing");
}

#[test]
fn a_sync_covers_what_was_stored_before_it_and_leaves_the_rest() {
    let (fs, file, mapping) = mapped();
    store(&*mapping, 100, &[2; 10_000]);
    file.sync().unwrap();
    store(&*mapping, 200, &[3; 50]);
    let outcomes = outcomes(&fs);
    assert!(outcomes.len() > 3);
    for bytes in outcomes {
        assert!(bytes[..100].iter().all(|b| *b == 1));
        assert!(bytes[100..200].iter().all(|b| *b == 2), "SIM-1");
        assert!(bytes[200..250].iter().all(|b| [2, 3].contains(b)));
        assert!(bytes[250..10_100].iter().all(|b| *b == 2), "SIM-1");
    }
}

#[test]
fn a_failed_sync_leaves_what_was_stored_in_doubt() {
    let (fs, file, mapping) = mapped();
    store(&*mapping, 0, &[2; 100]);
    fs.inject(Fault::new(Op::Sync, FaultKind::Eio));
    file.sync().unwrap_err();
    store(&*mapping, 1_000, &[3; 10]);
    file.sync().unwrap();
    let outcomes = outcomes(&fs);
    assert!(outcomes.iter().any(|bytes| bytes[..100] == [1; 100]), "SIM-3");
    assert!(outcomes.iter().any(|bytes| bytes[..100] == [2; 100]), "SIM-3");
    assert!(outcomes.iter().all(|bytes| bytes[1_000..1_010] == [3; 10]));
}

#[test]
fn stores_after_the_power_cut_reach_nothing() {
    let (fs, file, mapping) = mapped();
    store(&*mapping, 0, &[2; 10]);
    fs.cut_power_at(1);
    assert!(!fs.power_is_off());
    store(&*mapping, 10, &[2; 10]);
    file.sync().unwrap();
    assert!(fs.power_is_off());
    store(&*mapping, 20, &[3; 10]);
    let mut expected = vec![1; LEN];
    expected[..20].fill(2);
    assert_eq!(fs.read_file(a()), expected);
    drop(mapping);
    assert_eq!(outcomes(&fs), [expected].into());

    let (fs, _, mapping) = mapped();
    fs.cut_power_at(0);
    store(&*mapping, 0, &[2; 10]);
    assert_eq!(outcomes(&fs), [vec![1; LEN]].into());
    assert!(fs.map(a(), LEN).is_err());
}

#[test]
fn mappings_of_a_file_share_its_memory() {
    let (fs, file, first) = mapped();
    let second = fs.map(a(), LEN).unwrap().unwrap();
    store(&*first, 3, b"news");
    assert_eq!(load(&*second, 3..7), b"news");
    drop(first);
    store(&*second, 7, b" goes on");
    drop(second);
    file.write_at(b"N", 3).unwrap();
    assert_eq!(fs.read_file(a())[3..15], *b"News goes on");
    // Of another length, when nothing is in the way.
    assert_eq!(fs.map(a(), 5).unwrap().unwrap().len(), 5);
}

#[test]
fn damage_and_replacement_reach_mapped_files() {
    let (fs, _, mapping) = mapped();
    store(&*mapping, 0, &[2; 2]);
    fs.corrupt(a(), 1, 0xFF);
    assert_eq!(fs.read_file(a())[..3], [2, 2 ^ 0xFF, 1]);
    assert_eq!(load(&*mapping, 0..3), [2, 2 ^ 0xFF, 1]);
    fs.write_file(a(), b"replaced");
    store(&*mapping, 0, &[3; 8]);
    drop(mapping);
    assert_eq!(outcomes(&fs), [b"replaced".to_vec()].into());
}

#[test]
fn a_mapping_is_a_call_that_can_fail_and_stores_are_none() {
    let (fs, _, mapping) = mapped();
    store(&*mapping, 0, &[2; 100]);
    assert_eq!((fs.ops(), fs.written_bytes()), (0, 0));
    for kind in [FaultKind::Eio, FaultKind::EioAfter] {
        fs.inject(Fault::new(Op::Map, kind));
        let error = fs.map(a(), LEN).unwrap_err();
        assert!(matches!(error, Error::Io { op: "map", .. }), "{error}");
    }
    assert!(fs.map(a(), LEN).unwrap().is_some());
}

#[test]
fn a_machine_without_mapping_stays_so() {
    let fs = SimFs::new().without_mapping();
    fs.write_file(a(), &[1; LEN]);
    for fs in [fs.kill(), fs.crash(1), fs] {
        assert!(fs.map(a(), LEN).unwrap().is_none());
    }
}

#[test]
fn faults_hit_writes_in_parts() {
    let fs = SimFs::new();
    let file = fs.create(a()).unwrap();
    let parts = [&b"1234"[..], b"5678"].map(IoSlice::new);
    fs.inject(Fault::new(Op::Write, FaultKind::Eio));
    file.write_parts_at(&parts, 0).unwrap_err();
    assert_eq!(file.len().unwrap(), 0);
    file.write_parts_at(&parts, 0).unwrap();
    assert_eq!((fs.ops(), fs.written_bytes()), (3, 8), "the parts are one call");
}

#[test]
fn a_short_write_of_parts_stores_a_prefix_of_them_all() {
    let mut lengths = BTreeSet::new();
    for n in 0..50 {
        let fs = SimFs::new();
        let file = fs.create(a()).unwrap();
        (0..n).for_each(|_| file.sync().unwrap());
        fs.inject(Fault::new(Op::Write, FaultKind::ShortWrite));
        let parts = [&b"1234"[..], b"5678"].map(IoSlice::new);
        assert!(matches!(file.write_parts_at(&parts, 0), Err(Error::NoSpace { .. })));
        let part = fs.read_file(a());
        assert!(part.len() < 8 && b"12345678".starts_with(&part));
        lengths.insert(part.len());
    }
    assert!(lengths.iter().any(|len| *len < 4) && lengths.iter().any(|len| *len > 4));
}
