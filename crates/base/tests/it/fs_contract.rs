//! What every file system does, run on the real and on the simulated one.

use std::io::{ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stratalog_base::Error;
use stratalog_base::fs::{Fs, OsFs, SimFs, read_all, read_exact_at};

use crate::memory::{load, store};

fn kind(error: &Error) -> Option<ErrorKind> {
    match error {
        Error::Io { source, .. } => Some(source.kind()),
        _ => None,
    }
}

fn write(fs: &dyn Fs, path: &Path, bytes: &[u8]) {
    fs.create(path).unwrap().write_at(bytes, 0).unwrap();
}

fn contents(fs: &dyn Fs, path: &Path) -> Vec<u8> {
    read_all(&*fs.open(path).unwrap()).unwrap()
}

/// Runs each case on both file systems, in a directory of its own.
macro_rules! on_both {
    ($($name:ident($fs:ident, $dir:ident) $body:block)*) => {
        $(fn $name($fs: &dyn Fs, $dir: PathBuf) $body)*

        mod real {
            $(#[test] fn $name() {
                let dir = tempfile::tempdir().unwrap();
                super::$name(&super::OsFs, dir.path().join("store"));
            })*
        }

        mod simulated {
            $(#[test] fn $name() {
                super::$name(&super::SimFs::new(), "/tmp/store".into());
            })*
        }
    };
}

