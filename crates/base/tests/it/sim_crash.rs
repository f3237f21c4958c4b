//! What power cuts and kills leave (SIM-1…SIM-6).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stratalog_base::Error;
use stratalog_base::fs::{Fault, FaultKind, File, Fs, Op, SimFs, SimRng};

const SEEDS: std::ops::Range<u64> = 0..2_000;

fn root() -> &'static Path {
    Path::new("")
}

/// A file whose name is durable.
fn named(fs: &SimFs, name: &str) -> Arc<dyn File> {
    let file = fs.create(Path::new(name)).unwrap();
    fs.sync_dir(root()).unwrap();
    file
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    SimRng::new(seed).fill(&mut bytes);
    bytes
}

/// What a file holds after each of the seeds.
fn outcomes(fs: &SimFs, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    let bytes = |fs: &SimFs| fs.open(Path::new(name)).is_ok().then(|| fs.read_file(name));
    SEEDS.map(|seed| bytes(&fs.crash(seed))).collect()
}

fn state(fs: &SimFs) -> Vec<(PathBuf, Vec<u8>)> {
    fs.files().into_iter().map(|(path, _)| (path.clone(), fs.read_file(path))).collect()
}

#[test]
fn synced_bytes_of_a_synced_name_survive_every_power_cut() {
    let fs = SimFs::new();
    let file = named(&fs, "a");
    let bytes = noise(10_000, 1);
    file.write_at(&bytes, 0).unwrap();
    file.sync().unwrap();
    file.write_at(&noise(9_000, 2), 10_000).unwrap();
    for seed in SEEDS {
        assert!(fs.crash(seed).read_file("a").starts_with(&bytes), "SIM-1, seed {seed}");
    }
}

#[test]
fn unsynced_bytes_are_lost_kept_and_torn_in_every_way() {
    let fs = SimFs::new();
    let file = named(&fs, "a");
    let (old, new) = (vec![1_u8; 16_384], vec![2_u8; 16_384]);
    file.write_at(&old, 0).unwrap();
    file.sync().unwrap();
    file.write_at(&new, 0).unwrap();
    file.write_at(&new, 16_384).unwrap();
    let outcomes: Vec<_> = outcomes(&fs, "a").into_iter().map(Option::unwrap).collect();
    let some = |what: &str, test: &dyn Fn(&[u8]) -> bool| {
        assert!(outcomes.iter().any(|bytes| test(bytes)), "SIM-2: never {what}");
    };
    let old_bytes = |bytes: &[u8]| bytes[..16_384].iter().filter(|b| **b == 1).count();
    some("all lost", &|b| b == old);
    some("all kept", &|b| b == [new.clone(), new.clone()].concat());
    some("a prefix", &|b| b == new);
    // Pieces of that size are whole, and their order is none that a prefix could have.
    let torn = |bytes: &[u8], size: usize| {
        let mut pieces = bytes[..16_384].chunks(size);
        let reordered = bytes[..16_384].windows(2).any(|pair| pair == [1, 2]);
        reordered && pieces.all(|piece| piece.iter().all(|b| *b == piece[0]))
    };
    some("torn between pages", &|b| torn(b, 4096));
    some("torn between sectors", &|b| torn(b, 512) && !torn(b, 4096));
    some("torn at any byte", &|b| old_bytes(b) % 512 != 0);
    some("a lost end that reads as zeros", &|b| b.len() == 32_768 && b.ends_with(&[0; 512]));
    some("a length that lags", &|b| torn(b, 512) && b.len() % 512 != 0);
    for bytes in outcomes {
        assert!((16_384..=32_768).contains(&bytes.len()));
        assert!(bytes[..16_384].iter().all(|b| [1, 2].contains(b)), "synced bytes became zeros");
        assert!(bytes[16_384..].iter().all(|b| [0, 2].contains(b)), "bytes from nowhere");
    }
}

