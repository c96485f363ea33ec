//! Reading settings from TOML with errors that name the section and the field.

mod field;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::Error;
use crate::plain::{self, Unreadable};

pub use field::Field;
pub(crate) use field::{fields, has_field, schema};

/// One section of an experiment, such as `[model]`.
#[derive(Clone)]
pub(crate) struct Section {
    name: &'static str,
    table: Table,
}

impl Section {
    /// Takes a section out of a document; an absent one is empty.
    pub fn take(document: &mut Table, name: &'static str) -> Result<Self, Error> {
        match document.remove(name) {
            None => Ok(Section {
                name,
                table: Table::new(),
            }),
            Some(Value::Table(table)) => Ok(Section { name, table }),
            Some(other) => Err(Error::usage(format!(
                "{name} is {other}; it must be a section: [{name}]"
            ))),
        }
    }

    /// Takes `kind`, which says what the section is about.
    pub fn take_kind(&mut self) -> Result<String, Error> {
        let name = self.name;
        match self.table.remove("kind") {
            Some(Value::String(kind)) => Ok(kind),
            Some(other) => Err(Error::usage(format!(
                "{name}.kind is {other}; it must be a name in quotes (see `fw-train list`)"
            ))),
            None => Err(Error::usage(format!(
                "[{name}] has no kind; add kind = \"..\" (see `fw-train list`)"
            ))),
        }
    }

    /// Takes the fields of a type into a section of their own, under the same name.
    pub fn take_fields<T: JsonSchema>(&mut self) -> Section {
        let mut table = Table::new();
        for field in field::names(&field::schema::<T>()) {
            if let Some(value) = self.table.remove(&field) {
                table.insert(field, value);
            }
        }
        Section {
            name: self.name,
            table,
        }
    }

    /// Each of several sections of one name, `[[name]]`; none, where it is absent.
    pub fn take_all(document: &mut Table, name: &'static str) -> Result<Vec<Self>, Error> {
        let of_name = |value| match value {
            Value::Table(table) => Ok(Section { name, table }),
            other => Err(other),
        };
        let sections = match document.remove(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(sections)) => sections.into_iter().map(of_name).collect(),
            Some(other) => Err(other),
        };
        sections.map_err(|other| {
            Error::usage(format!(
                "{name} is {other}; it must be a section that may come several times: [[{name}]]"
            ))
        })
    }

    /// All that it says.
    pub fn fields(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.table.iter()
    }

    /// The same with another value of a field.
    pub fn with(&self, field: &str, value: Value) -> Section {
        let mut section = self.clone();
        section.table.insert(field.to_owned(), value);
        section
    }

    /// The section as a value; unknown fields and wrong types are errors.
    pub fn parse<T: DeserializeOwned + JsonSchema>(self) -> Result<T, Error> {
        parse(self.name, self.table)
    }

    /// Its name, and all that it says.
    pub fn into_parts(self) -> (&'static str, Table) {
        (self.name, self.table)
    }
}

/// A section's table as a value.
pub(crate) fn parse<T: DeserializeOwned + JsonSchema>(
    section: &str,
    table: Table,
) -> Result<T, Error> {
    let schema = schema::<T>();
    let names = field::names(&schema);
    // Of a map anything is a field.
    if !names.is_empty() {
        only_known(section, &table, names.iter().map(String::as_str))?;
    }
    plain::from_table(table.clone()).map_err(|error| unreadable(section, &table, &schema, error))
}

/// The error for a section that cannot be read.
fn unreadable(
    section: &str,
    table: &Table,
    schema: &serde_json::Value,
    error: Unreadable,
) -> Error {
    // The field of the section; what is within it can be one of several forms.
    let value = error
        .field
        .and_then(|field| Some((table.get(&field)?, field)));
    let Some((value, field)) = value else {
        return Error::usage(format!("in [{section}]: {}", error.problem));
    };
    let of_map = &schema["additionalProperties"];
    let of_field = schema["properties"].get(&field).unwrap_or(of_map);
    // A section within the section says what is wrong with it.
    if value.is_table() && field::is_section(of_field) {
        return Error::usage(format!("in [{section}.{field}]: {}", error.problem));
    }
    let rule = field::values(of_field);
    Error::usage(format!("{section}.{field} is {value}; it must be {rule}"))
}

