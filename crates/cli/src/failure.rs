//! What can go wrong, and the exit code of each.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::input::Malformed;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("no key {key} in {}", db.display())]
    KeyNotFound { key: String, db: PathBuf },

    #[error("{0}")]
    Usage(String),

    #[error("{}: {source}", input_name(path))]
    InputUnreadable { path: PathBuf, source: io::Error },

    #[error("{}: {source}", input_name(path))]
    InputMalformed { path: PathBuf, source: Malformed },

    /// An import that stopped on its way.
    #[error("{source} ({acknowledged} entries before it are imported)")]
    Import { acknowledged: u64, source: Box<Failure> },

    #[error("no database in {}: `import` and `put` create one", db.display())]
    NoStore { db: PathBuf },

    #[error(transparent)]
    Store(#[from] stratalog::Error),

    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// The failure to read from the input `path`.
    pub fn unreadable(path: &Path, source: io::Error) -> Failure {
        Failure::InputUnreadable { path: path.to_owned(), source }
    }

    /// Tells the user on standard error, unless it was the user who closed standard output.
    pub fn report(&self, json: bool) -> ExitCode {
        if matches!(self, Failure::Output(source) if source.kind() == io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        match json {
            true => eprintln!("{}", self.to_json()),
            false => eprintln!("stratalog: {self}"),
        }
        ExitCode::from(self.code())
    }

    fn code(&self) -> u8 {
        match self {
            Failure::KeyNotFound { .. } => 1,
            Failure::Usage(_) | Failure::Store(stratalog::Error::InvalidArgument(_)) => 2,
            Failure::InputUnreadable { .. } | Failure::InputMalformed { .. } => 3,
            Failure::NoStore { .. } | Failure::Store(_) | Failure::Output(_) => 4,
            Failure::Import { source, .. } => source.code(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Failure::KeyNotFound { .. } => "key_not_found",
            Failure::Usage(_) => "usage",
            Failure::InputUnreadable { .. } => "input_unreadable",
            Failure::InputMalformed { .. } => "input_malformed",
            Failure::Import { source, .. } => source.kind(),
            Failure::NoStore { .. } => "no_store",
            Failure::Output(_) => "output",
            Failure::Store(error) => store_kind(error),
        }
    }

    fn to_json(&self) -> Value {
        let mut error = json!({
            "code": self.code(),
            "kind": self.kind(),
            "message": self.to_string(),
        });
        self.add_details(&mut error);
        json!({ "error": error })
    }

    fn add_details(&self, to: &mut Value) {
        match self {
            Failure::Import { acknowledged, source } => {
                to["acknowledged"] = json!(acknowledged);
                source.add_details(to);
            }
            Failure::InputMalformed { source, .. } => {
                to["line"] = json!(source.line);
                to["column"] = json!(source.column);
            }
            Failure::Store(stratalog::Error::Corrupt { path, offset, .. }) => {
                to["file"] = json!(path.to_string_lossy());
                to["offset"] = json!(offset);
            }
            _ => {}
        }
    }
}

fn input_name(path: &Path) -> std::path::Display<'_> {
    match path.as_os_str() == "-" {
        true => Path::new("standard input").display(),
        false => path.display(),
    }
}

fn store_kind(error: &stratalog::Error) -> &'static str {
    use stratalog::Error;
    match error {
        Error::Io { .. } => "io",
        Error::NoSpace { .. } => "no_space",
        Error::Corrupt { .. } => "corrupt",
        Error::Locked { .. } => "locked",
        Error::NotOurs { .. } => "not_ours",
        Error::NewerFormat { .. } => "newer_format",
        Error::InvalidArgument(_) => "invalid_argument",
        Error::Poisoned(first) => store_kind(first),
        _ => "other",
    }
}
