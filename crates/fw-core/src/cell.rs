//! A recurrent layer as a cell: what is needed to wrap it, and its whole sequence by a kernel.

use burn::tensor::Tensor;

use crate::error::expect_fits;
use crate::ops::sab::{self, FusedCell, Recall};
use crate::ops::{Spans, takes_spans};
use crate::recurrent::{forward_composed, state_or_initial};
use crate::{ExecutionPath, Recurrent, RecurrentState};

/// A recurrent layer whose output is its hidden state h, which can be replaced between two steps.
///
/// [`Sab`](crate::Sab) takes any cell; this is all it needs of one. The running mean of [`Recurrent`]'s example as a cell:
///
/// ```
/// # use burn::module::Module;
/// # use burn::tensor::{Device, Tensor};
/// # use fw_core::Recurrent;
/// # #[derive(Module, Debug)]
/// # struct RunningMean { width: usize }
/// # impl Recurrent for RunningMean {
/// #     type State = Tensor<2>;
/// #     fn d_input(&self) -> usize { self.width }
/// #     fn d_output(&self) -> usize { self.width }
/// #     fn state_size(&self, _seq_length: usize) -> usize { self.width }
/// #     fn initial_state(&self, batch_size: usize, device: &Device) -> Tensor<2> {
/// #         Tensor::zeros([batch_size, self.width], device)
/// #     }
/// #     fn advance(&self, input_t: Tensor<2>, mean: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
/// #         let mean = mean * 0.9 + input_t * 0.1;
/// #         (mean.clone(), mean)
/// #     }
/// # }
/// use fw_core::{RecurrentCell, SabConfig};
///
/// impl RecurrentCell for RunningMean {
///     fn with_hidden(_state: Tensor<2>, hidden: Tensor<2>) -> Tensor<2> {
///         hidden
///     }
/// }
///
/// let device = Device::flex();
/// let layer = SabConfig::new().init(RunningMean { width: 1 }, &device);
/// let (output, _) = layer.forward(Tensor::ones([1, 2, 1], &device), None);
/// // h_1 = ĥ_1 = 0.1; ĥ_2 = 0.19 recalls the only memory, h_1: h_2 = (0.19 + 0.1) / 2, and s_2 = 0.1.
/// let values: Vec<f32> = output.try_into_vec_as().unwrap();
/// for (value, expected) in values.iter().zip([0.1, 0.0, 0.145, 0.1]) {
///     assert!((value - expected).abs() < 1e-6, "{values:?}");
/// }
/// ```
pub trait RecurrentCell: Recurrent {
    /// The state with another hidden state, `[batch_size, d_output]`, to go on from.
    fn with_hidden(state: Self::State, hidden: Tensor<2>) -> Self::State;

    /// The cell as the fused form knows it, beginning with `state`; `None`, if it does not: then a sequence is composed of
    /// steps. A sequence panics where a tensor's shape is not the one that [`FusedCell`] says.
    fn fused(&self, _state: &Self::State) -> Option<FusedCell> {
        None
    }

    /// The state after a fused sequence: the last h and, of an LSTM, the last c.
    ///
    /// # Panics
    /// If there is a c, unless a cell says itself where it goes.
    fn after_fused(state: Self::State, hidden: Tensor<2>, cell: Option<Tensor<2>>) -> Self::State {
        assert!(
            cell.is_none(),
            "a cell with a c of its own says where it goes"
        );
        Self::with_hidden(state, hidden)
    }
}

/// The whole sequence of a bare cell: by the kernel, if there is one for it, the device and the type, else step by step.
#[track_caller]
pub(crate) fn forward_bare<C: RecurrentCell>(
    cell: &C,
    projected: Tensor<3>,
    state: Option<C::State>,
) -> (Tensor<3>, C::State) {
    let state = state_or_initial(cell, &projected, state);
    let (device, dtype) = (projected.device(), projected.dtype());
    ExecutionPath::Auto.choose(
        "this cell",
        (&device, dtype),
        (projected, state),
        |(projected, state)| {
            let [batch_size, seq_length, _] = projected.dims();
            if batch_size == 0 {
                return None;
            }
            let start = cell.fused(state)?;
            let spans = Spans::of_batch(batch_size, seq_length);
            by_kernel::<C>(projected, &start, state, &spans)
        },
        |(projected, state)| forward_composed(cell, projected, state),
    )
}

/// Spans of a bare cell by the kernel, if there is one for it, the device and the type: [`Recurrent::forward_spans`].
#[track_caller]
pub(crate) fn forward_spans_bare<C: RecurrentCell>(
    cell: &C,
    input: &Tensor<2>,
    state: Option<C::State>,
    spans: &Spans,
) -> Option<(Tensor<2>, C::State)> {
    if !takes_spans(&input.device(), input.dtype()) {
        return None;
    }
    let state = start_of_spans(cell, input, state, spans);
    let start = cell.fused(&state)?;
    let projected = cell.project(input.clone().unsqueeze_dim(0));
    let (output, state) = by_kernel::<C>(&projected, &start, &state, spans)?;
    Some((output.squeeze_dim(0), cell.uniform(state)))
}

/// The state of each span that was given, which must fit, or else the layer's first.
#[track_caller]
pub(crate) fn start_of_spans<R: Recurrent>(
    layer: &R,
    input: &Tensor<2>,
    state: Option<R::State>,
    spans: &Spans,
) -> R::State {
    let n_samples = spans.n_samples();
    let state = state.unwrap_or_else(|| layer.initial_state(n_samples, &input.device()));
    expect_fits(layer.check_state(&state, n_samples, input.dtype()));
    state
}

/// The sequences of a bare cell by the kernel, if there is one.
#[track_caller]
fn by_kernel<C: RecurrentCell>(
    projected: &Tensor<3>,
    start: &FusedCell,
    state: &C::State,
    spans: &Spans,
) -> Option<(Tensor<3>, C::State)> {
    let (output, last) = sab::by_kernel(projected, start, Recall::NOTHING, spans)?;
    let state = after_kernel::<C>(state, output.clone(), last, spans);
    Some((output, state))
}

/// The state after sequences by the kernel, of those samples of which it is asked for: from all hidden states, and the last c of an LSTM.
pub(crate) fn after_kernel<C: RecurrentCell>(
    state: &C::State,
    hidden: Tensor<3>,
    cell: Option<Tensor<2>>,
    spans: &Spans,
) -> C::State {
    let state = match spans.are_of_batch() {
        true => state.clone(),
        false => state.clone().select_samples(&spans.ending()),
    };
    C::after_fused(state, spans.last_of(hidden), cell)
}