#[test]
fn what_follows_a_lagging_length_is_zeros() {
    let fs = SimFs::new();
    named(&fs, "a").write_at(&[1; 10_000], 0).unwrap();
    for seed in SEEDS {
        let fs = fs.crash(seed);
        let len = fs.read_file("a").len();
        fs.open_write(Path::new("a")).unwrap().write_at(&[2], 12_000).unwrap();
        assert!(fs.read_file("a")[len..12_000].iter().all(|b| *b == 0), "seed {seed}");
    }
}

#[test]
fn among_many_files_all_may_be_lost_and_all_kept() {
    let fs = SimFs::new();
    for n in 0..20 {
        named(&fs, &format!("synced-{n}")).write_at(b"data", 0).unwrap();
    }
    for n in 0..20 {
        fs.create(Path::new(&format!("unsynced-{n}"))).unwrap().write_at(b"data", 0).unwrap();
    }
    let states: Vec<_> = (0..100).map(|seed| fs.crash(seed).files()).collect();
    let nothing = |files: &Vec<(_, u64)>| files.len() == 20 && files.iter().all(|f| f.1 == 0);
    assert!(states.iter().any(nothing));
    assert!(states.contains(&fs.files()));
}

#[test]
fn a_sector_never_holds_a_later_write_without_the_earlier_in_most_states() {
    // Small appends, as a log makes: sectors and pages are written as the cache holds them.
    let fs = SimFs::new();
    let file = named(&fs, "a");
    for n in 0..100_u64 {
        file.write_at(&[1; 10], n * 10).unwrap();
    }
    let with_holes = |bytes: &Vec<u8>| {
        let sector = &bytes[..bytes.len().min(512)];
        let end = sector.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
        sector[..end].contains(&0)
    };
    let states: Vec<_> = SEEDS.map(|seed| fs.crash(seed).read_file("a")).collect();
    let holes = states.iter().filter(|bytes| with_holes(bytes)).count();
    assert!((1..states.len() / 4).contains(&holes), "{holes} of {}", states.len());
}

#[test]
fn a_file_without_a_synced_name_may_vanish_with_its_synced_bytes() {
    let fs = SimFs::new();
    let file = fs.create(Path::new("a")).unwrap();
    file.write_at(b"data", 0).unwrap();
    file.sync().unwrap();
    assert_eq!(outcomes(&fs, "a"), [None, Some(b"data".to_vec())].into(), "SIM-4");
    fs.sync_dir(root()).unwrap();
    assert_eq!(outcomes(&fs, "a"), [Some(b"data".to_vec())].into());
}

#[test]
fn a_name_may_survive_without_the_bytes() {
    let fs = SimFs::new();
    fs.create(Path::new("a")).unwrap().write_at(b"data", 0).unwrap();
    let outcomes = outcomes(&fs, "a");
    for expected in [&b""[..], b"data", b"\0\0\0\0"] {
        assert!(outcomes.contains(&Some(expected.to_vec())), "{expected:?} of {outcomes:?}");
    }
}

#[test]
fn a_rename_is_atomic_for_every_seed() {
    let fs = SimFs::new();
    let write = |name: &str, bytes: &[u8]| {
        let file = fs.create(Path::new(name)).unwrap();
        file.write_at(bytes, 0).unwrap();
        file.sync().unwrap();
    };
    write("CURRENT", b"old");
    fs.sync_dir(root()).unwrap();
    // The temporary name is not durable: if it is lost, so is the rename (SIM-5).
    write("tmp", b"new");
    fs.rename(Path::new("tmp"), Path::new("CURRENT")).unwrap();
    let either = [Some(b"old".to_vec()), Some(b"new".to_vec())];
    assert_eq!(outcomes(&fs, "CURRENT"), either.clone().into());
    for seed in SEEDS {
        let fs = fs.crash(seed);
        let renamed = fs.read_file("CURRENT") == b"new";
        assert!(!(renamed && fs.open(Path::new("tmp")).is_ok()), "two names, seed {seed}");
    }
    fs.sync_dir(root()).unwrap();
    assert_eq!(outcomes(&fs, "CURRENT"), [Some(b"new".to_vec())].into());
}

