//! The trait that every recurrent layer of this crate implements.

use burn::module::{Module, ModuleDisplay};
use burn::tensor::{DType, Device, Tensor};

use crate::error::expect_fits;
#[cfg(feature = "flex")]
use crate::ops::operation::is_available;
use crate::ops::{Spans, scan};
use crate::segments::{Segments, forward_segments, starts};
use crate::{RecurrentState, StateData, StateError, StateMapper};

/// A layer that reads a sequence step by step and carries an explicit state.
///
/// ```text
/// p_t      = project(x_t)                 what depends on the input alone, for all steps at once
/// y_t, s_t = advance(p_t, s_{t-1})        one step
/// ```
///
/// A layer gives [`initial_state`](Self::initial_state), [`advance`](Self::advance) and its sizes;
/// [`step`](Self::step) and [`forward`](Self::forward) follow. The sequence loop stands once, in
/// [`scan`], so that a sequence run in two halves with the state carried over equals the whole.
///
/// # Shapes
/// - input of `forward`: `[batch_size, seq_length, d_input]`
/// - output of `forward`: `[batch_size, seq_length, d_output]`
/// - input and output of `step`: the same without `seq_length`
///
/// # Example
///
/// A layer of one's own: a running mean with decay 0.9, without parameters.
///
/// ```
/// use burn::module::Module;
/// use burn::tensor::{Device, Tensor};
/// use fw_core::Recurrent;
///
/// #[derive(Module, Debug)]
/// struct RunningMean {
///     width: usize,
/// }
///
/// impl Recurrent for RunningMean {
///     type State = Tensor<2>;
///
///     fn d_input(&self) -> usize {
///         self.width
///     }
///     fn d_output(&self) -> usize {
///         self.width
///     }
///     fn state_size(&self, _seq_length: usize) -> usize {
///         self.width
///     }
///     fn initial_state(&self, batch_size: usize, device: &Device) -> Tensor<2> {
///         Tensor::zeros([batch_size, self.width], device)
///     }
///     fn advance(&self, input_t: Tensor<2>, mean: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
///         let mean = mean * 0.9 + input_t * 0.1;
///         (mean.clone(), mean)
///     }
/// }
///
/// let ones = Tensor::<3>::ones([1, 2, 1], &Device::flex());
/// let (output, _) = RunningMean { width: 1 }.forward(ones, None);
/// let values: Vec<f32> = output.try_into_vec_as().unwrap();
/// assert!((values[0] - 0.1).abs() < 1e-6 && (values[1] - 0.19).abs() < 1e-6);
/// ```
pub trait Recurrent: Module + ModuleDisplay {
    /// What is carried from one step to the next.
    type State: RecurrentState;

    /// Width of one input step.
    fn d_input(&self) -> usize;

    /// Width of one output step.
    fn d_output(&self) -> usize;

    /// Numbers carried for each sample after `seq_length` steps, in elements.
    fn state_size(&self, seq_length: usize) -> usize;

    /// The state before the first step.
    fn initial_state(&self, batch_size: usize, device: &Device) -> Self::State;

    /// The state of which [`to_data`](RecurrentState::to_data) is `data`. Whether it fits, [`check_state`](Self::check_state) tells.
    ///
    /// # Errors
    /// If the data are of another kind of state.
    fn state_from_data(&self, data: StateData, device: &Device) -> Result<Self::State, StateError> {
        Self::State::from_data(data, device)
    }

    /// Whether the layer can go on from `state` with an input of `batch_size` samples and the type `dtype`: all of the state's
    /// sizes, its batch and its type. Every way to run a layer asks this before it uses the state. For a layer of one's own that does not
    /// say more it is the [batch and the type](RecurrentState::check_batch) alone.
    ///
    /// # Errors
    /// An error that names the part of the state, what it is and what it must be.
    fn check_state(
        &self,
        state: &Self::State,
        batch_size: usize,
        dtype: DType,
    ) -> Result<(), StateError> {
        state.check_batch(batch_size, dtype)
    }

    /// The part of a step that depends on the input alone, for all steps in one operation:
    /// `[batch_size, seq_length, d_input]` to `[batch_size, seq_length, any]`. The identity, if a
    /// layer has no such part.
    fn project(&self, input: Tensor<3>) -> Tensor<3> {
        input
    }

    /// One step, from the projected input `[batch_size, any]`.
    fn advance(&self, projected_t: Tensor<2>, state: Self::State) -> (Tensor<2>, Self::State);

    /// One step, from the input `[batch_size, d_input]`.
    ///
    /// On a CPU without autodiff it is a kernel's, which keeps what it makes of the weights for the next step, until they change, and writes
    /// memories where they lie, if no one else has the state: hand it over rather than a clone of it.
    ///
    /// # Panics
    /// If the width of `input_t` is not `d_input`, or the state does not [fit](Self::check_state).
    #[track_caller]
    fn step(&self, input_t: Tensor<2>, state: Self::State) -> (Tensor<2>, Self::State) {
        step_composed(self, input_t, state)
    }

