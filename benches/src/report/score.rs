//! [`Score`]: ours beside every peer, step for step; who is ahead, how often, and where ours is behind.

use crate::report::quantity::Quantity;
use crate::report::summary::{CaseSummary, Row, Spread, StepSummary, Summary};
use crate::subjects::OURS;

/// A step that ours did.
pub(crate) struct Score<'a> {
    pub(crate) case: &'a CaseSummary<'a>,
    pub(crate) step: &'a StepSummary<'a>,
    pub(crate) ours: &'a Row<'a>,
    /// Each peer that did it, and how many times better ours was.
    pub(crate) peers: Vec<(&'a Row<'a>, Spread)>,
}

/// Who is ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Win,
    Tie,
    Loss,
}

/// How often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) wins: usize,
    pub(crate) ties: usize,
    pub(crate) losses: usize,
}

impl Verdict {
    /// What a ratio of ours to a peer means for `quantity`.
    pub(crate) fn of(ratio: f64, quantity: Quantity) -> Verdict {
        match 1.0 + quantity.tie() {
            beyond if ratio > beyond => Verdict::Win,
            beyond if ratio < 1.0 / beyond => Verdict::Loss,
            _ => Verdict::Tie,
        }
    }
}

impl Tally {
    fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Win => self.wins += 1,
            Verdict::Tie => self.ties += 1,
            Verdict::Loss => self.losses += 1,
        }
    }

    /// Of each score against its best peer of no weaker class.
    pub(crate) fn against_best(scores: &[Score], quantity: Quantity) -> Tally {
        let mut tally = Tally::default();
        for (_, ratio) in scores.iter().filter_map(Score::best) {
            tally.add(Verdict::of(ratio.median, quantity));
        }
        tally
    }

    /// Of each score against one peer, whatever its class.
    pub(crate) fn against(scores: &[Score], peer: &str, quantity: Quantity) -> Tally {
        let mut tally = Tally::default();
        let all = scores.iter().flat_map(|score| &score.peers);
        for (_, ratio) in all.filter(|(row, _)| row.subject == peer) {
            tally.add(Verdict::of(ratio.median, quantity));
        }
        tally
    }

    /// How many there were.
    pub(crate) fn total(self) -> usize {
        self.wins + self.ties + self.losses
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plural = |count, one: &'static str, many| if count == 1 { one } else { many };
        let Tally { wins, ties, losses } = *self;
        let text = format!(
            "{wins} {}, {ties} {}, {losses} {}",
            plural(wins, "win", "wins"),
            plural(ties, "tie", "ties"),
            plural(losses, "loss", "losses"),
        );
        f.pad(&text)
    }
}

impl<'a> Score<'a> {
    /// The steps of one case.
    pub(crate) fn of_case(case: &'a CaseSummary<'a>, quantity: Quantity) -> Vec<Score<'a>> {
        let score = |step: &'a StepSummary<'a>| {
            let ours = step.row(OURS)?;
            let peers = step.rows.iter().filter(|row| row.subject != OURS);
            let ratio = |row: &'a Row<'a>| Some((row, step.ratio(row, quantity)?));
            Some(Score { case, step, ours, peers: peers.filter_map(ratio).collect() })
        };
        case.steps.iter().filter_map(score).collect()
    }

    /// The steps of all cases.
    pub(crate) fn of_all(summary: &'a Summary<'a>, quantity: Quantity) -> Vec<Score<'a>> {
        summary.cases().flat_map(|case| Score::of_case(case, quantity)).collect()
    }

    /// The peer that does best among those of the same or a stronger class.
    pub(crate) fn best(&self) -> Option<&(&'a Row<'a>, Spread)> {
        let fair = self.peers.iter().filter(|(row, _)| !row.weaker);
        fair.min_by(|(_, a), (_, b)| a.median.total_cmp(&b.median))
    }

    /// Peers that are ahead of ours, of whatever class, the furthest first.
    pub(crate) fn ahead(&self, quantity: Quantity) -> Vec<&(&'a Row<'a>, Spread)> {
        let is_loss = |ratio: &Spread| Verdict::of(ratio.median, quantity) == Verdict::Loss;
        let mut ahead: Vec<_> = self.peers.iter().filter(|(_, ratio)| is_loss(ratio)).collect();
        ahead.sort_by(|(_, a), (_, b)| a.median.total_cmp(&b.median));
        ahead
    }
}

