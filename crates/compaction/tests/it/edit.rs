//! Edits: bytes there and back, and what they do to a version.

use stratalog_base::codec::Malformed;
use stratalog_base::fs::SimRng;
use stratalog_compaction::{Numbers, ValueUse, Version, VersionEdit};
use stratalog_sstable::{TableSummary, ValueSummary};

use crate::shape::{parse, parse_edit, summary, values};

fn apply(
    version: &Version<TableSummary>,
    edit: &VersionEdit,
) -> Result<Version<TableSummary>, String> {
    version.apply(edit, |table| Ok(table.clone()), |what| what)
}

fn edit() -> VersionEdit {
    VersionEdit {
        removed: vec![(0, 3), (6, u64::MAX)],
        added: vec![(1, summary(7, "", "z", 3)), (2, summary(8, "a", "b", 0))],
        added_values: vec![values(4, 1), values(u64::MAX, 9)],
        numbers: Numbers {
            flushed: Some(0),
            next_id: Some(u64::MAX),
            log_start: None,
            closed_at: Some(5),
        },
    }
}

#[test]
fn an_edit_round_trips() {
    for edit in [
        edit(),
        VersionEdit::default(),
        VersionEdit::snapshot(&parse("0: a..z 1\n4: b..c 2 v9=1\nv9 3")),
    ] {
        let mut bytes = Vec::new();
        edit.encode(&mut bytes);
        assert_eq!(VersionEdit::decode(&bytes), Ok(edit));
    }
}

#[test]
fn an_edit_has_these_bytes() {
    let mut bytes = Vec::new();
    let edit = VersionEdit {
        removed: vec![(1, 300)],
        added_values: vec![ValueSummary {
            id: 7,
            bytes: 1300,
            records: 2,
            record_bytes: 1030,
            checksum: 0x1122,
        }],
        numbers: Numbers {
            flushed: Some(128),
            next_id: Some(9),
            log_start: Some(1),
            closed_at: Some(2),
        },
        ..VersionEdit::default()
    };
    edit.encode(&mut bytes);
    let removed = [1, 0, 1, 0xac, 2];
    let values = [7, 0, 7, 0x94, 0x0a, 2, 0x86, 8, 0x22, 0x11, 0, 0, 0, 0, 0, 0];
    let numbers = [3, 0x80, 1, 4, 9, 5, 1, 6, 2];
    assert_eq!(
        bytes,
        [&removed[..], &values, &numbers].concat(),
        "a changed format needs a new manifest version"
    );
}

#[test]
fn damaged_edits_are_malformed_or_other_edits() {
    let mut whole = Vec::new();
    edit().encode(&mut whole);
    let mut rng = SimRng::new(5);
    for len in 0..whole.len() {
        let _: Result<_, Malformed> = VersionEdit::decode(&whole[..len]);
    }
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + rng.below(3) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.next_u64() as u8;
        }
        let _ = VersionEdit::decode(&bytes);
    }
    let unknown = VersionEdit::decode(&[8]).unwrap_err();
    assert_eq!(unknown.what, "unknown field of a version edit");
    assert!(VersionEdit::decode(&[1, 1, 0, 0]).is_err(), "another keyspace");
    assert!(VersionEdit::decode(&[1, 0, 7, 0]).is_err(), "an eighth level");
}

#[test]
fn later_numbers_win_and_any_change_voids_a_close() {
    let first =
        Numbers { flushed: Some(3), next_id: Some(4), log_start: Some(5), closed_at: Some(6) };
    let then = first.then(Numbers { next_id: Some(9), ..Numbers::default() });
    let expected =
        Numbers { flushed: Some(3), next_id: Some(9), log_start: Some(5), closed_at: None };
    assert_eq!(then, expected);
}

#[test]
fn tables_come_leave_and_move() {
    let version = parse("0: a..z 1\n0: a..z 1\n1: a..c 1\n1: x..z 1");
    let newest_first: Vec<_> = version.level(0).iter().map(|table| table.id).collect();
    assert_eq!(newest_first, [2, 1], "VERSION-1");
    let edit = VersionEdit {
        removed: vec![(1, 3), (0, 1)],
        added: vec![(2, version.level(1)[0].clone()), (1, summary(9, "d", "e", 1))],
        ..VersionEdit::default()
    };
    let next = apply(&version, &edit).unwrap();
    let ids = |level: usize| next.level(level).iter().map(|table| table.id).collect::<Vec<_>>();
    assert_eq!((ids(0), ids(1), ids(2)), (vec![2], vec![9, 4], vec![3]), "VERSION-2");
}

