//! Malformed input: told with line and column, nothing lost.

use std::fs;

use crate::{Scratch, json_lines};

#[test]
fn a_malformed_line_is_placed_and_what_came_before_is_kept() {
    let scratch = Scratch::new();
    let file = scratch.file("a.tsv", "a\t1\nb\t2\nno tab\nc\t3\n");
    for class in ["none", "process", "sync"] {
        let error = scratch.import(&file, &["--durability", class]).fails(3);
        assert!(error.contains("a.tsv: line 3, column 7: no tab between key and value"), "{error}");
        assert!(error.contains("(2 entries before it are imported)"), "{error}");
        assert_eq!(scratch.run(&["scan"]).ok(), "a\t1\nb\t2\n");
        fs::remove_dir_all(scratch.db()).unwrap();
    }
}

#[test]
fn a_malformed_line_has_its_place_in_json() {
    let scratch = Scratch::new();
    let file = scratch.file("a.csv", "k,v\n1,2\n3,4,5\n");
    let error = scratch.import(&file, &["--json", "--key", "k"]).fails(3);
    let error = &json_lines(&error)[0]["error"];
    assert_eq!((&error["code"], &error["kind"]), (&3.into(), &"input_malformed".into()));
    assert_eq!((&error["line"], &error["column"]), (&3.into(), &4.into()));
    assert_eq!(error["acknowledged"], 1);
}

#[test]
fn skip_bad_counts_and_goes_on() {
    let scratch = Scratch::new();
    let file = scratch.file("a.jsonl", "{\"k\":1}\n{\"k\":\n{\"k\":[]}\n{\"k\":2}\n");
    let told = scratch.import(&file, &["--key", "k", "--skip-bad"]).ok();
    assert!(told.contains("malformed lines skipped: 2\n  line 2, column 5: "), "{told}");
    assert!(told.contains("\n  line 3, column 6: field \"k\" is neither"), "{told}");
    let told = scratch.import(&file, &["--key", "k", "--skip-bad", "--json"]).ok();
    let summary = json_lines(&told).pop().unwrap();
    assert_eq!((&summary["entries"], &summary["skipped"]), (&2.into(), &2.into()));
    assert_eq!(summary["first_bad"][1]["line"], 3);
    assert_eq!(scratch.run(&["scan", "--keys-only"]).ok(), "1\n2\n");
}

#[test]
fn an_open_quote_ends_the_import_even_with_skip_bad() {
    let scratch = Scratch::new();
    let file = scratch.file("a.csv", "k,v\n1,a\n2,\"b\n3,c\n");
    let error = scratch.import(&file, &["--key", "k", "--skip-bad"]).fails(3);
    assert!(error.contains("line 3, column 3: this quote is never closed (1 entries"), "{error}");
}

#[test]
fn the_longest_key_of_the_import_is_that_of_the_store() {
    let scratch = Scratch::new();
    let longest = "k".repeat(64 << 10);
    let file = scratch.file("a.tsv", format!("a\t1\n{longest}\t2\n{longest}k\t3\n"));
    let error = scratch.import(&file, &[]).fails(3);
    assert!(error.contains("line 3, column 1: the key is longer than 64 KiB"), "{error}");
    assert_eq!(scratch.run(&["scan"]).ok(), format!("a\t1\n{longest}\t2\n"));
    let db = stratalog::Db::open(scratch.db()).unwrap();
    let error = db.put(format!("{longest}k"), "").err().unwrap();
    assert!(matches!(error, stratalog::Error::InvalidArgument(_)), "{error}");
}

#[test]
fn an_input_that_cannot_be_read_leaves_no_store_behind() {
    let scratch = Scratch::new();
    let error = scratch.import(&scratch.path("gone.tsv"), &[]).fails(3);
    assert!(error.contains("gone.tsv: No such file"), "{error}");
    let error = scratch.import(scratch.dir.path(), &["--format", "tsv"]).fails(3);
    assert!(error.contains("is a directory"), "{error}");
    assert!(!scratch.db().exists());
}

#[test]
fn options_that_do_not_fit_the_format_are_wrong_usage() {
    let scratch = Scratch::new();
    let (text, csv) = (scratch.file("a.txt", ""), scratch.file("a.csv", ""));
    assert!(scratch.import(&text, &[]).fails(2).contains("add --format tsv|csv|jsonl"));
    assert!(scratch.import(&csv, &[]).fails(2).contains("--key FIELD"));
    scratch.import(&csv, &["--key", "a", "--escape"]).fails(2);
    scratch.import(&text, &["--format", "tsv", "--key", "a"]).fails(2);
}