#[test]
fn a_renamed_durable_file_has_exactly_one_of_its_names() {
    let fs = SimFs::new();
    named(&fs, "a");
    fs.write_file("a", b"moved");
    for (from, to) in [("a", "b"), ("b", "c"), ("c", "a"), ("a", "d")] {
        fs.rename(Path::new(from), Path::new(to)).unwrap();
    }
    fs.create(Path::new("a")).unwrap();
    let mut seen = BTreeSet::new();
    for seed in SEEDS {
        let state = state(&fs.crash(seed));
        let mut names = state.into_iter().filter(|(_, bytes)| bytes == b"moved");
        seen.insert(names.next().expect("the file is gone").0);
        assert!(names.next().is_none(), "seed {seed}");
    }
    assert_eq!(seen, ["a", "b", "c", "d"].map(PathBuf::from).into());
}

#[test]
fn a_removed_file_may_come_back_until_the_directory_is_synced() {
    let fs = SimFs::new();
    let file = named(&fs, "a");
    file.write_at(b"back", 0).unwrap();
    file.sync().unwrap();
    drop(file);
    fs.remove(Path::new("a")).unwrap();
    assert_eq!(outcomes(&fs, "a"), [None, Some(b"back".to_vec())].into());
    fs.create(Path::new("a")).unwrap();
    let with_new = [None, Some(b"back".to_vec()), Some(Vec::new())];
    assert_eq!(outcomes(&fs, "a"), with_new.into());
    fs.sync_dir(root()).unwrap();
    assert_eq!(outcomes(&fs, "a"), [Some(Vec::new())].into());
}

#[test]
fn names_survive_in_any_combination() {
    let fs = SimFs::new();
    for name in ["a", "b", "c"] {
        fs.create(Path::new(name)).unwrap();
    }
    let names = |seed| fs.crash(seed).list(root()).unwrap().concat();
    let seen: BTreeSet<_> = SEEDS.map(names).collect();
    assert_eq!(seen, ["", "a", "b", "c", "ab", "ac", "bc", "abc"].map(String::from).into());
}

#[test]
fn names_often_survive_as_a_prefix() {
    let fs = SimFs::new();
    let all: Vec<_> = ('a'..='t').map(String::from).collect();
    for name in &all {
        fs.create(Path::new(name)).unwrap();
    }
    let is_prefix = |seed: &u64| {
        let names = fs.crash(*seed).list(root()).unwrap();
        (1..all.len()).contains(&names.len()) && all.starts_with(&names)
    };
    let prefixes = SEEDS.filter(is_prefix).count() as u64;
    assert!((SEEDS.end / 4..SEEDS.end / 2).contains(&prefixes), "{prefixes}");
}

#[test]
fn a_good_sync_after_a_failed_one_saves_only_what_was_written_anew() {
    let fs = SimFs::new();
    let file = named(&fs, "a");
    file.write_at(b"doubtful", 0).unwrap();
    fs.inject(Fault::new(Op::Sync, FaultKind::Eio));
    file.sync().unwrap_err();
    assert_eq!(fs.read_file("a"), b"doubtful", "the cache shows what may not be stored");
    file.write_at(b"sure", 8).unwrap();
    file.sync().unwrap();
    let seen = outcomes(&fs, "a");
    assert!(seen.contains(&Some(b"\0\0\0\0\0\0\0\0sure".to_vec())), "SIM-3: {seen:?}");
    assert!(seen.contains(&Some(b"doubtfulsure".to_vec())));
    assert!(seen.iter().all(|bytes| bytes.as_ref().unwrap().ends_with(b"sure")));

    let kept = |seed: &u64| fs.crash(*seed).read_file("a").starts_with(b"doubtful");
    let kept = SEEDS.filter(kept).count() as u64;
    assert!((SEEDS.end / 20..SEEDS.end / 2).contains(&kept), "{kept}: doubt is mostly loss");

    file.write_at(b"rewr", 2).unwrap();
    file.sync().unwrap();
    for bytes in outcomes(&fs, "a") {
        assert_eq!(bytes.unwrap()[2..6], *b"rewr");
    }
    file.write_at(b"rewritten...", 0).unwrap();
    file.sync().unwrap();
    assert_eq!(outcomes(&fs, "a"), [Some(b"rewritten...".to_vec())].into());
}

