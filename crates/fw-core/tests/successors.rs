//! What is particular to an mLSTM, an sLSTM and RWKV-7: traces, and gates that are far open.

mod common;

use burn::tensor::{DType, Device, Tensor};
use common::{assert_close, outcome, random, randomized, rng, values};
use fw_core::{MLstmConfig, MatrixMemoryTrace, Recurrent, Rwkv7Config, SLstmConfig};

/// Outputs and states are those of `forward`, and everything has the range that its page states.
fn check_trace<S>(
    name: &str,
    trace: &MatrixMemoryTrace<S>,
    output: Tensor<3>,
    [state, expected]: [Tensor<4>; 2],
) {
    assert_close(name, &values(trace.output.clone()), &values(output), 1e-10);
    assert_close(name, &values(state), &values(expected), 1e-10);
    let [batch_size, n_heads, seq_length, n_writes] = trace.recall.dims();
    assert_eq!([batch_size, n_heads, seq_length, n_writes], [2, 2, 5, 5]);
    let recall = values(trace.recall.clone());
    for (index, cosine) in recall.into_iter().enumerate() {
        let (step, write) = (index / n_writes % seq_length, index % n_writes);
        assert!(cosine.abs() <= 1.0 + 1e-12, "{name}: {cosine}");
        assert!(
            write <= step || cosine == 0.0,
            "{name}: {cosine} of a write to come"
        );
        // Nothing but the first write is there.
        assert!(
            index / n_writes % seq_length > 0 || write > 0 || cosine > 1.0 - 1e-9,
            "{name}"
        );
    }
    for share in [&trace.write_strength, &trace.decay] {
        assert_eq!(share.dims(), [2, 5, 2]);
        let shares = values(share.clone());
        assert!(
            shares.iter().all(|share| (0.0..=1.0).contains(share)),
            "{name}: {shares:?}"
        );
    }
}

#[test]
fn a_trace_is_the_sequence_and_tells_what_its_page_says() {
    let device = Device::flex();
    let mut random_numbers = rng(3);
    let input = random(&mut random_numbers, [2, 5, 3], &device, DType::F64);

    let layer = MLstmConfig::new(3, 2, 4).init(&device);
    let layer = randomized(layer, &mut random_numbers, DType::F64);
    let (output, state) = layer.forward(input.clone(), None);
    let trace = layer.forward_traced(input.clone(), None);
    let states = [trace.state.memory.clone(), state.memory];
    check_trace("mlstm", &trace, output, states);

    let layer = Rwkv7Config::new(3, 2, 4).init(&device);
    let layer = randomized(layer, &mut random_numbers, DType::F64);
    let (output, state) = layer.forward(input.clone(), None);
    let trace = layer.forward_traced(input, None);
    let states = [trace.state.memory.clone(), state.memory];
    check_trace("rwkv-7", &trace, output, states);
}

/// Where a forget gate is open, its slope is small, and m is large: the digits of the slope must not be those that m has left.
#[test]
fn slopes_of_open_forget_gates_keep_their_digits() {
    let device = Device::flex().autodiff();
    let mut random_numbers = rng(5);
    let layer = SLstmConfig::new(3, 6).with_n_heads(2).init(&device);
    let mut layer = randomized(layer, &mut random_numbers, DType::F64);
    // f is 12 and more, i is 100 and more.
    let bias = layer.input.bias.take().expect("it has one");
    let far = [100.0, 14.0, 0.0, 0.0].map(|far| Tensor::<1>::full([6], far, (&device, DType::F64)));
    layer.input.bias = Some(bias.map(|bias| {
        (bias + Tensor::cat(far.to_vec(), 0))
            .detach()
            .require_grad()
    }));
    let input = random(&mut random_numbers, [2, 7, 3], &device, DType::F64);
    let state = Tensor::<2>::zeros([2, 24], (&device, DType::F64));
    let in_type = |dtype| {
        let layer = cast(layer.clone(), dtype);
        let (input, state) = (input.clone().cast(dtype), state.clone().cast(dtype));
        outcome(&layer, &input, &state, |layer, input, _| {
            layer.forward(input, None)
        })
    };
    let (single, double) = (in_type(DType::F32), in_type(DType::F64));
    // Gradients of the input, the state, then of C and b.
    let slopes = |outcome: &common::Outcome| outcome.gradients[3][6..12].to_vec();
    assert_close("slopes of f", &slopes(&single), &slopes(&double), 1e-3);
}

/// A layer whose numbers are of another type.
fn cast<M: burn::module::Module>(layer: M, dtype: DType) -> M {
    struct Cast(DType);
    impl burn::module::ModuleMapper for Cast {
        fn map_float<const D: usize>(
            &mut self,
            param: burn::module::Param<Tensor<D>>,
        ) -> burn::module::Param<Tensor<D>> {
            let value = param.val().cast(self.0).detach().require_grad();
            burn::module::Param::initialized(param.id, value)
        }
    }
    layer.map(&mut Cast(dtype))
}
