//! The recurrent delta rule.

use burn::tensor::{Device, Tensor};
use fw_core::RecurrentDeltaState;
use fw_core::ops::matrix_memory::recurrent_delta;

use crate::reference::Golden;

#[test]
fn the_recurrent_delta_rule_agrees_with_the_reference() {
    for golden in Golden::all("recurrent_delta") {
        let device = Device::flex().autodiff();
        let given = golden.leaf::<4>("in.given", &device);
        let recurrent = golden.leaf::<3>("in.recurrent", &device);
        let memory = golden.leaf::<4>("in.state", &device);
        let last = golden.leaf::<3>("in.output", &device);
        let state = RecurrentDeltaState {
            memory: memory.clone(),
            output: last.clone(),
        };
        let (output, state) = recurrent_delta(given.clone(), recurrent.clone(), state);
        let probe = |name| golden.leaf::<4>(name, &device).detach();
        let loss = (output.clone() * probe("probe.o")).sum()
            + (state.memory.clone() * probe("probe.state")).sum();
        let gradients = loss.backward();
        golden.check("out.o", output.clone());
        golden.check("out.state", state.memory);
        golden.check("out.loss", loss);
        let [_, seq_length, _, _] = output.dims();
        let last_output: Tensor<3> = output.narrow(1, seq_length - 1, 1).squeeze_dim(1);
        assert_eq!(
            state.output.to_data(),
            last_output.to_data(),
            "what is carried is the last output"
        );
        let reached = "the loss reaches it";
        golden.check("grad.given", given.grad(&gradients).expect(reached));
        golden.check("grad.recurrent", recurrent.grad(&gradients).expect(reached));
        golden.check("grad.state", memory.grad(&gradients).expect(reached));
        golden.check("grad.output", last.grad(&gradients).expect(reached));
    }
}
