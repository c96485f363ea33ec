//! A first state that is learned.

use alloc::vec::Vec;

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor};

use crate::ops::Spans;
use crate::ops::sab::FusedCell;
use crate::{Recurrent, RecurrentCell, RecurrentState, StateData, StateError, StateMapper};

/// A layer whose state before the first step is learned, the same for every sample: h_0 of a GRU, h_0 and c_0 of an LSTM, h_0 and A_0 of fast weights.
///
/// It begins as that of the layer, as a rule with zeros. (An [`Ntm`](crate::Ntm) has learned start values of its own.) Pieces of a batch that
/// [begin anew](crate::Segments) begin with it, and learn it.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{GruConfig, LearnedStart, Recurrent};
///
/// let device = Device::flex().autodiff();
/// let layer = LearnedStart::new(GruConfig::new(3, 8).init(&device), &device);
/// let (output, _) = layer.forward(Tensor::ones([2, 5, 3], &device), None);
/// let gradients = output.sum().backward();
/// let of_start: Vec<f32> = layer.start[0].val().grad(&gradients).unwrap().try_into_vec_as().unwrap();
/// assert!(of_start.len() == 8 && of_start.iter().all(|slope| *slope != 0.0));
/// ```
#[derive(Module, Debug)]
pub struct LearnedStart<R: Module> {
    /// The layer.
    pub layer: R,
    /// The numbers of each tensor of the state, for one sample.
    pub start: Vec<Param<Tensor<1>>>,
}

/// Takes each tensor's numbers as a parameter.
struct Taken(Vec<Param<Tensor<1>>>);

impl StateMapper for Taken {
    fn map<const D: usize>(&mut self, tensor: Tensor<D>) -> Tensor<D> {
        let numbers = tensor.shape().num_elements();
        let values = tensor.clone().reshape([numbers]).into_data();
        let options = (&tensor.device(), tensor.dtype());
        self.0
            .push(Param::from_tensor(Tensor::from_data(values, options)));
        tensor
    }
}

/// Puts parameters in the places of tensors, for every sample.
struct Put<'a>(core::slice::Iter<'a, Param<Tensor<1>>>);

impl StateMapper for Put<'_> {
    fn map<const D: usize>(&mut self, tensor: Tensor<D>) -> Tensor<D> {
        let shape = tensor.dims();
        let mut of_one = shape;
        of_one[0] = 1;
        let start = self
            .0
            .next()
            .expect("as many as the layer's first state has");
        if shape[0] == 0 {
            // Burn 0.22.1 does not expand to nothing.
            return tensor;
        }
        start.val().reshape(of_one).expand(shape)
    }
}

impl<R: Recurrent> LearnedStart<R> {
    /// The layer, with parameters on `device` that begin as its own first state.
    pub fn new(layer: R, device: &Device) -> Self {
        let mut taken = Taken(Vec::new());
        layer.initial_state(1, device).map_tensors(&mut taken);
        LearnedStart {
            layer,
            start: taken.0,
        }
    }
}

impl<R: Recurrent> Recurrent for LearnedStart<R> {
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
        let state = self.layer.initial_state(batch_size, device);
        state.map_tensors(&mut Put(self.start.iter()))
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

    fn project(&self, input: Tensor<3>) -> Tensor<3> {
        self.layer.project(input)
    }

    fn step(&self, input_t: Tensor<2>, state: R::State) -> (Tensor<2>, R::State) {
        self.layer.step(input_t, state)
    }

    fn advance(&self, projected_t: Tensor<2>, state: R::State) -> (Tensor<2>, R::State) {
        self.layer.advance(projected_t, state)
    }

    fn forward(&self, input: Tensor<3>, state: Option<R::State>) -> (Tensor<3>, R::State) {
        let first = || self.initial_state(input.dims()[0], &input.device());
        let state = state.unwrap_or_else(first);
        self.layer.forward(input, Some(state))
    }

    fn forward_projected(
        &self,
        projected: Tensor<3>,
        state: Option<R::State>,
    ) -> (Tensor<3>, R::State) {
        let first = || self.initial_state(projected.dims()[0], &projected.device());
        let state = state.unwrap_or_else(first);
        self.layer.forward_projected(projected, Some(state))
    }

    fn forward_spans(
        &self,
        input: &Tensor<2>,
        state: Option<R::State>,
        spans: &Spans,
    ) -> Option<(Tensor<2>, R::State)> {
        let first = || self.initial_state(spans.n_samples(), &input.device());
        let state = state.unwrap_or_else(first);
        self.layer.forward_spans(input, Some(state), spans)
    }
}

impl<C: RecurrentCell> RecurrentCell for LearnedStart<C> {
    fn with_hidden(state: C::State, hidden: Tensor<2>) -> C::State {
        C::with_hidden(state, hidden)
    }

    fn fused(&self, state: &C::State) -> Option<FusedCell> {
        self.layer.fused(state)
    }

    fn after_fused(state: C::State, hidden: Tensor<2>, cell: Option<Tensor<2>>) -> C::State {
        C::after_fused(state, hidden, cell)
    }
}
