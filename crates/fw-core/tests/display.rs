//! Layers print as Burn's own do: sizes, choices, and how many parameters there are.

use burn::tensor::Device;
use fw_core::{
    AssociativeLstmConfig, DeltaNetConfig, ElmanConfig, FastWeightsConfig, GruConfig, LstmConfig,
    NtmConfig, SabConfig, Stack,
};

#[test]
fn a_layer_prints_its_sizes_and_the_number_of_its_parameters() {
    let device = Device::flex();
    let lstm = LstmConfig::new(3, 4).init(&device);
    for (printed, expected) in [
        (
            lstm.to_string(),
            "Lstm {d_input: 3, d_hidden: 4, bias: true, params: 128}",
        ),
        (
            GruConfig::new(3, 4).init(&device).to_string(),
            "Gru {d_input: 3, d_hidden: 4, bias: true, layer_norm: false, params: 108}",
        ),
        (
            ElmanConfig::irnn(3, 4).init(&device).to_string(),
            "Elman {d_input: 3, d_hidden: 4, activation: Relu, layer_norm: false, params: 32}",
        ),
        (
            AssociativeLstmConfig::new(3, 4).init(&device).to_string(),
            "AssociativeLstm {d_input: 3, d_hidden: 4, n_copies: 8, params: 144}",
        ),
        (
            FastWeightsConfig::new(3, 4).init(&device).to_string(),
            "FastWeights {d_input: 3, d_hidden: 4, decay: 0.95, fast_learning_rate: 0.5, inner_steps: 1, layer_norm: true, \
             params: 40}",
        ),
        (
            DeltaNetConfig::product(3, 2, 4).init(&device).to_string(),
            "DeltaNet {d_input: 3, d_output: 3, n_heads: 2, d_key: 4, d_value: 8, rule: Delta, decay: Head, writes_per_step: 2, \
             eigenvalues: Signed, convolution: 4, output_gate: Silu, params: 518}",
        ),
        (
            NtmConfig::new(3, 4).init(&device).to_string(),
            "Ntm {d_input: 3, d_controller: 4, controller: Lstm, memory_size: 128, word_size: 20, n_read_heads: 1, \
             n_write_heads: 1, shift_width: 3, params: 3752}",
        ),
    ] {
        assert_eq!(printed, expected);
    }
}

#[test]
fn what_holds_layers_prints_each_of_them() {
    let device = Device::flex();
    let cell = || LstmConfig::new(4, 4).init(&device);
    let within = "Lstm {d_input: 4, d_hidden: 4, bias: true, params: 144}";
    let stack = Stack::new(vec![cell(), cell()]).to_string();
    assert_eq!(stack.matches(within).count(), 2, "{stack}");
    let sab = SabConfig::new().init(cell(), &device).to_string();
    assert!(sab.contains(within), "{sab}");
}