#[test]
fn edits_that_do_not_fit_are_refused() {
    let version = parse("0: a..z 1\n1: a..c 1\n1: x..z 1");
    let with = |level, table| VersionEdit { added: vec![(level, table)], ..VersionEdit::default() };
    let refused = |edit: &VersionEdit| apply(&version, edit).unwrap_err();
    let gone = VersionEdit { removed: vec![(1, 1)], ..VersionEdit::default() };
    assert!(refused(&gone).contains("table 1 is not in level 1"));
    assert!(refused(&with(1, summary(9, "c", "d", 1))).contains("out of order"), "VERSION-2");
    assert!(refused(&with(3, summary(2, "m", "n", 1))).contains("VERSION-4"));
    let mut same_age = summary(9, "m", "n", 1);
    (same_age.min_seq, same_age.max_seq) = (150, 250);
    assert!(refused(&with(0, same_age)).contains("out of order"), "VERSION-1");
}

#[test]
fn value_files_stay_for_as_long_as_a_table_refers_to_them() {
    // VALUES-1
    let text = "0: a..z 1 v8=2\n1: a..c 1 v8=1 v9=3\n1: x..z 1 v9=1\nv8 4\nv9 10";
    let version = parse(text);
    let uses = |version: &Version<TableSummary>| {
        let uses = version.values().iter();
        uses.map(|it| (it.summary.id, it.live_bytes >> 20, it.is_mostly_garbage()))
            .collect::<Vec<_>>()
    };
    assert_eq!(uses(&version), [(8, 3, false), (9, 4, true)]);
    assert_eq!(version.value_file(9).map(ValueUse::garbage_bytes), Some(6 << 20));
    assert_eq!(version.value_file(7), None);
    let gone = |removed| VersionEdit { removed, ..VersionEdit::default() };
    let next = apply(&version, &gone(vec![(1, 3)])).unwrap();
    assert_eq!(uses(&next), [(8, 3, false), (9, 3, true)]);
    let next = apply(&next, &gone(vec![(1, 2)])).unwrap();
    assert_eq!(uses(&next), [(8, 2, false)], "nobody refers to the other one");
    let moved = VersionEdit { added: vec![(1, next.level(0)[0].clone())], ..gone(vec![(0, 1)]) };
    assert_eq!(uses(&apply(&next, &moved).unwrap()), [(8, 2, false)]);
    assert_eq!(uses(&apply(&next, &gone(vec![(0, 1)])).unwrap()), []);
}

#[test]
fn value_files_that_do_not_fit_their_tables_are_refused() {
    let version = parse("1: a..c 1 v8=2\nv8 4");
    let refused = |text: &str| {
        let mut edit = parse_edit(text);
        edit.added.iter_mut().for_each(|(_, table)| table.id += 10);
        apply(&version, &edit).unwrap_err()
    };
    assert!(refused("1: x..z 1 v9=1").contains("VALUES-1"), "not there");
    assert!(refused("1: x..z 1\nv9 1").contains("VALUES-1"), "nobody refers to it");
    assert!(refused("1: x..z 1 v8=3").contains("VALUES-2"), "more than it holds");
    assert!(refused("1: x..z 1 v8=1\nv8 4").contains("VERSION-4"), "twice");
}

#[test]
fn candidates_come_newest_first_and_only_where_the_key_may_be() {
    let version = parse("0: a..f 1\n0: c..z 1\n1: a..c 1\n1: e..g 1\n3: d..d 1");
    let ids =
        |user: &str| version.candidates(user.as_bytes()).map(|table| table.id).collect::<Vec<_>>();
    assert_eq!(ids("c"), [2, 1, 3], "VERSION-3");
    assert_eq!(ids("d"), [2, 1, 5]);
    assert_eq!(ids("g"), [2, 4]);
    assert_eq!(ids(""), Vec::<u64>::new());
    assert_eq!(ids("zz"), Vec::<u64>::new());
}
