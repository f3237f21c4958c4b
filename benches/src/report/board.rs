//! The scoreboard: one look tells where ours is ahead and where it is behind.

use crate::report::format::{self, escape, ratio};
use crate::report::quantity::Quantity;
use crate::report::score::{Score, Tally, losses, not_done, nowhere};
use crate::report::summary::{CaseSummary, Spread, Subject, SuiteSummary, Summary};
use crate::report::table;
use crate::subjects::OURS;

/// Bounds of the tones on either side of 1, of which each is about 1.45 times the one before.
const TONES: [f64; 5] = [1.05, 1.25, 1.8, 2.6, 4.0];
/// Most losses that are listed of a cost.
const COST_LOSSES: usize = 50;

/// Wins, ties and losses, and where each suite stands; if `lean`, by rate alone.
pub(crate) fn board(summary: &Summary, lean: bool) -> String {
    let mut out = tallies(summary) + &heats(summary, Quantity::Rate);
    let inner = if lean { String::new() } else { heats(summary, Quantity::P999) };
    if !inner.is_empty() {
        out += "<details><summary>The same for p99.9 latency</summary>\n";
        out += &inner;
        out += "</details>\n";
    }
    out
}

fn tallies(summary: &Summary) -> String {
    let mut rows = String::new();
    let mut row = |name: &str, tally: Tally| {
        if tally.total() > 0 {
            rows += &format!(
                "<tr><th>{name}</th><td>{}</td><td class=\"t\">{tally}</td></tr>\n",
                share(tally)
            );
        }
    };
    for suite in &summary.suites {
        let tally = Tally::against_best(&Score::of_suite(suite, Quantity::Rate));
        row(&format!("rate · {}", escape(suite.name)), tally);
    }
    for quantity in Quantity::ALL.into_iter().filter(|quantity| *quantity != Quantity::Rate) {
        row(quantity.name(), Tally::against_best(&Score::of_all(summary, quantity)));
    }
    if rows.is_empty() {
        return "<p>No peer could be compared with ours.</p>\n".to_owned();
    }
    let title = "Each step against the best peer of the same durability class, or of a stronger \
                 one that is ahead";
    format!("<table class=\"tally\"><caption>{title}</caption>\n{rows}</table>\n")
}

/// A bar whose parts are wins, ties and losses.
fn share(tally: Tally) -> String {
    let part = |class: &str, count: usize| match count {
        0 => String::new(),
        count => format!("<i class=\"{class}\" style=\"flex:{count}\"></i>"),
    };
    let (wins, ties) = (part("a4", tally.wins), part("e", tally.ties));
    format!("<span class=\"share\">{wins}{ties}{}</span>", part("z4", tally.losses))
}

fn heats(summary: &Summary, quantity: Quantity) -> String {
    let boards: String = summary.suites.iter().map(|suite| heat(suite, quantity)).collect();
    if boards.is_empty() { boards } else { scale() + &boards }
}

/// What the colours mean.
fn scale() -> String {
    let mut out = String::from("<p class=\"scale\"><span>behind</span>");
    let steps = TONES.iter().enumerate();
    for (index, bound) in steps.clone().rev() {
        out += &format!("<i class=\"z{}\">&lt; {:.2}</i>", index + 1, 1.0 / bound);
    }
    out += "<i class=\"e\">tie</i>";
    for (index, bound) in steps {
        out += &format!("<i class=\"a{}\">&gt; {bound:.2}</i>", index + 1);
    }
    out + "<span>ahead</span></p>\n"
}

/// The tone of a ratio.
fn tone(ratio: f64) -> String {
    let (side, size) = if ratio < 1.0 { ('z', 1.0 / ratio) } else { ('a', ratio) };
    match TONES.iter().filter(|bound| size > **bound).count() {
        0 => "e".to_owned(),
        tone => format!("{side}{tone}"),
    }
}

fn heat(suite: &SuiteSummary, quantity: Quantity) -> String {
    let others = suite.others();
    let rows: String = suite.cases.iter().map(|case| heat_rows(case, &others, quantity)).collect();
    if rows.is_empty() {
        return String::new();
    }
    // Where less is better the ratio is turned round.
    let beside = if quantity.more_is_better() { "÷" } else { "× better than" };
    let head = |other: &Subject| format!("<th>{beside} {}</th>", escape(&other.to_string()));
    let others: String = others.iter().map(head).collect();
    format!(
        "<div class=\"wide\"><table class=\"heat\"><thead><tr><th>{}</th><th>step</th><th>{OURS}</th>{others}</tr>\
         </thead>\n{rows}</table></div>\n",
        escape(suite.name)
    )
}