#[test]
fn doubt_outlives_the_process() {
    let fs = SimFs::new();
    let file = named(&fs, "a");
    file.write_at(b"doubtful", 0).unwrap();
    fs.inject(Fault::new(Op::Sync, FaultKind::Eio));
    file.sync().unwrap_err();
    let next = fs.kill();
    next.open(Path::new("a")).unwrap().sync().unwrap();
    assert_eq!(next.read_file("a"), b"doubtful");
    assert!(outcomes(&next, "a").contains(&Some(Vec::new())));
}

#[test]
fn kill_keeps_the_page_cache_and_frees_the_locks() {
    let fs = SimFs::new();
    let _lock = fs.lock(Path::new("LOCK")).unwrap();
    let file = fs.create(Path::new("a")).unwrap();
    file.write_at(b"cached", 0).unwrap();
    fs.inject(Fault::new(Op::Write, FaultKind::Eio).for_ever());
    let next = fs.kill();
    assert_eq!(state(&next), state(&fs));
    let _relocked = next.lock(Path::new("LOCK")).unwrap();
    assert!(matches!(fs.lock(Path::new("LOCK")), Err(Error::Locked { .. })));
    assert_eq!((next.ops(), next.syncs(), next.written_bytes()), (0, 0, 0));

    // What was unsynced still is, and the dead process's handles do not reach the new machine.
    assert!(outcomes(&next, "a").is_superset(&[None, Some(Vec::new())].into()));
    fs.clear_faults();
    file.write_at(b"zombie", 0).unwrap();
    assert_eq!(next.read_file("a"), b"cached");
    let file = next.open(Path::new("a")).unwrap();
    file.sync().unwrap();
    next.sync_dir(root()).unwrap();
    assert_eq!(outcomes(&next, "a"), [Some(b"cached".to_vec())].into());
}

#[test]
fn a_crashed_machine_starts_afresh_and_can_crash_again() {
    let fs = SimFs::new();
    let _lock = fs.lock(Path::new("LOCK")).unwrap();
    let file = named(&fs, "a");
    file.write_at(b"unsynced", 0).unwrap();
    fs.cut_power_at(0);
    for seed in 0..100 {
        let next = fs.crash(seed);
        assert!(!next.power_is_off());
        assert_eq!(next.ops(), 0);
        let _lock = next.lock(Path::new("LOCK")).unwrap();
        // What is there after a power cut is on the disk: the next one takes nothing away.
        assert_eq!(state(&next.crash(seed)), state(&next));
        next.open_write(Path::new("a")).unwrap().write_at(b"again", 0).unwrap();
        assert!(next.read_file("a").starts_with(b"again"));
    }
}

#[test]
fn directories_survive() {
    let fs = SimFs::new();
    fs.create_dir(Path::new("/x/y")).unwrap();
    for seed in 0..100 {
        assert!(fs.crash(seed).list(Path::new("/x/y")).unwrap().is_empty(), "SIM-6");
    }
}

