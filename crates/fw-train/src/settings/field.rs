//! What settings there are, from the types that they are read into: names, values and meanings.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde_json::Value as Json;
use toml::{Table, Value};

use crate::plain::to_table;

/// A field of a section.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// What it is where nothing is said; nothing, where that depends on other settings or is nothing.
    pub default: Option<Value>,
    /// What it can be: `a number`, `"tanh" or "relu"`.
    pub values: String,
    /// What it means, with the range and the default.
    pub meaning: String,
    schema: Json,
}

impl Field {
    /// A value as the field has it: a whole number is a number.
    pub(crate) fn normal(&self, value: Value) -> Value {
        normal(&self.schema, value)
    }
}

/// The fields of a type, with the defaults that a value of it has, in the order of their names.
pub(crate) fn fields<T: JsonSchema + Serialize>(defaults: &T) -> Vec<Field> {
    fields_with(schema::<T>(), to_table(defaults))
}

/// The part that is the same for every type, compiled once.
fn fields_with(schema: Json, defaults: Table) -> Vec<Field> {
    let properties = schema["properties"].as_object().cloned();
    let fields = properties
        .into_iter()
        .flatten()
        .map(|(name, schema)| Field {
            default: defaults
                .get(&name)
                .map(|default| as_written(&schema, default)),
            values: values(&schema),
            meaning: meaning(&schema),
            name,
            schema,
        });
    fields.collect()
}

/// A number of single precision as it was written: 0.9, not 0.8999999761581421.
fn as_written(schema: &Json, value: &Value) -> Value {
    match value {
        Value::Float(number) if schema["format"] == "float" => {
            let written = (*number as f32).to_string();
            written.parse().map_or(value.clone(), Value::Float)
        }
        _ => value.clone(),
    }
}

/// A type's schema, with every part where it is used.
pub(crate) fn schema<T: JsonSchema>() -> Json {
    made(T::json_schema)
}

/// The part that is the same for every type, compiled once.
fn made(schema: fn(&mut SchemaGenerator) -> Schema) -> Json {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    schema(&mut settings.into_generator()).to_value()
}

/// Whether a type has a field.
pub(crate) fn has_field(schema: &Json, field: &str) -> bool {
    schema["properties"].get(field).is_some()
}

/// The fields of a type.
pub(crate) fn names(schema: &Json) -> Vec<String> {
    let properties = schema["properties"].as_object();
    properties
        .into_iter()
        .flat_map(|all| all.keys().cloned())
        .collect()
}

/// Where a type says by itself what its values are.
const VALUES: &str = "x-values";

/// What a value can be, in words.
pub(crate) fn values(schema: &Json) -> String {
    if let Some(values) = schema[VALUES].as_str() {
        return values.to_owned();
    }
    if let Some(name) = schema["const"].as_str() {
        return format!("{name:?}");
    }
    if let Some(names) = schema["enum"].as_array() {
        let names = names.iter().filter(|name| !name.is_null());
        return any_of(names.map(Json::to_string));
    }
    if let Some(forms) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
        let forms = forms.iter().filter(|form| form["type"] != "null");
        let forms = forms.flat_map(|form| match form["enum"].as_array() {
            Some(names) => names.iter().map(Json::to_string).collect(),
            None => vec![values(form)],
        });
        return any_of(forms);
    }
    match type_of(schema) {
        "integer" if schema["minimum"].as_f64() >= Some(0.0) => "a whole number, not negative",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "string" => "text in quotes",
        "array" => "a list, such as [1, 2]",
        "object" => match &names(schema)[..] {
            [one] => return format!("{{ {one} = .. }}"),
            _ => "a section of its own: { .. }",
        },
        _ => "a value",
    }
    .to_owned()
}

/// Whether a value is a section of its own, with fields.
pub(crate) fn is_section(schema: &Json) -> bool {
    type_of(schema) == "object" && !names(schema).is_empty()
}

/// The type of a value that is there.
fn type_of(schema: &Json) -> &str {
    let types = match &schema["type"] {
        Json::Array(types) => types.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut types = types.iter().filter_map(Json::as_str);
    types.find(|name| *name != "null").unwrap_or_default()
}

/// `a, b or c`
fn any_of(names: impl IntoIterator<Item = String>) -> String {
    let names: Vec<String> = names.into_iter().collect();
    match names.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => names.concat(),
    }
}

/// The documentation of a field as plain text: links are their texts, and what is code stays as it is written.
fn meaning(schema: &Json) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.as_str();
    // `[text](target)` and `[text]` are links, but not the ranges: these have no backquotes.
    while let Some(start) = rest.find("[`") {
        plain.push_str(&rest[..start]);
        rest = &rest[start + 1..];
        let Some(end) = rest.find("`]") else { break };
        plain.push_str(&of_code(&rest[1..end]));
        rest = &rest[end + 2..];
        if rest.starts_with('(') {
            rest = rest.split_once(')').map_or("", |(_, after)| after);
        }
    }
    plain.push_str(rest);
    plain
}

