//! A net that reads a source, and one that says the target: what it recalls, number by number, and what it says of a wrong state or net.

use burn::tensor::{DType, Device, Distribution, Tensor};
use fw_core::{
    EncoderDecoder, EncoderDecoderConfig, EncoderDecoderState, GruConfig, Lstm, LstmConfig,
    LstmState, Recurrent, RecurrentState, SourceAttention,
};

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor
        .try_into_vec_as()
        .expect("a tensor that was computed")
}

fn tiny(device: &Device, is_fast: bool) -> EncoderDecoder<Lstm> {
    let [encoder, decoder] = [0, 1].map(|_| LstmConfig::new(3, 4).init(device));
    let attention = match is_fast {
        true => SourceAttention::FastWeights,
        false => SourceAttention::Softmax,
    };
    let config = EncoderDecoderConfig::new(5).with_attention(attention);
    config.with_decay(0.9).init(encoder, decoder, device)
}

#[test]
fn a_state_that_does_not_fit_is_named_and_no_samples_are_answered() {
    let device = Device::flex();
    for is_fast in [false, true] {
        let layer = tiny(&device, is_fast);
        let input = |batch_size| Tensor::<3>::ones([batch_size, 2, 3], &device);
        let (_, state) = layer.forward(input(2), None);
        let check = |state: &EncoderDecoderState<_>, batch_size| {
            let result = layer.check_state(state, batch_size, DType::F32);
            result.map_err(|error| error.to_string())
        };
        assert_eq!(check(&state, 2), Ok(()));
        let told = check(&state, 3).expect_err("another batch");
        assert_eq!(
            told,
            "the net: the hidden state has shape [2, 4]; it must be [3, 4]"
        );
        let mut lost = state.clone();
        lost.encoded = None;
        let told = check(&lost, 2).expect_err("nothing to recall");
        assert_eq!(
            told,
            "what was encoded is not there; after 2 steps of this net it must be"
        );
        let mut longer = state.clone();
        longer.steps = vec![3; 2];
        let told = check(&longer, 2).expect_err("a step is missing");
        assert!(told.ends_with("it must be [2, 3, 4]"), "{told}");
        type State = EncoderDecoderState<LstmState>;
        let again = State::from_data(state.to_data(), &device).expect("a state");
        assert_eq!(again.to_data(), state.to_data());
        let (output, _) = layer.forward(input(0), None);
        assert_eq!(output.dims(), [0, 2, layer.d_output()]);
    }
}

/// What a decoder step recalls, written number by number.
#[test]
fn what_is_recalled_is_what_the_equations_say() {
    let device = Device::flex();
    device.seed(4);
    for is_fast in [false, true] {
        let layer = tiny(&device, is_fast);
        let input = Tensor::<3>::random([1, 8, 3], Distribution::Default, &device);
        let (output, _) = layer.forward(input, None);
        let rows = numbers(output);
        let row = |step: usize| &rows[8 * step..8 * step + 8];
        let weight = numbers(layer.score.as_ref().expect("a score").weight.val());
        for step in 5..8 {
            let state = &row(step)[..4];
            let query = [0, 1, 2, 3].map(|to| {
                (0..4)
                    .map(|from| state[from] * weight[4 * from + to])
                    .sum::<f32>()
            });
            let recalled: [f32; 4] = match is_fast {
                false => {
                    let scores: Vec<f32> = (0..5)
                        .map(|j| (0..4).map(|i| query[i] * row(j)[i]).sum::<f32>().exp())
                        .collect();
                    let total: f32 = scores.iter().sum();
                    [0, 1, 2, 3].map(|i| (0..5).map(|j| scores[j] / total * row(j)[i]).sum())
                }
                true => {
                    // A as the matrix that it is, written step by step.
                    let mut matrix = [[0.0; 4]; 4];
                    for j in 0..5 {
                        for (a, line) in matrix.iter_mut().enumerate() {
                            for (b, place) in line.iter_mut().enumerate() {
                                *place = 0.9 * *place + row(j)[a] * row(j)[b];
                            }
                        }
                    }
                    let read = matrix.map(|line| (0..4).map(|i| line[i] * query[i]).sum::<f32>());
                    let mean = read.iter().sum::<f32>() / 4.0;
                    let squares = read.iter().map(|x| (x - mean).powi(2)).sum::<f32>();
                    read.map(|x| (x - mean) / (squares / 4.0 + 1e-5).sqrt())
                }
            };
            for (told, recalled) in row(step)[4..].iter().zip(recalled) {
                assert!((told - recalled).abs() < 1e-4, "{told} {recalled}");
            }
        }
        let of_source = &row(4)[4..];
        assert!(
            of_source.iter().all(|&number| number == 0.0),
            "nothing is recalled"
        );
    }
}

#[test]
fn what_breaks_a_rule_is_named() {
    let device = Device::flex();
    let gru = |width| GruConfig::new(3, width).init(&device);
    let told = |config: EncoderDecoderConfig, width| {
        let layer = config.try_init(gru(4), gru(width), &device);
        layer.map(drop).expect_err("it breaks a rule").to_string()
    };
    assert_eq!(
        told(EncoderDecoderConfig::new(5).with_decay(1.5), 4),
        "decay is 1.5; it must lie in [0, 1]"
    );
    assert_eq!(
        told(EncoderDecoderConfig::new(0), 4),
        "source_length is 0; it must be at least 1"
    );
    assert_eq!(
        told(EncoderDecoderConfig::new(5), 6),
        "[d_input, d_output] of the decoder is [3, 6], and that of the encoder [3, 4]; it must be the same"
    );
}
