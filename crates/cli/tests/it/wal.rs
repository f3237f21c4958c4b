//! `wal dump`, `wal verify` and `wal repair`.

use std::fs;
use std::io::IoSlice;
use std::path::{Path, PathBuf};

use stratalog_base::fs::OsFs;
use stratalog_wal::start_file::Start;
use stratalog_wal::{Backend, Durability, Log, LogOptions, RecoveryMode, Wal, recover};

use crate::{Run, Scratch, flip, json_lines};

/// A closed log of ten records in several segments.
fn a_log(scratch: &Scratch) -> PathBuf {
    let dir = scratch.path("log");
    fs::create_dir(&dir).unwrap();
    let backend = Backend::Sync; // No ring file.
    let base = LogOptions { backend, ..LogOptions::default() };
    let options = LogOptions { segment_bytes: 256, segments_ahead: false, ..base };
    let (log, _) = Log::open(OsFs::shared(), &dir, options).unwrap();
    for i in 0..10 {
        let record = format!("record\t{i}");
        log.append(&[IoSlice::new(record.as_bytes())], Durability::Sync).unwrap().wait().unwrap();
    }
    log.close().unwrap();
    dir
}

fn wal(scratch: &Scratch, command: &str, dir: &Path, options: &[&str]) -> Run {
    scratch.run_on(&["wal", command], dir, options)
}

fn records(dir: &Path) -> Vec<(u64, Vec<u8>)> {
    let mut records = Vec::new();
    recover(&*OsFs::shared(), dir, 0, RecoveryMode::Strict, &mut |position, record| {
        records.push((position, record.to_vec()));
        Ok(())
    })
    .unwrap();
    records
}

#[test]
fn a_sound_log_is_dumped_and_verified() {
    let scratch = Scratch::new();
    let dir = a_log(&scratch);
    let told = wal(&scratch, "verify", &dir, &["--strict"]).ok();
    assert!(told.contains("log is whole\n") && told.contains("closed    yes"), "{told}");
    let report = json_lines(&wal(&scratch, "verify", &dir, &["--json"]).ok()).remove(0);
    assert_eq!((&report["ok"], &report["records"]), (&true.into(), &10.into()));

    let told = wal(&scratch, "dump", &dir, &[]).ok();
    assert!(told.starts_with("000001.wal  ") && told.contains("continues segment 1"), "{told}");
    assert!(!told.contains("record, "), "{told}");
    let told = wal(&scratch, "dump", &dir, &["--records", "--payload"]).ok();
    assert!(told.contains("record, 8 bytes  record\\t9\n") && told.contains(" close, "), "{told}");
    let frames = wal(&scratch, "dump", &dir, &["--records", "--json"]).ok();
    let frames = json_lines(&frames).into_iter().filter(|it| it["frame"]["kind"] == "record");
    let positions: Vec<_> = frames.map(|it| it["frame"]["position"].as_u64().unwrap()).collect();
    assert_eq!(positions, records(&dir).iter().map(|it| it.0).collect::<Vec<_>>());

    let from = positions[4].to_string();
    let options = ["--records", "--from", &from, "--limit", "1", "--json", "--payload"];
    let lines = json_lines(&wal(&scratch, "dump", &dir, &options).ok());
    let frames: Vec<_> = lines.iter().filter(|it| it["frame"].is_object()).collect();
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0]["frame"]["payload"], "record\t4");
}

#[test]
fn a_lost_first_segment_is_told_and_a_removed_one_is_not() {
    let scratch = Scratch::new();
    let dir = a_log(&scratch);
    let (log, _) = Log::open(OsFs::shared(), &dir, LogOptions::default()).unwrap();
    log.truncate_before(records(&dir)[5].0).unwrap();
    log.close().unwrap();
    assert!(!dir.join("000001.wal").exists());
    let told = wal(&scratch, "verify", &dir, &[]).ok();
    assert!(told.contains("log is whole\n"), "{told}");
    let told = wal(&scratch, "dump", &dir, &[]).ok();
    assert!(told.starts_with("start.wal  log ") && told.contains("missed below"), "{told}");
    let start = json_lines(&wal(&scratch, "dump", &dir, &["--json"]).ok()).remove(0);
    assert!(start["start"]["position"].as_u64().unwrap() > 8, "{start}");

    let mut files: Vec<_> = fs::read_dir(&dir).unwrap().map(|it| it.unwrap().path()).collect();
    files.retain(|file| file.file_name().unwrap().to_string_lossy().starts_with("0000"));
    files.sort();
    let name = files[0].file_name().unwrap().to_string_lossy().into_owned();
    fs::remove_file(&files[0]).unwrap();
    let run = wal(&scratch, "verify", &dir, &[]);
    let told = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(told.contains("is damaged; what a repair would save"), "{told}");
    let error = run.fails(4);
    assert!(error.contains(&name) && error.contains("is missing"), "{error}");
}

