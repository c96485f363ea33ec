//! What PyTorch, Keras, ONNX, pytorch-ntm, flash-linear-attention and xlstm have computed with their weights, computed with ours.

use burn::module::Module;
use burn::nn::{self, Linear, LinearConfig};
use burn::tensor::activation::sigmoid;
use burn::tensor::{DType, Device, Tensor};
use fw_core::weights::{Convention, Portable, Weights};
use fw_core::{
    Activation, Bidirectional, DeltaNetConfig, ElmanConfig, Gru, GruConfig, InitialWeights, Lstm,
    LstmConfig, LstmState, MLstmConfig, NtmConfig, Recurrent, Rwkv7Config, Stack,
};

use super::{assert_computes, assert_near, assert_round_trip, file, lstm, open, value};

/// Runs a layer with the weights of a file; the output and the hidden states must be those of PyTorch.
#[track_caller]
fn check<R: Portable + Recurrent>(
    name: &str,
    convention: Convention,
    layer: R,
    hidden: impl Fn(R::State) -> Tensor<3>,
) {
    let (device, other) = (Device::flex(), layer.clone());
    let mut layer = layer;
    layer
        .load(&open(&with_suffix(name)), convention)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let (output, state) = layer.forward(value(name, "input", &device), None);
    assert_near(name, output, value(name, "output", &device));
    let expected = match convention {
        Convention::PyTorchCell => value::<2>(name, "hidden", &device).unsqueeze(),
        _ => value::<3>(name, "hidden", &device),
    };
    assert_near(name, hidden(state), expected);
    assert_round_trip(&layer, other.clone(), convention);
    assert_round_trip(&layer, other, Convention::Own);
}

fn with_suffix(name: &str) -> String {
    match name.split('_').next() {
        Some("keras" | "onnx") => format!("{name}.safetensors"),
        _ => format!("{name}.pt"),
    }
}

fn of_lstm(state: LstmState) -> Tensor<3> {
    state.hidden.unsqueeze()
}

fn lstms(widths: &[usize]) -> Stack<Lstm> {
    let device = Device::flex();
    let layers = widths.windows(2);
    Stack::new(
        layers
            .map(|pair| LstmConfig::new(pair[0], pair[1]).init(&device))
            .collect(),
    )
}

#[test]
fn lstms_of_pytorch() {
    let device = Device::flex();
    let square = LstmConfig::new(4, 4).init(&device);
    let bare = LstmConfig::new(3, 5).with_bias(false).init(&device);
    check("lstm", Convention::PyTorch, lstm(), of_lstm);
    check("lstm_square", Convention::PyTorch, square, of_lstm);
    check("lstm_no_bias", Convention::PyTorch, bare, of_lstm);
    check("lstm_cell", Convention::PyTorchCell, lstm(), of_lstm);
    let of_stack = |states: Vec<LstmState>| {
        Tensor::stack(states.into_iter().map(|state| state.hidden).collect(), 0)
    };
    check(
        "lstm_three_layers",
        Convention::PyTorch,
        lstms(&[3, 5, 5, 5]),
        of_stack,
    );
}

#[test]
fn grus_of_pytorch() {
    let device = Device::flex();
    let gru = |d_input, d_hidden| GruConfig::new(d_input, d_hidden).init(&device);
    let of_gru = |hidden: Tensor<2>| hidden.unsqueeze();
    let bare = GruConfig::new(3, 5).with_bias(false).init(&device);
    check("gru", Convention::PyTorch, gru(3, 5), of_gru);
    check("gru_square", Convention::PyTorch, gru(4, 4), of_gru);
    check("gru_no_bias", Convention::PyTorch, bare, of_gru);
    check("gru_cell", Convention::PyTorchCell, gru(3, 5), of_gru);
    let stack = Stack::new(vec![gru(3, 5), gru(5, 5), gru(5, 5)]);
    let of_stack = |states: Vec<Tensor<2>>| Tensor::stack(states, 0);
    check("gru_three_layers", Convention::PyTorch, stack, of_stack);
}

#[test]
fn elman_networks_of_pytorch() {
    let device = Device::flex();
    let elman = |d_input, activation| {
        ElmanConfig::new(d_input, 5)
            .with_activation(activation)
            .init(&device)
    };
    let of_elman = |hidden: Tensor<2>| hidden.unsqueeze();
    let (tanh, relu) = (Activation::Tanh, Activation::Relu);
    check("rnn_tanh", Convention::PyTorch, elman(3, tanh), of_elman);
    check("rnn_relu", Convention::PyTorch, elman(3, relu), of_elman);
    check(
        "rnn_cell",
        Convention::PyTorchCell,
        elman(3, tanh),
        of_elman,
    );
    let stack = Stack::new(vec![elman(3, tanh), elman(5, tanh), elman(5, tanh)]);
    let of_stack = |states: Vec<Tensor<2>>| Tensor::stack(states, 0);
    check("rnn_three_layers", Convention::PyTorch, stack, of_stack);
}

