//! A recurrent layer whose type is chosen while the program runs.

mod state;
mod traversal;

use alloc::boxed::Box;
use core::any::Any;
use core::fmt::{Debug, Formatter};

use burn::module::{
    Content, Devices, DisplaySettings, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper,
    ModuleVisitor,
};
use burn::tensor::{DType, Device, Tensor};

use crate::ops::Spans;
#[cfg(feature = "weights")]
use crate::weights::{Convention, Parameters, Portable, WeightsError};
use crate::{Recurrent, Segments, StateData, StateError};

pub use state::AnyState;
use traversal::{AnyMapper, AnyVisitor, Mapper, Visitor};

/// A recurrent layer of any type, where the type is chosen while the program runs: read from a configuration, or from a file.
///
/// It is the layer that it was made of in all that it does: outputs, states and gradients to the bit, names of parameters, kernels, and what is
/// printed. A call of a sequence goes through one pointer more. Layers of different types stack, since they are of one type now:
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{AnyLayer, FastWeightsConfig, Lstm, LstmConfig, Recurrent, Stack};
///
/// let device = Device::flex();
/// let mut layers = vec![AnyLayer::new(LstmConfig::new(3, 8).init(&device))];
/// for _ in 0..2 {
///     layers.push(AnyLayer::new(FastWeightsConfig::new(8, 8).init(&device)));
/// }
/// let stack = Stack::new(layers);
/// let (output, _) = stack.forward(Tensor::zeros([2, 5, 3], &device), None);
/// assert_eq!(output.dims(), [2, 5, 8]);
/// assert!(stack.layers[0].downcast_ref::<Lstm>().is_some());
/// ```
///
/// A layer of a configuration comes from [`LayerConfig::init`](crate::LayerConfig::init).
///
/// # Panics
/// Whatever visits parameters, or the tensors of a state, if one of them has more than five dimensions: no layer of Burn's or of this crate has.
pub struct AnyLayer(Box<dyn Layer>);

impl AnyLayer {
    /// A layer of a type that is no longer to be seen. Into files its weights go under [their own names](crate::weights::Convention::Own).
    pub fn new<R: Recurrent<State: 'static> + 'static>(layer: R) -> Self {
        AnyLayer(Box::new(Of {
            layer,
            #[cfg(feature = "weights")]
            names: None,
        }))
    }

    /// The same for a layer whose weights have names elsewhere as well.
    #[cfg(feature = "weights")]
    pub fn portable<R: Recurrent<State: 'static> + Portable + 'static>(layer: R) -> Self {
        AnyLayer(Box::new(Of {
            layer,
            names: Some(Names {
                parameters: R::parameters,
                numbered: R::numbered,
            }),
        }))
    }

    /// The layer, if it is of this type.
    pub fn downcast_ref<R: 'static>(&self) -> Option<&R> {
        self.0.as_any().downcast_ref()
    }
}

/// A layer of a known type.
#[derive(Clone)]
struct Of<R> {
    layer: R,
    /// Nothing, where its own names are all that there is.
    #[cfg(feature = "weights")]
    names: Option<Names<R>>,
}

/// Where the parameters of a layer lie in files: what [`Portable`] says.
#[cfg(feature = "weights")]
struct Names<R> {
    parameters: fn(&R, Convention) -> Result<Parameters, WeightsError>,
    numbered: fn(&R, &str) -> Result<Option<Parameters>, WeightsError>,
}

#[cfg(feature = "weights")]
impl<R> Clone for Names<R> {
    fn clone(&self) -> Self {
        *self
    }
}

#[cfg(feature = "weights")]
impl<R> Copy for Names<R> {}

impl<R> Of<R> {
    /// The same of another layer.
    fn with(self, change: impl FnOnce(R) -> R) -> Box<Self> {
        Box::new(Of {
            layer: change(self.layer),
            #[cfg(feature = "weights")]
            names: self.names,
        })
    }
}

type Step = (Tensor<2>, AnyState);
type Sequence = (Tensor<3>, AnyState);

