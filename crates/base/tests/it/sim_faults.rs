//! Power that goes off at a chosen call, faults by rule, and the helpers for damage.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stratalog_base::fs::{Fault, FaultKind, File, Fs, On, Op, SimFs, SimRng, read_all};
use stratalog_base::{Error, Result};

fn path(name: &str) -> PathBuf {
    name.into()
}

fn file(fs: &SimFs, name: &str) -> Arc<dyn File> {
    fs.create(&path(name)).unwrap()
}

/// One of each mutating call.
fn run(fs: &SimFs) -> Result<()> {
    let dir = Path::new("dir");
    fs.create_dir(dir)?;
    let file = fs.create(&dir.join("a"))?;
    file.write_at(b"data", 0)?;
    file.sync()?;
    fs.rename(&dir.join("a"), &dir.join("b"))?;
    fs.sync_dir(dir)?;
    fs.remove(&dir.join("b"))
}

#[test]
fn every_mutating_call_is_counted_and_no_other() {
    let fs = SimFs::new();
    run(&fs).unwrap();
    assert_eq!(fs.ops(), 7);
    assert_eq!((fs.syncs(), fs.written_bytes(), fs.reads()), (1, 4, 0));
    let file = file(&fs, "a");
    file.write_at(b"more", 0).unwrap();
    let ops = fs.ops();
    read_all(&*file).unwrap();
    fs.open(&path("a")).unwrap();
    fs.list(Path::new("dir")).unwrap();
    fs.create_dir(Path::new("dir")).unwrap();
    assert_eq!((fs.ops(), fs.reads()), (ops, 1));
    drop(fs.lock(&path("LOCK")).unwrap());
    assert_eq!(fs.ops(), ops + 1, "an absent lock file is created");
    drop(fs.lock(&path("LOCK")).unwrap());
    assert_eq!(fs.ops(), ops + 1);
    assert_eq!(fs.clone().ops(), ops + 1, "a clone is the same machine");
}

#[test]
fn after_the_power_cut_nothing_happens_and_every_call_fails() {
    for op in 0..7 {
        let fs = SimFs::new();
        fs.cut_power_at(op);
        assert_eq!(fs.power_is_off(), op == 0);
        let error = run(&fs).unwrap_err();
        assert!(error.to_string().contains("power is off"), "{error}");
        assert_eq!(fs.ops(), op);
        let before = fs.files();
        assert!(run(&fs).is_err());
        assert!(fs.list(Path::new("")).is_err());
        assert!(fs.open(&path("dir/b")).is_err());
        assert!(fs.lock(&path("LOCK")).is_err());
        assert!(fs.create_dir(Path::new("")).is_err());
        assert!(fs.power_is_off());
        assert_eq!((fs.files(), fs.ops()), (before, op));
    }
    let fs = SimFs::new();
    fs.cut_power_at(8);
    run(&fs).unwrap();
    assert!(!fs.power_is_off());
}

#[test]
fn the_nth_call_fails_once() {
    for n in 0..7 {
        let fs = SimFs::new();
        fs.inject(Fault::new(On::Mutating, FaultKind::Eio).after(n));
        assert!(matches!(run(&fs), Err(Error::Io { .. })), "call {n}");
        assert_eq!((fs.ops(), fs.faults_hit()), (n + 1, 1));
    }
    let fs = SimFs::new();
    fs.inject(Fault::new(On::Mutating, FaultKind::Eio).after(7));
    run(&fs).unwrap();
    assert_eq!(fs.faults_hit(), 0);
}

#[test]
fn faults_hit_for_as_often_as_they_say() {
    let fs = SimFs::new();
    let file = file(&fs, "a");
    let failures = |fault: Fault| {
        fs.clear_faults();
        fs.inject(fault);
        (0..10).map(|_| file.write_at(b"x", 0).is_err()).collect::<Vec<_>>()
    };
    let fault = || Fault::new(Op::Write, FaultKind::Eio).after(3);
    let expected =
        |range: std::ops::Range<i32>| (0..10).map(|n| range.contains(&n)).collect::<Vec<_>>();
    assert_eq!(failures(fault()), expected(3..4));
    assert_eq!(failures(fault().times(2)), expected(3..5));
    assert_eq!(failures(fault().for_ever()), expected(3..10));
}

#[test]
fn faults_hit_only_their_calls_and_paths() {
    let fs = SimFs::new();
    let (log, table) = (file(&fs, "1.log"), file(&fs, "1.table"));
    fs.inject(Fault::new(Op::Write, FaultKind::NoSpace).path(".log").for_ever());
    let error = log.write_at(b"x", 0).unwrap_err();
    assert!(matches!(&error, Error::NoSpace { op: "write", path } if path == Path::new("1.log")));
    table.write_at(b"x", 0).unwrap();
    log.sync().unwrap();
    assert_eq!(log.len().unwrap(), 0);
    fs.inject(Fault::new(On::Any, FaultKind::Eio).path("table"));
    table.len().unwrap_err();
    table.len().unwrap();
}

