//! Plain data as TOML and JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// What cannot be read.
pub(crate) struct Unreadable {
    /// The field of the table in which it lies, if it is one.
    pub field: Option<String>,
    /// What is wrong, in a line.
    pub problem: String,
}

/// A table as a value.
pub(crate) fn from_table<T: DeserializeOwned>(table: Table) -> Result<T, Unreadable> {
    serde_path_to_error::deserialize(Value::Table(table)).map_err(|error| {
        let field = error.path().iter().next().map(ToString::to_string);
        let problem = error.into_inner().to_string();
        Unreadable {
            field,
            problem: problem.trim().replace('\n', " "),
        }
    })
}

/// A value as a table, every default written out.
pub(crate) fn to_table(value: &impl Serialize) -> Table {
    Table::try_from(value).expect("a section can be written as TOML")
}

/// A value as TOML.
pub(crate) fn to_toml(value: &impl Serialize) -> String {
    toml::to_string(value).expect("a section can be written as TOML")
}

/// JSON as a value, or what is wrong with it.
pub(crate) fn from_json<T: DeserializeOwned>(json: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(json)
}

/// A value as JSON, in one line.
pub(crate) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data can be written as JSON")
}

/// A value as JSON for people, with a line's end behind it.
pub(crate) fn to_json_pretty(value: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_vec_pretty(value);
    let mut json = json.expect("plain data can be written as JSON");
    json.push(b'\n');
    json
}