/// All that is asked of a layer, on a type that is not known.
trait Layer: Send {
    fn as_any(&self) -> &dyn Any;
    fn copy(&self) -> Box<dyn Layer>;
    fn debug(&self, formatter: &mut Formatter<'_>) -> core::fmt::Result;
    #[cfg(feature = "weights")]
    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError>;
    #[cfg(feature = "weights")]
    fn numbered(&self, behind: &str) -> Result<Option<Parameters>, WeightsError>;

    fn collect_devices(&self, devices: Devices) -> Devices;
    fn fork(self: Box<Self>, device: &Device) -> Box<dyn Layer>;
    fn to_device(self: Box<Self>, device: &Device) -> Box<dyn Layer>;
    fn train(self: Box<Self>) -> Box<dyn Layer>;
    fn valid(&self) -> Box<dyn Layer>;
    fn materialize(self: Box<Self>) -> Box<dyn Layer>;
    fn visit(&self, visitor: &mut dyn AnyVisitor);
    fn map(self: Box<Self>, mapper: &mut dyn AnyMapper) -> Box<dyn Layer>;

    fn content(&self, content: Content) -> Option<Content>;
    fn format(&self, settings: DisplaySettings) -> alloc::string::String;
    fn custom_settings(&self) -> Option<DisplaySettings>;
    fn custom_content(&self, content: Content) -> Option<Content>;

    fn d_input(&self) -> usize;
    fn d_output(&self) -> usize;
    fn state_size(&self, seq_length: usize) -> usize;
    fn initial_state(&self, batch_size: usize, device: &Device) -> AnyState;
    fn state_from_data(&self, data: StateData, device: &Device) -> Result<AnyState, StateError>;
    fn check_state(&self, state: &AnyState, n: usize, dtype: DType) -> Result<(), StateError>;
    fn project(&self, input: Tensor<3>) -> Tensor<3>;
    fn advance(&self, projected_t: Tensor<2>, state: AnyState) -> Step;
    fn step(&self, input_t: Tensor<2>, state: AnyState) -> Step;
    fn forward(&self, input: Tensor<3>, state: Option<AnyState>) -> Sequence;
    fn forward_projected(&self, projected: Tensor<3>, state: Option<AnyState>) -> Sequence;
    fn forward_segments(
        &self,
        input: Tensor<3>,
        state: Option<AnyState>,
        segments: &Segments,
    ) -> Sequence;
    fn forward_spans(
        &self,
        input: &Tensor<2>,
        state: Option<AnyState>,
        spans: &Spans,
    ) -> Option<Step>;
    fn uniform(&self, state: AnyState) -> AnyState;
    fn reset_samples(&self, state: AnyState, is_reset: &[bool]) -> AnyState;
}

/// A state as the layer knows it.
#[track_caller]
fn own<S: 'static>(state: AnyState) -> S {
    match state.downcast() {
        Ok(own) => own,
        Err(_) => panic!("{}", AnyState::of_another_layer()),
    }
}

fn any<T, S: crate::RecurrentState + 'static>((output, state): (T, S)) -> (T, AnyState) {
    (output, AnyState::new(state))
}

impl<R: Recurrent<State: 'static> + 'static> Layer for Of<R> {
    fn as_any(&self) -> &dyn Any {
        &self.layer
    }

    fn copy(&self) -> Box<dyn Layer> {
        Box::new(self.clone())
    }

    fn debug(&self, formatter: &mut Formatter<'_>) -> core::fmt::Result {
        self.layer.fmt(formatter)
    }

