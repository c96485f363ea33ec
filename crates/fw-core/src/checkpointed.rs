//! A layer of whose sequences only a state now and then is kept for the backward pass.

#[cfg(any(feature = "flex", feature = "cube"))]
use alloc::sync::Arc;
use alloc::vec::Vec;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Tensor};

use crate::recurrent::{check_input, expect_state};
use crate::{Recurrent, RecurrentState, StateData, StateError, StateMapper};

/// A layer whose [`forward`](Recurrent::forward) keeps the state before every [`interval`](Self::interval)-th step for the backward pass, and
/// computes what lies between once more there: *gradient checkpointing*, for long sequences of layers that are composed of tensor operations or
/// whose kernel keeps much of each step.
///
/// Outputs, states (in their [uniform](Recurrent::uniform) form) and gradients are those of the layer. On a device without autodiff it is the layer
/// itself.
///
/// # Cost
///
/// T steps keep `T / interval` states and what one interval's steps keep, and every step is computed twice. Seconds and peak memory of 1,024 steps
/// of 8 samples, forward and backward, on two cores (`cargo bench -p fw-benches --bench checkpointed`); that less memory is touched more than
/// makes up for the second forward pass of the composed forms:
///
/// | kept | NTM 128 x 20, composed | NTM 128 x 20, fused | fast weights 64, composed |
/// |---|---:|---:|---:|
/// | every step | 2.28 s, 493 MiB | 0.11 s, 87 MiB | 0.27 s, 191 MiB |
/// | every 128th state | 2.12 s, 79 MiB | 0.12 s, 31 MiB | 0.21 s, 39 MiB |
/// | every 32nd | 1.50 s, 39 MiB | 0.12 s, 29 MiB | 0.18 s, 35 MiB |
/// | every 8th | 1.19 s, 48 MiB | 0.19 s, 47 MiB | 0.21 s, 71 MiB |
///
/// # Limits
///
/// The layer must compute the same each time: nothing random may be in it. Of a [`Stack`](crate::Stack) with dropout, wrap the layers and not the
/// stack. All parameters must have one type. The state goes from interval to interval as it is, so that a memory that grows with the steps, such as that of
/// [`Sab`](crate::Sab), is kept once for each interval. Backends other than Flex and those of GPUs keep everything.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{Checkpointed, LstmConfig, Recurrent};
///
/// let device = Device::flex().autodiff();
/// let layer = LstmConfig::new(3, 4).init(&device);
/// let input = Tensor::<3>::ones([2, 100, 3], &device).require_grad();
///
/// let of = |output: Tensor<3>| input.grad(&output.sum().backward()).unwrap();
/// let (output, _) = layer.forward(input.clone(), None);
/// let expected: Vec<f32> = of(output).try_into_vec_as().unwrap();
/// let (output, _) = Checkpointed::new(layer, 10).forward(input.clone(), None);
/// let gradient: Vec<f32> = of(output).try_into_vec_as().unwrap();
/// assert!(gradient.iter().zip(&expected).all(|(one, other)| (one - other).abs() < 1e-5));
/// ```
#[derive(Module, Debug)]
pub struct Checkpointed<R: Module> {
    /// The layer.
    pub layer: R,
    /// Steps from one state that is kept to the next.
    pub interval: usize,
}

impl<R: Recurrent> Checkpointed<R> {
    /// # Panics
    /// If the interval is 0.
    #[track_caller]
    pub fn new(layer: R, interval: usize) -> Self {
        assert!(interval > 0, "interval is 0; it must be at least 1");
        Checkpointed { layer, interval }
    }
}

/// The numbers of tensors, one behind the other.
#[derive(Default)]
struct Collected(Vec<Tensor<1>>);

impl Collected {
    fn push<const D: usize>(&mut self, tensor: &Tensor<D>) {
        let numbers = tensor.shape().num_elements();
        self.0.push(tensor.clone().reshape([numbers]));
    }

    /// All of them; no numbers, if there is no tensor.
    fn joined(self, like: &Tensor<3>) -> Tensor<1> {
        match self.0.is_empty() {
            true => Tensor::zeros([0], (&like.device(), like.dtype())),
            false => Tensor::cat(self.0, 0),
        }
    }
}

impl ModuleVisitor for Collected {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.push(&param.val());
    }
}

impl StateMapper for Collected {
    fn map<const D: usize>(&mut self, tensor: Tensor<D>) -> Tensor<D> {
        self.push(&tensor);
        tensor
    }
}

/// Gives tensors their numbers back, in the same order.
struct Dealt {
    from: Tensor<1>,
    first: usize,
}

impl Dealt {
    fn take<const D: usize>(&mut self, shape: [usize; D]) -> Tensor<D> {
        let numbers = shape.iter().product();
        let taken = self.from.clone().narrow(0, self.first, numbers);
        self.first += numbers;
        taken.reshape(shape)
    }
}

impl ModuleMapper for Dealt {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let tensor = self.take(param.lazy_shape().dims());
        Param::initialized(param.id, tensor)
    }
}

impl StateMapper for Dealt {
    fn map<const D: usize>(&mut self, tensor: Tensor<D>) -> Tensor<D> {
        self.take(tensor.dims())
    }
}

/// Some steps, as a function of the parameters and of what goes in.
struct Steps<R: Recurrent> {
    layer: R,
    /// For its shapes.
    state: R::State,
    shape: [usize; 3],
}