/// Scores where some peer is ahead, the worst first. Peers of a weaker class are among them.
pub(crate) fn losses<'s, 'a>(scores: &'s [Score<'a>], quantity: Quantity) -> Vec<&'s Score<'a>> {
    let worst = |score: &Score| score.ahead(quantity).first().map(|(_, ratio)| ratio.median);
    let mut losses: Vec<&Score> = scores.iter().filter(|score| worst(score).is_some()).collect();
    losses.sort_by(|a, b| worst(a).unwrap_or(1.0).total_cmp(&worst(b).unwrap_or(1.0)));
    losses
}

/// Steps that some peer did and ours did not: worse than any loss.
pub(crate) fn not_done<'a>(summary: &'a Summary<'a>) -> Vec<(&'a CaseSummary<'a>, &'a str)> {
    let missing = |case: &'a CaseSummary<'a>| {
        let steps = case.steps.iter().filter(|step| step.row(OURS).is_none());
        let takes_part = case.subjects.contains(&OURS);
        steps.filter(move |_| takes_part).map(move |step| (case, step.name))
    };
    summary.cases().flat_map(missing).collect()
}

/// What there is to say where ours is behind nobody: only with a peer beside it, it means something.
pub(crate) fn nowhere(scores: &[Score]) -> &'static str {
    if scores.iter().all(|score| score.peers.is_empty()) {
        "no peer was measured"
    } else {
        "nowhere"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Durability;
    use crate::report::sample::{Sample, record};

    #[test]
    fn only_what_is_beyond_the_tie_is_won_or_lost() {
        let verdict = |ratio| Verdict::of(ratio, Quantity::Rate);
        assert_eq!(verdict(1.04), Verdict::Tie);
        assert_eq!(verdict(1.06), Verdict::Win);
        assert_eq!(verdict(0.96), Verdict::Tie);
        assert_eq!(verdict(0.94), Verdict::Loss);
        assert_eq!(Verdict::of(1.2, Quantity::P99), Verdict::Tie);
    }

    #[test]
    fn the_best_peer_is_one_that_promises_as_much() {
        let record = record(&[
            Sample::new("stratalog", &[100.0]),
            Sample { class: Durability::None, ..Sample::new("weak", &[400.0]) },
            Sample::new("slow", &[50.0]),
            Sample { class: Durability::Sync, ..Sample::new("strong", &[80.0]) },
        ]);
        let summary = Summary::new(&record);
        let scores = Score::of_all(&summary, Quantity::Rate);
        let (best, ratio) = scores[0].best().unwrap();
        assert_eq!((best.subject, ratio.median), ("strong", 1.25));
        let tally = Tally::against_best(&scores, Quantity::Rate);
        assert_eq!(tally, Tally { wins: 1, ties: 0, losses: 0 });
        assert_eq!(Tally::against(&scores, "weak", Quantity::Rate).losses, 1);
        // But the loss is told.
        let losses = losses(&scores, Quantity::Rate);
        assert_eq!(losses[0].ahead(Quantity::Rate)[0].0.subject, "weak");
    }

    #[test]
    fn losses_stand_worst_first_and_what_ours_did_not_do_is_known() {
        let mut record = record(&[
            Sample::new("stratalog", &[50.0]),
            Sample { step: "b", ..Sample::new("stratalog", &[20.0]) },
            Sample::new("peer", &[100.0]),
            Sample { step: "b", ..Sample::new("peer", &[100.0]) },
            Sample { step: "c", ..Sample::new("peer", &[100.0]) },
        ]);
        let scores_of = |record: &crate::record::Record| -> Vec<String> {
            let summary = Summary::new(record);
            let scores = Score::of_all(&summary, Quantity::Rate);
            losses(&scores, Quantity::Rate).iter().map(|s| s.step.name.to_owned()).collect()
        };
        assert_eq!(scores_of(&record), ["b", "step"]);
        let summary = Summary::new(&record);
        assert_eq!(not_done(&summary)[0].1, "c");
        assert_eq!(nowhere(&Score::of_all(&summary, Quantity::Rate)), "nowhere");
        record.runs.retain(|run| run.subject != "peer");
        assert!(scores_of(&record).is_empty());
        let summary = Summary::new(&record);
        assert_eq!(nowhere(&Score::of_all(&summary, Quantity::Rate)), "no peer was measured");
    }
}
