//! Which entries a scan prints, and how.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::{Scratch, json_lines};

fn fruit() -> Scratch {
    let scratch = Scratch::new();
    let lines = "apple\t1\napricot\t2\nbanana\t3\ncherry\t4\n";
    scratch.run_with_input(&["import", "-"], lines).ok();
    scratch
}

#[test]
fn ranges_prefixes_direction_and_limit_choose_entries() {
    let scratch = fruit();
    let keys = |args: &str| {
        let mut all = vec!["scan", "--keys-only"];
        all.extend(args.split_whitespace());
        scratch.run(&all).ok().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(keys("--from apricot --to cherry"), "apricot banana");
    assert_eq!(keys("--from b"), "banana cherry");
    assert_eq!(keys("--to b --reverse"), "apricot apple");
    assert_eq!(keys("--prefix ap"), "apple apricot");
    assert_eq!(keys("--prefix ap --reverse --limit 1"), "apricot");
    assert_eq!(keys("--limit 2"), "apple apricot");
    assert_eq!(keys("--limit 0"), "");
    assert_eq!(keys("--from x"), "");
    assert_eq!(keys("--from b --to b"), "");
    assert!(
        scratch.run(&["scan", "--from", "b", "--to", "a"]).fails(2).contains("--from is after")
    );
    assert_eq!(scratch.run(&["scan", "--from", "b", "--prefix", "a"]).code, 2);
}

#[test]
fn json_entries_parse_and_bytes_become_hex() {
    let scratch = fruit();
    scratch.run(&["put", "--escape", r"z\xff", "a\"b\n"]).ok();
    let lines = json_lines(&scratch.run(&["scan", "--json", "--from", "cherry"]).ok());
    assert_eq!(lines[0], serde_json::json!({ "key": "cherry", "value": "4" }));
    assert_eq!(lines[1], serde_json::json!({ "key": { "hex": "7aff" }, "value": "a\"b\n" }));
    let keys = json_lines(&scratch.run(&["scan", "--json", "--keys-only", "--limit", "1"]).ok());
    assert_eq!(keys, [serde_json::json!({ "key": "apple" })]);
}

#[test]
fn a_reader_that_goes_away_ends_the_scan_quietly() {
    let scratch = Scratch::new();
    let lines: String = (0..100_000).map(|i| format!("key {i:06}\tsome value\n")).collect();
    scratch.run_with_input(&["import", "-"], &lines).ok();
    let mut command = scratch.command(&["scan"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first, "key 000000\tsome value\n");
    let run = crate::finish(child.wait_with_output().unwrap());
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
}