/// An error unless all that a section says is the name of a field.
pub(crate) fn only_known<'a>(
    section: &str,
    table: &Table,
    names: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), Error> {
    let is_known = |field: &&String| names.clone().any(|name| name == **field);
    let Some(unknown) = table.keys().find(|field| !is_known(field)) else {
        return Ok(());
    };
    let mut known: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    known.sort();
    known.dedup();
    Err(Error::usage(format!(
        "in [{section}]: unknown field `{unknown}`, expected one of {}",
        known.join(", ")
    )))
}

/// A setting that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// `section.field`
    pub field: String,
    /// As it was, as TOML.
    pub before: String,
    /// As it is, as TOML.
    pub now: String,
}

/// The fields in which two documents differ, in the order of the first.
pub(crate) fn differences(before: &Table, now: &Table) -> Vec<Change> {
    let added = now.keys().filter(|field| !before.contains_key(*field));
    let text = |value: Option<&Value>| value.map_or("not set".to_owned(), Value::to_string);
    let mut all = Vec::new();
    for field in before.keys().chain(added) {
        match (before.get(field), now.get(field)) {
            (Some(Value::Table(before)), Some(Value::Table(now))) => {
                all.extend(differences(before, now).into_iter().map(|inner| Change {
                    field: format!("{field}.{}", inner.field),
                    ..inner
                }));
            }
            (before, now) if before != now => all.push(Change {
                field: field.clone(),
                before: text(before),
                now: text(now),
            }),
            _ => {}
        }
    }
    all
}

/// The first field in which two documents differ, with its section, and both values.
pub(crate) fn difference(one: &Table, other: &Table) -> Option<(String, [String; 2])> {
    let first = differences(one, other).into_iter().next()?;
    Some((first.field, [first.before, first.now]))
}

/// The error for a `kind` that nothing is called by.
pub(crate) fn unknown_kind(section: &str, kind: &str, names: &[&str]) -> Error {
    Error::usage(format!(
        "{section}.kind is \"{kind}\"; it must be one of: {}",
        names.join(", ")
    ))
}

/// The names of kinds that are listed with a line about each.
pub(crate) fn names_of<'a>(kinds: &[(&'a str, &str)]) -> Vec<&'a str> {
    kinds.iter().map(|(name, _)| *name).collect()
}

