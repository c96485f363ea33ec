//! Sparse Attentive Backtracking as its authors released it.

use burn::module::Param;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{DType, Device, Tensor};
use fw_core::{
    Combination, ExecutionPath, LstmConfig, LstmState, Recurrent, Sab, SabConfig, SabState, Score,
    Sparsifier,
};

use crate::common::values;
use crate::reference::Golden;

#[test]
fn composed_sparse_attentive_backtracking_agrees_with_the_reference() {
    for golden in Golden::all("sab_") {
        check_sab(&golden, ExecutionPath::Composed);
    }
}

#[test]
fn fused_sparse_attentive_backtracking_agrees_with_the_reference() {
    for golden in Golden::all("sab_") {
        check_sab(&golden, ExecutionPath::Fused);
    }
}

/// Outputs, states, weights, loss and every gradient of one file.
fn check_sab(golden: &Golden, path: ExecutionPath) {
    let device = Device::flex().autodiff();
    let (layer, output) = layer(golden, path, &device);
    let input = golden.leaf::<3>("in.x", &device);
    let start = start(golden, &layer, &device);
    let hidden = golden.number("hidden") as usize;

    let (states, _) = layer.forward(input.clone(), Some(start.clone()));
    golden.check("step.h", states.clone().narrow(2, 0, hidden));
    golden.check("step.s", states.clone().narrow(2, hidden, hidden));
    let out = output.forward(states);
    golden.check("out.out", out.clone());
    let loss = (out * golden.leaf("probe.out", &device).detach()).sum();
    golden.check("out.loss", loss.clone());

    let gradients = loss.backward();
    golden.check("grad.x", input.grad(&gradients).expect("a gradient"));
    let matrix = |param: &Param<Tensor<2>>| param.val().grad(&gradients).expect("a gradient");
    let bias = |linear: &Linear| {
        let bias = linear.bias.as_ref().expect("a bias").val();
        bias.grad(&gradients).expect("a gradient")
    };
    golden.check("grad.fc.weight", matrix(&output.weight).transpose());
    golden.check("grad.fc.bias", bias(&output));
    let cell = &layer.cell;
    golden.check(
        "grad.lstm1.weight_ih",
        matrix(&cell.input.weight).transpose(),
    );
    golden.check("grad.lstm1.weight_hh", matrix(&cell.w_hidden).transpose());
    // There the bias is a sum of two, each with the gradient of the sum.
    golden.check("grad.lstm1.bias_ih", bias(&cell.input));
    golden.check("grad.lstm1.bias_hh", bias(&cell.input));
    let attention = layer.attention.as_ref().expect("an attention");
    let [on_state, on_memory] = [&attention.query, &attention.key].map(matrix);
    golden.check("grad.w_t", Tensor::cat(vec![on_state, on_memory], 0));
    check_weights(golden, &layer, input, start);
}

/// The weights that a trace tells, in the order of the memories.
fn check_weights(
    golden: &Golden,
    layer: &Sab<fw_core::Lstm>,
    input: Tensor<3>,
    start: SabState<LstmState>,
) {
    let trace = layer.forward_traced(input, Some(start));
    let [batch_size, seq_length, width] = trace.weights.dims();
    let n_memories = golden.values("step.n_memories");
    let expected = golden.values("step.weights");
    let most = expected.len() / (batch_size * seq_length);
    let mut actual = vec![0.0; expected.len()];
    let indices = values(trace.indices.float());
    for (at, (number, weight)) in indices.iter().zip(values(trace.weights)).enumerate() {
        let step = at / width;
        if *number >= 0.0 {
            assert!(*number < n_memories[step % seq_length]);
            actual[step * most + *number as usize] = weight;
        }
    }
    crate::common::assert_close("step.weights", &actual, expected, 1e-6);
}

/// The released code stores a zero vector before the first step.
fn start(golden: &Golden, layer: &Sab<fw_core::Lstm>, device: &Device) -> SabState<LstmState> {
    let size = |key| golden.number(key) as usize;
    let batch_size = size("B");
    let zeros = Tensor::zeros([batch_size, 1, size("hidden")], (device, DType::F64));
    let cell = layer.initial_state(batch_size, device).cell;
    SabState::new(cell, Some(zeros), 0, batch_size)
}

fn layer(golden: &Golden, path: ExecutionPath, device: &Device) -> (Sab<fw_core::Lstm>, Linear) {
    let size = |key| golden.number(key) as usize;
    let matrix = |key: &str| golden.leaf::<2>(key, device).inner();
    let parameter = |value| Param::from_tensor(Tensor::from_inner(value).require_grad());
    let transposed = |key: &str| parameter(matrix(key).transpose());
    let hidden = size("hidden");
    let mut cell = LstmConfig::new(size("input"), hidden).init(device);
    cell.input.weight = transposed("param.lstm1.weight_ih");
    cell.w_hidden = transposed("param.lstm1.weight_hh");
    let bias = |key: &str| golden.leaf::<1>(key, device).inner();
    let biases = bias("param.lstm1.bias_ih") + bias("param.lstm1.bias_hh");
    cell.input.bias = Some(Param::from_tensor(
        Tensor::from_inner(biases).require_grad(),
    ));
    let mut layer = SabConfig::new()
        .with_top_k(Some(size("k_top")))
        .with_attention_interval(size("k_att"))
        .with_truncation_length(Some(size("k_trunc")))
        .with_score(Score::Released)
        .with_sparsifier(Sparsifier::Released)
        .with_combination(Combination::Add)
        .with_path(path)
        .init(cell, device);
    let attention = layer.attention.as_mut().expect("an attention");
    let w_t = matrix("param.w_t");
    let part = |first| parameter(w_t.clone().narrow(0, first, hidden));
    (attention.query, attention.key) = (part(0), part(hidden));
    let mut output = LinearConfig::new(2 * hidden, size("classes")).init(device);
    output.weight = transposed("param.fc.weight");
    output.bias = Some(Param::from_tensor(golden.leaf("param.fc.bias", device)));
    (layer, output)
}
