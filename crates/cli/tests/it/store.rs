//! Databases that are missing, in use, not ours or damaged, and the commands on whole ones.

use std::fs;
use std::path::PathBuf;

use crate::{Scratch, json_lines};

#[test]
fn commands_on_existing_databases_create_none() {
    let scratch = Scratch::new();
    for args in
        [&["get", "k"][..], &["delete", "k"], &["scan"], &["stats"], &["check"], &["compact"]]
    {
        let error = scratch.run(args).fails(4);
        assert!(error.contains("no database in ") && error.contains("/db: "), "{args:?}: {error}");
        assert!(!scratch.db().exists(), "{args:?}");
        fs::create_dir(scratch.db()).unwrap();
        assert!(scratch.run(args).fails(4).contains("no database in "), "{args:?}");
        fs::remove_dir(scratch.db()).expect("the directory is still empty");
    }
    let error = scratch.run(&["stats", "--json"]).fails(4);
    assert_eq!(json_lines(&error)[0]["error"]["kind"], "no_store");
}

#[test]
fn a_database_in_use_is_refused() {
    let scratch = Scratch::new();
    let db = stratalog::Db::open(scratch.db()).unwrap();
    for args in [&["get", "k"][..], &["put", "k", "v"], &["scan"], &["check"]] {
        let error = scratch.run(args).fails(4);
        assert!(error.contains("/db is in use by another process"), "{error}");
    }
    db.close().unwrap();
    scratch.run(&["put", "k", "v"]).ok();
    let _db = stratalog::Db::open(scratch.db()).unwrap();
    let error = scratch.run(&["scan", "--json"]).fails(4);
    assert_eq!(json_lines(&error)[0]["error"]["kind"], "locked");
}

#[test]
fn a_directory_that_is_not_ours_is_left_alone() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.db()).unwrap();
    fs::write(scratch.db().join("holiday.jpg"), "pixels").unwrap();
    for args in [&["put", "k", "v"][..], &["stats"]] {
        let error = scratch.run(args).fails(4);
        assert!(error.contains("/db is not a Stratalog store: "), "{args:?}: {error}");
    }
    assert_eq!(fs::read_dir(scratch.db()).unwrap().count(), 1);
    fs::remove_dir_all(scratch.db()).unwrap();
    fs::write(scratch.db(), "a file").unwrap();
    assert!(scratch.run(&["put", "k", "v"]).fails(4).contains("/db"));
}

#[test]
fn check_names_the_damaged_table() {
    let scratch = Scratch::new();
    let lines: String = (0..20_000).map(|i| format!("{i:06}\tvalue {i}\n")).collect();
    scratch.run_with_input(&["import", "-"], &lines).ok();
    let report = json_lines(&scratch.run(&["check", "--json"]).ok()).remove(0);
    assert_eq!((&report["ok"], &report["entries"]), (&true.into(), &20_000.into()));
    let told = scratch.run(&["check"]).ok();
    assert!(told.contains("db is sound\n") && told.contains("20,000"), "{told}");

    let table = a_table(&scratch);
    let mut bytes = fs::read(&table).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&table, bytes).unwrap();
    let name = table.file_name().unwrap().to_str().unwrap();
    let error = scratch.run(&["check"]).fails(4);
    assert!(error.contains(name) && error.contains("is damaged at byte "), "{error}");
    let error = scratch.run(&["check", "--json"]).fails(4);
    let error = &json_lines(&error)[0]["error"];
    assert_eq!(error["kind"], "corrupt");
    assert!(error["file"].as_str().unwrap().ends_with(name) && error["offset"].is_u64(), "{error}");
}

fn a_table(scratch: &Scratch) -> PathBuf {
    let files = fs::read_dir(scratch.db()).unwrap().map(|entry| entry.unwrap().path());
    let mut tables = files.filter(|path| path.extension().is_some_and(|ext| ext == "sst"));
    tables.next().expect("there is a table")
}

#[test]
fn stats_and_compact_tell_the_levels() {
    let scratch = Scratch::new();
    let lines: String = (0..5_000).map(|i| format!("{i:06}\tvalue\n")).collect();
    for _ in 0..2 {
        scratch.run_with_input(&["import", "-"], &lines).ok();
    }
    let compacted = json_lines(&scratch.run(&["compact", "--json"]).ok()).remove(0);
    assert_eq!(compacted["after"].as_array().unwrap().len(), 1, "{compacted}");
    assert_eq!(compacted["after"][0]["entries"], 5_000);
    let stats = json_lines(&scratch.run(&["stats", "--json"]).ok()).remove(0);
    assert_eq!(stats["levels"], compacted["after"]);
    assert_eq!(stats["recovery"]["created"], false);
    let told = scratch.run(&["stats"]).ok();
    assert!(told.starts_with("level  tables"), "{told}");
    assert!(told.contains("5,000") && told.contains("block cache"), "{told}");
    assert!(scratch.run(&["compact"]).ok().contains("db is compacted: "));
}
