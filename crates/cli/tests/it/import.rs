//! Formats, options and what the import tells.

use std::path::{Path, PathBuf};

use crate::{Scratch, json_lines, sorted_lines};

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/data/unicode.tsv")
}

#[test]
fn the_example_comes_back_sorted_byte_for_byte() {
    let scratch = Scratch::new();
    let told = scratch.import(&example(), &[]).ok();
    assert!(told.contains("34,924  ("), "{told}");
    assert!(told.contains("get U+000063\n"), "suggests a key of the data: {told}");
    let input = std::fs::read(example()).unwrap();
    assert_eq!(input.iter().filter(|&&byte| byte == b'\n').count(), 34_924);
    assert!(scratch.run(&["scan"]).stdout == sorted_lines(&input));
    assert_eq!(
        scratch.run(&["get", "U+000041"]).ok(),
        "LATIN CAPITAL LETTER A;Lu;0;L;;;;;N;;;;0061;\n"
    );
}

#[test]
fn lines_in_any_order_come_back_sorted() {
    let scratch = Scratch::new();
    let lines: String = (0..50_000u32)
        .map(|i| format!("{:08x}\t{i}\tx\r\n", i.wrapping_mul(0x9e37_79b1)))
        .collect();
    let file = scratch.file("data.tsv", &lines);
    scratch.import(&file, &["--memtable", "64KiB", "--batch", "7"]).ok();
    assert!(scratch.run(&["scan"]).stdout == sorted_lines(lines.as_bytes()));
    scratch.run(&["compact"]).ok();
    assert!(scratch.run(&["scan"]).stdout == sorted_lines(lines.as_bytes()));
}

#[test]
fn a_final_line_needs_no_newline_and_the_last_of_equal_keys_wins() {
    let scratch = Scratch::new();
    scratch.import(&scratch.file("a.tsv", "b\t1\na\t2\nb\t3"), &[]).ok();
    assert_eq!(scratch.run(&["scan"]).ok(), "a\t2\nb\t3\n");
}

#[test]
fn standard_input_is_tsv_unless_told_otherwise() {
    let scratch = Scratch::new();
    scratch.run_with_input(&["import", "-"], "a\t1\n").ok();
    let csv = ["import", "-", "--format", "csv", "--key", "k"];
    scratch.run_with_input(&csv, "v,k\n2,b\n").ok();
    assert_eq!(scratch.run(&["scan"]).ok(), "a\t1\nb\t2,b\n");
}

#[test]
fn csv_records_are_keyed_by_a_column() {
    let scratch = Scratch::new();
    let file = scratch.file("people.CSV", "name,email\r\n\"Ada, L.\",ada@x\r\nBob,bob@x\r\n");
    scratch.import(&file, &["--key", "email"]).ok();
    assert_eq!(scratch.run(&["get", "ada@x"]).ok(), "\"Ada, L.\",ada@x\n");
    let error = scratch.import(&file, &["--key", "mail"]).fails(3);
    assert!(
        error.contains("line 1, column 1: no column \"mail\"; there are name, email"),
        "{error}"
    );
}

#[test]
fn json_lines_are_keyed_by_a_field() {
    let scratch = Scratch::new();
    let file = scratch.file("a.jsonl", "{\"id\": 7, \"a\": [1]}\n\n{\"a\":{}, \"id\":\"x\"}\n");
    scratch.import(&file, &["--key", "id"]).ok();
    assert_eq!(
        scratch.run(&["scan"]).ok(),
        "7\t{\"id\": 7, \"a\": [1]}\nx\t{\"a\":{}, \"id\":\"x\"}\n"
    );
}

#[test]
fn json_tells_each_batch_and_then_the_summary() {
    let scratch = Scratch::new();
    let file = scratch.file("a.tsv", "a\t1\nb\t2\nc\t3\nd\t4\ne\t5\n");
    let lines = json_lines(&scratch.import(&file, &["--json", "--batch", "2"]).ok());
    let acknowledged: Vec<_> =
        lines[..3].iter().map(|line| line["acknowledged"].as_u64()).collect();
    assert_eq!(acknowledged, [Some(2), Some(4), Some(5)]);
    let summary = &lines[3];
    assert_eq!((&summary["entries"], &summary["skipped"]), (&5.into(), &0.into()));
    assert_eq!(summary["bytes"], 20);
    assert!(summary["entries_per_second"].as_u64() > Some(0));
    let entries: u64 = summary["levels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|level| level["entries"].as_u64().unwrap())
        .sum();
    assert_eq!(entries, 5, "everything is in tables at the end: {summary}");
}

#[test]
fn every_durability_class_is_accepted() {
    let scratch = Scratch::new();
    for class in ["none", "process", "interval", "sync"] {
        scratch
            .import(&scratch.file("a.tsv", format!("{class}\t1\n")), &["--durability", class])
            .ok();
    }
    assert_eq!(scratch.run(&["scan", "--keys-only"]).ok(), "interval\nnone\nprocess\nsync\n");
}

#[test]
fn binary_survives_a_round_trip_with_escape() {
    let (from, to) = (Scratch::new(), Scratch::new());
    let byte_pairs: Vec<[u8; 2]> = (0..=u16::MAX).step_by(37).map(u16::to_be_bytes).collect();
    let db = stratalog::Db::open(from.db()).unwrap();
    for pair in &byte_pairs {
        db.put(pair, [pair.as_slice(), b"\t\\\n\xff"].concat()).unwrap();
    }
    db.close().unwrap();
    let escaped = from.run(&["scan", "--escape"]).ok();
    assert_eq!(escaped.lines().count(), byte_pairs.len());
    to.run_with_input(&["import", "-", "--escape"], &escaped).ok();
    assert_eq!(to.run(&["scan", "--escape"]).ok(), escaped);
    let db = stratalog::Db::open(to.db()).unwrap();
    for pair in &byte_pairs {
        let value = db.get(pair).unwrap().unwrap();
        assert_eq!(*value, [pair.as_slice(), b"\t\\\n\xff"].concat());
    }
}
