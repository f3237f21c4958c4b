//! `table dump`, `table verify` and `table stats`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use stratalog::Options;

use crate::{Run, Scratch, flip, json_lines};

/// A table with 300 keys, the value file that it refers to, and the value of `key-0007`, which is in it.
fn a_table(scratch: &Scratch) -> (PathBuf, PathBuf, Vec<u8>) {
    let large = |i: u32| format!("value\t{i} ").repeat(200).into_bytes();
    let db = Options::new().separate_values_from(1000).open(scratch.db()).unwrap();
    for i in 0..300u32 {
        let value = if i == 7 || i == 8 { large(i) } else { format!("value {i}").into_bytes() };
        db.put(format!("key-{i:04}"), value).unwrap();
    }
    db.delete("key-0005").unwrap();
    db.put([0xff, 0], "last").unwrap();
    db.flush().unwrap();
    db.close().unwrap();
    let find = |extension: &str| {
        let files = fs::read_dir(scratch.db()).unwrap().map(|it| it.unwrap().path());
        files.into_iter().find(|path| path.extension().is_some_and(|it| it == extension)).unwrap()
    };
    (find("sst"), find("val"), large(7))
}

fn table(scratch: &Scratch, command: &str, file: &Path, options: &[&str]) -> Run {
    scratch.run_on(&["table", command], file, options)
}

fn of<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter_map(|line| line.get(kind)).collect()
}

#[test]
fn a_sound_table_is_verified_and_its_makeup_told() {
    let scratch = Scratch::new();
    let (file, values, _) = a_table(&scratch);
    let told = table(&scratch, "verify", &file, &[]).ok();
    assert!(told.contains(" is sound\n") && told.contains("entries  301\n"), "{told}");
    let report = json_lines(&table(&scratch, "verify", &file, &["--json"]).ok()).remove(0);
    assert_eq!((&report["ok"], &report["kind"]), (&json!(true), &json!("table")));
    assert_eq!(report["bytes"], fs::metadata(&file).unwrap().len());

    let told = table(&scratch, "stats", &file, &[]).ok();
    assert!(told.contains("1 tombstones, 2 separated, of 301 keys"), "{told}");
    assert!(told.contains("smallest          key-0000\n"), "{told}");
    assert!(told.contains("largest           \\xff\\x00\n"), "{told}");
    let stats = json_lines(&table(&scratch, "stats", &file, &["--json"]).ok()).remove(0);
    assert_eq!((&stats["entries"], &stats["separated"]), (&json!(301), &json!(2)));
    assert!(stats["filter_bits_per_key"].as_f64().unwrap() > 8.0);
    assert!(stats["compression_ratio"].as_f64().unwrap() > 1.0);
    assert_eq!((&stats["bad_blocks"], &stats["largest"]), (&json!(0), &json!({ "hex": "ff00" })));
    let parts = ["data", "index", "top_index", "filter", "properties"];
    let sum: u64 = parts.iter().map(|it| stats[format!("{it}_bytes")].as_u64().unwrap()).sum();
    assert_eq!(stats["bytes"], sum + 88, "magic number and footer are the rest");
    let values = json_lines(&table(&scratch, "stats", &values, &["--json"]).ok()).remove(0);
    assert_eq!(stats["value_refs"][0]["file"], values["id"]);
    assert_eq!(stats["value_refs"][0]["bytes"], values["record_bytes"]);
}

