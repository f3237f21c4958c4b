//! The page as a whole.

use crate::engine::Durability;
use crate::record::Record;
use crate::report::html;
use crate::report::sample::{Sample, record};

/// What stands alone in HTML.
const VOID: [&str; 1] = ["meta"];

/// Checks that every element is closed in order, and no attribute or text ends too soon.
fn check(page: &str) -> Result<(), String> {
    let (mut open, mut rest) = (Vec::new(), page);
    while let Some(at) = rest.find('<') {
        let end = rest[at..].find('>').ok_or("a tag does not end")? + at;
        let tag = &rest[at + 1..end];
        let text = &rest[..at];
        if open.last() != Some(&"style") && (text.contains('>') || text.contains("& ")) {
            return Err(format!("not escaped: {text}"));
        }
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        let whole = tag.matches('"').count() % 2 == 0 && !tag.contains('<');
        if !whole {
            return Err(format!("a broken tag: {tag}"));
        }
        if tag.starts_with('/') {
            let last = open.pop().ok_or_else(|| format!("</{name}> was not opened"))?;
            if last != name {
                return Err(format!("<{last}> ends with </{name}>"));
            }
        } else if !tag.ends_with('/') && !tag.starts_with('!') && !VOID.contains(&name) {
            open.push(name);
        }
        rest = &rest[end + 1..];
    }
    if open.is_empty() { Ok(()) } else { Err(format!("left open: {open:?}")) }
}

fn sample() -> Record {
    let rates = [312e3, 300e3, 320e3];
    let weak = |sample| Sample { class: Some(Durability::None), ..sample };
    let mut record = record(&[
        Sample::new("stratalog", &rates),
        Sample { step: "scan <all> & \"more\"", ..Sample::new("stratalog", &rates) },
        weak(Sample::new("redb", &rates)),
        Sample { class: Some(Durability::Sync), ..Sample::new("a<b>&\"", &rates) },
        Sample { suite: "stall", case: "open loop", ..Sample::new("stratalog", &rates) },
        Sample { suite: "stall", case: "open loop", ..Sample::new("redb", &rates) },
    ]);
    record.runs[0].failed = Some("<broken> \"pipe\" & such".to_owned());
    record.cases[0].about = "values < 100 B & keys".to_owned();
    record
}

#[test]
fn the_checker_finds_what_is_broken() {
    assert_eq!(check("<p>a <b>b</b><path d=\"M0 0\"/></p>"), Ok(()));
    for broken in
        ["<p><b></p></b>", "<p>", "</p>", "<p>a > b</p>", "<p a=\"b>c</p>", "<p>a & b</p>"]
    {
        assert!(check(broken).is_err(), "{broken}");
    }
}

#[test]
fn the_page_is_well_formed_and_stands_alone() {
    let page = html(&sample());
    assert_eq!(check(&page), Ok(()));
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    for outside in ["http", "<script", "<link", "@import", "url(", "src="] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
}

#[test]
fn the_page_holds_everything() {
    let page = html(&sample());
    let parts = ["kv", "stall", "base", "open loop", "stratalog", "redb", "a&lt;b&gt;&amp;&quot;"];
    let classes = ["Process", "None ⚠", "Sync ↑", "312 k", "1.00×", "abc1234"];
    let words =
        ["scan &lt;all&gt;", "failed: &lt;broken&gt;", "values &lt; 100 B", "amplification 1.50"];
    let drawings = ["Latency", "Throughput over time", "The tree over time", "Slowest call"];
    for part in parts.iter().chain(&classes).chain(&words).chain(&drawings) {
        assert!(page.contains(part), "{part}");
    }
    // Bars for each step; beside them, latency, throughput and three trees of each.
    assert!(page.matches("class=\"w\"").count() == 3 && page.matches("class=\"l ").count() > 10);
}

#[test]
fn headers_tell_which_way_a_ratio_goes_and_who_is_a_baseline() {
    let mut record = sample();
    record.subjects.retain(|(name, _)| name != "redb");
    let page = html(&record);
    for part in ["<th>÷ redb (baseline)</th>", "<th>× better than redb (baseline)</th>"] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(check(&page), Ok(()));
}

#[test]
fn steps_that_only_read_have_no_class() {
    let mut record = sample();
    record.machine.cpu = "A CPU".to_owned();
    record.runs.iter_mut().flat_map(|run| &mut run.steps).for_each(|step| step.class = None);
    for report in [html(&record), super::text(&record), super::markdown(&record)] {
        assert!(!["Process", "None", "Sync", "⚠", "↑"].iter().any(|mark| report.contains(mark)));
    }
}

#[test]
fn a_page_of_many_cases_stays_light() {
    let names: Vec<String> = (0..450).map(|case| format!("case {case}")).collect();
    let rates = [312e3, 300e3, 320e3];
    let samples: Vec<Sample> = names
        .iter()
        .flat_map(|case| ["stratalog", "a", "b"].map(|s| Sample { case, ..Sample::new(s, &rates) }))
        .collect();
    let page = html(&record(&samples));
    assert_eq!(check(&page), Ok(()));
    assert!(page.contains("for the first case only") && page.len() < 2_000_000, "{}", page.len());
}

#[test]
fn an_empty_record_has_a_page() {
    let mut record = sample();
    record.runs.clear();
    assert_eq!(check(&html(&record)), Ok(()));
    record.cases.clear();
    assert_eq!(check(&html(&record)), Ok(()));
    assert!(!super::text(&record).is_empty() && !super::markdown(&record).is_empty());
}