/// Layers of which each reads what both directions of the one before yield.
#[track_caller]
fn check_bidirectional<R: Recurrent>(
    name: &str,
    layers: Vec<Bidirectional<R>>,
    hidden: impl Fn(R::State) -> Tensor<2>,
) where
    Vec<Bidirectional<R>>: Portable,
{
    let (device, other) = (Device::flex(), layers.clone());
    let mut layers = layers;
    layers
        .load(&open(&format!("{name}.pt")), Convention::PyTorch)
        .expect(name);
    let mut signal: Tensor<3> = value(name, "input", &device);
    let mut states = Vec::new();
    for layer in &layers {
        let (output, last) = layer.forward(signal, None);
        states.extend([hidden(last.forward), hidden(last.backward)]);
        signal = output;
    }
    assert_near(name, signal, value(name, "output", &device));
    assert_near(
        name,
        Tensor::stack(states, 0),
        value::<3>(name, "hidden", &device),
    );
    assert_round_trip(&layers, other, Convention::PyTorch);
}

#[test]
fn bidirectional_layers_of_pytorch() {
    let device = Device::flex();
    let lstm = |d_input| LstmConfig::new(d_input, 4).init(&device);
    let gru = |d_input| GruConfig::new(d_input, 4).init(&device);
    let elman = || ElmanConfig::new(3, 4).init(&device);
    let lstms = [3, 8].map(|width| Bidirectional::new(lstm(width), lstm(width)));
    check_bidirectional("lstm_bidirectional", lstms.to_vec(), |state| state.hidden);
    let grus = [3, 8].map(|width| Bidirectional::new(gru(width), gru(width)));
    check_bidirectional("gru_bidirectional", grus.to_vec(), |hidden| hidden);
    let both = vec![Bidirectional::new(elman(), elman())];
    check_bidirectional("rnn_bidirectional", both.clone(), |hidden| hidden);

    // One layer by itself has the same names.
    let weights = open("rnn_bidirectional.pt");
    let mut one = both[0].clone();
    one.load(&weights, Convention::PyTorch).expect("one layer");
    assert_round_trip(&one, both[0].clone(), Convention::PyTorch);
}

/// In every way in which `torch.save` stores them.
#[test]
fn however_pytorch_has_stored_them() {
    for name in [
        "lstm_legacy.pt",
        "lstm_views.pt",
        "lstm_module.pt",
        "lstm.safetensors",
    ] {
        let mut layer = lstm();
        layer.load(&open(name), Convention::PyTorch).expect(name);
        assert_computes(&layer, "lstm");
        // The same from memory.
        let bytes = std::fs::read(file(name)).expect(name);
        let mut layer = lstm();
        let weights = Weights::from_bytes(bytes).expect(name);
        layer.load(&weights, Convention::PyTorch).expect(name);
        assert_computes(&layer, "lstm");
    }
    let checkpoint = open("lstm_checkpoint.pt");
    assert!(
        checkpoint
            .names()
            .any(|name| name.starts_with("optimizer_state_dict."))
    );
    let mut layer = lstm();
    let weights = checkpoint
        .within("model_state_dict.encoder.rnn")
        .expect("it is there");
    layer
        .load(&weights, Convention::PyTorch)
        .expect("a checkpoint");
    assert_computes(&layer, "lstm");
}

/// In the layer's type, or in the file's where that is asked for.
#[test]
fn numbers_of_other_types() {
    for (name, dtype) in [
        ("lstm_f64", DType::F64),
        ("lstm_f16", DType::F16),
        ("lstm_bf16", DType::BF16),
    ] {
        let weights = open(&format!("{name}.pt"));
        let mut layer = lstm();
        layer.load(&weights, Convention::PyTorch).expect(name);
        assert_eq!(layer.w_hidden.val().dtype(), DType::F32, "{name}");
        assert_computes(&layer, name);

        let mut layer = lstm();
        layer
            .load(&weights.keeping_types(), Convention::PyTorch)
            .expect(name);
        assert_eq!(layer.w_hidden.val().dtype(), dtype, "{name}");
        let bias = layer.input.bias.as_ref().expect("it has one");
        assert_eq!(bias.val().dtype(), dtype, "{name}");
    }
}