/// Sets `section.field` to a value written as in TOML; what is not TOML is taken as text. Another `kind` begins its section
/// anew, since the fields were those of the kind before; another kind of task also begins the model anew, but for its kind,
/// since what stands around the layer depends on the task, and ends the curriculum, the tests and the goals, which were the other task's.
pub(crate) fn set(document: &mut Table, assignment: &str) -> Result<(), Error> {
    let malformed = || {
        Error::usage(format!(
            "--set {assignment} is not an assignment; write it as section.field=value, \
             for example --set training.steps=2000"
        ))
    };
    let (path, text) = assignment.split_once('=').ok_or_else(malformed)?;
    let mut keys: Vec<&str> = path.trim().split('.').collect();
    let field = keys
        .pop()
        .filter(|_| !keys.is_empty())
        .ok_or_else(malformed)?;
    if field.is_empty() || keys.iter().any(|key| key.is_empty()) {
        return Err(malformed());
    }
    let mut table = &mut *document;
    for key in keys {
        let entry = table
            .entry(key)
            .or_insert_with(|| Value::Table(Table::new()));
        table = entry
            .as_table_mut()
            .ok_or_else(|| Error::usage(format!("--set {assignment}: {key} is not a section")))?;
    }
    let value = format!("value = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| Value::String(text.trim().to_owned()));
    let is_new_kind = field == "kind" && table.get("kind") != Some(&value);
    if is_new_kind {
        table.clear();
    }
    table.insert(field.to_owned(), value);
    if is_new_kind && path.trim() == "task.kind" {
        document.remove("test");
        document.remove("goal");
        if let Some(Value::Table(model)) = document.get_mut("model") {
            model.retain(|field, _| field == "kind");
        }
        if let Some(Value::Table(training)) = document.get_mut("training") {
            training.remove("curriculum");
        }
    }
    Ok(())
}

/// Whether an assignment is to a field of a section.
pub(crate) fn is_of(assignment: &str, section: &str) -> bool {
    let path = assignment.split('=').next().unwrap_or_default();
    path.trim().split('.').next() == Some(section)
}

/// Makes all assignments, those to a `kind` first: fields are then set on the new kind.
pub(crate) fn set_all(document: &mut Table, assignments: &[String]) -> Result<(), Error> {
    let is_kind = |assignment: &&String| {
        let path = assignment.split('=').next().unwrap_or_default();
        path.trim().ends_with(".kind")
    };
    let kinds = assignments.iter().filter(is_kind);
    let others = assignments.iter().filter(|assignment| !is_kind(assignment));
    for assignment in kinds.chain(others) {
        set(document, assignment)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(assignment: &str) -> String {
        let mut document: Table = "[training]\nsteps = 1".parse().expect("valid TOML");
        set(&mut document, assignment)
            .map_or_else(|error| error.to_string(), |()| document.to_string())
    }

    #[test]
    fn an_assignment_replaces_one_field() {
        assert_eq!(after("training.steps=20"), "[training]\nsteps = 20\n");
        assert_eq!(
            after("training.seed = 7"),
            "[training]\nseed = 7\nsteps = 1\n"
        );
    }

    #[test]
    fn a_value_that_is_not_toml_is_text() {
        assert!(after("model.kind=lstm").contains("kind = \"lstm\""));
        assert!(after("optimizer.clip={ norm = 1.0 }").contains("[optimizer.clip]\nnorm = 1.0"));
    }

    #[test]
    fn another_kind_begins_its_section_anew_wherever_it_stands() {
        let mut document: Table = "model.kind = 'lstm'\nmodel.forget_bias = 2"
            .parse()
            .expect("TOML");
        let assignments = ["model.d_hidden=3".to_owned(), "model.kind=gru".to_owned()];
        set_all(&mut document, &assignments).expect("assignments");
        assert_eq!(
            document.to_string(),
            "[model]\nd_hidden = 3\nkind = \"gru\"\n"
        );
        set_all(&mut document, &["model.kind=gru".to_owned()]).expect("an assignment");
        assert!(
            document.to_string().contains("d_hidden = 3"),
            "the same kind changes nothing"
        );
    }

    #[test]
    fn another_kind_of_task_leaves_only_the_kind_of_the_model_and_no_curriculum() {
        let mut document: Table =
            "task.kind = 'one'\ntest.x = [1]\ngoal = [1]\nmodel.kind = 'gru'\nmodel.d_embedding = 2\n\
                                   training = { steps = 1, curriculum = { setting = 'x' } }"
                .parse()
                .expect("TOML");
        let assignments = ["model.d_hidden=3".to_owned(), "task.kind=two".to_owned()];
        set_all(&mut document, &assignments).expect("assignments");
        assert_eq!(
            document.to_string(),
            "[model]\nd_hidden = 3\nkind = \"gru\"\n\n[task]\nkind = \"two\"\n\n[training]\nsteps = 1\n"
        );
    }

    #[test]
    fn the_first_difference_is_named_with_its_section() {
        let table = |text: &str| text.parse::<Table>().expect("TOML");
        let differ = |one: &str, other: &str| difference(&table(one), &table(other));
        let found =
            |field: &str, values: [&str; 2]| Some((field.to_owned(), values.map(str::to_owned)));
        let gru = "model = { kind = 'gru', d_hidden = 20 }";
        assert_eq!(differ(gru, gru), None);
        let wider = "model = { kind = 'gru', d_hidden = 64 }";
        assert_eq!(differ(gru, wider), found("model.d_hidden", ["20", "64"]));
        let more = "model = { kind = 'gru', d_hidden = 20, layer_norm = true }";
        assert_eq!(
            differ(gru, more),
            found("model.layer_norm", ["not set", "true"])
        );
    }

    #[test]
    fn what_is_not_an_assignment_is_refused() {
        for wrong in ["steps", "steps=3", ".steps=3", "training.=3"] {
            assert!(
                after(wrong).contains("write it as section.field=value"),
                "{wrong}"
            );
        }
        assert!(after("training.steps.x=3").contains("steps is not a section"));
    }
}
