//! Real kills of a real writer, on the real file system, under each backend.
//!
//! `STRATALOG_KILLS` sets how many for each (default 4). The directory for temporary files must be on a file
//! system on which rings are mapped, which the writer asserts.

use std::io::{IoSlice, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use stratalog_base::fs::{OsFs, SimRng};
use stratalog_base::sync::{Arc, sleep, spawn};
use stratalog_wal::{Backend, Durability, Log, LogOptions, RecoveryMode, Wal, recover};

const DIR: &str = "STRATALOG_KILL_DIR";
const CASE: &str = "STRATALOG_KILL_CASE";
const THREADS: u8 = 3;

fn all_options() -> Vec<LogOptions> {
    let of = |backend| LogOptions {
        backend,
        segment_bytes: 256 << 10,
        ring_bytes: 64 << 10,
        ..LogOptions::default()
    };
    let private = LogOptions { ring_mapped: false, ..of(Backend::LockFree) };
    Backend::ALL.map(of).into_iter().chain([private]).collect()
}

/// A record: thread, number, and bytes that follow from these.
fn record(thread: u8, number: u32) -> Vec<u8> {
    let mut bytes = vec![thread ^ number as u8; 5 + (number as usize * 37) % 600];
    bytes[0] = thread;
    bytes[1..5].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// How many records of each thread the log in `dir` has. They must be whole, in order, without holes.
fn count(dir: &Path) -> [u32; THREADS as usize] {
    let mut counts = [0; THREADS as usize];
    recover(&OsFs, dir, 0, RecoveryMode::TornTail, &mut |_, bytes| {
        let (thread, number) = (bytes[0], u32::from_le_bytes(bytes[1..5].try_into().unwrap()));
        assert_eq!(bytes, record(thread, number), "whole");
        let next = &mut counts[usize::from(thread)];
        assert_eq!(number, *next, "in order and without holes");
        *next += 1;
        Ok(())
    })
    .unwrap();
    counts
}

/// The writer: goes on where the log ends, and tells of each record that is acknowledged.
#[test]
#[ignore = "the process that is killed; others start it"]
fn writer() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let case: usize = std::env::var(CASE).unwrap().parse().unwrap();
    let counts = count(Path::new(&dir));
    let (log, _) = Log::open(OsFs::shared(), Path::new(&dir), all_options().remove(case)).unwrap();
    let has_ring = log.backend() == Backend::LockFree;
    assert_eq!(log.is_ring_mapped(), has_ring.then_some(all_options()[case].ring_mapped));
    let log = Arc::new(log);
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (log, first) = (log.clone(), counts[usize::from(thread)]);
            let body = move || {
                let mut number = first;
                loop {
                    let class = match number % 50 {
                        7 => Durability::Sync,
                        8..20 => Durability::Interval,
                        _ => Durability::Process,
                    };
                    let count = if number % 20 < 10 { 1 } else { 3 };
                    let records: Vec<_> =
                        (number..number + count).map(|it| record(thread, it)).collect();
                    let ticket = match &*records {
                        [one] => log.append(&[IoSlice::new(one)], class),
                        all => {
                            let all: Vec<_> = all.iter().map(Vec::as_slice).collect();
                            log.append_batch(&all, class, &mut Vec::new())
                        }
                    };
                    ticket.unwrap().wait().unwrap();
                    for record in &records {
                        std::io::stderr().write_all(&record[..5]).unwrap(); // Not buffered.
                    }
                    number += count;
                }
            };
            spawn("writer", body).unwrap()
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

fn start(dir: &Path, case: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::writer", "--ignored", "--nocapture"])
        .envs([(DIR, dir.as_os_str()), (CASE, case.to_string().as_ref())])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_was_acknowledged_survives_kills() {
    let kills = std::env::var("STRATALOG_KILLS").map_or(4, |text| text.parse().unwrap());
    for case in 0..all_options().len() {
        let name = format!("stratalog-wal-kill-{}-{case}", std::process::id());
        let dir = Dir(std::env::temp_dir().join(name));
        std::fs::create_dir(&dir.0).unwrap();
        let rng = &mut SimRng::new(case as u64);
        let mut acked_count = 0;
        for round in 0..kills {
            let mut child = start(&dir.0, case);
            sleep(Duration::from_millis(30 + rng.below(120)));
            child.kill().unwrap();
            child.wait().unwrap();
            let mut acked = Vec::new();
            child.stderr.take().unwrap().read_to_end(&mut acked).unwrap();
            let text = String::from_utf8_lossy(&acked);
            assert!(!text.contains("panicked"), "case {case}, kill {round}: {text}");
            let counts = count(&dir.0);
            acked_count += acked.len() / 5;
            for ack in acked.chunks_exact(5) {
                let number = u32::from_le_bytes(ack[1..].try_into().unwrap());
                let found = counts[usize::from(ack[0])];
                assert!(number < found, "case {case}, kill {round}: {number} of {found}");
            }
            if round % 8 == 7 {
                std::fs::remove_dir_all(&dir.0).unwrap(); // Else recovery takes ever longer.
                std::fs::create_dir(&dir.0).unwrap();
            }
        }
        assert!(acked_count > 0, "case {case}: the writer writes");
        println!("case {case}: {kills} kills, {acked_count} records acknowledged, 0 lost");
    }
}