on_both! {
    create_is_exclusive(fs, dir) {
        fs.create_dir(&dir).unwrap();
        write(fs, &dir.join("a"), b"first");
        let error = fs.create(&dir.join("a")).unwrap_err();
        assert_eq!(kind(&error), Some(ErrorKind::AlreadyExists));
        assert_eq!(contents(fs, &dir.join("a")), b"first");
        fs.create_dir(&dir.join("sub")).unwrap();
        assert_eq!(kind(&fs.create(&dir.join("sub")).unwrap_err()), Some(ErrorKind::AlreadyExists));
    }

    a_file_opened_by_mapping_reads_as_any_other_and_refuses_writes(fs, dir) {
        fs.create_dir(&dir).unwrap();
        let path = dir.join("a");
        assert!(fs.open_mapped(&path).unwrap_err().is_not_found());
        for bytes in [&b""[..], b"0123456789", &[7; 10_000]] {
            write(fs, &path, bytes);
            let file = fs.open_mapped(&path).unwrap();
            fs.remove(&path).unwrap(); // open handles go on reading
            assert_eq!((file.len().unwrap(), read_all(&*file).unwrap()), (bytes.len() as u64, bytes.to_vec()));
            let mut buf = [1; 8];
            for offset in [0, 3, 9, 10_000, 1 << 40] {
                let rest = bytes.get(offset.min(1 << 30) as usize..).unwrap_or_default();
                let expected = &rest[..rest.len().min(8)];
                assert_eq!(file.read_at(&mut buf, offset).unwrap(), expected.len());
                assert_eq!(&buf[..expected.len()], expected);
            }
            file.write_at(b"x", 0).unwrap_err();
        }
    }

    what_is_missing_is_not_found(fs, dir) {
        assert!(fs.list(&dir).unwrap_err().is_not_found());
        assert!(fs.create(&dir.join("a")).unwrap_err().is_not_found());
        assert!(fs.sync_dir(&dir).unwrap_err().is_not_found());
        assert!(fs.lock(&dir.join("LOCK")).unwrap_err().is_not_found());
        fs.create_dir(&dir).unwrap();
        assert!(fs.open(&dir.join("a")).unwrap_err().is_not_found());
        assert!(fs.open_write(&dir.join("a")).unwrap_err().is_not_found());
        assert!(fs.map(&dir.join("a"), 1).unwrap_err().is_not_found());
        assert!(fs.remove(&dir.join("a")).unwrap_err().is_not_found());
        assert!(fs.rename(&dir.join("a"), &dir.join("b")).unwrap_err().is_not_found());
    }

    reads_are_positioned_and_end_with_the_file(fs, dir) {
        fs.create_dir(&dir).unwrap();
        write(fs, &dir.join("a"), b"0123456789");
        let file = fs.open(&dir.join("a")).unwrap();
        let mut buf = [0; 4];
        assert_eq!((file.read_at(&mut buf, 3).unwrap(), &buf), (4, b"3456"));
        assert_eq!((file.read_at(&mut buf, 8).unwrap(), &buf), (2, b"8956"));
        assert_eq!(file.read_at(&mut buf, 10).unwrap(), 0);
        assert_eq!(file.read_at(&mut buf, 1 << 40).unwrap(), 0);
        assert_eq!(file.read_at(&mut [], 0).unwrap(), 0);
        let error = read_exact_at(&*file, &mut buf, 8).unwrap_err();
        assert!(matches!(error, Error::Corrupt { offset: 8, .. }), "{error}");
    }

    writes_overwrite_extend_and_fill_holes_with_zeros(fs, dir) {
        fs.create_dir(&dir).unwrap();
        let file = fs.create(&dir.join("a")).unwrap();
        file.write_at(b"tail", 9_998).unwrap();
        file.write_at(b"head", 0).unwrap();
        file.write_at(b"EA", 1).unwrap();
        file.write_at(b"", 20_000).unwrap();
        assert_eq!(file.len().unwrap(), 10_002);
        let mut expected = vec![0; 10_002];
        expected[..4].copy_from_slice(b"hEAd");
        expected[9_998..].copy_from_slice(b"tail");
        assert_eq!(read_all(&*file).unwrap(), expected);
        assert!(file.write_at(b"x", u64::MAX).is_err());
        assert_eq!(file.len().unwrap(), 10_002);
    }

    handles_of_a_file_see_each_others_writes(fs, dir) {
        fs.create_dir(&dir).unwrap();
        let writer = fs.create(&dir.join("a")).unwrap();
        let reader = fs.open(&dir.join("a")).unwrap();
        writer.write_at(b"news", 0).unwrap();
        assert_eq!(read_all(&*reader).unwrap(), b"news");
        assert_eq!(reader.path(), dir.join("a"));
    }

    an_existing_file_is_opened_for_writing_as_it_is(fs, dir) {
        fs.create_dir(&dir).unwrap();
        write(fs, &dir.join("a"), b"first");
        let file = fs.open_write(&dir.join("a")).unwrap();
        file.write_at(b"last", 3).unwrap();
        file.sync().unwrap();
        assert_eq!(read_all(&*file).unwrap(), b"firlast");
    }

    parts_are_written_in_a_row(fs, dir) {
        fs.create_dir(&dir).unwrap();
        let file = fs.create(&dir.join("a")).unwrap();
        let parts = [&b"ab"[..], b"", b"c", b"defg", b""].map(IoSlice::new);
        file.write_parts_at(&parts, 3).unwrap();
        file.write_parts_at(&[], 90).unwrap();
        file.write_parts_at(&[IoSlice::new(b"")], 90).unwrap();
        assert_eq!(contents(fs, &dir.join("a")), b"\0\0\0abcdefg");
        assert!(file.write_parts_at(&parts, u64::MAX).is_err());

        // More parts than the system takes at once.
        let bytes: Vec<u8> = (0..5_000_u32).map(|n| n as u8).collect();
        let parts: Vec<_> = bytes.chunks(2).map(IoSlice::new).collect();
        file.write_parts_at(&parts, 1).unwrap();
        assert_eq!(contents(fs, &dir.join("a"))[1..], bytes);
    }

    a_mapping_and_the_calls_see_each_other(fs, dir) {
        fs.create_dir(&dir).unwrap();
        let file = fs.create(&dir.join("a")).unwrap();
        file.write_at(&[7; 10_000], 0).unwrap();
        file.sync().unwrap();
        // Not every directory for temporary files can be mapped without danger.
        if let Some(mapping) = fs.map(&dir.join("a"), 9_001).unwrap() {
            assert_eq!((mapping.len(), mapping.as_ptr() as usize % 8), (9_001, 0));
            assert_eq!(load(&*mapping, 8_999..9_001), [7; 2]);
            store(&*mapping, 4_090, b"over a page");
            store(&*mapping, 9_000, b"x");
            file.write_at(b" PA", 4_096).unwrap();
            file.write_at(b"END", 9_998).unwrap();
            let mut expected = [7; 10_001];
            expected[4_090..4_101].copy_from_slice(b"over a PAge");
            expected[9_000] = b'x';
            expected[9_998..].copy_from_slice(b"END");
            assert_eq!(read_all(&*file).unwrap(), expected);
            assert_eq!(load(&*mapping, 4_096..4_101), expected[4_096..4_101]);
            fs.remove(&dir.join("a")).unwrap();
            fs.sync_dir(&dir).unwrap();
            store(&*mapping, 0, b"still mapped");
            drop(mapping);
            expected[..12].copy_from_slice(b"still mapped");
            assert_eq!(read_all(&*file).unwrap(), expected);
        }
    }

    a_file_maps_only_as_far_as_it_goes(fs, dir) {
        fs.create_dir(&dir).unwrap();
        write(fs, &dir.join("a"), &[7; 100]);
        assert!(fs.map(&dir.join("a"), 101).unwrap().is_none());
        assert!(fs.map(&dir.join("a"), 0).unwrap().is_none());
    }

    rename_replaces_its_target(fs, dir) {
        fs.create_dir(&dir).unwrap();
        write(fs, &dir.join("a"), b"new");
        write(fs, &dir.join("b"), b"old");
        let old = fs.open(&dir.join("b")).unwrap();
        fs.rename(&dir.join("a"), &dir.join("b")).unwrap();
        fs.sync_dir(&dir).unwrap();
        assert_eq!(fs.list(&dir).unwrap(), ["b"]);
        assert_eq!(contents(fs, &dir.join("b")), b"new");
        assert_eq!(read_all(&*old).unwrap(), b"old");
        fs.rename(&dir.join("b"), &dir.join("b")).unwrap();
        assert_eq!(contents(fs, &dir.join("b")), b"new");
    }

    a_removed_file_is_read_and_written_through_its_handles(fs, dir) {
        fs.create_dir(&dir).unwrap();
        let file = fs.create(&dir.join("a")).unwrap();
        file.write_at(b"still", 0).unwrap();
        fs.remove(&dir.join("a")).unwrap();
        fs.sync_dir(&dir).unwrap();
        assert!(fs.open(&dir.join("a")).unwrap_err().is_not_found());
        file.write_at(b" here", 5).unwrap();
        file.sync().unwrap();
        assert_eq!(read_all(&*file).unwrap(), b"still here");
        write(fs, &dir.join("a"), b"another");
        assert_eq!(read_all(&*file).unwrap(), b"still here");
    }

    list_is_sorted_and_leaves_out_directories(fs, dir) {
        fs.create_dir(&dir.join("0-sub")).unwrap();
        for name in ["b", "a10", "é", "a9", "Z"] {
            write(fs, &dir.join(name), b"");
        }
        assert_eq!(fs.list(&dir).unwrap(), ["Z", "a10", "a9", "b", "é"]);
    }

    create_dir_makes_parents_and_is_idempotent(fs, dir) {
        fs.create_dir(&dir.join("x/y/z")).unwrap();
        fs.create_dir(&dir.join("x/y/z")).unwrap();
        fs.create_dir(&dir.join("x")).unwrap();
        write(fs, &dir.join("x/y/./z/file"), b"deep");
        assert_eq!(fs.list(&dir.join("x/y/z")).unwrap(), ["file"]);
        assert!(fs.list(&dir.join("x")).unwrap().is_empty());
        assert!(fs.create_dir(&dir.join("x/y/z/file")).is_err());
        assert!(fs.create_dir(&dir.join("x/y/z/file/under")).is_err());
    }

    a_lock_excludes_every_other_until_it_drops(fs, dir) {
        fs.create_dir(&dir).unwrap();
        let lock = fs.lock(&dir.join("LOCK")).unwrap();
        match fs.lock(&dir.join("LOCK")).unwrap_err() {
            Error::Locked { path } => assert_eq!(path, dir),
            error => panic!("{error}"),
        }
        let _other = fs.lock(&dir.join("OTHER")).unwrap();
        drop(lock);
        let _again = fs.lock(&dir.join("LOCK")).unwrap();
        assert_eq!(fs.list(&dir).unwrap(), ["LOCK", "OTHER"]);
    }

    one_of_many_threads_gets_a_lock_and_a_new_name(fs, dir) {
        fs.create_dir(&dir).unwrap();
        let locks = std::sync::Mutex::new(Vec::new());
        let created = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    locks.lock().unwrap().extend(fs.lock(&dir.join("LOCK")).ok());
                    let won = fs.create(&dir.join("a")).is_ok();
                    created.fetch_add(u32::from(won), std::sync::atomic::Ordering::Relaxed);
                });
            }
        });
        assert_eq!(locks.lock().unwrap().len(), 1);
        assert_eq!(created.into_inner(), 1);
    }
}

