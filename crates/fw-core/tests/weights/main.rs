//! Weights of other libraries, read and written: files that they have made, and what they compute with them.
#![cfg(feature = "weights")]

mod damage;
mod description;
mod elsewhere;
mod names;

use std::path::PathBuf;

use burn::tensor::{DType, Device, Tensor};
use fw_core::weights::{Convention, Portable, Weights};
use fw_core::{Lstm, LstmConfig, Recurrent};

/// A file of `tests/data/weights`.
fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/weights")
        .join(name)
}

fn open(name: &str) -> Weights {
    Weights::open(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A tensor of what another library has computed.
fn value<const D: usize>(of: &str, name: &str, device: &Device) -> Tensor<D> {
    let values = open(&format!("{of}.values.safetensors"));
    let data = values.numbers(name).expect("it is whole");
    Tensor::from_data(data.expect(name), (device, DType::F32))
}

/// The largest difference, each number as a share of itself or of 1.
#[track_caller]
fn assert_near<const D: usize>(what: &str, actual: Tensor<D>, expected: Tensor<D>) {
    assert_eq!(actual.dims(), expected.dims(), "{what}");
    let numbers = |tensor: Tensor<D>| tensor.try_into_vec_as::<f32>().expect("numbers");
    for (actual, expected) in numbers(actual).into_iter().zip(numbers(expected)) {
        let error = (actual - expected).abs() / expected.abs().max(1.0);
        assert!(error <= 1e-6, "{what}: {actual} is not {expected}");
    }
}

/// An LSTM with other weights than any file's.
fn lstm() -> Lstm {
    LstmConfig::new(3, 5).init(&Device::flex())
}

/// That this LSTM does what `nn.LSTM` did with the file of this name.
#[track_caller]
fn assert_computes(lstm: &Lstm, of: &str) {
    let device = Device::flex();
    let (output, state) = lstm.forward(value(of, "input", &device), None);
    assert_near(of, output, value(of, "output", &device));
    assert_near(
        of,
        state.hidden.unsqueeze(),
        value::<3>(of, "hidden", &device),
    );
    assert_near(of, state.cell.unsqueeze(), value::<3>(of, "cell", &device));
}

/// That a layer is the same to the bit after its weights have been in a file of PyTorch's or of its own.
#[track_caller]
fn assert_round_trip<P: Portable>(layer: &P, other: P, convention: Convention) {
    let weights = layer.to_weights(convention).expect(P::NAME);
    let bytes = weights.to_bytes().expect(P::NAME);
    let mut read = other;
    let weights = Weights::from_bytes(bytes.clone()).expect(P::NAME);
    read.load(&weights, convention).expect(P::NAME);
    let again = read.to_weights(convention).expect(P::NAME);
    assert!(
        again.to_bytes().expect(P::NAME) == bytes,
        "{} under {convention:?}",
        P::NAME
    );
}