#[test]
fn layers_of_keras() {
    let convention = Convention::Keras { reset_after: true };
    check("keras_lstm", convention, lstm(), of_lstm);
    let gru = || GruConfig::new(3, 5).init(&Device::flex());
    check("keras_gru", convention, gru(), |hidden| hidden.unsqueeze());

    // The reset gate before the product is another function: refused, and named.
    let before = open("keras_gru_reset_before.safetensors");
    let convention = Convention::Keras { reset_after: false };
    let error = gru().load(&before, convention).expect_err("it is refused");
    assert_eq!(
        error.to_string(),
        "Gru has a reset gate that acts after the product; under Keras { reset_after: false } it acts before, which is another function"
    );
    let convention = Convention::Keras { reset_after: true };
    let error = gru()
        .load(&before, convention)
        .expect_err("its bias has another shape");
    let expected = format!(
        "{} does not fit Gru:\n  bias is [15]; it must be [2, 15]",
        file("keras_gru_reset_before.safetensors").display()
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn operators_of_onnx() {
    let device = Device::flex();
    let convention = Convention::Onnx {
        linear_before_reset: true,
    };
    check("onnx_lstm", convention, lstm(), of_lstm);
    let gru = || GruConfig::new(3, 5).init(&device);
    check("onnx_gru", convention, gru(), |hidden| hidden.unsqueeze());
    let elman = ElmanConfig::new(3, 5).init(&device);
    check("onnx_rnn", convention, elman, |hidden| hidden.unsqueeze());
    let convention = Convention::Onnx {
        linear_before_reset: false,
    };
    gru()
        .load(&open("onnx_gru.safetensors"), convention)
        .expect_err("another function");
}

/// Files that Burn's own layers were saved in, burnpack and ours; what is read becomes a layer of this crate.
#[test]
fn layers_of_burn() {
    let device = Device::flex();
    let folder = tempfile::tempdir().expect("a folder");
    let input = Tensor::ones([2, 6, 3], &device);

    let saved = nn::LstmConfig::new(3, 5, true).init(&device);
    let (expected, _) = saved.forward(input.clone(), None);
    let path = folder.path().join("lstm.bpk");
    saved.save_file(&path).expect("it can be saved");
    let mut read = nn::LstmConfig::new(3, 5, true).init(&device);
    let weights = Weights::open(&path).expect("burnpack");
    read.load(&weights, Convention::Own)
        .expect("the same layer");
    let bytes = std::fs::read(&path).expect("it is there");
    let in_memory = Weights::from_bytes(bytes).expect("burnpack");
    assert!(in_memory.names().eq(weights.names()));
    let (output, _) = Lstm::try_from(read)
        .expect("the same function")
        .forward(input.clone(), None);
    assert_near("burn's LSTM", output, expected);

    let saved = nn::GruConfig::new(3, 5, true).init(&device);
    let expected = saved.forward(input.clone(), None);
    let path = folder.path().join("gru.safetensors");
    let weights = saved.to_weights(Convention::Own).expect("its names");
    weights.write(&path).expect("it can be written");
    let mut read = nn::GruConfig::new(3, 5, true).init(&device);
    let weights = Weights::open(&path).expect("safetensors");
    read.load(&weights, Convention::Own)
        .expect("the same layer");
    let (output, _) = Gru::try_from(read)
        .expect("the same function")
        .forward(input, None);
    assert_near("burn's GRU", output, expected);
}

/// Its parameters and its outputs are those of the golden file, which has them in double precision.
#[test]
fn the_turing_machine_of_pytorch_ntm() {
    let device = Device::flex();
    let golden = Weights::open(file("../../goldens/ntm_copy.safetensors")).expect("it is there");
    let number = |name| {
        let data = golden.numbers(name).expect("it is whole");
        Tensor::<3>::from_data(data.expect(name), (&device, DType::F32))
    };
    let config = NtmConfig::new(5, 16)
        .with_memory_size(10)
        .with_word_size(6)
        .with_initial_weights(InitialWeights::Zero);

    let weights = open("ntm.pt");
    let mut machine = config.init(&device);
    let of_machine = weights.clone().without(|name| name.starts_with("ntm.fc."));
    machine
        .load(&of_machine, Convention::PyTorch)
        .expect("the machine");
    let mut output: Linear = LinearConfig::new(22, 4).init(&device);
    let of_output = weights
        .clone()
        .within("ntm.fc")
        .expect("the map of its output");
    output
        .load(&of_output, Convention::PyTorch)
        .expect("the map of its output");

    // Steps come first there; five more without input follow.
    let bits = number("in.x").swap_dims(0, 1);
    let input = Tensor::cat(vec![bits, Tensor::zeros([2, 5, 5], &device)], 1);
    let (answers, _) = machine.forward(input, None);
    let answers = sigmoid(output.forward(answers.narrow(1, 6, 5)));
    assert_near("pytorch-ntm", answers.swap_dims(0, 1), number("out.y"));
    assert_round_trip(&machine, config.init(&device), Convention::PyTorch);
    assert_round_trip(&machine, config.init(&device), Convention::Own);

    let written = machine
        .to_weights(Convention::PyTorch)
        .expect("it can be said");
    assert!(
        written.names().eq(of_machine.names()),
        "every name of the state dict is written"
    );

    let error = machine
        .load(&weights, Convention::PyTorch)
        .expect_err("the output is left over");
    assert!(
        error
            .to_string()
            .contains("ntm.fc.weight [4, 22] is left over"),
        "{error}"
    );
    let one_hot = config.clone().with_initial_weights(InitialWeights::OneHot);
    let error = one_hot
        .init(&device)
        .to_weights(Convention::PyTorch)
        .expect_err("not theirs");
    assert!(
        error.to_string().contains("initial_weights that is not 0"),
        "{error}"
    );
    let heads = config.with_n_read_heads(2).init(&device);
    let error = heads
        .to_weights(Convention::PyTorch)
        .expect_err("not theirs");
    assert!(error.to_string().contains("has 2 read heads"), "{error}");
}

/// Of four names of one tensor, one that says something else.
#[test]
fn a_memory_that_two_names_disagree_about_is_refused() {
    let weights = open("ntm.pt").without(|name| name.starts_with("ntm.fc."));
    let other = weights
        .numbers("ntm.memory.mem_bias")
        .expect("it is whole")
        .expect("it is there");
    let other = Tensor::<2>::from_data(other, &Device::flex()) + 1.0;
    let tensors = weights.names().map(|name| {
        let data = match name {
            "ntm.heads.0.memory.mem_bias" => other.to_data(),
            _ => weights
                .numbers(name)
                .expect("it is whole")
                .expect("it is there"),
        };
        (name.to_owned(), data)
    });
    let tensors: Vec<_> = tensors.collect();
    let config = NtmConfig::new(5, 16)
        .with_memory_size(10)
        .with_word_size(6)
        .with_initial_weights(InitialWeights::Zero);
    let mut machine = config.init(&Device::flex());
    let error = machine.load(&Weights::from_tensors(tensors), Convention::PyTorch);
    let error = error.expect_err("they disagree").to_string();
    assert!(
        error.ends_with("memory.mem_bias and ntm.heads.0.memory.mem_bias hold different numbers; they are names of one tensor"),
        "{error}"
    );
}

/// A layer with the weights of a file: in double precision, in which a small difference of the equations shows; in single precision by the root of the mean
/// square.
#[track_caller]
fn check_in_both_precisions<R: Portable + Recurrent>(name: &str, init: impl Fn(&Device) -> R) {
    let device = Device::flex();
    let weights = open(&format!("{name}.pt"));
    let expected: Tensor<3> = value(name, "output", &device);
    let run = |dtype: DType| {
        let numbers = weights.names().map(|name| {
            let data = weights
                .numbers(name)
                .expect("it is whole")
                .expect("it is there");
            (name.to_owned(), data.convert_dtype(dtype))
        });
        let weights = Weights::from_tensors(numbers.collect::<Vec<_>>()).keeping_types();
        let mut layer = init(&device);
        layer
            .load(&weights, Convention::PyTorch)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let input: Tensor<3> = value(name, "input", &device);
        layer.forward(input.cast(dtype), None).0.cast(DType::F32)
    };
    assert_near(name, run(DType::F64), expected.clone());
    let norm = |tensor: Tensor<3>| tensor.square().mean().sqrt().into_scalar::<f32>();
    let ratio = norm(run(DType::F32) - expected.clone()) / norm(expected);
    assert!(ratio < 1e-6, "{name}: {ratio}");

    let mut layer = init(&device);
    layer
        .load(&weights, Convention::PyTorch)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let written = layer.to_weights(Convention::PyTorch).expect(name);
    assert!(written.names().eq(weights.names()), "{name}");
    assert_round_trip(&layer, init(&device), Convention::PyTorch);
    assert_round_trip(&layer, init(&device), Convention::Own);
}

#[test]
fn layers_of_flash_linear_attention() {
    for (name, config) in [
        ("fla_delta_net", DeltaNetConfig::new(8, 2, 4)),
        ("fla_gated_delta_net", DeltaNetConfig::gated(8, 2, 4)),
        ("fla_kda", DeltaNetConfig::kimi(8, 2, 4)),
        ("fla_gated_delta_product", DeltaNetConfig::product(8, 2, 4)),
    ] {
        check_in_both_precisions(name, |device| config.init(device));
    }
    let config = Rwkv7Config::new(8, 2, 4)
        .with_decay_rank(Some(3))
        .with_rate_rank(Some(2))
        .with_gate_rank(Some(5));
    check_in_both_precisions("fla_rwkv7", |device| config.init(device));
}

#[test]
fn the_mlstm_of_xlstm() {
    let config = MLstmConfig::new(8, 2, 2);
    check_in_both_precisions("xlstm_mlstm", |device| config.init(device));
}