    /// The whole sequence, from `state` or else from [`initial_state`](Self::initial_state).
    ///
    /// # Panics
    /// If the width of `input` is not `d_input`, the sequence has no steps, or the state does not [fit](Self::check_state).
    #[track_caller]
    fn forward(&self, input: Tensor<3>, state: Option<Self::State>) -> (Tensor<3>, Self::State) {
        check_input(&input, self.d_input());
        if let Some(state) = &state {
            expect_state(self, state, &input);
        }
        let projected = match input.dims()[0] {
            0 => input,
            _ => self.project(input),
        };
        self.forward_projected(projected, state)
    }

    /// The sequences of a batch in which not every step is there, or in which samples begin anew on the way: see [`Segments`]. Each piece is
    /// what it is alone: outputs, the last state of each sample (that after its own last step), and all gradients. Outputs of padding are 0, and
    /// what stands in it, be it NaN, is never looked at. A piece that begins anew begins with [`initial_state`](Self::initial_state), and nothing
    /// crosses its beginning.
    ///
    /// Where all steps are there and nothing begins anew it is [`forward`](Self::forward), to the bit. Else the state that comes back is
    /// [uniform](Self::uniform).
    ///
    /// # Panics
    /// As [`forward`](Self::forward), and if the segments are of another batch.
    #[track_caller]
    fn forward_segments(
        &self,
        input: Tensor<3>,
        state: Option<Self::State>,
        segments: &Segments,
    ) -> (Tensor<3>, Self::State) {
        forward_segments(self, input, state, segments)
    }

    /// Sequences of unequal lengths, one behind the other, by a kernel that takes them as they are: what
    /// [`forward_segments`](Self::forward_segments) asks for first. Nothing, if the layer has no such kernel, or none for this device, type or
    /// state: then runs of those that are there at the same time are put together. A layer of one's own need not have one.
    ///
    /// # Shapes
    /// - input: `[n_rows, d_input]`
    /// - state: one for each span, in their order; the layer's first, if there is none
    /// - output: `[n_rows, d_output]`, and the last states that the spans [ask for](crate::ops::Span::end), in the order of their ends and
    ///   [uniform](Self::uniform)
    fn forward_spans(
        &self,
        _input: &Tensor<2>,
        _state: Option<Self::State>,
        _spans: &Spans,
    ) -> Option<(Tensor<2>, Self::State)> {
        None
    }

    /// The same state in the one form in which this layer's states of different samples can be joined
    /// ([`RecurrentState::cat_samples`]). Only the memory of fast weights has two.
    fn uniform(&self, state: Self::State) -> Self::State {
        state
    }

    /// The state with chosen samples at their [beginning](Self::initial_state), those whose flag is set: where an episode has ended.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use fw_core::{LstmConfig, Recurrent};
    ///
    /// let device = Device::flex();
    /// let layer = LstmConfig::new(1, 4).init(&device);
    /// let (_, state) = layer.step(Tensor::ones([2, 1], &device), layer.initial_state(2, &device));
    /// let state = layer.reset_samples(state, &[true, false]);
    /// let numbers: Vec<f32> = state.hidden.try_into_vec_as().unwrap();
    /// assert!(numbers[..4] == [0.0; 4] && numbers[4..] != [0.0; 4]);
    /// ```
    ///
    /// # Panics
    /// Unless there is a flag for each sample.
    #[track_caller]
    fn reset_samples(&self, state: Self::State, is_reset: &[bool]) -> Self::State {
        reset_samples(self, state, is_reset)
    }

    /// The whole sequence from the projected input, `[batch_size, seq_length, any]`: for those who have it already,
    /// such as a model that looks tokens up in a projected table.
    ///
    /// # Panics
    /// If the sequence has no steps, or the state does not [fit](Self::check_state).
    #[track_caller]
    fn forward_projected(
        &self,
        projected: Tensor<3>,
        state: Option<Self::State>,
    ) -> (Tensor<3>, Self::State) {
        let state = state_or_initial(self, &projected, state);
        forward_composed(self, projected, state)
    }
}

/// One step, of what depends on the input alone, and of the rest.
#[track_caller]
pub(crate) fn step_composed<R: Recurrent>(
    layer: &R,
    input_t: Tensor<2>,
    state: R::State,
) -> (Tensor<2>, R::State) {
    let input = input_t.unsqueeze_dim(1);
    check_input(&input, layer.d_input());
    expect_state(layer, &state, &input);
    if input.dims()[0] == 0 {
        return (empty_output(layer, &input).squeeze_dim(1), state);
    }
    let projected = layer.project(input);
    layer.advance(projected.squeeze_dim(1), state)
}

/// One step as a sequence of one step, where there is a kernel on the CPU and no gradient is asked for: what kernels make of the weights is kept
/// from step to step there. Elsewhere composed.
#[track_caller]
pub(crate) fn step_by_kernel<R: Recurrent>(
    layer: &R,
    input_t: Tensor<2>,
    state: R::State,
) -> (Tensor<2>, R::State) {
    if !is_stepped_by_kernel(&input_t) {
        return step_composed(layer, input_t, state);
    }
    let (output, state) = layer.forward(input_t.unsqueeze_dim(1), Some(state));
    (output.squeeze_dim(1), state)
}