impl<R: Recurrent> Steps<R> {
    fn run(&self, [parameters, given]: [Tensor<1>; 2]) -> (Tensor<3>, R::State) {
        let mut parameters = Dealt {
            from: parameters,
            first: 0,
        };
        let layer = self.layer.clone().map(&mut parameters);
        let mut given = Dealt {
            from: given,
            first: 0,
        };
        let input = given.take(self.shape);
        let state = self.state.clone().map_tensors(&mut given);
        layer.forward(input, Some(state))
    }
}

/// A sequence and a state as one row of numbers.
fn flat<S: RecurrentState>(sequence: &Tensor<3>, state: S) -> Tensor<1> {
    let mut numbers = Collected::default();
    numbers.push(sequence);
    state.map_tensors(&mut numbers);
    numbers.joined(sequence)
}

/// The same tensors without a graph.
struct Inner;

impl StateMapper for Inner {
    fn map<const D: usize>(&mut self, tensor: Tensor<D>) -> Tensor<D> {
        tensor.inner()
    }
}

/// [`checkpointed`](crate::ops::checkpoint::checkpointed), where there is a backend for it.
#[allow(
    unused_variables,
    reason = "without a backend that is known there is none"
)]
fn computed_again(
    inputs: [Tensor<1>; 2],
    output: Tensor<1>,
    function: impl Fn([Tensor<1>; 2]) -> Tensor<1> + Send + Sync + 'static,
) -> Option<Tensor<1>> {
    #[cfg(any(feature = "flex", feature = "cube"))]
    return crate::ops::checkpoint::checkpointed(inputs, output, Arc::new(function));
    #[cfg(not(any(feature = "flex", feature = "cube")))]
    None
}

impl<R: Recurrent + Sync + 'static> Checkpointed<R>
where
    R::State: Sync + 'static,
{
    /// The steps of one interval; the state is the layer's before them.
    fn steps_of_interval(
        &self,
        parameters: &Tensor<1>,
        input: Tensor<3>,
        state: R::State,
    ) -> (Tensor<3>, R::State) {
        let given = flat(&input, state.clone());
        let steps = Steps {
            layer: self.layer.clone(),
            state: state.clone().map_tensors(&mut Inner),
            shape: input.dims(),
        };
        let (output, last) = steps.run([parameters.clone().inner(), given.clone().inner()]);
        let results = flat(&output, last.clone());
        let again = move |inputs: [Tensor<1>; 2]| {
            let (output, state) = steps.run(inputs);
            flat(&output, state)
        };
        let inputs = [parameters.clone(), given];
        let Some(results) = computed_again(inputs, results, again) else {
            return self.layer.forward(input, Some(state));
        };
        let mut results = Dealt {
            from: results,
            first: 0,
        };
        (results.take(output.dims()), last.map_tensors(&mut results))
    }
}

impl<R: Recurrent + Sync + 'static> Recurrent for Checkpointed<R>
where
    R::State: Sync + 'static,
{
    type State = R::State;

    fn d_input(&self) -> usize {
        self.layer.d_input()
    }

    fn d_output(&self) -> usize {
        self.layer.d_output()
    }

    fn state_size(&self, seq_length: usize) -> usize {
        self.layer.state_size(seq_length)
    }

    fn initial_state(&self, batch_size: usize, device: &Device) -> R::State {
        self.layer.initial_state(batch_size, device)
    }

    fn state_from_data(&self, data: StateData, device: &Device) -> Result<R::State, StateError> {
        self.layer.state_from_data(data, device)
    }

    fn check_state(
        &self,
        state: &R::State,
        batch_size: usize,
        dtype: DType,
    ) -> Result<(), StateError> {
        self.layer.check_state(state, batch_size, dtype)
    }

    fn uniform(&self, state: R::State) -> R::State {
        self.layer.uniform(state)
    }

    fn step(&self, input_t: Tensor<2>, state: R::State) -> (Tensor<2>, R::State) {
        self.layer.step(input_t, state)
    }

    fn advance(&self, input_t: Tensor<2>, state: R::State) -> (Tensor<2>, R::State) {
        self.layer.step(input_t, state)
    }

    fn forward(&self, input: Tensor<3>, state: Option<R::State>) -> (Tensor<3>, R::State) {
        let [batch_size, seq_length, _] = input.dims();
        if batch_size == 0 || seq_length <= self.interval || !input.device().is_autodiff() {
            return self.layer.forward(input, state);
        }
        check_input(&input, self.d_input());
        let first = || self.initial_state(batch_size, &input.device());
        let mut state = self.uniform(state.unwrap_or_else(first));
        expect_state(self, &state, &input);
        let mut parameters = Collected::default();
        self.layer.visit(&mut parameters);
        let parameters = parameters.joined(&input);
        let mut outputs = Vec::new();
        for first in (0..seq_length).step_by(self.interval) {
            let n_steps = self.interval.min(seq_length - first);
            let steps = input.clone().narrow(1, first, n_steps);
            let (output, last) = self.steps_of_interval(&parameters, steps, state);
            outputs.push(output);
            state = self.uniform(last);
        }
        (Tensor::cat(outputs, 1), state)
    }

    fn forward_projected(
        &self,
        projected: Tensor<3>,
        state: Option<R::State>,
    ) -> (Tensor<3>, R::State) {
        self.forward(projected, state)
    }
}
