//! The Neural Turing Machine: addressing, stage by stage, and a whole machine that copies.

use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::activation::sigmoid;
use burn::tensor::{DType, Device, Gradients, Tensor, TensorData};
use fw_core::ops::ntm;
use fw_core::{ExecutionPath, InitialWeights, Ntm, NtmConfig, NtmController, Recurrent};

use crate::common::{assert_close, values};
use crate::reference::Golden;

/// The source adds this to every number of memory and key before it compares them: seen only where they are
/// zero.
const COSINE_OFFSET: f64 = 1e-16;

/// The inputs of an addressing file, one head for each sample.
struct Addressing {
    memory: Tensor<3>,
    key: Tensor<2>,
    beta: Tensor<2>,
    gate: Tensor<2>,
    gamma: Tensor<2>,
    shift: Tensor<2>,
    w_prev: Tensor<2>,
    erase: Tensor<2>,
    add: Tensor<2>,
}

impl Addressing {
    fn read(golden: &Golden, device: &Device) -> Self {
        let leaf = |key| golden.leaf::<2>(key, device);
        Addressing {
            memory: golden.leaf("in.memory", device),
            key: leaf("in.k"),
            beta: leaf("in.beta"),
            gate: leaf("in.g"),
            gamma: leaf("in.gamma"),
            shift: leaf("in.s"),
            w_prev: leaf("in.w_prev"),
            erase: leaf("in.erase"),
            add: leaf("in.add"),
        }
    }

    /// Every stage, compared; w, what is read, and the new memory.
    fn check_stages(&self, golden: &Golden) -> (Tensor<3>, Tensor<3>, Tensor<3>) {
        let head = |tensor: &Tensor<2>| tensor.clone().unsqueeze_dim::<3>(1);
        let (memory, key) = (
            self.memory.clone() + COSINE_OFFSET,
            head(&self.key) + COSINE_OFFSET,
        );
        let cosine = ntm::cosine_similarity(memory.clone(), key.clone());
        let content = ntm::content(memory, key, head(&self.beta));
        let gated = ntm::interpolate(content.clone(), head(&self.w_prev), head(&self.gate));
        let shifted = ntm::shift(gated.clone(), head(&self.shift));
        let w = ntm::sharpen(shifted.clone(), head(&self.gamma));
        let read = ntm::read(self.memory.clone(), w.clone());
        let (erase, add) = (head(&self.erase), head(&self.add));
        let new_memory = ntm::write(self.memory.clone(), w.clone(), erase, add);
        for (key, actual) in [
            ("stage.cosine", &cosine),
            ("stage.content", &content),
            ("stage.gated", &gated),
            ("stage.shifted", &shifted),
            ("out.w", &w),
            ("out.read", &read),
            ("out.new_memory", &new_memory),
        ] {
            golden.check(key, actual.clone());
        }
        (w, read, new_memory)
    }
}

#[test]
fn addressing_agrees_with_the_reference() {
    for golden in Golden::all("ntm_addressing") {
        let device = Device::flex().autodiff();
        Addressing::read(&golden, &device).check_stages(&golden);
        if !golden.has("probe.w") {
            continue; // forward only
        }
        let probe = |key: &str, output: Tensor<3>| {
            let probe: Vec<f64> = golden.values(key).to_vec();
            let data = TensorData::new(probe, output.dims());
            (output * Tensor::from_data(data, (&device, DType::F64))).sum()
        };
        for name in ["w", "read", "new_memory"] {
            let inputs = Addressing::read(&golden, &device);
            let (w, read, new_memory) = inputs.check_stages(&golden);
            let output = match name {
                "w" => w,
                "read" => read,
                _ => new_memory,
            };
            let gradients = probe(&format!("probe.{name}"), output).backward();
            let check = |key: &str, gradient: Option<Tensor<2>>| {
                let key = format!("grad_{name}.{key}");
                match gradient {
                    Some(gradient) => golden.check(&key, gradient),
                    None => assert!(!golden.has(&key), "{key}: no gradient"),
                }
            };
            let memory = inputs.memory.grad(&gradients).expect("a gradient");
            golden.check(&format!("grad_{name}.memory"), memory);
            check("k", inputs.key.grad(&gradients));
            check("beta", inputs.beta.grad(&gradients));
            check("g", inputs.gate.grad(&gradients));
            check("gamma", inputs.gamma.grad(&gradients));
            check("s", inputs.shift.grad(&gradients));
            check("w_prev", inputs.w_prev.grad(&gradients));
            check("erase", inputs.erase.grad(&gradients));
            check("add", inputs.add.grad(&gradients));
        }

        // The write alone, its weighting an input.
        let inputs = Addressing::read(&golden, &device);
        let w = golden.leaf::<2>("out.w", &device);
        let head = |tensor: &Tensor<2>| tensor.clone().unsqueeze_dim::<3>(1);
        let new_memory = ntm::write(
            inputs.memory.clone(),
            head(&w),
            head(&inputs.erase),
            head(&inputs.add),
        );
        let gradients = probe("probe.new_memory", new_memory).backward();
        let gradient = |leaf: &Tensor<2>| leaf.grad(&gradients).expect("a gradient");
        golden.check("grad_write_only.w", gradient(&w));
        golden.check("grad_write_only.erase", gradient(&inputs.erase));
        golden.check("grad_write_only.add", gradient(&inputs.add));
        let memory = inputs.memory.grad(&gradients).expect("a gradient");
        golden.check("grad_write_only.memory", memory);
    }
}