/// Whether there are kernels for one step alone.
pub(crate) fn is_stepped_by_kernel<const D: usize>(input: &Tensor<D>) -> bool {
    #[cfg(feature = "flex")]
    let has_kernel = is_available(&input.device(), input.dtype());
    #[cfg(not(feature = "flex"))]
    let has_kernel = false;
    has_kernel && !input.device().is_autodiff()
}

/// The device of a state's first tensor.
struct DeviceOf(Option<Device>);

impl StateMapper for DeviceOf {
    fn map<const D: usize>(&mut self, tensor: Tensor<D>) -> Tensor<D> {
        self.0.get_or_insert_with(|| tensor.device());
        tensor
    }
}

/// [`Recurrent::reset_samples`].
#[track_caller]
fn reset_samples<R: Recurrent>(layer: &R, state: R::State, is_reset: &[bool]) -> R::State {
    if let Some(batch_size) = state.batch_size() {
        let n = is_reset.len();
        assert!(
            n == batch_size,
            "there are {n} flags; the state has {batch_size} samples"
        );
    }
    if !is_reset.contains(&true) {
        return state;
    }
    let mut device = DeviceOf(None);
    let state = state.map_tensors(&mut device);
    let begins = is_reset.iter().copied().enumerate();
    starts(layer, state, begins, &device.0.unwrap_or_default())
}

/// The whole sequence, step by step.
#[track_caller]
pub(crate) fn forward_composed<R: Recurrent>(
    layer: &R,
    projected: Tensor<3>,
    state: R::State,
) -> (Tensor<3>, R::State) {
    if projected.dims()[0] == 0 {
        return (empty_output(layer, &projected), state);
    }
    scan(projected, state, |projected_t, state| {
        layer.advance(projected_t, state)
    })
}

/// The whole sequence by `run`, which is given samples and a state that fits.
#[track_caller]
pub(crate) fn forward_by<R: Recurrent>(
    layer: &R,
    projected: Tensor<3>,
    state: Option<R::State>,
    run: impl FnOnce(Tensor<3>, R::State) -> (Tensor<3>, R::State),
) -> (Tensor<3>, R::State) {
    let [batch_size, seq_length, _] = projected.dims();
    assert!(seq_length >= 1, "seq_length is 0; it must be at least 1");
    let state = state_or_initial(layer, &projected, state);
    if batch_size == 0 {
        return (empty_output(layer, &projected), state);
    }
    run(projected, state)
}

/// One step by what runs a sequence.
#[track_caller]
pub(crate) fn advance_by<R: Recurrent>(
    layer: &R,
    projected_t: Tensor<2>,
    state: R::State,
    run: impl FnOnce(Tensor<3>, R::State) -> (Tensor<3>, R::State),
) -> (Tensor<2>, R::State) {
    expect_state(layer, &state, &projected_t);
    let (output, state) = run(projected_t.unsqueeze_dim(1), state);
    (output.squeeze_dim(1), state)
}

/// The output for no samples at all. It is not computed: Burn 0.22.1 cannot be relied on there.
pub(crate) fn empty_output<R: Recurrent>(layer: &R, input: &Tensor<3>) -> Tensor<3> {
    let [_, seq_length, _] = input.dims();
    Tensor::zeros(
        [0, seq_length, layer.d_output()],
        (&input.device(), input.dtype()),
    )
}

/// Panics unless the sequence has a step and is as wide as the layer expects.
#[track_caller]
pub(crate) fn check_input(input: &Tensor<3>, d_input: usize) {
    let [_, seq_length, width] = input.dims();
    check_width(width, d_input);
    assert!(seq_length >= 1, "seq_length is 0; it must be at least 1");
}

/// Panics unless an input is as wide as the layer expects.
#[track_caller]
pub(crate) fn check_width(width: usize, d_input: usize) {
    assert!(
        width == d_input,
        "the input is {width} wide; this layer has d_input = {d_input}"
    );
}

/// Panics unless a layer can go on from a state with this input. Left alone, a state of one sample would be broadcast to all,
/// and one of another layer would be read in part.
#[track_caller]
pub(crate) fn expect_state<R: Recurrent, const D: usize>(
    layer: &R,
    state: &R::State,
    input: &Tensor<D>,
) {
    expect_fits(layer.check_state(state, input.dims()[0], input.dtype()));
}

/// The state that was given, which must fit, or else the layer's first.
#[track_caller]
pub(crate) fn state_or_initial<R: Recurrent>(
    layer: &R,
    input: &Tensor<3>,
    state: Option<R::State>,
) -> R::State {
    let state = state.unwrap_or_else(|| layer.initial_state(input.dims()[0], &input.device()));
    // A fresh one is checked as well: parameters may be of another type than the input.
    expect_state(layer, &state, input);
    state
}
