//! Layers against reference values computed outside this crate.
//!
//! The files are those of `tests/goldens`, or of the folder that the environment variable `FW_GOLDENS`
//! names; sizes and options are read from each file, so that a new file needs no new code.

mod common;

use std::collections::HashMap;
use std::path::PathBuf;

use burn::module::Param;
use burn::tensor::{DType, Device, Tensor, TensorData};
use common::{assert_close, values};
use fw_core::{
    Activation, FastWeights, FastWeightsConfig, FastWeightsState, Form, Memory, Path, Recurrent,
    Write,
};
use safetensors::SafeTensors;

/// Relative to the largest expected value of each tensor.
const TOLERANCE: f64 = 1e-9;

/// One golden file: float64 tensors and a table of strings.
struct Golden {
    name: String,
    tensors: HashMap<String, (Vec<usize>, Vec<f64>)>,
    metadata: HashMap<String, String>,
}

impl Golden {
    /// Every file of the golden folder whose name begins with `prefix`.
    fn all(prefix: &str) -> Vec<Golden> {
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

    fn values(&self, key: &str) -> &[f64] {
        match self.tensors.get(key) {
            Some((_, values)) => values,
            None => panic!("{}: no tensor {key}", self.name),
        }
    }

    fn has(&self, key: &str) -> bool {
        self.tensors.contains_key(key)
    }

    /// A tensor of the file, as a leaf whose gradient can be asked for.
    fn leaf<const D: usize>(&self, key: &str, device: &Device) -> Tensor<D> {
        let values = self.values(key).to_vec();
        let shape = self.tensors[key].0.clone();
        Tensor::from_data(TensorData::new(values, shape), (device, DType::F64)).require_grad()
    }

    fn text(&self, key: &str) -> &str {
        match self.metadata.get(key) {
            Some(value) => value,
            None => panic!("{}: no metadata {key}", self.name),
        }
    }

    fn number(&self, key: &str) -> f64 {
        let text = self.text(key);
        text.parse()
            .unwrap_or_else(|_| panic!("{}: {key} is {text}, not a number", self.name))
    }

    fn flag(&self, key: &str) -> bool {
        match self.text(key) {
            "True" | "true" | "1" => true,
            "False" | "false" | "0" => false,
            other => panic!("{}: {key} is {other}, not a flag", self.name),
        }
    }

    #[track_caller]
    fn check<const D: usize>(&self, key: &str, actual: Tensor<D>) {
        let what = format!("{} {key}", self.name);
        assert_close(&what, &values(actual), self.values(key), TOLERANCE);
    }
}

#[test]
fn composed_fast_weights_agree_with_the_reference() {
    for golden in Golden::all("fast_weights_") {
        check_fast_weights(&golden, Form::Matrix, Path::Composed);
        check_fast_weights(&golden, Form::Attention, Path::Composed);
    }
}

#[test]
fn fused_fast_weights_agree_with_the_reference() {
    for golden in Golden::all("fast_weights_") {
        check_fast_weights(&golden, Form::Matrix, Path::Fused);
        check_fast_weights(&golden, Form::Attention, Path::Fused);
    }
}

/// Outputs, last states and every gradient of one file.
fn check_fast_weights(golden: &Golden, form: Form, path: Path) {
    let device = Device::flex().autodiff();
    let layer = fast_weights_layer(golden, form, path, &device);
    let input = golden.leaf::<3>("input", &device);
    let hidden = golden.leaf::<2>("hidden0", &device);
    let fast = golden.leaf::<3>("fast0", &device);
    let start = FastWeightsState {
        hidden: hidden.clone(),
        memory: Memory::Matrix(fast.clone()),
    };

    let (output, last) = layer.forward(input.clone(), Some(start));
    let fast_last = layer.memory_matrix(&last);
    let loss = (output.clone() * golden.leaf("cotangent_output", &device).detach()).sum()
        + (fast_last.clone() * golden.leaf("cotangent_fast", &device).detach()).sum() * 0.1;
    let gradients = loss.backward();

    golden.check("output", output);
    golden.check("hidden_last", last.hidden);
    golden.check("fast_last", fast_last);
    golden.check("loss", loss);
    // A tensor that the loss does not reach has no gradient here and zeros there.
    macro_rules! check_gradient {
        ($key:literal, $leaf:expr) => {
            let leaf = $leaf;
            let gradient = leaf.grad(&gradients);
            golden.check($key, gradient.unwrap_or_else(|| leaf.inner().zeros_like()));
        };
    }
    check_gradient!("grad_input", input);
    check_gradient!("grad_hidden0", hidden);
    check_gradient!("grad_fast0", fast);
    check_gradient!("grad_w_input", layer.input.weight.val());
    check_gradient!(
        "grad_bias",
        layer.input.bias.as_ref().expect("a bias").val()
    );
    check_gradient!("grad_w_hidden", layer.w_hidden.val());
    if let Some(norm) = &layer.norm {
        check_gradient!("grad_gain", norm.gamma.val());
        check_gradient!("grad_bias_norm", norm.beta.as_ref().expect("a bias").val());
    } else {
        assert!(
            !golden.has("grad_gain"),
            "{}: no layer to compare grad_gain with",
            golden.name
        );
    }
}

/// The layer that a file's metadata describes, with the file's parameters.
fn fast_weights_layer(golden: &Golden, form: Form, path: Path, device: &Device) -> FastWeights {
    let size = |key| golden.number(key) as usize;
    let mut layer = FastWeightsConfig::new(size("d_input"), size("d_hidden"))
        .with_decay(golden.number("decay"))
        .with_fast_learning_rate(golden.number("learning_rate"))
        .with_inner_steps(size("inner_steps"))
        .with_layer_norm(golden.flag("layer_norm"))
        .with_normalize_preliminary(golden.flag("normalize_preliminary"))
        .with_epsilon(golden.number("epsilon"))
        .with_write(match golden.text("write") {
            "final" => Write::Final,
            "preliminary" => Write::Preliminary,
            other => panic!("{}: write is {other}", golden.name),
        })
        .with_activation(match golden.text("activation") {
            "relu" => Activation::Relu,
            "tanh" => Activation::Tanh,
            other => panic!("{}: activation is {other}", golden.name),
        })
        .with_form(form)
        .with_path(path)
        .init(device);
    layer.input.weight = Param::from_tensor(golden.leaf("w_input", device));
    layer.input.bias = Some(Param::from_tensor(golden.leaf("bias", device)));
    layer.w_hidden = Param::from_tensor(golden.leaf("w_hidden", device));
    if let Some(norm) = &mut layer.norm {
        norm.gamma = Param::from_tensor(golden.leaf("gain", device));
        norm.beta = Some(Param::from_tensor(golden.leaf("bias_norm", device)));
    }
    layer
}