#[test]
fn a_composed_machine_that_copies_agrees_with_the_reference() {
    for golden in Golden::all("ntm_copy") {
        check_machine(&golden, ExecutionPath::Composed);
    }
}

#[test]
fn a_fused_machine_that_copies_agrees_with_the_reference() {
    for golden in Golden::all("ntm_copy") {
        check_machine(&golden, ExecutionPath::Fused);
    }
}

/// Outputs, states and loss of one file, and the gradient of every parameter.
fn check_machine(golden: &Golden, path: ExecutionPath) {
    let device = Device::flex().autodiff();
    let (machine, output) = machine(golden, path, &device);
    let length = golden.number("len") as usize;

    let input = golden.leaf::<3>("in.x", &device).detach();
    let [steps, batch_size, width] = input.dims();
    let silence = Tensor::zeros([length, batch_size, width], (&device, input.dtype()));
    let input = Tensor::cat(vec![input, silence], 0).swap_dims(0, 1);
    let trace = machine.forward_traced(input.clone(), None);
    let (forward, state) = machine.forward(input, None);
    let y = sigmoid(output.forward(forward.clone()));
    let time_major = |tensor: Tensor<4>| tensor.squeeze_dim::<3>(2).swap_dims(0, 1);
    golden.check("step.read", time_major(trace.reads));
    golden.check("step.w_read", time_major(trace.read_weights));
    golden.check("step.w_write", time_major(trace.write_weights));
    let d_controller = golden.number("controller_size") as usize;
    let hidden = forward.narrow(2, 0, d_controller);
    golden.check("step.h", hidden.swap_dims(0, 1));
    golden.check("step.y", y.clone().swap_dims(0, 1));
    let last = |key: &str, actual: Vec<f64>| {
        let all = golden.values(key);
        assert_close(key, &actual, &all[all.len() - actual.len()..], 1e-9);
    };
    last("step.memory", values(state.memory));
    last("step.c", values(state.controller[0].cell.clone()));

    let y = y.swap_dims(0, 1).narrow(0, steps, length);
    golden.check("out.y", y.clone());
    let target = golden.leaf::<3>("in.target", &device).detach();
    let likelihood =
        target.clone() * y.clone().log() + (target.neg() + 1.0) * (y.neg() + 1.0).log();
    let loss = likelihood.mean().neg();
    golden.check("out.loss", loss.clone());
    check_gradients(golden, &machine, &output, &loss.backward());
}

fn check_gradients(golden: &Golden, machine: &Ntm, output: &Linear, gradients: &Gradients) {
    let NtmController::Lstm(controller) = &machine.controller else {
        panic!("the reference has an LSTM controller");
    };
    let lstm = &controller.layers[0];
    let bias = |linear: &Linear| {
        let bias = linear.bias.as_ref().expect("a bias").val();
        bias.grad(gradients).expect("a gradient")
    };
    let weight = |param: &Param<Tensor<2>>| param.val().grad(gradients).expect("a gradient");
    golden.check("grad.memory.mem_bias", weight(&machine.initial_memory));
    golden.check("grad.ntm.read0_bias", weight(&machine.initial_reads));
    let prefix = "grad.ntm.controller.lstm";
    golden.check(
        &format!("{prefix}_h_bias"),
        weight(&controller.initial_hidden),
    );
    golden.check(
        &format!("{prefix}_c_bias"),
        weight(&controller.initial_cell),
    );
    let weight = |param| weight(param).transpose();
    golden.check(
        &format!("{prefix}.weight_ih_l0"),
        weight(&lstm.input.weight),
    );
    golden.check(&format!("{prefix}.weight_hh_l0"), weight(&lstm.w_hidden));
    // There the bias is a sum of two, each with the gradient of the sum.
    golden.check(&format!("{prefix}.bias_ih_l0"), bias(&lstm.input));
    golden.check(&format!("{prefix}.bias_hh_l0"), bias(&lstm.input));
    golden.check("grad.ntm.fc.weight", weight(&output.weight));
    golden.check("grad.ntm.fc.bias", bias(output));
    for (name, linear) in [
        ("heads.0.fc_read", &machine.read_head.linear),
        ("heads.1.fc_write", &machine.write_head.linear),
    ] {
        let word_size = golden.number("M") as usize;
        let weight = in_source_order(weight(&linear.weight), word_size);
        golden.check(&format!("grad.ntm.{name}.weight"), weight);
        let bias = in_source_order(bias(linear).unsqueeze_dim(1), word_size);
        golden.check(&format!("grad.ntm.{name}.bias"), bias);
    }
}

