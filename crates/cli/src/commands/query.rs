//! `get`, `put` and `delete`: one entry.

use std::ffi::OsString;
use std::io::Write;

use serde_json::json;
use stratalog::{Options, WriteOptions};

use super::Target;
use crate::args::{Delete, Get, Put};
use crate::escape;
use crate::failure::Failure;
use crate::output::{self, json_line, stdout};

pub fn get(target: &Target, args: Get) -> Result<(), Failure> {
    let key = argument_bytes(args.key, args.escape.escape)?;
    let db = target.open()?;
    let value = db.get(&key)?.ok_or_else(|| not_found(target, &key))?;
    let mut out = stdout();
    if target.json {
        output::write_json_entry(&mut out, &key, Some(&value))?;
    } else if args.escape.escape {
        escape::write(&mut out, &value)?;
    } else {
        out.write_all(&value)?;
    }
    if !args.raw {
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

pub fn put(target: &Target, args: Put) -> Result<(), Failure> {
    let key = argument_bytes(args.key, args.escape.escape)?;
    let value = argument_bytes(args.value, args.escape.escape)?;
    let db = Options::new().open(&target.dir)?;
    db.put_with(key, value, &WriteOptions::new().durability(args.durability.into()))?;
    db.close()?;
    if target.json {
        json_line(&json!({ "put": 1 }))?;
    }
    Ok(())
}

pub fn delete(target: &Target, args: Delete) -> Result<(), Failure> {
    let key = argument_bytes(args.key, args.escape.escape)?;
    let db = target.open()?;
    if !db.contains(&key)? {
        return Err(not_found(target, &key));
    }
    db.delete_with(key, &WriteOptions::new().durability(args.durability.into()))?;
    db.close()?;
    if target.json {
        json_line(&json!({ "deleted": 1 }))?;
    }
    Ok(())
}

fn not_found(target: &Target, key: &[u8]) -> Failure {
    Failure::KeyNotFound { key: escape::encode(key), db: target.dir.clone() }
}

/// The bytes that were typed, or that they stand for.
pub fn argument_bytes(argument: OsString, escaped: bool) -> Result<Vec<u8>, Failure> {
    let typed = argument.into_encoded_bytes();
    if !escaped {
        return Ok(typed);
    }
    let mut bytes = Vec::with_capacity(typed.len());
    escape::decode(&typed, &mut bytes).map_err(|error| {
        let (typed, offset) = (String::from_utf8_lossy(&typed), error.offset);
        let what = r"starts none of \t \n \r \\ \xNN";
        Failure::Usage(format!("{typed:?}: the backslash at byte {offset} {what}"))
    })?;
    Ok(bytes)
}
