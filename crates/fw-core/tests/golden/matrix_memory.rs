//! Matrix memories, every form.

use burn::tensor::{Device, Tensor};
use fw_core::ExecutionPath;
use fw_core::ops::matrix_memory::{LogDecay, Sequences, WriteRule, in_chunks, matrix_memory};

use crate::reference::Golden;

#[test]
fn composed_matrix_memories_agree_with_the_reference() {
    for golden in Golden::all("delta_") {
        for chunk in [1, 2, 3, 8, 64] {
            check(&golden, |sequences, state, rule| {
                in_chunks(sequences, Some(state), rule, chunk)
            });
        }
        let path = ExecutionPath::Composed;
        check(&golden, |sequences, state, rule| {
            matrix_memory(sequences, Some(state), rule, path)
        });
    }
}

#[test]
fn fused_matrix_memories_agree_with_the_reference() {
    for golden in Golden::all("delta_") {
        let path = ExecutionPath::Fused;
        check(&golden, |sequences, state, rule| {
            matrix_memory(sequences, Some(state), rule, path)
        });
    }
}

/// Outputs, the last state and every gradient of one file.
fn check(golden: &Golden, run: impl Fn(Sequences, Tensor<4>, WriteRule) -> (Tensor<4>, Tensor<4>)) {
    let device = Device::flex().autodiff();
    let log_decay = match golden.text("decay") {
        "none" => LogDecay::None,
        "head" => LogDecay::Head(golden.leaf("in.log_decay", &device)),
        "channel" => LogDecay::Channel(golden.leaf("in.log_decay", &device)),
        other => panic!("{}: decay is {other}", golden.name),
    };
    let rule = match golden.text("rule") {
        "delta" => WriteRule::Delta,
        "sum" => WriteRule::Sum,
        other => panic!("{}: rule is {other}", golden.name),
    };
    let sequences = Sequences {
        query: golden.leaf("in.q", &device),
        key: golden.leaf("in.k", &device),
        value: golden.leaf("in.v", &device),
        write_strength: golden.leaf("in.beta", &device),
        log_decay,
    };
    let state = golden.leaf::<4>("in.state", &device);

    let (output, last) = run(sequences.clone(), state.clone(), rule);
    let probe = |name| golden.leaf::<4>(name, &device).detach();
    let loss =
        (output.clone() * probe("probe.o")).sum() + (last.clone() * probe("probe.state")).sum();
    let gradients = loss.backward();
    let gradient = |leaf: &Tensor<4>| leaf.grad(&gradients).expect("the loss reaches it");

    golden.check("out.o", output);
    golden.check("out.state", last);
    golden.check("out.loss", loss);
    golden.check("grad.q", gradient(&sequences.query));
    golden.check("grad.k", gradient(&sequences.key));
    golden.check("grad.v", gradient(&sequences.value));
    golden.check("grad.state", gradient(&state));
    let strength = sequences.write_strength.grad(&gradients);
    golden.check("grad.beta", strength.expect("the loss reaches it"));
    match sequences.log_decay {
        LogDecay::None => assert!(!golden.has("grad.log_decay")),
        LogDecay::Head(log) => {
            golden.check(
                "grad.log_decay",
                log.grad(&gradients).expect("the loss reaches it"),
            );
        }
        LogDecay::Channel(log) => golden.check("grad.log_decay", gradient(&log)),
    }
}
