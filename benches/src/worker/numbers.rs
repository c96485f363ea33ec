//! Numbers that every language makes alike.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};

/// `sin(frequency * index)`
pub fn wave(frequency: f64, count: usize) -> Vec<f32> {
    (0..count)
        .map(|index| (frequency * index as f64).sin() as f32)
        .collect()
}

/// The same of squares of the index, modulo a prime: rows of [`wave`] all lie in one plane, these do not.
pub fn scattered(frequency: f64, count: usize) -> Vec<f32> {
    (0..count)
        .map(|index| (frequency * (index * index % 65521) as f64).sin() as f32)
        .collect()
}

/// A parameter of a [`wave`], times `scale`.
pub fn parameter<const D: usize>(
    scale: f64,
    frequency: f64,
    shape: [usize; D],
    device: &Device,
) -> Param<Tensor<D>> {
    let values = TensorData::new(wave(frequency, shape.iter().product()), shape);
    Param::from_tensor(Tensor::from_data(values, device) * scale)
}

/// A number that depends on every value.
pub fn fingerprint<const D: usize>(values: Tensor<D>) -> f64 {
    let values = values.try_into_vec_as::<f32>().expect("floats");
    let weights = wave(0.3, values.len());
    let products = values
        .iter()
        .zip(weights)
        .map(|(value, weight)| f64::from(value * weight));
    products.sum()
}
