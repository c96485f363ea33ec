//! Fast weights, both paths.

use burn::module::Param;
use burn::tensor::Device;
use fw_core::{
    Activation, ExecutionPath, FastMemory, FastWeights, FastWeightsConfig, FastWeightsState,
    MemoryForm, Recurrent, WrittenState,
};

use crate::reference::Golden;

#[test]
fn composed_fast_weights_agree_with_the_reference() {
    for golden in Golden::all("fast_weights_") {
        check_fast_weights(&golden, MemoryForm::Matrix, ExecutionPath::Composed);
        check_fast_weights(&golden, MemoryForm::Attention, ExecutionPath::Composed);
    }
}

#[test]
fn fused_fast_weights_agree_with_the_reference() {
    for golden in Golden::all("fast_weights_") {
        check_fast_weights(&golden, MemoryForm::Matrix, ExecutionPath::Fused);
        check_fast_weights(&golden, MemoryForm::Attention, ExecutionPath::Fused);
    }
}

/// Outputs, last states and every gradient of one file.
fn check_fast_weights(golden: &Golden, form: MemoryForm, path: ExecutionPath) {
    let device = Device::flex().autodiff();
    let layer = fast_weights_layer(golden, form, path, &device);
    let input = golden.leaf::<3>("input", &device);
    let hidden = golden.leaf::<2>("hidden0", &device);
    let fast = golden.leaf::<3>("fast0", &device);
    let start = FastWeightsState {
        hidden: hidden.clone(),
        memory: FastMemory::Matrix(fast.clone()),
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
fn fast_weights_layer(
    golden: &Golden,
    form: MemoryForm,
    path: ExecutionPath,
    device: &Device,
) -> FastWeights {
    let size = |key| golden.number(key) as usize;
    let mut layer = FastWeightsConfig::new(size("d_input"), size("d_hidden"))
        .with_decay(golden.number("decay"))
        .with_fast_learning_rate(golden.number("learning_rate"))
        .with_inner_steps(size("inner_steps"))
        .with_layer_norm(golden.flag("layer_norm"))
        .with_normalize_preliminary(golden.flag("normalize_preliminary"))
        .with_epsilon(golden.number("epsilon"))
        .with_write(match golden.text("write") {
            "final" => WrittenState::Final,
            "preliminary" => WrittenState::Preliminary,
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
