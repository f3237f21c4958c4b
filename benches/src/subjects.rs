//! What can be measured: ours, baselines, and the peers that were built in.

use crate::plan::Plan;
use crate::{engine, log, map};

/// The name of ours among engines, logs and memtables: the others are compared with it.
pub const OURS: &str = "stratalog";

/// Something that can be measured, and how it is opened.
pub struct Known<Open> {
    /// Its name on the command line and in the report.
    pub name: &'static str,
    /// The package that it comes from. Baselines, which need none, take part unasked.
    pub package: Option<&'static str>,
    /// Opens it.
    pub open: Open,
}

/// The names of those of `known` that take part in `plan`, in order.
pub fn taking_part<Open>(known: &[Known<Open>], plan: &Plan) -> Vec<String> {
    let takes_part = |known: &&Known<Open>| {
        known.name == OURS || known.package.is_none() || plan.peers.iter().any(|p| p == known.name)
    };
    known.iter().filter(takes_part).map(|known| known.name.to_owned()).collect()
}

/// What opens `name`.
///
/// # Errors
/// That it was not built in.
pub fn opener<'a, Open>(known: &'a [Known<Open>], name: &str) -> crate::Outcome<&'a Open> {
    let found = known.iter().find(|known| known.name == name);
    Ok(&found.ok_or_else(|| format!("`{name}` was not built in"))?.open)
}

/// The names of everything that was built in, and the version of each; ours first. A package with another
/// name than what it brings is named with the version, which is the package's.
pub fn all() -> Vec<(&'static str, String)> {
    fn each<Open>(known: &[Known<Open>]) -> impl Iterator<Item = (&'static str, String)> {
        known.iter().map(|known| {
            let version = known.package.map_or_else(String::new, |package| {
                let version = version(package);
                if package == known.name { version } else { format!("({package} {version})") }
            });
            (known.name, version)
        })
    }
    let mut all: Vec<_> =
        each(engine::KNOWN).chain(each(log::KNOWN)).chain(each(map::KNOWN)).collect();
    let mut met = std::collections::HashSet::new();
    all.retain(|(name, _)| met.insert(*name));
    all
}

/// The version of `package` that was built in.
fn version(package: &str) -> String {
    let lock = include_str!("../../Cargo.lock");
    let found =
        lock.split("[[package]]").find(|p| p.contains(&format!("\nname = \"{package}\"\n")));
    let version = found.and_then(|found| found.split("version = \"").nth(1)?.split('"').next());
    version.unwrap_or("?").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_the_lock_file() {
        let all = all();
        assert_eq!(all[0].0, OURS);
        assert!(all.iter().all(|(_, version)| !version.contains('?')), "{all:?}");
        assert!(all[0].1.starts_with(|first: char| first.is_ascii_digit()));
    }
}