#[test]
fn a_table_is_dumped_block_by_block_and_entry_by_entry() {
    let scratch = Scratch::new();
    let (file, ..) = a_table(&scratch);
    let told = table(&scratch, "dump", &file, &[]).ok();
    assert!(told.starts_with("partition 0  filter "), "{told}");
    assert!(told.contains("\n  block 0  ") && told.contains(" entries\n"), "{told}");
    assert!(!told.contains("key-0001"), "{told}");
    let lines = json_lines(&table(&scratch, "dump", &file, &["--entries", "--json"]).ok());
    let (blocks, entries) = (of(&lines, "block"), of(&lines, "entry"));
    assert_eq!(entries.len(), 301);
    let count = |block: &&Value| block["entries"].as_u64().unwrap();
    assert_eq!(blocks.iter().map(count).sum::<u64>(), 301);
    assert_eq!(blocks[0]["at"]["offset"], 8);
    assert_eq!(entries[5]["kind"], "delete");
    assert_eq!(
        (&entries[7]["kind"], &entries[7]["handle"]["index"]),
        (&json!("separated"), &json!(0))
    );

    let options = ["--entries", "--values", "--from", "key-0006", "--limit", "2"];
    let told = table(&scratch, "dump", &file, &options).ok();
    let entries: Vec<_> = told.lines().filter(|line| line.starts_with("    ")).collect();
    let [put, separated] = entries[..] else { panic!("{told}") };
    assert!(put.contains("key-0006  #") && put.ends_with(" put  value 6"), "{told}");
    assert!(separated.contains(" separated  record 0 of value file "), "{told}");
    assert_eq!(table(&scratch, "dump", &file, &["--from", "a"]).code, 2, "needs --entries");
}

#[test]
fn a_value_file_is_dumped_and_verified() {
    let scratch = Scratch::new();
    let (_, file, value) = a_table(&scratch);
    let told = table(&scratch, "verify", &file, &[]).ok();
    assert!(told.contains("records  2\n"), "{told}");
    let told = table(&scratch, "stats", &file, &[]).ok();
    assert!(told.contains(" is value file ") && told.contains("uncompressed"), "{told}");
    let told = table(&scratch, "dump", &file, &["--values", "--limit", "1"]).ok();
    assert!(told.starts_with("record 0  ") && told.contains("  value\\t7 value\\t7 "), "{told}");
    assert_eq!(told.lines().count(), 1);
    let lines = json_lines(&table(&scratch, "dump", &file, &["--json"]).ok());
    let records = of(&lines, "record");
    assert_eq!((records.len(), &records[0]["value_bytes"]), (2, &json!(value.len())));
    assert!(records[0]["bytes"].as_u64().unwrap() < value.len() as u64 / 2, "it is compressed");
}

#[test]
fn damage_is_told_with_file_and_offset_and_the_rest_shown() {
    let scratch = Scratch::new();
    let (file, values, _) = a_table(&scratch);
    flip(&file, 20);
    flip(&values, 20);
    let told = table(&scratch, "verify", &file, &[]).fails(4);
    assert!(told.contains(".sst is damaged at byte 8: data block"), "{told}");
    let told = table(&scratch, "verify", &values, &["--json"]).fails(4);
    let error = json_lines(&told).remove(0);
    assert_eq!(
        (&error["error"]["kind"], &error["error"]["offset"]),
        (&json!("corrupt"), &json!(8))
    );
    let lines = json_lines(&table(&scratch, "dump", &file, &["--entries", "--json"]).ok());
    assert_eq!(of(&lines, "bad").len(), 1);
    assert!(of(&lines, "entry").len() > 100, "the other blocks are shown");
    let told = table(&scratch, "stats", &file, &[]).ok();
    assert!(told.contains("unreadable        1 blocks"), "{told}");
    let told = table(&scratch, "dump", &values, &[]).ok();
    assert!(told.starts_with("! ") && told.contains("\nrecord 1  "), "{told}");
    for file in [file, values] {
        let len = fs::metadata(&file).unwrap().len() as usize;
        flip(&file, len - 30);
        for command in ["verify", "stats", "dump"] {
            let told = table(&scratch, command, &file, &[]).fails(4);
            assert!(told.contains("footer damaged"), "{told}");
        }
    }
}

#[test]
fn what_is_no_table_is_refused() {
    let scratch = Scratch::new();
    for contents in [&b""[..], b"short", &[7; 300]] {
        let file = scratch.file("other", contents);
        assert!(table(&scratch, "verify", &file, &[]).fails(4).contains("is not a Stratalog"));
    }
    let cut = scratch.file("cut", b"stratSST and a little");
    assert!(table(&scratch, "stats", &cut, &[]).fails(4).contains("too few"));
    let missing = scratch.path("missing.sst");
    assert!(table(&scratch, "dump", &missing, &[]).fails(4).contains("missing.sst"));
}
