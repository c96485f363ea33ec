//! What the GPU kernels share: how a workgroup is laid out, products and sums over it, and which devices have kernels.
//!
//! One cube (a workgroup) computes one sample for the whole sequence. Its units stand in `shares` rows of `lanes`: a
//! lane computes every `lanes`-th number of a result, and the rows share the terms of each sum.

mod cell;
mod functions;
mod launch;
mod products;
mod reductions;
mod rows;
mod tensors;
mod workgroup;

pub(crate) use cell::{GruStep, LstmStep, gru_back, lstm_back};
pub(crate) use functions::{activate, activate_slope, sigmoid};
pub(crate) use launch::launch;
pub(crate) use products::{place, product, sum_of_shares, sync, terms, times};
pub(crate) use reductions::{
    SHARERS, largest_of, moments, share_dot, share_largest, share_moments, share_sums, share_total,
    sums, total_of,
};
pub(crate) use rows::{over_rows, products_over_rows};
pub(crate) use tensors::{before, columns, empty, from_numbers, spec, transposed, wanted};
pub(crate) use workgroup::{UNITS, Workgroup, hardware, shared_limit};

/// The GPU that tests run on.
#[cfg(all(test, any(feature = "wgpu", feature = "cuda")))]
pub(crate) fn gpu() -> burn::tensor::Device {
    #[cfg(feature = "cuda")]
    let device = burn::tensor::Device::cuda(burn::tensor::DeviceIndex::Default);
    #[cfg(not(feature = "cuda"))]
    let device = burn::tensor::Device::wgpu(burn::tensor::DeviceKind::DefaultDevice);
    device.autodiff()
}
