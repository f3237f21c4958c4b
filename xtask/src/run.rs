//! What the sub-commands share: the workspace root, options, and running cargo.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Why a sub-command failed, for the user.
pub type Outcome = Result<(), String>;

/// The workspace root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace root")
}

/// Where cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// `cargo` with `args`, in the workspace root.
pub fn cargo<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(args);
    command
}

/// Whether `program` can be started.
pub fn is_installed(program: &str) -> bool {
    let quiet = Stdio::null;
    Command::new(program).arg("--version").stdout(quiet()).stderr(quiet()).status().is_ok()
}

/// Runs `command` to its end, passing its output through.
pub fn run(command: &mut Command) -> Outcome {
    let shown = show(command);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{shown}`: {status}")),
        Err(why) => Err(format!("`{shown}`: {why}")),
    }
}

/// `command` as one would type it, with the variables set for it.
pub fn show(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| {
        Some(format!("{}={}", name.to_string_lossy(), quoted(&value?.to_string_lossy())))
    });
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let args = command.get_args().map(|arg| quoted(&arg.to_string_lossy()));
    variables
        .chain([program.to_string_lossy().into_owned()])
        .chain(args)
        .collect::<Vec<_>>()
        .join(" ")
}

fn quoted(word: &str) -> String {
    if word.contains(' ') { format!("\"{word}\"") } else { word.to_owned() }
}

/// Arguments of a sub-command: options with a value, and the rest.
pub struct Args {
    options: Vec<(String, String)>,
    /// What is not an option, in order.
    pub words: Vec<String>,
}

impl Args {
    /// Takes `args` apart; `known` are the options' names, each followed by its value.
    pub fn parse(args: &[String], known: &[&str]) -> Result<Args, String> {
        let mut parsed = Args { options: Vec::new(), words: Vec::new() };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if !arg.starts_with('-') {
                parsed.words.push(arg.clone());
            } else if known.contains(&arg.as_str()) {
                let value = args.next().ok_or_else(|| format!("{arg} needs a value"))?;
                parsed.options.push((arg.clone(), value.clone()));
            } else {
                return Err(format!("no option `{arg}` here; see `cargo xtask help`"));
            }
        }
        Ok(parsed)
    }

    /// The value of option `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of option `name` as a number.
    pub fn number(&self, name: &str, default: u64) -> Result<u64, String> {
        let Some(value) = self.get(name) else { return Ok(default) };
        value.parse().map_err(|_| format!("{name} {value}: not a number"))
    }

    /// Fails if there are words, for commands that take none.
    pub fn no_words(&self) -> Outcome {
        match self.words.first() {
            Some(word) => Err(format!("unexpected `{word}`; see `cargo xtask help`")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Args::parse(&words, &["--seeds", "--json"])
    }

    #[test]
    fn options_take_values_and_the_rest_are_words() {
        let args = parse("kv --seeds 12 more").unwrap();
        assert_eq!(args.words, ["kv", "more"]);
        assert_eq!(args.number("--seeds", 1), Ok(12));
        assert_eq!(args.get("--json"), None);
        assert!(args.no_words().is_err());
    }

    #[test]
    fn unknown_and_incomplete_options_are_refused() {
        assert!(parse("--sedes 12").is_err());
        assert!(parse("--seeds").is_err());
        assert!(parse("--seeds twelve").unwrap().number("--seeds", 1).is_err());
    }

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("/opt/bin/cargo");
        command.env("RUSTFLAGS", "--cfg loom").args(["test", "-p", "x"]);
        assert_eq!(show(&command), "RUSTFLAGS=\"--cfg loom\" cargo test -p x");
    }
}
