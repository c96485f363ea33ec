//! Files of weights, told apart by how they begin.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use burn::store::burn_pack::{MAGIC_NUMBER, Reader, Tensor};
use burn::store::pytorch_reader::PytorchReader;
use burn::store::{ModuleStore, SafetensorsStore, bridge};
use burn::tensor::{BoolStore, Bytes, DType};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::stored::Array;
use super::{Weights, WeightsError};

/// The key of a safetensors file under which all metadata lie as one JSON object: several keys would be written in another order each time, and equal
/// weights would be different files.
const PACKED: &str = "fw-core";

/// What a file or a row of bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Safetensors,
    Burnpack,
    /// One of those of `torch.save`.
    PyTorch,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Format::Safetensors => "safetensors",
            Format::Burnpack => "burnpack",
            Format::PyTorch => "PyTorch",
        }
    }

    /// By the first bytes.
    fn of(beginning: &[u8]) -> Self {
        let is_burnpack = beginning.starts_with(&MAGIC_NUMBER.to_le_bytes());
        // Eight bytes for the length of the header, which is JSON.
        let is_safetensors = beginning.get(8) == Some(&b'{');
        match (is_burnpack, is_safetensors) {
            (true, _) => Format::Burnpack,
            (_, true) => Format::Safetensors,
            _ => Format::PyTorch,
        }
    }
}

/// The tensors of a file, of which only names, shapes and types are read.
pub(super) fn open(path: &Path) -> Result<Weights, WeightsError> {
    let failed = |source| WeightsError::File {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let mut beginning = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(9).read_to_end(&mut beginning).map_err(failed)?;
    let origin = path.display().to_string();
    let format = Format::of(&beginning);
    let broken = broken(origin.clone(), format);
    let (tensors, metadata) = match format {
        Format::Safetensors => {
            let mut store = SafetensorsStore::from_file(path);
            let tensors = of_store(&mut store).map_err(&broken)?;
            let header = header_of(&mut File::open(path).map_err(failed)?).map_err(failed)?;
            (tensors, metadata_of(&header).map_err(&broken)?)
        }
        Format::Burnpack => {
            let reader = Reader::from_file(path).map_err(|error| broken(error.to_string()))?;
            of_burnpack(reader).map_err(&broken)?
        }
        Format::PyTorch => {
            let reader = PytorchReader::new(path).map_err(|error| broken(error.to_string()))?;
            (of_pytorch(reader), BTreeMap::new())
        }
    };
    Ok(weights(origin, tensors, metadata, format))
}

fn weights(
    origin: String,
    tensors: Vec<Tensor>,
    metadata: BTreeMap<String, String>,
    format: Format,
) -> Weights {
    let is_of_burn = metadata
        .get("producer")
        .is_some_and(|producer| producer == "burn");
    let mut weights = Weights::new(origin, tensors, metadata);
    weights.is_saved_by_burn = is_of_burn || format == Format::Burnpack;
    weights
}

/// The same of what is in memory already.
pub(super) fn from_bytes(bytes: Vec<u8>) -> Result<Weights, WeightsError> {
    let origin = "what is in memory".to_owned();
    let format = Format::of(&bytes);
    let broken = broken(origin.clone(), format);
    let (tensors, metadata) = match format {
        Format::Safetensors => {
            let header = header_of(&mut bytes.as_slice());
            let mut store = SafetensorsStore::from_bytes(Some(bytes));
            let tensors = of_store(&mut store).map_err(&broken)?;
            let header = header.map_err(|error| broken(error.to_string()))?;
            (tensors, metadata_of(&header).map_err(&broken)?)
        }
        Format::Burnpack => {
            let reader = Reader::from_bytes(Bytes::from_bytes_vec(bytes));
            let reader = reader.map_err(|error| broken(error.to_string()))?;
            of_burnpack(reader).map_err(&broken)?
        }
        Format::PyTorch => {
            // The reader reads tensors from files alone; this one goes when the last of them does.
            let file = temporary(&bytes).map_err(|error| broken(error.to_string()))?;
            let reader = PytorchReader::new(file.path());
            let reader = reader.map_err(|error| broken(error.to_string()))?;
            let file = Arc::new(file);
            let held = of_pytorch(reader).into_iter().map(|tensor| {
                let (name, dtype, shape) =
                    (tensor.name.clone(), tensor.dtype, tensor.shape.clone());
                let file = file.clone();
                bridge::deferred(name, dtype, shape, None, move || {
                    let _until_read = &file;
                    bridge::to_data(&tensor)
                })
            });
            (held.collect(), BTreeMap::new())
        }
    };
    Ok(weights(origin, tensors, metadata, format))
}

fn broken(origin: String, format: Format) -> impl Fn(String) -> WeightsError {
    move |problem| WeightsError::Format {
        origin: origin.clone(),
        format: format.name(),
        problem,
    }
}

fn temporary(bytes: &[u8]) -> std::io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(bytes)?;
    Ok(file)
}

