//! Links in documents: what a relative link names exists.

use super::Finding;
use super::source::Source;

/// Checks a Markdown file; `exists` answers for paths from the workspace root.
pub fn check(source: &Source, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    if !source.path.ends_with(".md") {
        return Vec::new();
    }
    let dir = source.path.rsplit_once('/').map_or("", |(dir, _)| dir);
    let mut findings = Vec::new();
    let mut in_code = false;
    for (number, line) in (1..).zip(source.text.lines()) {
        in_code ^= line.trim_start().starts_with("```");
        for target in targets(line).filter(|target| !in_code && is_local(target)) {
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty()
                && !exists(&format!("{dir}/{path}").trim_start_matches('/').replace("//", "/"))
            {
                findings.push(Finding::error(
                    source,
                    number,
                    format!("link to `{target}`: no such file"),
                ));
            }
        }
    }
    findings
}

fn is_local(target: &str) -> bool {
    !target.contains("://") && !target.starts_with("mailto:")
}

/// What the inline links of `line` point to.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("](").filter_map(|(at, open)| {
        let rest = &line[at + open.len()..];
        rest[..rest.find(')')?].split_whitespace().next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_links_lead_somewhere() {
        let text = "[a](b.md#part) [c](https://x.y) [d](#here) `x`\n[e](../gone.md \"t\")\n```\n[f](g)\n```\n";
        let source = Source::new("docs/a.md", text);
        let findings = check(&source, |path| path == "docs/b.md");
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].line, findings[0].what.contains("../gone.md")), (2, true));
    }
}
