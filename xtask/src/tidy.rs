//! `tidy`: the house rules that no other tool checks. Each rule is a pure function over sources, in a
//! file of its own.

mod edges;
mod imports;
mod invariants;
mod links;
mod modules;
mod source;
mod text;
mod unsafe_code;

use std::fmt;
use std::path::Path;

use crate::run::{Args, Outcome, root};
use source::Source;

/// A broken rule, or (`warning`) one that is about to be.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    path: String,
    line: usize,
    what: String,
    warning: bool,
}

impl Finding {
    fn error(source: &Source, line: usize, what: impl Into<String>) -> Finding {
        Finding { path: source.path.clone(), line, what: what.into(), warning: false }
    }

    fn warning(source: &Source, line: usize, what: impl Into<String>) -> Finding {
        Finding { warning: true, ..Finding::error(source, line, what) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.warning { "warning" } else { "error" };
        write!(f, "{}:{}: {kind}: {}", self.path, self.line, self.what)
    }
}

/// The sub-command.
pub fn run(args: &[String]) -> Outcome {
    Args::parse(args, &[])?.no_words()?;
    let sources = source::read_tree(root()).map_err(|why| format!("reading sources: {why}"))?;
    let findings = findings(root(), &sources);
    for finding in &findings {
        println!("{finding}");
    }
    match findings.iter().filter(|finding| !finding.warning).count() {
        0 => Ok(()),
        broken => Err(format!("tidy: {broken} broken rules")),
    }
}

fn findings(root: &Path, sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        findings.extend(edges::check(source));
        findings.extend(imports::check(source));
        findings.extend(unsafe_code::check(source));
        findings.extend(text::check(source));
        findings.extend(links::check(source, |path| root.join(path).exists()));
    }
    findings.extend(modules::check(sources));
    findings.extend(invariants::check(sources));
    findings
}