#[test]
fn both_are_shared_as_options_take_them() {
    let _: [Arc<dyn Fs>; 2] = [OsFs::shared(), SimFs::new().shared()];
}

/// Who forks shares what is open, and its locks, with the child until that runs its own program.
#[test]
fn a_lock_that_was_dropped_is_free_though_children_are_begun_all_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("LOCK");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                std::process::Command::new("true").status().unwrap();
            }
        });
        let refused = (0..2_000).filter(|_| OsFs.lock(&path).map(drop).is_err()).count();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(refused, 0);
    });
}

#[test]
fn files_in_memory_are_mapped() {
    let memory = Path::new("/dev/shm");
    if cfg!(target_os = "linux") && memory.is_dir() {
        let dir = tempfile::tempdir_in(memory).unwrap();
        write(&OsFs, &dir.path().join("a"), &[7; 5_000]);
        let mapping = OsFs.map(&dir.path().join("a"), 5_000).unwrap().expect("MMAP-1");
        assert_eq!(load(&*mapping, 0..5_000), [7; 5_000]);
    }
}

#[test]
fn a_simulated_rename_stays_in_its_directory() {
    let fs = SimFs::new();
    fs.create_dir(Path::new("d")).unwrap();
    write(&fs, Path::new("a"), b"");
    let error = fs.rename(Path::new("a"), Path::new("d/a")).unwrap_err();
    assert_eq!(kind(&error), Some(ErrorKind::InvalidInput));
}
