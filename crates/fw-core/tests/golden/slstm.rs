//! The sLSTM, composed and by the kernel.

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use fw_core::{Recurrent, SLstm, SLstmConfig, SLstmState};

use crate::reference::Golden;

#[test]
fn slstms_agree_with_the_reference() {
    for golden in Golden::all("slstm") {
        // A whole sequence by the kernel, and steps of tensor operations.
        check(&golden, |layer, gates, state| {
            layer.forward_projected(gates, Some(state))
        });
        check(&golden, |layer, gates, mut state| {
            let [_, seq_length, _] = gates.dims();
            let mut outputs = Vec::new();
            for t in 0..seq_length {
                let gates_t = gates.clone().narrow(1, t, 1).squeeze_dim(1);
                let (output, next) = layer.advance(gates_t, state);
                outputs.push(output);
                state = next;
            }
            (Tensor::stack(outputs, 1), state)
        });
    }
}

fn check(golden: &Golden, run: impl Fn(&SLstm, Tensor<3>, SLstmState) -> (Tensor<3>, SLstmState)) {
    let device = Device::flex().autodiff();
    let gates = golden.leaf::<3>("in.gates", &device);
    let w_hidden = golden.leaf::<3>("in.w_hidden", &device);
    let hidden = golden.leaf::<2>("in.hidden", &device);
    let carried = golden.leaf::<2>("in.carried", &device);
    let [n_heads, d_head, _] = w_hidden.dims();
    let layer = SLstm {
        w_hidden: Param::from_tensor(w_hidden.clone()),
        ..SLstmConfig::new(1, n_heads * d_head)
            .with_n_heads(n_heads)
            .init(&device)
    };
    let state = SLstmState {
        hidden: hidden.clone(),
        carried: carried.clone(),
    };
    let (output, last) = run(&layer, gates.clone(), state);
    let on_output = golden.leaf::<3>("probe.hidden", &device).detach();
    let on_carried = golden.leaf::<2>("probe.carried", &device).detach();
    let loss = (output.clone() * on_output).sum() + (last.carried.clone() * on_carried).sum();
    let gradients = loss.backward();
    golden.check("out.hidden", output);
    golden.check("out.carried", last.carried);
    golden.check("out.loss", loss);
    let reached = "the loss reaches it";
    golden.check("grad.gates", gates.grad(&gradients).expect(reached));
    let of_weight = layer.w_hidden.val().grad(&gradients).expect(reached);
    golden.check("grad.w_hidden", of_weight);
    if golden.has("grad.hidden") {
        golden.check("grad.hidden", hidden.grad(&gradients).expect(reached));
        golden.check("grad.carried", carried.grad(&gradients).expect(reached));
    }
}
