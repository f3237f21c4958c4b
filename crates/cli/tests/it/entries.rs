//! `get`, `put`, `delete`, and the exit codes.

use crate::{Scratch, json_lines};

#[test]
fn an_entry_is_put_read_and_deleted() {
    let scratch = Scratch::new();
    assert_eq!(scratch.run(&["put", "key", "first"]).ok(), "");
    scratch.run(&["put", "key", "a value", "--durability", "process"]).ok();
    assert_eq!(scratch.run(&["get", "key"]).ok(), "a value\n");
    assert_eq!(scratch.run(&["get", "key", "--raw"]).ok(), "a value");
    scratch.run(&["delete", "key"]).ok();
    let error = scratch.run(&["get", "key"]).fails(1);
    assert!(error.starts_with("stratalog: no key key in "), "{error}");
    scratch.run(&["delete", "key"]).fails(1);
}

#[test]
fn keys_and_values_may_be_any_bytes() {
    let scratch = Scratch::new();
    scratch.run(&["put", "--escape", r"a\x00\xff", r"\\\t\xe9"]).ok();
    assert_eq!(scratch.run(&["get", "--escape", r"a\x00\xff"]).ok(), "\\\\\\t\\xe9\n");
    let entry = scratch.run(&["get", "--escape", "--json", r"a\x00\xff"]).ok();
    assert_eq!(entry, "{\"key\":{\"hex\":\"6100ff\"},\"value\":{\"hex\":\"5c09e9\"}}\n");
    scratch.run(&["put", "", "empty"]).ok();
    assert_eq!(scratch.run(&["get", ""]).ok(), "empty\n");
    let error = scratch.run(&["get", "--escape", r"a\q"]).fails(2);
    assert!(error.contains("the backslash at byte 1"), "{error}");
}

#[test]
fn json_results_and_errors_parse() {
    let scratch = Scratch::new();
    assert_eq!(json_lines(&scratch.run(&["--json", "put", "k", "v"]).ok())[0]["put"], 1);
    assert_eq!(json_lines(&scratch.run(&["get", "k", "--json"]).ok())[0]["value"], "v");
    assert_eq!(json_lines(&scratch.run(&["delete", "k", "--json"]).ok())[0]["deleted"], 1);
    let error = scratch.run(&["get", "k", "--json"]).fails(1);
    let error = &json_lines(&error)[0]["error"];
    assert_eq!((&error["code"], &error["kind"]), (&1.into(), &"key_not_found".into()));
}

#[test]
fn wrong_usage_exits_2_and_help_tells_the_exit_codes() {
    let scratch = Scratch::new();
    assert_eq!(scratch.run(&["frobnicate"]).code, 2);
    assert_eq!(scratch.run(&["import", "a.tsv", "--memtable", "64 potatoes"]).code, 2);
    let error = scratch.run(&["put", &"k".repeat((64 << 10) + 1), "v"]).fails(2);
    assert!(error.contains("64 KiB"), "{error}");
    let without_db =
        std::process::Command::new(env!("CARGO_BIN_EXE_stratalog")).arg("stats").output();
    let without_db = crate::finish(without_db.unwrap());
    assert_eq!(without_db.code, 2);
    assert!(without_db.stderr.contains("--db DIR is missing"), "{}", without_db.stderr);
    let help = scratch.run(&["--help"]).ok();
    assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{help}");
}