    #[cfg(feature = "weights")]
    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
        match &self.names {
            Some(names) => (names.parameters)(&self.layer, convention),
            None => Err(crate::weights::unsupported::<AnyLayer>(convention)),
        }
    }

    #[cfg(feature = "weights")]
    fn numbered(&self, behind: &str) -> Result<Option<Parameters>, WeightsError> {
        match &self.names {
            Some(names) => (names.numbered)(&self.layer, behind),
            None => Ok(None),
        }
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        self.layer.collect_devices(devices)
    }

    fn fork(self: Box<Self>, device: &Device) -> Box<dyn Layer> {
        self.with(|layer| layer.fork(device))
    }

    fn to_device(self: Box<Self>, device: &Device) -> Box<dyn Layer> {
        self.with(|layer| layer.to_device(device))
    }

    fn train(self: Box<Self>) -> Box<dyn Layer> {
        self.with(Module::train)
    }

    fn valid(&self) -> Box<dyn Layer> {
        self.clone().with(|layer| layer.valid())
    }

    fn materialize(self: Box<Self>) -> Box<dyn Layer> {
        self.with(Module::materialize)
    }

    fn visit(&self, visitor: &mut dyn AnyVisitor) {
        self.layer.visit(&mut Visitor(visitor));
    }

    fn map(self: Box<Self>, mapper: &mut dyn AnyMapper) -> Box<dyn Layer> {
        self.with(|layer| layer.map(&mut Mapper(mapper)))
    }

    fn content(&self, content: Content) -> Option<Content> {
        ModuleDisplayDefault::content(&self.layer, content)
    }

    fn format(&self, settings: DisplaySettings) -> alloc::string::String {
        ModuleDisplay::format(&self.layer, settings)
    }

    fn custom_settings(&self) -> Option<DisplaySettings> {
        self.layer.custom_settings()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        self.layer.custom_content(content)
    }

    fn d_input(&self) -> usize {
        self.layer.d_input()
    }

    fn d_output(&self) -> usize {
        self.layer.d_output()
    }

    fn state_size(&self, seq_length: usize) -> usize {
        self.layer.state_size(seq_length)
    }

    fn initial_state(&self, batch_size: usize, device: &Device) -> AnyState {
        AnyState::new(self.layer.initial_state(batch_size, device))
    }

    fn state_from_data(&self, data: StateData, device: &Device) -> Result<AnyState, StateError> {
        self.layer.state_from_data(data, device).map(AnyState::new)
    }

    fn check_state(&self, state: &AnyState, n: usize, dtype: DType) -> Result<(), StateError> {
        let own = state.downcast_ref::<R::State>();
        let own = own.ok_or_else(AnyState::of_another_layer)?;
        self.layer.check_state(own, n, dtype)
    }

    fn project(&self, input: Tensor<3>) -> Tensor<3> {
        self.layer.project(input)
    }

    fn advance(&self, projected_t: Tensor<2>, state: AnyState) -> Step {
        any(self.layer.advance(projected_t, own(state)))
    }

    fn step(&self, input_t: Tensor<2>, state: AnyState) -> Step {
        any(self.layer.step(input_t, own(state)))
    }

    fn forward(&self, input: Tensor<3>, state: Option<AnyState>) -> Sequence {
        any(self.layer.forward(input, state.map(own)))
    }

    fn forward_projected(&self, projected: Tensor<3>, state: Option<AnyState>) -> Sequence {
        any(self.layer.forward_projected(projected, state.map(own)))
    }

    fn forward_segments(
        &self,
        input: Tensor<3>,
        state: Option<AnyState>,
        segments: &Segments,
    ) -> Sequence {
        let state = state.map(own);
        any(self.layer.forward_segments(input, state, segments))
    }

    fn forward_spans(
        &self,
        input: &Tensor<2>,
        state: Option<AnyState>,
        spans: &Spans,
    ) -> Option<Step> {
        let result = self.layer.forward_spans(input, state.map(own), spans);
        result.map(any)
    }

    fn uniform(&self, state: AnyState) -> AnyState {
        AnyState::new(self.layer.uniform(own(state)))
    }

    fn reset_samples(&self, state: AnyState, is_reset: &[bool]) -> AnyState {
        AnyState::new(self.layer.reset_samples(own(state), is_reset))
    }
}

