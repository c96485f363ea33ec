//! Matrix memories, every form.

use burn::tensor::{Device, Tensor};
use fw_core::ExecutionPath;
use fw_core::ops::matrix_memory::{
    LogDecay, MLstmSequences, MLstmState, Rwkv7Sequences, Sequences, WriteRule, in_chunks,
    matrix_memory, mlstm, rwkv7,
};

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

#[test]
fn mlstms_agree_with_the_reference() {
    for golden in Golden::all("mlstm") {
        for path in [ExecutionPath::Composed, ExecutionPath::Fused] {
            check_mlstm(&golden, path);
        }
    }
}

fn check_mlstm(golden: &Golden, path: ExecutionPath) {
    let device = Device::flex().autodiff();
    let sequences = MLstmSequences {
        query: golden.leaf("in.q", &device),
        key: golden.leaf("in.k", &device),
        value: golden.leaf("in.v", &device),
        input_gate: golden.leaf("in.input_gate", &device),
        forget_gate: golden.leaf("in.forget_gate", &device),
    };
    let memory = golden.leaf::<4>("in.state", &device);
    let normalizer = golden.leaf::<3>("in.normalizer", &device);
    let log_scale = golden.leaf::<2>("in.log_scale", &device);
    let state = MLstmState::new(memory.clone(), normalizer.clone(), log_scale.clone());
    let (output, last) = mlstm(sequences.clone(), Some(state), path);
    let (last_memory, last_normalizer, last_scale) = last.into_parts();

    let loss = (output.clone() * golden.leaf::<4>("probe.o", &device).detach()).sum()
        + (last_memory.clone() * golden.leaf::<4>("probe.state", &device).detach()).sum()
        + (last_normalizer.clone() * golden.leaf::<3>("probe.normalizer", &device).detach()).sum()
        + (last_scale.clone() * golden.leaf::<2>("probe.log_scale", &device).detach()).sum();
    let gradients = loss.backward();
    golden.check("out.o", output);
    golden.check("out.state", last_memory);
    golden.check("out.normalizer", last_normalizer);
    golden.check("out.log_scale", last_scale);
    golden.check("out.loss", loss);
    let reached = "the loss reaches it";
    golden.check("grad.q", sequences.query.grad(&gradients).expect(reached));
    golden.check("grad.k", sequences.key.grad(&gradients).expect(reached));
    golden.check("grad.v", sequences.value.grad(&gradients).expect(reached));
    let of_input = sequences.input_gate.grad(&gradients).expect(reached);
    golden.check("grad.input_gate", of_input);
    let of_forget = sequences.forget_gate.grad(&gradients).expect(reached);
    golden.check("grad.forget_gate", of_forget);
    golden.check("grad.state", memory.grad(&gradients).expect(reached));
    let of_normalizer = normalizer.grad(&gradients).expect(reached);
    golden.check("grad.normalizer", of_normalizer);
    golden.check("grad.log_scale", log_scale.grad(&gradients).expect(reached));
}

#[test]
fn rwkv7_agrees_with_the_reference() {
    for golden in Golden::all("rwkv7") {
        for path in [ExecutionPath::Composed, ExecutionPath::Fused] {
            check_rwkv7(&golden, path);
        }
    }
}

fn check_rwkv7(golden: &Golden, path: ExecutionPath) {
    let device = Device::flex().autodiff();
    let names = ["r", "log_decay", "k", "v", "a", "b", "state"];
    let leaves = names.map(|name| golden.leaf::<4>(&format!("in.{name}"), &device));
    let [
        receptance,
        log_decay,
        key,
        value,
        transition_read,
        transition_write,
        state,
    ] = leaves.clone();
    let sequences = Rwkv7Sequences {
        receptance,
        log_decay,
        key,
        value,
        transition_read,
        transition_write,
    };
    let (output, last) = rwkv7(sequences, Some(state), path);
    let probe = |name| golden.leaf::<4>(name, &device).detach();
    let loss =
        (output.clone() * probe("probe.o")).sum() + (last.clone() * probe("probe.state")).sum();
    let gradients = loss.backward();
    golden.check("out.o", output);
    golden.check("out.state", last);
    golden.check("out.loss", loss);
    for (name, leaf) in names.iter().zip(leaves) {
        let gradient = leaf.grad(&gradients).expect("the loss reaches it");
        golden.check(&format!("grad.{name}"), gradient);
    }
}
