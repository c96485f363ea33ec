//! What the tests share: random values that do not depend on other tests, layers with a flat view of
//! their state, and comparisons with explicit tolerances.
#![allow(dead_code, reason = "each test file uses a part")]

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use fw_core::{
    AssociativeLstm, AssociativeLstmState, Elman, FastWeights, FastWeightsState, Gru, Lstm,
    LstmState, Memory, Recurrent,
};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Uniform values in (-1, 1).
pub fn random<const D: usize>(
    rng: &mut impl Rng,
    shape: [usize; D],
    device: &Device,
    dtype: DType,
) -> Tensor<D> {
    let values: Vec<f64> = (0..shape.iter().product::<usize>())
        .map(|_| rng.random_range(-1.0..1.0))
        .collect();
    Tensor::from_data(TensorData::new(values, shape), (device, dtype))
}

/// The layer with every float parameter drawn anew, uniform in (-1, 1), in the given type.
pub fn randomized<M: Module>(layer: M, rng: &mut ChaCha8Rng, dtype: DType) -> M {
    struct Randomize<'a>(&'a mut ChaCha8Rng, DType);
    impl ModuleMapper for Randomize<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let value = param.val();
            let fresh = random(self.0, value.dims(), &value.device(), self.1);
            Param::initialized(param.id, fresh.require_grad())
        }
    }
    layer.map(&mut Randomize(rng, dtype))
}

/// Every float parameter's gradient, in the module's order, flattened.
pub fn parameter_gradients<M: Module>(
    layer: &M,
    gradients: &burn::tensor::Gradients,
) -> Vec<Vec<f64>> {
    struct Collect<'a>(&'a burn::tensor::Gradients, Vec<Vec<f64>>);
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val();
            let gradient = value
                .grad(self.0)
                .unwrap_or_else(|| value.inner().zeros_like());
            self.1.push(values(gradient));
        }
    }
    let mut collect = Collect(gradients, Vec::new());
    layer.visit(&mut collect);
    collect.1
}

/// The layer with `delta` added to one number of one float parameter.
pub fn nudged<M: Module>(layer: M, parameter: usize, element: usize, delta: f64) -> M {
    struct Nudge(usize, usize, f64, usize);
    impl ModuleMapper for Nudge {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let index = self.3;
            self.3 += 1;
            if index != self.0 {
                return param;
            }
            let value = param.val();
            let nudged = nudge(value, self.1, self.2);
            Param::initialized(param.id, nudged)
        }
    }
    layer.map(&mut Nudge(parameter, element, delta, 0))
}

/// The tensor with `delta` added to one number.
pub fn nudge<const D: usize>(tensor: Tensor<D>, element: usize, delta: f64) -> Tensor<D> {
    let (shape, device, dtype) = (tensor.dims(), tensor.device(), tensor.dtype());
    let mut numbers = values(tensor);
    numbers[element] += delta;
    Tensor::from_data(TensorData::new(numbers, shape), (&device, dtype))
}

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor
        .try_into_vec_as::<f64>()
        .expect("floats convert to f64")
}

/// Largest difference, as a share of the largest expected magnitude.
pub fn max_relative_error(actual: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len(), "number of values");
    let scale = expected
        .iter()
        .fold(0.0_f64, |max, value| max.max(value.abs()));
    let difference = actual
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        // f64::max would drop a NaN.
        .fold(
            0.0_f64,
            |max, d| if d > max || d.is_nan() { d } else { max },
        );
    if difference == 0.0 {
        0.0
    } else {
        difference / scale
    }
}

#[track_caller]
pub fn assert_close(what: &str, actual: &[f64], expected: &[f64], tolerance: f64) {
    let error = max_relative_error(actual, expected);
    assert!(
        error <= tolerance,
        "{what}: relative error {error:.3e} is above {tolerance:.0e}"
    );
}

/// A layer whose state can be seen as one row of numbers for each sample.
pub trait FlatState: Recurrent {
    fn flat_width(&self) -> usize;
    fn state_from(&self, flat: Tensor<2>) -> Self::State;
    fn state_to(&self, state: &Self::State) -> Tensor<2>;
}

macro_rules! flat_hidden {
    ($layer:ty) => {
        impl FlatState for $layer {
            fn flat_width(&self) -> usize {
                self.d_output()
            }
            fn state_from(&self, flat: Tensor<2>) -> Tensor<2> {
                flat
            }
            fn state_to(&self, state: &Tensor<2>) -> Tensor<2> {
                state.clone()
            }
        }
    };
}
flat_hidden!(Elman);
flat_hidden!(Gru);

impl FlatState for Lstm {
    fn flat_width(&self) -> usize {
        2 * self.d_output()
    }
    fn state_from(&self, flat: Tensor<2>) -> LstmState {
        let width = self.d_output();
        LstmState {
            hidden: flat.clone().narrow(1, 0, width),
            cell: flat.narrow(1, width, width),
        }
    }
    fn state_to(&self, state: &LstmState) -> Tensor<2> {
        Tensor::cat(vec![state.hidden.clone(), state.cell.clone()], 1)
    }
}

impl FlatState for AssociativeLstm {
    fn flat_width(&self) -> usize {
        self.state_size(1)
    }
    fn state_from(&self, flat: Tensor<2>) -> AssociativeLstmState {
        let [batch_size, all] = flat.dims();
        let width = self.d_output();
        AssociativeLstmState {
            hidden: flat.clone().narrow(1, 0, width),
            memory: flat.narrow(1, width, all - width).reshape([
                batch_size,
                all / width - 1,
                width,
            ]),
        }
    }
    fn state_to(&self, state: &AssociativeLstmState) -> Tensor<2> {
        Tensor::cat(
            vec![state.hidden.clone(), state.memory.clone().flatten(1, 2)],
            1,
        )
    }
}

impl FlatState for FastWeights {
    fn flat_width(&self) -> usize {
        self.d_output() * (1 + self.d_output())
    }
    fn state_from(&self, flat: Tensor<2>) -> FastWeightsState {
        let [batch_size, _] = flat.dims();
        let width = self.d_output();
        FastWeightsState {
            hidden: flat.clone().narrow(1, 0, width),
            memory: Memory::Matrix(
                flat.narrow(1, width, width * width)
                    .reshape([batch_size, width, width]),
            ),
        }
    }
    fn state_to(&self, state: &FastWeightsState) -> Tensor<2> {
        Tensor::cat(
            vec![
                state.hidden.clone(),
                self.memory_matrix(state).flatten(1, 2),
            ],
            1,
        )
    }
}
