//! One step of the equations in tensor operations: runs on every backend, and is the law.

use burn::tensor::{Tensor, module::layer_norm};

use super::{Options, State, Weights, WrittenState, check_step};

/// What one step yields.
#[derive(Clone, Debug)]
pub struct Step {
    /// The state after the step; its `hidden` is the output.
    pub state: State,
    /// `s_{S-1}`, the state with which the memory was read last; `None` when it was not read (S = 0).
    pub query: Option<Tensor<2>>,
}

impl Step {
    /// The output `h_t` and the state.
    pub fn output_and_state(self) -> (Tensor<2>, State) {
        (self.state.hidden.clone(), self.state)
    }
}

/// One step from the projected input `x_t C + b`, `[batch_size, d_hidden]`.
///
/// # Panics
/// If a shape or a type does not fit, or [`inner_steps`](Options::inner_steps) is more than
/// [`MOST_INNER_STEPS`](super::MOST_INNER_STEPS).
#[track_caller]
pub fn step(projected_t: Tensor<2>, state: State, weights: &Weights, options: &Options) -> Step {
    check_step(&projected_t, &state, weights, options);
    advance(projected_t, state, weights, options)
}

/// [`step`] of what has been checked.
pub(super) fn advance(
    projected_t: Tensor<2>,
    state: State,
    weights: &Weights,
    options: &Options,
) -> Step {
    let f = |input: Tensor<2>| options.activation.apply(input);
    let normalize = |input: Tensor<2>| match &weights.norm {
        Some(norm) => layer_norm(
            input,
            norm.gain.clone(),
            Some(norm.bias.clone()),
            norm.epsilon,
        ),
        None => input,
    };

    let z = projected_t + state.hidden.matmul(weights.hidden.clone());
    let mut memory = state.memory;
    let mut s = if options.normalize_preliminary {
        f(normalize(z.clone()))
    } else {
        f(z.clone())
    };
    if options.write == WrittenState::Preliminary {
        memory = memory.write(s.clone(), options);
    }
    let mut query = None;
    for _ in 0..options.inner_steps {
        query = Some(s.clone());
        let pre_activation = match memory.read(s, options) {
            Some(recalled) => z.clone() + recalled,
            None => z.clone(),
        };
        s = f(normalize(pre_activation));
    }
    if options.write == WrittenState::Final {
        memory = memory.write(s.clone(), options);
    }
    Step {
        state: State { hidden: s, memory },
        query,
    }
}