fn of_store(store: &mut SafetensorsStore) -> Result<Vec<Tensor>, String> {
    let tensors = store.get_all_tensors().map_err(|error| error.to_string())?;
    Ok(tensors.values().cloned().collect())
}

fn of_pytorch(reader: PytorchReader) -> Vec<Tensor> {
    let named = reader.into_tensors().into_iter().map(|(name, mut tensor)| {
        tensor.name = name;
        bridge::from_pytorch(tensor)
    });
    named.collect()
}

fn of_burnpack(reader: Reader) -> Result<(Vec<Tensor>, BTreeMap<String, String>), String> {
    let metadata = reader.metadata().clone().into_iter().collect();
    let tensors = reader.into_tensors().map_err(|error| error.to_string())?;
    Ok((tensors, metadata))
}

/// The header of a safetensors file, which has been found to be one.
fn header_of(file: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let mut header = Vec::new();
    file.take(u64::from_le_bytes(length))
        .read_to_end(&mut header)?;
    Ok(header)
}

fn metadata_of(header: &[u8]) -> Result<BTreeMap<String, String>, String> {
    #[derive(serde::Deserialize)]
    struct Header {
        #[serde(default, rename = "__metadata__")]
        metadata: BTreeMap<String, String>,
    }
    let header: Header = serde_json::from_slice(header).map_err(|error| error.to_string())?;
    let mut metadata = header.metadata;
    if let Some(packed) = metadata.remove(PACKED) {
        let packed: BTreeMap<String, String> =
            serde_json::from_str(&packed).map_err(|error| error.to_string())?;
        metadata.extend(packed);
    }
    Ok(metadata)
}

/// A safetensors file of these tensors.
pub(super) fn to_bytes(
    tensors: &BTreeMap<String, Array>,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, String> {
    let mut views = Vec::with_capacity(tensors.len());
    for (name, array) in tensors {
        let dtype = safetensors_type(name, array.dtype)?;
        let view = TensorView::new(dtype, array.shape.clone(), &array.bytes);
        views.push((name.clone(), view.map_err(|error| error.to_string())?));
    }
    let packed = serde_json::to_string(metadata).expect("text can be written as JSON");
    let packed = HashMap::from([(PACKED.to_owned(), packed)]);
    let metadata = (!metadata.is_empty()).then_some(packed);
    safetensors::serialize(views, metadata).map_err(|error| error.to_string())
}

fn safetensors_type(name: &str, dtype: DType) -> Result<Dtype, String> {
    Ok(match dtype {
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I16 => Dtype::I16,
        DType::I8 => Dtype::I8,
        DType::U64 => Dtype::U64,
        DType::U32 => Dtype::U32,
        DType::U16 => Dtype::U16,
        DType::U8 => Dtype::U8,
        DType::Bool(BoolStore::Native) => Dtype::BOOL,
        other => {
            return Err(format!(
                "{name} is of type {other:?}, which such files do not have"
            ));
        }
    })
}

/// A file that is there whole or not at all.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), WeightsError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let written = || {
        let mut builder = tempfile::Builder::new();
        // As readable as any other file, not private as a temporary one.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|failed| failed.error)
    };
    let written = written().map_err(|source| WeightsError::File {
        action: "write",
        path: path.to_owned(),
        source,
    });
    written.map(drop)
}