/// Rows of a head's map as the source has them (key, β, g, s, γ, the rest) in the order of this crate (key, β, γ, g, s, the
/// rest).
fn in_our_order(rows: Tensor<2>, word_size: usize) -> Tensor<2> {
    let m = word_size;
    reordered(rows, [(0, m + 1), (m + 5, 1), (m + 1, 1), (m + 2, 3)])
}

/// The other way round.
fn in_source_order(rows: Tensor<2>, word_size: usize) -> Tensor<2> {
    let m = word_size;
    reordered(rows, [(0, m + 1), (m + 2, 1), (m + 3, 3), (m + 1, 1)])
}

/// The given runs of rows (first, number), then all that is behind them.
fn reordered(rows: Tensor<2>, runs: [(usize, usize); 4]) -> Tensor<2> {
    let n_moved = runs.iter().map(|(_, n)| n).sum();
    let n_left = rows.dims()[0] - n_moved;
    let mut parts = runs
        .map(|(first, n)| rows.clone().narrow(0, first, n))
        .to_vec();
    if n_left > 0 {
        parts.push(rows.narrow(0, n_moved, n_left));
    }
    Tensor::cat(parts, 0)
}

/// The machine that a file's metadata describes, with the file's parameters, and the map of its output.
fn machine(golden: &Golden, path: ExecutionPath, device: &Device) -> (Ntm, Linear) {
    let size = |key| golden.number(key) as usize;
    assert_eq!(size("heads"), 1, "the reference has one head of each kind");
    assert_eq!(size("controller_layers"), 1);
    let matrix = |key: &str| golden.leaf::<2>(&format!("param.{key}"), device).inner();
    let vector = |key: &str| golden.leaf::<1>(&format!("param.{key}"), device).inner();
    let learned = |value: Tensor<2>| Param::from_tensor(Tensor::from_inner(value).require_grad());
    let linear = |weight: Tensor<2>, bias: Tensor<1>| Linear {
        weight: learned(weight),
        bias: Some(Param::from_tensor(Tensor::from_inner(bias).require_grad())),
    };

    let mut machine = NtmConfig::new(size("width") + 1, size("controller_size"))
        .with_memory_size(size("N"))
        .with_word_size(size("M"))
        .with_initial_weights(InitialWeights::Zero)
        .with_path(path)
        .init(device);
    machine.initial_memory = learned(matrix("memory.mem_bias"));
    machine.initial_weights = machine
        .initial_weights
        .map(|weights| weights.cast(DType::F64));
    machine.initial_reads = learned(matrix("ntm.read0_bias"));
    let NtmController::Lstm(controller) = &mut machine.controller else {
        panic!("the default controller is an LSTM");
    };
    let start = |key: &str| {
        let start: Tensor<3> = golden.leaf(&format!("param.ntm.controller.{key}"), device);
        learned(start.inner().squeeze_dim(1))
    };
    controller.initial_hidden = start("lstm_h_bias");
    controller.initial_cell = start("lstm_c_bias");
    controller.layers[0].input = linear(
        matrix("ntm.controller.lstm.weight_ih_l0").transpose(),
        vector("ntm.controller.lstm.bias_ih_l0") + vector("ntm.controller.lstm.bias_hh_l0"),
    );
    controller.layers[0].w_hidden = learned(matrix("ntm.controller.lstm.weight_hh_l0").transpose());
    let head = |name: &str| {
        let weight = matrix(&format!("ntm.heads.{name}.weight"));
        let bias = vector(&format!("ntm.heads.{name}.bias")).unsqueeze_dim(1);
        linear(
            in_our_order(weight, size("M")).transpose(),
            in_our_order(bias, size("M")).squeeze_dim(1),
        )
    };
    machine.read_head.linear = head("0.fc_read");
    machine.write_head.linear = head("1.fc_write");
    let output = linear(matrix("ntm.fc.weight").transpose(), vector("ntm.fc.bias"));
    (machine, output)
}
