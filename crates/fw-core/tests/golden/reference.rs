//! Golden files.

use std::collections::HashMap;
use std::path::PathBuf;

use burn::tensor::{DType, Device, Tensor, TensorData};
use safetensors::SafeTensors;

use crate::common::{assert_close, values};

/// Relative to the largest expected value of each tensor.
const TOLERANCE: f64 = 1e-9;

/// One golden file: float64 tensors and a table of strings.
pub struct Golden {
    pub name: String,
    tensors: HashMap<String, (Vec<usize>, Vec<f64>)>,
    metadata: HashMap<String, String>,
}

impl Golden {
    /// Every file of the golden folder whose name begins with `prefix`.
    pub fn all(prefix: &str) -> Vec<Golden> {
        let folder = std::env::var_os("FW_GOLDENS").map_or_else(
            || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens"),
            PathBuf::from,
        );
        let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.expect("the folder can be read").path())
            .filter(|path| {
                let name = path
                    .file_name()
                    .expect("an entry has a name")
                    .to_string_lossy();
                name.starts_with(prefix) && name.ends_with(".safetensors")
            })
            .collect();
        paths.sort();
        assert!(
            !paths.is_empty(),
            "no {prefix}*.safetensors in {}",
            folder.display()
        );
        paths.iter().map(|path| Golden::read(path)).collect()
    }

    fn read(path: &std::path::Path) -> Golden {
        let name = path
            .file_stem()
            .expect("a file has a name")
            .to_string_lossy()
            .into_owned();
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a safetensors header");
        let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let tensors = file
            .tensors()
            .into_iter()
            .map(|(key, view)| {
                assert_eq!(
                    view.dtype(),
                    safetensors::Dtype::F64,
                    "{name}: type of {key}"
                );
                let numbers = view
                    .data()
                    .chunks_exact(8)
                    .map(|bytes| f64::from_le_bytes(bytes.try_into().expect("eight bytes")))
                    .collect();
                (key, (view.shape().to_vec(), numbers))
            })
            .collect();
        let metadata = header
            .metadata()
            .clone()
            .expect("golden files carry metadata");
        Golden {
            name,
            tensors,
            metadata,
        }
    }

    pub fn values(&self, key: &str) -> &[f64] {
        match self.tensors.get(key) {
            Some((_, values)) => values,
            None => panic!("{}: no tensor {key}", self.name),
        }
    }

    pub fn has(&self, key: &str) -> bool {
        self.tensors.contains_key(key)
    }

    /// A tensor of the file, as a leaf whose gradient can be asked for.
    pub fn leaf<const D: usize>(&self, key: &str, device: &Device) -> Tensor<D> {
        let values = self.values(key).to_vec();
        let shape = self.tensors[key].0.clone();
        Tensor::from_data(TensorData::new(values, shape), (device, DType::F64)).require_grad()
    }

    pub fn text(&self, key: &str) -> &str {
        match self.metadata.get(key) {
            Some(value) => value,
            None => panic!("{}: no metadata {key}", self.name),
        }
    }

    pub fn number(&self, key: &str) -> f64 {
        let text = self.text(key);
        text.parse()
            .unwrap_or_else(|_| panic!("{}: {key} is {text}, not a number", self.name))
    }

    pub fn flag(&self, key: &str) -> bool {
        match self.text(key) {
            "True" | "true" | "1" => true,
            "False" | "false" | "0" => false,
            other => panic!("{}: {key} is {other}, not a flag", self.name),
        }
    }

    #[track_caller]
    pub fn check<const D: usize>(&self, key: &str, actual: Tensor<D>) {
        let what = format!("{} {key}", self.name);
        assert_close(&what, &values(actual), self.values(key), TOLERANCE);
    }
}