/// What is code, in quotes; a variant of a choice as settings have it: `MemoryForm::Auto` is `"auto"`.
fn of_code(code: &str) -> String {
    let is_name = |name: &str| name.starts_with(char::is_uppercase);
    let variant = code.rsplit_once("::");
    let Some((_, variant)) = variant.filter(|(of, variant)| is_name(of) && is_name(variant)) else {
        return format!("`{code}`");
    };
    let mut name = String::new();
    for letter in variant.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.extend(letter.to_lowercase());
    }
    format!("{name:?}")
}

/// A whole number where a number is asked for is that number.
fn normal(schema: &Json, value: Value) -> Value {
    match value {
        Value::Integer(number) if type_of(schema) == "number" => Value::Float(number as f64),
        Value::Table(table) => {
            let forms = schema["oneOf"].as_array().or(schema["anyOf"].as_array());
            let forms = forms.map_or(std::slice::from_ref(schema), Vec::as_slice);
            let inner = table.into_iter().map(|(field, value)| {
                let mut of_field = forms.iter().map(|form| &form["properties"][&field]);
                let schema = of_field.find(|schema| !schema.is_null());
                let value = match schema {
                    Some(schema) => normal(schema, value),
                    None => value,
                };
                (field, value)
            });
            Value::Table(inner.collect())
        }
        Value::Array(values) => {
            let values = values
                .into_iter()
                .map(|value| normal(&schema["items"], value));
            Value::Array(values.collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How documentation may write a value.
    fn spellings(value: &Value) -> Vec<String> {
        match value {
            Value::String(name) => vec![name.clone()],
            Value::Integer(number) => {
                let digits = number.to_string();
                let mut grouped = String::new();
                for (place, digit) in digits.chars().enumerate() {
                    if place > 0 && (digits.len() - place).is_multiple_of(3) {
                        grouped.push(',');
                    }
                    grouped.push(digit);
                }
                vec![digits, grouped]
            }
            Value::Float(number) => {
                // Single precision is not what was written.
                let short = *number as f32;
                vec![
                    number.to_string(),
                    format!("{number:e}"),
                    short.to_string(),
                    format!("{short:e}"),
                ]
            }
            Value::Table(table) => table.values().flat_map(spellings).collect(),
            other => vec![other.to_string()],
        }
    }

    /// What is wrong with a field's documentation: the default that it tells, or, of a number, that it tells no range.
    fn fault(field: &Field) -> Option<String> {
        let told = field.meaning.split_once("Default ");
        match (&field.default, told) {
            (Some(default), Some((_, told))) => {
                let told = told.trim_start_matches(['`', '"']);
                let is_told = |spelling: String| told.starts_with(&spelling);
                if !spellings(default).into_iter().any(is_told) {
                    return Some(format!("the default is {default}"));
                }
            }
            (None, Some((_, told))) if !told.starts_with("`None`") => {
                return Some("there is no such default".to_owned());
            }
            // The default stands beside it.
            _ => {}
        }
        const RANGES: [&str; 14] = [
            "at least",
            "at most",
            "above",
            "between",
            "in [",
            "in `[",
            " to ",
            "finite",
            "divisor",
            "or more",
            "any number",
            "0 is all",
            "Default: as",
            "from 1 on",
        ];
        let is_number = ["a number", "a whole number"]
            .iter()
            .any(|number| field.values.starts_with(number));
        let has_range = RANGES.iter().any(|range| field.meaning.contains(range));
        (is_number && !has_range).then(|| "no range is told".to_owned())
    }

    #[test]
    fn every_setting_says_its_range_and_its_true_default() {
        use crate::models::{AroundSettings, KINDS};
        use crate::tasks::TaskConfig;
        use crate::training::{OptimizerKind, TrainingConfig};
        let (mut n_fields, mut faults) = (0, Vec::new());
        let mut check = |of: &str, fields: &[Field]| {
            n_fields += fields.len();
            let found = fields.iter().filter_map(|field| {
                let fault = fault(field)?;
                Some(format!("{of}.{}: {fault}: {}", field.name, field.meaning))
            });
            faults.extend(found);
        };
        for kind in KINDS {
            check(kind.name(), kind.settings().fields());
        }
        check("model", &AroundSettings::fields());
        for (kind, _) in TaskConfig::KINDS {
            check(kind, &TaskConfig::fields(kind).expect("a kind"));
        }
        for (kind, _) in OptimizerKind::KINDS {
            check(kind, &OptimizerKind::fields(kind).expect("a kind"));
        }
        check("training", &TrainingConfig::fields());
        assert!(n_fields > 150, "{n_fields}");
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    #[test]
    fn documentation_becomes_plain_text() {
        let text = |description: &str| meaning(&serde_json::json!({ "description": description }));
        assert_eq!(
            text("How. Default [`Path::ForAll`]: see\n[`new`](Self::new), in [0, 1]."),
            "How. Default \"for-all\": see `new`, in [0, 1]."
        );
    }
}
