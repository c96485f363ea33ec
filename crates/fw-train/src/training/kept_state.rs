//! A layer's state as a file: its tensors as safetensors, and how they hang together in the file's metadata.

use std::collections::HashMap;

use burn::tensor::{DType, TensorData};
use fw_core::StateData;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

/// The key of the metadata under which the structure stands.
const STRUCTURE: &str = "structure";

/// The state as bytes.
pub(super) fn to_bytes(state: &StateData) -> Result<Vec<u8>, String> {
    let mut tensors = Vec::new();
    let structure = structure(state, &mut tensors);
    let views = tensors.iter().enumerate().map(|(number, data)| {
        let view = TensorView::new(
            dtype_in_file(data.dtype())?,
            data.shape().iter().copied().collect(),
            data.as_bytes(),
        );
        let view = view.map_err(|error| error.to_string())?;
        Ok((number.to_string(), view))
    });
    let views: Vec<(String, TensorView)> = views.collect::<Result<_, String>>()?;
    let metadata = HashMap::from([(STRUCTURE.to_owned(), structure.to_string())]);
    safetensors::serialize(views, Some(metadata)).map_err(|error| error.to_string())
}

/// The state of which [`to_bytes`] has made `bytes`.
pub(super) fn from_bytes(bytes: &[u8]) -> Result<StateData, String> {
    let text = |error: safetensors::SafeTensorError| error.to_string();
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(text)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(text)?;
    let structure = metadata
        .metadata()
        .as_ref()
        .and_then(|metadata| metadata.get(STRUCTURE))
        .ok_or("it has no structure in its metadata")?;
    let structure: Value = serde_json::from_str(structure).map_err(|error| error.to_string())?;
    state(&structure, &tensors)
}

/// A list as a list, a count as a number, a tensor as its name.
fn structure<'a>(state: &'a StateData, tensors: &mut Vec<&'a TensorData>) -> Value {
    match state {
        StateData::Tensor(data) => {
            tensors.push(data);
            json!((tensors.len() - 1).to_string())
        }
        StateData::Number(number) => json!(number),
        StateData::List(parts) => parts.iter().map(|part| structure(part, tensors)).collect(),
    }
}

fn state(structure: &Value, tensors: &SafeTensors) -> Result<StateData, String> {
    match structure {
        Value::String(name) => {
            let view = tensors.tensor(name).map_err(|error| error.to_string())?;
            Ok(StateData::Tensor(TensorData::from_bytes_vec(
                view.data().to_vec(),
                view.shape().to_vec(),
                dtype_of_file(view.dtype())?,
            )))
        }
        Value::Array(parts) => {
            let parts = parts.iter().map(|part| state(part, tensors));
            Ok(StateData::List(parts.collect::<Result<_, _>>()?))
        }
        other => match other.as_u64().and_then(|number| number.try_into().ok()) {
            Some(number) => Ok(StateData::Number(number)),
            None => Err(format!("{other} is no part of a state")),
        },
    }
}

/// The types that states have.
const TYPES: [(DType, Dtype); 4] = [
    (DType::F32, Dtype::F32),
    (DType::F64, Dtype::F64),
    (DType::F16, Dtype::F16),
    (DType::BF16, Dtype::BF16),
];

fn dtype_in_file(dtype: DType) -> Result<Dtype, String> {
    let known = TYPES.iter().find(|(known, _)| *known == dtype);
    known.map_or(
        Err(format!("{dtype:?} is no type of a state")),
        |(_, dtype)| Ok(*dtype),
    )
}

fn dtype_of_file(dtype: Dtype) -> Result<DType, String> {
    let known = TYPES.iter().find(|(_, known)| *known == dtype);
    known.map_or(
        Err(format!("{dtype:?} is no type of a state")),
        |(dtype, _)| Ok(*dtype),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let tensor = |numbers: Vec<f32>, shape: &[usize]| {
            StateData::Tensor(TensorData::new(numbers, shape.to_vec()))
        };
        let state = StateData::List(vec![
            tensor(vec![0.1, f32::MIN_POSITIVE, -0.0, 3e38], &[2, 2]),
            StateData::List(Vec::new()),
            StateData::List(vec![tensor(vec![1.0; 6], &[1, 2, 3])]),
            StateData::Number(usize::MAX / 2),
        ]);
        let bytes = to_bytes(&state).expect("bytes");
        assert_eq!(from_bytes(&bytes), Ok(state));
        assert!(from_bytes(&bytes[..bytes.len() - 1]).is_err());
    }
}