#[test]
fn a_short_write_stores_a_part_and_reports_no_space() {
    let mut lengths = std::collections::BTreeSet::new();
    for n in 0..50 {
        let fs = SimFs::new();
        let file = file(&fs, "a");
        fs.inject(Fault::new(On::Any, FaultKind::ShortWrite).after(n));
        for _ in 0..n {
            file.write_at(b"", 0).unwrap();
        }
        file.sync().unwrap();
        assert!(matches!(file.write_at(b"12345678", 0), Err(Error::NoSpace { .. })));
        let part = fs.read_file("a");
        assert!(part.len() < 8 && b"12345678".starts_with(&part));
        lengths.insert(part.len());
    }
    assert!(lengths.len() > 5, "{lengths:?}");
}

#[test]
fn a_flipped_bit_is_read_and_not_stored() {
    let fs = SimFs::new();
    let file = file(&fs, "a");
    file.write_at(&[0; 100], 0).unwrap();
    fs.inject(Fault::new(Op::Read, FaultKind::FlipBit));
    let bytes = read_all(&*file).unwrap();
    assert_eq!(bytes.iter().map(|b| b.count_ones()).sum::<u32>(), 1);
    assert_eq!(read_all(&*file).unwrap(), [0; 100]);
}

#[test]
fn a_call_can_fail_after_it_took_effect() {
    let fs = SimFs::new();
    file(&fs, "a");
    fs.inject(Fault::new(Op::Rename, FaultKind::EioAfter));
    fs.rename(&path("a"), &path("b")).unwrap_err();
    assert_eq!(fs.list(Path::new("")).unwrap(), ["b"]);
}

#[test]
fn a_failed_directory_sync_leaves_the_names_unsynced() {
    let fs = SimFs::new();
    file(&fs, "a");
    fs.inject(Fault::new(Op::SyncDir, FaultKind::Eio));
    fs.sync_dir(Path::new("")).unwrap_err();
    assert!((0..100).any(|seed| fs.crash(seed).files().is_empty()));
    fs.sync_dir(Path::new("")).unwrap();
    assert!((0..100).all(|seed| fs.crash(seed).files().len() == 1));
}

#[test]
fn a_delayed_call_succeeds_without_holding_up_others() {
    let fs = SimFs::new();
    let (slow, quick) = (file(&fs, "slow"), file(&fs, "quick"));
    let delay = Duration::from_millis(50);
    fs.inject(Fault::new(Op::Sync, FaultKind::Delay(delay)).path("slow"));
    let start = Instant::now();
    std::thread::scope(|scope| {
        let sync = scope.spawn(|| slow.sync());
        while fs.syncs() == 0 {
            std::thread::yield_now();
        }
        quick.sync().unwrap();
        assert!(!sync.is_finished() || start.elapsed() >= delay);
        sync.join().unwrap().unwrap();
    });
    assert!(start.elapsed() >= delay);
}

#[test]
fn damage_reaches_the_disk_and_open_handles() {
    let fs = SimFs::new();
    fs.write_file("x/y/a", b"abc");
    let file = fs.open(&path("x/y/a")).unwrap();
    fs.corrupt("x/y/a", 1, 0xFF);
    fs.flip_bit("x/y/a", 2 * 8 + 3);
    let damaged = [b'a', b'b' ^ 0xFF, b'c' ^ 8];
    assert_eq!(read_all(&*file).unwrap(), damaged);
    let all = |bytes: &[u8]| (0..100).all(|seed| fs.crash(seed).read_file("x/y/a") == bytes);
    assert!(all(&damaged));
    fs.write_file("x/y/a", b"replaced");
    assert_eq!(read_all(&*file).unwrap(), b"replaced");
    assert!(all(b"replaced"));
    assert_eq!(fs.files(), [(path("x/y/a"), 8)]);

    fs.remove(&path("x/y/a")).unwrap();
    fs.sync_dir(Path::new("x/y")).unwrap();
    assert_eq!(read_all(&*file).unwrap(), b"replaced");
}

#[test]
fn the_generator_is_fixed_and_even() {
    let mut rng = SimRng::new(0);
    assert_eq!(rng.next_u64(), 0xE220_A839_7B1D_CDAF, "splitmix64's first number for seed 0");
    let mut counts = [0_u32; 10];
    (0..10_000).for_each(|_| counts[rng.below(10) as usize] += 1);
    assert!(counts.iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
    let hits = (0..10_000).filter(|_| rng.chance(1, 4)).count();
    assert!((2_300..2_700).contains(&hits), "{hits}");
    let mut bytes = [0; 13];
    rng.fill(&mut bytes);
    assert!(bytes.iter().any(|b| *b != 0));
}
