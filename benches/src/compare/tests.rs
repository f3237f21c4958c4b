use super::*;
use crate::report::sample::{Sample, record};

const NOISE: [[f64; 3]; 2] = [[0.98, 1.0, 1.015], [1.02, 0.99, 1.0]];

/// Rates of three rounds of ours and a peer: noise of a record, times what the machine does.
fn measured(noise: usize, machine: f64, ours: f64) -> Record {
    let ours = NOISE[noise].map(|noise| 1e5 * noise * machine * ours);
    let peer = NOISE[1 - noise].map(|noise| 5e4 * noise * machine);
    record(&[Sample::new(OURS, &ours), Sample::new("peer", &peer)])
}

/// What stands under a title, up to the next empty line.
fn part<'t>(text: &'t str, title: &str) -> &'t str {
    let from = text.find(&format!("\n{title}")).unwrap_or_else(|| panic!("no {title} in\n{text}"));
    text[from + 1..].split("\n\n").next().unwrap()
}

#[test]
fn pure_noise_is_silent() {
    let text = compare(&measured(0, 1.0, 1.0), &measured(1, 1.0, 1.0));
    assert!(text.contains("2 steps unchanged within noise"), "{text}");
    assert!(part(&text, "improved").ends_with("(0)") && part(&text, "regressed").ends_with("(0)"));
    assert!(!text.contains('⚠'), "{text}");
}

#[test]
fn a_change_of_a_fifth_is_found_and_has_its_side() {
    let text = compare(&measured(0, 1.0, 1.0), &measured(1, 1.0, 1.2));
    let improved = part(&text, "improved");
    assert!(
        improved.contains("kv · base · step: rate, 100 k op/s Process → 120 k op/s Process"),
        "{text}"
    );
    assert!(part(&text, "regressed").ends_with("(0)"), "{text}");
    let text = compare(&measured(0, 1.0, 1.2), &measured(1, 1.0, 1.0));
    assert!(part(&text, "regressed").contains("rate, 120 k op/s Process → 100 k op/s"), "{text}");
    assert!(text.contains("\n1 step unchanged"), "{text}");
}

#[test]
fn a_drift_that_hits_all_is_no_change_of_ours() {
    let text = compare(&measured(0, 1.0, 1.0), &measured(1, 0.8, 1.0));
    assert!(part(&text, "regressed").ends_with("(0)"), "{text}");
    assert!(part(&text, "peers").contains("step · peer: rate"), "{text}");
    // And one that hides a regression does not hide it.
    let text = compare(&measured(0, 1.0, 1.0), &measured(1, 1.25, 0.8));
    assert!(part(&text, "regressed").contains("rate") && text.contains("beside 1 peer"), "{text}");
}

#[test]
fn wide_ranges_and_few_rounds_need_more() {
    let spread = |values: &[f64]| Spread::of(values.iter().copied()).unwrap();
    let beyond = |old: &[f64], new: &[f64]| beyond_noise(&spread(old), &spread(new), 0.05);
    // Apart, but by less than they are wide.
    assert_eq!(beyond(&[100.0, 108.0, 116.0], &[117.0, 125.0, 133.0]), None);
    assert!(beyond(&[100.0, 101.0, 102.0], &[109.0, 110.0, 111.0]).is_some());
    // Overlapping by one outlier.
    assert_eq!(beyond(&[100.0, 101.0, 130.0], &[120.0, 121.0, 122.0]), None);
    // One round each: 10 % is nothing, 25 % is something.
    assert_eq!(beyond(&[100.0], &[110.0]), None);
    assert!(beyond(&[100.0], &[125.0]).is_some());
    // With five rounds the wider range alone counts.
    let five = |from: f64| [0.0, 2.0, 4.0, 6.0, 8.0].map(|more| from + more);
    assert!(beyond(&five(100.0), &five(111.0)).is_some());
    assert_eq!(beyond(&five(100.0)[..3], &[106.0, 107.0, 108.0]), None);
}

#[test]
fn costs_count_from_a_tenth_on() {
    let (mut old, mut new) = (measured(0, 1.0, 1.0), measured(1, 1.0, 1.0));
    old.runs.iter_mut().chain(&mut new.runs).for_each(|run| run.steps[0].ops = 1000);
    for run in new.runs.iter_mut().filter(|run| run.subject == OURS) {
        run.steps[0].peak_bytes = 60 << 20;
        run.steps[0].disk_bytes = 72 << 20;
    }
    let text = compare(&old, &new);
    let regressed = part(&text, "regressed");
    assert!(regressed.contains("peak memory, 50.0 MiB Process → 60.0 MiB"), "{text}");
    assert!(!regressed.contains("disk"), "{text}");
}

#[test]
fn what_cannot_be_compared_is_told() {
    let (mut old, mut new) = (measured(0, 1.0, 1.0), measured(1, 1.0, 1.0));
    new.machine.kernel = "7.0".to_owned();
    new.cases[0].about = "2000 entries".to_owned();
    new.rounds = 2;
    new.runs[0].failed = Some("torn".to_owned());
    old.runs.iter_mut().for_each(|run| run.steps[0].name = "another".to_owned());
    let text = compare(&old, &new);
    let told = ["⚠ the kernel differs: 6.1 → 7.0", "what kv · base measures differs: 1000 entries"];
    for told in told.into_iter().chain(["number of rounds differs", "fewer than three rounds"]) {
        assert!(text.contains(told), "{told} is not in\n{text}");
    }
    assert!(part(&text, "only in the old record").contains("kv · base · peer: another"), "{text}");
    assert!(
        part(&text, "only in the new record").contains("kv · base · stratalog: step"),
        "{text}"
    );
    assert!(part(&text, "new failures").contains("kv · base · stratalog: failed: torn"), "{text}");
    assert!(!text.contains("failures that are gone"), "{text}");
}

#[test]
fn classes_that_differ_are_told_once() {
    let (old, mut new) = (measured(0, 1.0, 1.0), measured(1, 1.0, 1.0));
    new.runs.iter_mut().filter(|run| run.subject == OURS).for_each(|run| {
        run.steps[0].class = Some(Durability::Sync);
    });
    let text = compare(&old, &new);
    let told = "⚠ the class of stratalog in kv differs: Process → Sync (1 step)\n";
    assert!(text.contains(told) && text.matches("the class of").count() == 1, "{text}");
}

#[test]
fn baselines_do_not_judge_ours() {
    let (old, mut new) = (measured(0, 1.0, 1.0), measured(1, 0.8, 1.0));
    new.subjects.retain(|(name, _)| name == OURS);
    let text = compare(&old, &new);
    assert!(text.contains("no peer is in both records"), "{text}");
    assert!(part(&text, "regressed").contains("rate") && !text.contains("beside"), "{text}");
    assert!(part(&text, "peers and baselines").contains("step · peer: rate"), "{text}");
}

#[test]
fn what_is_held_is_compared_after_as_much_work_and_writing_nothing_is_a_value() {
    let (mut old, mut new) = (measured(0, 1.0, 1.0), measured(1, 1.0, 1.0));
    old.runs.iter_mut().for_each(|run| run.steps[0].ops = 1000);
    new.runs.iter_mut().for_each(|run| run.steps[0].ops = 2000);
    for run in new.runs.iter_mut().filter(|run| run.subject == OURS) {
        run.steps[0].peak_bytes *= 2;
        run.steps[0].written_bytes = 0;
    }
    let text = compare(&old, &new);
    assert!(!text.contains("peak memory"), "{text}");
    assert!(part(&text, "improved").contains("→ 0 B/op Process"), "{text}");
}
