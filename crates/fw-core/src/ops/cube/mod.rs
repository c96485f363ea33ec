//! What the GPU kernels share: how a workgroup is laid out, products and sums over it, and which devices have kernels.
//!
//! One cube (a workgroup) computes one sample for the whole sequence. Its units stand in `parts` rows of `lanes`: a
//! lane computes every `lanes`-th number of a result, and the rows share the terms of each sum.

mod autodiff;
mod layout;
mod products;
mod tensors;

pub(crate) use autodiff::{Operation, run_tracked};
pub(crate) use layout::{Layout, hardware};
pub(crate) use products::{
    MOMENTS, moments, product, share_moments, share_sums, sum_of_parts, sums,
};
pub(crate) use tensors::{
    before, empty, from_numbers, nothing, over_rows, part, products_over_rows, single, spec,
    transposed, wanted,
};

/// The GPU that tests run on.
#[cfg(all(test, any(feature = "wgpu", feature = "cuda")))]
pub(crate) fn gpu() -> burn::tensor::Device {
    #[cfg(feature = "cuda")]
    let device = burn::tensor::Device::cuda(burn::tensor::DeviceIndex::Default);
    #[cfg(not(feature = "cuda"))]
    let device = burn::tensor::Device::wgpu(burn::tensor::DeviceKind::DefaultDevice);
    device.autodiff()
}