/// A mix of all operations over a few names; sometimes failing, which is part of it.
fn history(fs: &SimFs, seed: u64, steps: u64) {
    let mut rng = SimRng::new(seed);
    for step in 0..steps {
        let name = |rng: &mut SimRng| PathBuf::from(["a", "b", "c", "d"][rng.below(4) as usize]);
        let path = name(&mut rng);
        match rng.below(12) {
            0 => drop(fs.create(&path)),
            1 => drop(fs.rename(&path, &name(&mut rng))),
            2 => drop(fs.remove(&path)),
            3 => drop(fs.sync_dir(root())),
            4..6 => drop(fs.open(&path).and_then(|file| file.sync())),
            _ => {
                let bytes = noise(1 + rng.below(3_000) as usize, step);
                let offset = rng.below(9_000);
                drop(fs.open_write(&path).and_then(|file| file.write_at(&bytes, offset)));
            }
        }
    }
}

#[test]
fn the_same_history_and_seed_give_the_same_state() {
    let mut states = BTreeSet::new();
    for seed in 0..50 {
        let (one, two) = (SimFs::new(), SimFs::new());
        for fs in [&one, &two] {
            fs.inject(Fault::new(Op::Sync, FaultKind::Eio).after(2).times(3));
            history(fs, seed, 200);
        }
        assert_eq!(state(&one), state(&two));
        for crash in 0..20 {
            let state_of = state(&one.crash(crash));
            assert_eq!(state_of, state(&two.crash(crash)), "seeds {seed}, {crash}");
            states.insert(state_of);
        }
    }
    assert!(states.len() > 300, "only {} different states", states.len());
}

/// A second, plainer model of what must survive: byte for byte what the last good sync covered and
/// nothing has overwritten since.
#[test]
fn random_histories_never_lose_what_was_synced() {
    for seed in 0..300 {
        let fs = SimFs::new();
        let mut rng = SimRng::new(seed);
        let files: Vec<_> = ["a", "b", "c"].map(|name| (name, named(&fs, name))).into();
        // Per file and byte: whether it is certain, and its value.
        let mut model: BTreeMap<&str, Vec<(bool, u8)>> = BTreeMap::new();
        let mut written: BTreeMap<&str, Vec<std::ops::Range<usize>>> = BTreeMap::new();
        for step in 0..60 {
            let (name, file) = &files[rng.below(3) as usize];
            let (bytes, ranges) =
                (model.entry(name).or_default(), written.entry(name).or_default());
            if rng.chance(2, 3) {
                let data = noise(1 + rng.below(2_000) as usize, step);
                let start = rng.below(8_000) as usize;
                let range = start..start + data.len();
                bytes.resize(bytes.len().max(range.end), (false, 0));
                for (slot, byte) in bytes[range.clone()].iter_mut().zip(&data) {
                    *slot = (false, *byte);
                }
                ranges.push(range);
                file.write_at(&data, start as u64).unwrap();
            } else if rng.chance(1, 4) {
                fs.inject(Fault::new(Op::Sync, FaultKind::Eio));
                file.sync().unwrap_err();
                ranges.clear();
            } else {
                file.sync().unwrap();
                for range in ranges.drain(..) {
                    bytes[range].iter_mut().for_each(|slot| slot.0 = true);
                }
            }
        }
        for crash in 0..20 {
            let fs = fs.crash(crash);
            for (name, bytes) in &model {
                let found = fs.read_file(name);
                for (at, (certain, byte)) in bytes.iter().enumerate() {
                    let survived = found.get(at) == Some(byte);
                    assert!(!certain || survived, "{name} byte {at}, seeds {seed}, {crash}");
                }
            }
        }
    }
}

#[test]
fn thousands_of_states_of_a_large_store_are_cheap() {
    let fs = SimFs::new();
    for n in 0..20 {
        let file = named(&fs, &format!("table-{n}"));
        file.write_at(&noise(4 << 20, n), 0).unwrap();
        file.sync().unwrap();
    }
    let log = named(&fs, "log");
    for n in 0..100_000_u64 {
        log.write_at(&noise(50, n), n * 50).unwrap();
        if n % 10 == 0 && n < 99_000 {
            log.sync().unwrap();
        }
    }
    for seed in SEEDS {
        assert_eq!(fs.crash(seed).files().len(), 21);
    }
}
