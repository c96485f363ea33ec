//! The choice of the best scores by units that have several each; `tests/devices.rs` holds the whole to the composed form.

use alloc::vec::Vec;

use burn::backend::DispatchDevice;
use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::choice::{Rivals, choose};
use super::steps::{Choice, Memories};
use crate::ops::cube::gpu;

const UNITS: usize = 16;

#[cube(launch_unchecked)]
fn chosen_of(scores: &[f32], chosen: &mut [f32], visible: usize, count: usize, oldest: usize) {
    let memories = Memories {
        all: oldest + visible,
        oldest,
        visible,
    };
    let choice = Choice {
        count,
        is_crowded: true,
        indices_at: 0usize,
        weights_at: count,
        scores_at: 2 * count,
    };
    let mut rivals = Rivals::new(UNITS);
    choose(scores, 0, chosen, &memories, &choice, &mut rivals, UNITS);
}

/// Indices, and scores, of the best of some scores.
fn chosen(scores: &[f32], count: usize, from: usize) -> (Vec<usize>, Vec<f32>) {
    let DispatchDevice::Cube(device) = gpu().as_dispatch().clone().inner() else {
        unreachable!("a GPU");
    };
    let client = device.client();
    let tensor = |numbers: &[f32]| {
        let handle = client.create_from_slice(f32::as_bytes(numbers));
        let shape = Shape::new([numbers.len()]);
        CubeTensor::new_contiguous(client.clone(), device.clone(), shape, handle, DType::F32)
    };
    let result = tensor(&alloc::vec![-1.0; 3 * count]);
    // SAFETY: the buffers have as many numbers as the kernel is told of.
    unsafe {
        chosen_of::launch_unchecked(
            &client,
            CubeCount::Static(1, 1, 1),
            CubeDim::new_1d(UNITS as u32),
            tensor(scores).into_buffer_arg(),
            result.clone().into_buffer_arg(),
            scores.len(),
            count,
            from,
        );
    }
    let bytes = client.read_one_unchecked(result.handle);
    let numbers = f32::from_bytes(&bytes);
    let indices = numbers[..count].iter().map(|index| *index as usize);
    (indices.collect(), numbers[2 * count..].to_vec())
}

/// The best of all, as a sort that keeps the order of equals finds them.
fn expected(scores: &[f32], count: usize, from: usize) -> (Vec<usize>, Vec<f32>) {
    let mut places: Vec<usize> = (0..scores.len()).collect();
    places.sort_by(|a, b| scores[*b].partial_cmp(&scores[*a]).expect("numbers"));
    places.truncate(count);
    let best = places.iter().map(|place| scores[*place]).collect();
    (places.iter().map(|place| from + place).collect(), best)
}

#[test]
fn the_best_scores_are_chosen_however_many_there_are() {
    for (visible, count) in [(5, 3), (16, 15), (17, 1), (40, 7), (500, 10), (500, 40)] {
        // Some are the same, with either sign of zero.
        let scores: Vec<f32> = (0..visible)
            .map(|i| ((i * i) as f32 * 0.7).sin())
            .map(|score| (score * 30.0).round() / 30.0)
            .collect();
        let actual = chosen(&scores, count, 3);
        assert_eq!(actual, expected(&scores, count, 3), "{count} of {visible}");
    }
}

#[test]
fn what_is_no_number_has_a_place_as_well() {
    let (mut indices, _) = chosen(&[f32::NAN; 40], 20, 0);
    indices.sort_unstable();
    indices.dedup();
    assert!(indices.len() == 20 && indices.iter().all(|index| *index < 40));
}
