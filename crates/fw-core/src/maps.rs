//! Several linear maps of one input.

use alloc::vec::Vec;

use burn::nn::Linear;
use burn::tensor::Tensor;

use crate::ops::{cut, project, project_linear};
use crate::recurrent::is_stepped_by_kernel;

/// Rows up to which, and numbers of weights from which on, it costs more to lay weights side by side than to use each map as its kernel has kept it
/// from step to step.
const FEW_ROWS: usize = 16;
const MANY_NUMBERS: usize = 1 << 14;

fn is_projected_apart(maps: &[&Linear], input: &Tensor<3>) -> bool {
    let [batch_size, seq_length, _] = input.dims();
    let numbers: usize = maps
        .iter()
        .map(|map| map.weight.lazy_shape().num_elements())
        .sum();
    batch_size * seq_length <= FEW_ROWS && numbers >= MANY_NUMBERS && is_stepped_by_kernel(input)
}

/// What all maps yield of an input, side by side: as one product, or of a few rows without a graph each by itself, if that costs less.
pub(crate) fn project_maps(maps: &[&Linear], input: Tensor<3>) -> Tensor<3> {
    if is_projected_apart(maps, &input) {
        let of_map = |map: &&Linear| project_linear(map, input.clone());
        return Tensor::cat(maps.iter().map(of_map).collect(), 2);
    }
    let weights = maps.iter().map(|map| map.weight.val()).collect();
    project(input, Tensor::cat(weights, 1), joined_biases(maps))
}

/// The biases of maps side by side, 0 where one has none; nothing, if none has one, as when they are made.
fn joined_biases(maps: &[&Linear]) -> Option<Tensor<1>> {
    if maps.iter().all(|map| map.bias.is_none()) {
        return None;
    }
    let of_map = |map: &&Linear| match &map.bias {
        Some(bias) => bias.val(),
        None => {
            let weight = map.weight.val();
            Tensor::zeros([weight.dims()[1]], (&weight.device(), weight.dtype()))
        }
    };
    Some(Tensor::cat(maps.iter().map(of_map).collect(), 0))
}

/// What lies side by side, cut into parts of these widths.
///
/// # Panics
/// If it is of another width than they are together.
#[track_caller]
pub(crate) fn cut_widths(projected: Tensor<3>, widths: &[usize]) -> Vec<Tensor<3>> {
    let (width, expected) = (projected.dims()[2], widths.iter().sum::<usize>());
    assert!(
        width == expected,
        "the projected input is {width} wide; it must be {expected}"
    );
    cut(projected, 2, widths)
}
