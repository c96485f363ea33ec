//! A linear map of every step, whose gradients are [sums over rows](crate::ops::cube).

use burn::backend::autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy};
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Cube, Dispatch, ExtensionType, TensorMetadata, backend_extension};
use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use crate::ops::cube::{hardware, over_rows, products_over_rows, spec};
use crate::ops::operation::{Operation, Place, operands, run_tracked_on_cube};

/// `x W + b` of every row, `[rows, d_output]`; nothing, unless this is a GPU that tracks gradients, and f32.
pub(super) fn project(
    input: &Tensor<2>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
) -> Option<Tensor<2>> {
    let device = input.device();
    let is_single = [input.dtype(), weight.dtype()] == [DType::F32; 2];
    let is_empty = [input.dims(), weight.dims()].as_flattened().contains(&0);
    if !device.is_autodiff() || !is_single || is_empty {
        return None;
    }
    hardware(&device, DType::F32, 1)?;
    let place = Place::on_cube(input);
    let inputs = Inputs {
        input: place.put(input),
        weight: place.put(weight),
        bias: place.put_any(bias),
    };
    let output = <Dispatch as ProjectOnCube>::project(inputs, bias.is_some());
    Some(Tensor::from_dispatch(output))
}

operands! {
    /// The tensors that the operation reads; a bias that is not there has one element.
    #[derive(Clone, Debug, ExtensionType)]
    #[extension_type(fusion)]
    pub struct Inputs { input, weight, bias }
}

/// The operation.
#[backend_extension(Autodiff, Cube, Fusion)]
pub trait ProjectOnCube: Backend {
    /// `x W`, or `x W + b`.
    #[fusion(meta = output_spec)]
    fn project(#[extension_type] inputs: Inputs<Self>, has_bias: bool) -> FloatTensor<Self>;
}

fn output_spec(inputs: &InputsMetadata, _has_bias: &bool) -> TensorSpec {
    spec([inputs.input.shape[0], inputs.weight.shape[1]])
}

impl ProjectOnCube for CubeBackend {
    fn project(inputs: Inputs<Self>, has_bias: bool) -> CubeTensor {
        map::<Self>(inputs.input, inputs.weight, has_bias.then_some(inputs.bias))
    }
}

impl<C: CheckpointStrategy> ProjectOnCube for Autodiff<Cube, C> {
    fn project(inputs: Inputs<Self>, has_bias: bool) -> FloatTensor<Self> {
        run_tracked_on_cube::<_, C, COUNT>(Map { has_bias }, inputs.into())
    }
}

/// The map in tensor operations, which Burn can fuse with others.
fn map<B: Backend>(
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: Option<FloatTensor<B>>,
) -> FloatTensor<B> {
    let width = weight.shape()[1];
    let product = B::float_matmul(input, weight);
    match bias {
        Some(bias) => B::float_add(product, B::float_reshape(bias, Shape::new([1, width]))),
        None => product,
    }
}

/// The map, and its gradients.
#[derive(Clone, Copy, Debug)]
struct Map {
    has_bias: bool,
}

impl Operation<COUNT> for Map {
    type Operands = Names;
    type Kept = [FloatTensor<Cube>; 2];

    fn run(self, each: Each<FloatTensor<Cube>>) -> FloatTensor<Cube> {
        map::<Cube>(each.input, each.weight, self.has_bias.then_some(each.bias))
    }

    fn run_keeping(self, each: Each<FloatTensor<Cube>>) -> (FloatTensor<Cube>, Self::Kept) {
        let kept = [each.input.clone(), each.weight.clone()];
        (self.run(each), kept)
    }

    fn backward(
        [input, weight]: Self::Kept,
        slopes: FloatTensor<Cube>,
        wanted: Each<bool>,
    ) -> Each<Option<FloatTensor<Cube>>> {
        let transposed = || Cube::float_swap_dims(weight.clone(), 0, 1);
        Each {
            input: (wanted.input).then(|| Cube::float_matmul(slopes.clone(), transposed())),
            weight: (wanted.weight).then(|| products_over_rows(input, slopes.clone())),
            bias: wanted.bias.then(|| over_rows(slopes)),
        }
    }
}