#[test]
fn a_start_file_of_another_log_is_told_and_hides_nothing_from_a_repair() {
    let scratch = Scratch::new();
    let dir = a_log(&scratch);
    let all = records(&dir);
    Start { log_id: 1, position: all[7].0 }.raise(&*OsFs::shared(), &dir).unwrap();
    let told = wal(&scratch, "dump", &dir, &[]).ok();
    assert!(told.starts_with("start.wal  log 0000000000000001, "), "{told}");
    assert!(told.contains(", does not count: of another log\n"), "{told}");
    let start = json_lines(&wal(&scratch, "dump", &dir, &["--json"]).ok()).remove(0);
    assert_eq!(start["start"]["counts"], false);
    let run = wal(&scratch, "verify", &dir, &[]);
    let told = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(told.contains("left out: 0 bytes at 0 of ") && told.contains("start.wal: "), "{told}");
    assert!(run.fails(4).contains("start.wal is damaged"));

    let into = scratch.path("fresh");
    wal(&scratch, "repair", &dir, &["--into", into.to_str().unwrap()]).ok();
    assert_eq!(records(&into), all);
    wal(&scratch, "verify", &into, &["--strict"]).ok();
    // So is the log itself, once it was opened in spite of that.
    let mode = RecoveryMode::PointInTime;
    Log::open_with(OsFs::shared(), &dir, LogOptions::default(), mode).unwrap().0.close().unwrap();
    wal(&scratch, "verify", &dir, &["--strict"]).ok();
    assert_eq!(records(&dir), all);
}

#[test]
fn damage_is_told_and_repaired_into_another_directory() {
    let scratch = Scratch::new();
    let dir = a_log(&scratch);
    let all = records(&dir);
    let file = dir.join("000001.wal");
    flip(&file, 128 + 12);
    let before = fs::read(&file).unwrap();

    let run = wal(&scratch, "verify", &dir, &[]);
    let told = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(told.contains("is damaged") && told.contains("left out: 24 bytes at 128"), "{told}");
    assert!(run.fails(4).contains("000001.wal is damaged at byte 128"));
    let run = wal(&scratch, "verify", &dir, &["--json"]);
    let report = json_lines(&String::from_utf8_lossy(&run.stdout)).remove(0);
    assert_eq!((&report["ok"], &report["records"]), (&false.into(), &9.into()));
    assert_eq!(report["dropped"][0]["offset"], 128);
    assert_eq!(json_lines(&run.fails(4))[0]["error"]["kind"], "corrupt");
    let told = wal(&scratch, "dump", &dir, &["--records"]).ok();
    assert!(told.contains("  ! 24 bytes at 128: frame checksum mismatch"), "{told}");

    let into = scratch.path("fresh");
    let into_text = into.to_str().unwrap();
    let told = wal(&scratch, "repair", &dir, &["--into", into_text]).ok();
    assert!(
        told.contains("records   9, at the positions") && told.contains("left out: "),
        "{told}"
    );
    assert_eq!(records(&into), all[1..]);
    assert_eq!(fs::read(&file).unwrap(), before);
    wal(&scratch, "verify", &into, &["--strict"]).ok();

    let error = wal(&scratch, "repair", &dir, &["--into", into_text]).fails(2);
    assert!(error.contains("is not empty"), "{error}");
    for inside in [dir.clone(), dir.join("sub")] {
        let error = wal(&scratch, "repair", &dir, &["--into", inside.to_str().unwrap()]).fails(2);
        assert!(error.contains("which a repair only reads"), "{error}");
    }
    let into = scratch.path("again");
    let options = ["--into", into.to_str().unwrap(), "--json"];
    let report = json_lines(&wal(&scratch, "repair", &dir, &options).ok()).remove(0);
    assert_eq!((&report["records"], &report["into"]["segments"]), (&9.into(), &2.into()));
}

#[test]
fn a_torn_tail_fails_a_strict_verification_only() {
    let scratch = Scratch::new();
    let dir = a_log(&scratch);
    let mut files: Vec<_> = fs::read_dir(&dir).unwrap().map(|it| it.unwrap().path()).collect();
    files.sort();
    let last = files.last().unwrap();
    let bytes = fs::read(last).unwrap();
    fs::write(last, &bytes[..bytes.len() - 1]).unwrap();
    let told = wal(&scratch, "verify", &dir, &[]).ok();
    assert!(told.contains("whole but for a torn tail") && told.contains("left out"), "{told}");
    wal(&scratch, "verify", &dir, &["--strict"]).fails(4);
    for command in ["dump", "verify"] {
        wal(&scratch, command, &scratch.path("nowhere"), &[]).fails(4);
    }
    wal(&scratch, "repair", &scratch.path("nowhere"), &["--into", "unused"]).fails(4);
    assert!(!Path::new("unused").exists());
}
