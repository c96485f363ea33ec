//! A file beside what a layer asks for: every difference, or else the numbers.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{DType, TensorData};

use super::module::Parameter;
use super::portable::Parameters;
use super::stored::Array;
use super::{Difference, Differences, Weights, WeightsError};

impl Weights {
    /// The numbers of every parameter, or all differences.
    pub(super) fn numbers_of(
        &self,
        own: &[Parameter],
        stored: &Parameters,
        layer: &'static str,
    ) -> Result<BTreeMap<String, TensorData>, WeightsError> {
        let differences = self.differences(own, stored);
        let failed = |differences| WeightsError::Differences {
            origin: self.origin.clone(),
            layer,
            differences: Differences(differences),
        };
        if !differences.is_empty() {
            return Err(failed(differences));
        }
        let types: BTreeMap<&str, DType> = own
            .iter()
            .map(|parameter| (parameter.name.as_str(), parameter.dtype))
            .collect();
        let mut numbers = BTreeMap::new();
        for (name, stored) in &stored.0 {
            let dtype = types[name.as_str()];
            let mut get = |names: &[String]| {
                self.array(names, dtype).map_err(|error| match error {
                    Unreadable::Conflict(difference) => failed(vec![difference]),
                    Unreadable::Error(error) => error,
                })
            };
            let array = stored.read(dtype, &mut get)?;
            numbers.insert(name.clone(), array.into_data());
        }
        Ok(numbers)
    }

    fn differences(&self, own: &[Parameter], stored: &Parameters) -> Vec<Difference> {
        let types: BTreeMap<&str, DType> = own
            .iter()
            .map(|parameter| (parameter.name.as_str(), parameter.dtype))
            .collect();
        let mut found = Vec::new();
        let mut used = BTreeSet::new();
        let mut asked = BTreeSet::new();
        for (parameter, stored) in &stored.0 {
            let mut tensors = Vec::new();
            stored.tensors(&mut tensors);
            for (names, expected) in tensors {
                if !asked.insert(names) {
                    continue;
                }
                let there = names.iter().filter(|name| self.tensors.contains_key(*name));
                let there: Vec<&String> = there.collect();
                if there.is_empty() {
                    found.push(Difference::Missing {
                        name: names[0].clone(),
                        shape: expected.to_vec(),
                        nearest: self.nearest(&names[0]),
                    });
                }
                for name in there {
                    used.insert(name);
                    let tensor = &self.tensors[name];
                    let (is_right, kind) = kind_of(types[parameter.as_str()], tensor.dtype);
                    if *tensor.shape != *expected {
                        found.push(Difference::Shape {
                            name: name.clone(),
                            found: tensor.shape.to_vec(),
                            expected: expected.to_vec(),
                        });
                    } else if !is_right {
                        found.push(Difference::Type {
                            name: name.clone(),
                            found: format!("{:?}", tensor.dtype),
                            expected: kind,
                        });
                    }
                }
            }
        }
        let left_over = self.tensors.iter().filter(|(name, _)| !used.contains(name));
        found.extend(left_over.map(|(name, tensor)| Difference::LeftOver {
            name: name.clone(),
            shape: tensor.shape.to_vec(),
        }));
        found
    }

    /// A tensor by its names, of which at least one is there, in a type.
    fn array(&self, names: &[String], dtype: DType) -> Result<Array, Unreadable> {
        let mut there = names.iter().filter(|name| self.tensors.contains_key(*name));
        let first = there.next().expect("it has been looked for");
        let read = |name: &String| self.data(&self.tensors[name]).map_err(Unreadable::Error);
        let data = read(first)?;
        for name in there {
            if !is_same(&read(name)?, &data) {
                return Err(Unreadable::Conflict(Difference::Conflict {
                    name: first.clone(),
                    other: name.clone(),
                }));
            }
        }
        Ok(Array::new(match self.keeps_types {
            true => data,
            false => data.convert_dtype(dtype),
        }))
    }

    /// Names that are there and are like one that is not, at most three: those that end alike, or else those that are spelt alike.
    fn nearest(&self, name: &str) -> Vec<String> {
        let is_below = |longer: &str, shorter: &str| {
            let above = longer.strip_suffix(shorter);
            above.is_some_and(|above| above.ends_with('.'))
        };
        let ends_alike = |there: &&str| is_below(there, name) || is_below(name, there);
        let mut likely: Vec<&str> = self.names().filter(ends_alike).collect();
        if likely.is_empty() {
            let likeness = |there: &str| strsim::jaro_winkler(there, name);
            likely = self.names().filter(|there| likeness(there) > 0.8).collect();
            likely.sort_by(|one, other| likeness(other).total_cmp(&likeness(one)));
        }
        likely.into_iter().take(3).map(str::to_owned).collect()
    }
}

/// Whether numbers of a type can become those of a parameter, and what they must be.
fn kind_of(parameter: DType, found: DType) -> (bool, &'static str) {
    let is_whole = |dtype: DType| dtype.is_int() || dtype.is_uint();
    match parameter {
        dtype if dtype.is_float() => (found.is_float(), "one of floating-point numbers"),
        dtype if is_whole(dtype) => (is_whole(found), "one of whole numbers"),
        _ => (matches!(found, DType::Bool(_)), "one of truth values"),
    }
}

/// Whether two tensors of one shape hold the same numbers, whatever their types.
fn is_same(one: &TensorData, other: &TensorData) -> bool {
    match one.dtype() == other.dtype() {
        true => one.as_bytes() == other.as_bytes(),
        false => one.iter::<f64>().eq(other.iter::<f64>()),
    }
}

/// Why a tensor is not had.
enum Unreadable {
    Conflict(Difference),
    Error(WeightsError),
}
