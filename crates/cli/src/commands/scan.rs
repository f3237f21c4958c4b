//! `scan`: entries in the order of their keys.

use std::io::{self, Write};
use std::ops::Bound;

use stratalog::{Db, Iter};

use super::Target;
use super::query::argument_bytes;
use crate::args::Scan;
use crate::escape;
use crate::failure::Failure;
use crate::output::{stdout, write_json_entry};

pub fn run(target: &Target, args: Scan) -> Result<(), Failure> {
    let form = match (target.json, args.escape.escape) {
        (true, _) => Form::Json,
        (false, true) => Form::Escaped,
        (false, false) => Form::Raw,
    };
    let (reverse, keys_only) = (args.reverse, args.keys_only);
    let limit = args.limit.unwrap_or(u64::MAX);
    let mut entries = Entries::new(args)?.iter(&target.open()?);
    let mut out = stdout();
    if keys_only {
        let mut keys = entries.keys();
        for _ in 0..limit {
            let key = if reverse { keys.advance_back()? } else { keys.advance()? };
            let Some(key) = key else { break };
            form.write(&mut out, key, None)?;
        }
    } else {
        for _ in 0..limit {
            let entry = if reverse { entries.advance_back()? } else { entries.advance()? };
            let Some((key, value)) = entry else { break };
            form.write(&mut out, key, Some(value))?;
        }
    }
    Ok(out.flush()?)
}

/// Which entries are wanted.
enum Entries {
    Prefix(Vec<u8>),
    Range(Bound<Vec<u8>>, Bound<Vec<u8>>),
}

impl Entries {
    fn new(args: Scan) -> Result<Entries, Failure> {
        let bytes = |argument| argument_bytes(argument, args.escape.escape);
        if let Some(prefix) = args.prefix {
            return Ok(Entries::Prefix(bytes(prefix)?));
        }
        let from = args.from.map(bytes).transpose()?;
        let to = args.to.map(bytes).transpose()?;
        if from.is_some() && to.is_some() && from > to {
            return Err(Failure::Usage("--from is after --to".to_owned()));
        }
        let from = from.map_or(Bound::Unbounded, Bound::Included);
        Ok(Entries::Range(from, to.map_or(Bound::Unbounded, Bound::Excluded)))
    }

    fn iter(self, db: &Db) -> Iter {
        match self {
            Entries::Prefix(prefix) => db.prefix(prefix),
            Entries::Range(from, to) => db.range((from, to)),
        }
    }
}

/// How an entry is written.
enum Form {
    Raw,
    Escaped,
    Json,
}

impl Form {
    fn write(&self, out: &mut impl Write, key: &[u8], value: Option<&[u8]>) -> io::Result<()> {
        match self {
            Form::Raw => {
                out.write_all(key)?;
                if let Some(value) = value {
                    out.write_all(b"\t")?;
                    out.write_all(value)?;
                }
            }
            Form::Escaped => {
                escape::write(out, key)?;
                if let Some(value) = value {
                    out.write_all(b"\t")?;
                    escape::write(out, value)?;
                }
            }
            Form::Json => write_json_entry(out, key, value)?,
        }
        out.write_all(b"\n")
    }
}