impl Clone for AnyLayer {
    fn clone(&self) -> Self {
        AnyLayer(self.0.copy())
    }
}

impl Debug for AnyLayer {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> core::fmt::Result {
        self.0.debug(formatter)
    }
}

impl core::fmt::Display for AnyLayer {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(&ModuleDisplay::format(self, DisplaySettings::default()))
    }
}

impl Module for AnyLayer {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.0.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        AnyLayer(self.0.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        AnyLayer(self.0.to_device(device))
    }

    fn train(self) -> Self {
        AnyLayer(self.0.train())
    }

    fn valid(&self) -> Self {
        AnyLayer(self.0.valid())
    }

    fn materialize(self) -> Self {
        AnyLayer(self.0.materialize())
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.0.visit(visitor);
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        AnyLayer(self.0.map(mapper))
    }
}

impl ModuleDisplayDefault for AnyLayer {
    fn content(&self, content: Content) -> Option<Content> {
        self.0.content(content)
    }

    fn num_params(&self) -> usize {
        Module::num_params(self)
    }
}

impl ModuleDisplay for AnyLayer {
    fn format(&self, settings: DisplaySettings) -> alloc::string::String {
        self.0.format(settings)
    }

    fn custom_settings(&self) -> Option<DisplaySettings> {
        self.0.custom_settings()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        self.0.custom_content(content)
    }
}

impl Recurrent for AnyLayer {
    type State = AnyState;

    fn d_input(&self) -> usize {
        self.0.d_input()
    }

    fn d_output(&self) -> usize {
        self.0.d_output()
    }

    fn state_size(&self, seq_length: usize) -> usize {
        self.0.state_size(seq_length)
    }

    fn initial_state(&self, batch_size: usize, device: &Device) -> AnyState {
        self.0.initial_state(batch_size, device)
    }

    fn state_from_data(&self, data: StateData, device: &Device) -> Result<AnyState, StateError> {
        self.0.state_from_data(data, device)
    }

    fn check_state(
        &self,
        state: &AnyState,
        batch_size: usize,
        dtype: DType,
    ) -> Result<(), StateError> {
        self.0.check_state(state, batch_size, dtype)
    }

    fn project(&self, input: Tensor<3>) -> Tensor<3> {
        self.0.project(input)
    }

    fn advance(&self, projected_t: Tensor<2>, state: AnyState) -> (Tensor<2>, AnyState) {
        self.0.advance(projected_t, state)
    }

    fn step(&self, input_t: Tensor<2>, state: AnyState) -> (Tensor<2>, AnyState) {
        self.0.step(input_t, state)
    }

    fn forward(&self, input: Tensor<3>, state: Option<AnyState>) -> (Tensor<3>, AnyState) {
        self.0.forward(input, state)
    }

    fn forward_segments(
        &self,
        input: Tensor<3>,
        state: Option<AnyState>,
        segments: &Segments,
    ) -> (Tensor<3>, AnyState) {
        self.0.forward_segments(input, state, segments)
    }

    fn forward_spans(
        &self,
        input: &Tensor<2>,
        state: Option<AnyState>,
        spans: &Spans,
    ) -> Option<(Tensor<2>, AnyState)> {
        self.0.forward_spans(input, state, spans)
    }

    fn uniform(&self, state: AnyState) -> AnyState {
        self.0.uniform(state)
    }

    fn reset_samples(&self, state: AnyState, is_reset: &[bool]) -> AnyState {
        self.0.reset_samples(state, is_reset)
    }

    fn forward_projected(
        &self,
        projected: Tensor<3>,
        state: Option<AnyState>,
    ) -> (Tensor<3>, AnyState) {
        self.0.forward_projected(projected, state)
    }
}

#[cfg(feature = "weights")]
impl Portable for AnyLayer {
    const NAME: &'static str = "AnyLayer";

    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
        self.0.parameters(convention)
    }

    fn numbered(&self, behind: &str) -> Result<Option<Parameters>, WeightsError> {
        self.0.numbered(behind)
    }
}