fn heat_rows(case: &CaseSummary, others: &[Subject], quantity: Quantity) -> String {
    let mut scores = Score::of_case(case, quantity);
    scores.retain(|score| score.ours.spread(quantity).is_some());
    if others.is_empty() || scores.is_empty() {
        return String::new();
    }
    let mut out = String::from("<tbody>");
    for (index, score) in scores.iter().enumerate() {
        out += "<tr>";
        if index == 0 {
            let name = escape(&case.info.case);
            out += &format!("<th rowspan=\"{}\">{name}</th>", scores.len());
        }
        let ours = escape(&table::value_only(score.step, score.ours, quantity));
        let class = table::class(score.ours);
        out +=
            &format!("<th>{}</th><td>{ours}<small>{class}</small></td>", escape(score.step.name));
        out += &others.iter().map(|other| cell(case, score, other.name)).collect::<String>();
        out += "</tr>\n";
    }
    out + "</tbody>"
}

fn cell(case: &CaseSummary, score: &Score, peer: &str) -> String {
    match score.others.iter().find(|(row, _)| row.subject == peer) {
        Some((row, Spread { median, least, most, rounds })) => {
            let title = match rounds {
                1 => String::new(),
                _ => format!(" title=\"{}–{}\"", ratio(*least), ratio(*most)),
            };
            let (tone, ratio, class) = (tone(*median), ratio(*median), table::class(row));
            format!("<td class=\"{tone}\"{title}>{ratio}<small>{class}</small></td>")
        }
        None => match table::no_ratio(case, score, peer) {
            "failed" => "<td class=\"failed\">failed</td>".to_owned(),
            why => format!("<td>{why}</td>"),
        },
    }
}

/// Where ours is behind, worst first, by rate and by every cost.
pub(crate) fn behind(summary: &Summary) -> String {
    let mut out = String::new();
    for (case, step) in not_done(summary) {
        let place = escape(&table::place(case, step));
        out += &format!("<p class=\"failed\">not done by {OURS}: {place}</p>\n");
    }
    for quantity in Quantity::ALL {
        let scores = Score::of_all(summary, quantity);
        let losses = losses(&scores);
        // The tables of the cases hold every cost; all that ours loses in rate stands here.
        let shown = if quantity == Quantity::Rate { losses.len() } else { COST_LOSSES };
        let rows: String = losses.iter().take(shown).map(|score| loss(score)).collect();
        let wide = format!("<div class=\"wide\"><table class=\"losses\">{rows}</table></div>\n");
        let name = quantity.name();
        out += &match (quantity, losses.len()) {
            (Quantity::Rate, 0) => format!("<p>In rate: {}.</p>\n", nowhere(&scores)),
            (_, 0) => String::new(),
            (Quantity::Rate, _) => wide,
            (_, count) => {
                let most =
                    if count > shown { format!(", the worst {shown}") } else { String::new() };
                let title = format!("{name}: {}{most}", format::count(count, "step"));
                format!("<details><summary>{title}</summary>\n{wide}</details>\n")
            }
        };
    }
    out
}

fn loss(score: &Score) -> String {
    let ahead = score.ahead();
    let Some((_, worst)) = ahead.first() else { return String::new() };
    let worst = worst.median;
    let (place, text) = (table::place(score.case, score.step.name), table::loss(score));
    let (tone, ratio) = (tone(worst), ratio(worst));
    let (place, text) = (escape(&place), escape(&text));
    format!(
        "<tr><td class=\"{tone}\">{ratio}</td><th>{place}</th><td class=\"t\">{text}</td></tr>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tones_lie_evenly_on_both_sides_of_one() {
        assert_eq!([1.0, 1.04, 0.96].map(tone), ["e", "e", "e"]);
        assert_eq!([1.1, 1.5, 2.0, 3.0, 9.0].map(tone), ["a1", "a2", "a3", "a4", "a5"]);
        assert_eq!(
            [1.1, 1.5, 2.0, 3.0, 9.0].map(|r: f64| tone(1.0 / r)),
            ["z1", "z2", "z3", "z4", "z5"]
        );
    }
}
