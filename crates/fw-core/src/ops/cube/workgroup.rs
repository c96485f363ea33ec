//! How the units of a cube are laid out, within what the device allows.

use burn::backend::DispatchDevice;
use burn::tensor::{DType, Device};
use burn_cubecl::CubeDevice;
use burn_cubecl::cubecl::ir::HardwareProperties;
use burn_cubecl::cubecl::prelude::*;

/// Units that every GPU has in a cube: the least that WebGPU promises.
pub(crate) const UNITS: usize = 256;

/// More units than this only wait for each other.
const MOST_UNITS: usize = 512;

/// What a GPU allows, if there are kernels for this device, type and number of samples. Cubes of CubeCL's CPU runtime have too
/// few units for them.
pub(crate) fn hardware(
    device: &Device,
    dtype: DType,
    batch_size: usize,
) -> Option<HardwareProperties> {
    let device = match device.as_dispatch().clone().inner() {
        DispatchDevice::Cube(CubeDevice::Cpu(_)) => return None,
        DispatchDevice::Cube(device) => device,
        #[allow(unreachable_patterns, reason = "unless this build has other backends")]
        _ => return None,
    };
    let hardware = device.client().properties().hardware.clone();
    let fits = (1..=hardware.max_cube_count.0 as usize).contains(&batch_size)
        && most_units(&hardware) >= UNITS;
    (fits && matches!(dtype, DType::F32 | DType::F16 | DType::BF16)).then_some(hardware)
}

/// Numbers that the units of a cube can share, for a kernel that sees this many buffers; nothing, if those are too many.
pub(crate) fn shared_limit(hardware: &HardwareProperties, buffers: u32) -> Option<usize> {
    // Some compilers begin each of a kernel's slices, at most 24, at a multiple of four numbers.
    let numbers = (hardware.max_shared_memory_size / size_of::<f32>()).saturating_sub(3 * 24);
    (buffers <= hardware.max_bindings).then_some(numbers)
}

fn most_units(hardware: &HardwareProperties) -> usize {
    hardware.max_units_per_cube.min(hardware.max_cube_dim.0) as usize
}

/// The units of a cube: `shares` rows of `lanes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Workgroup {
    /// Units that compute numbers of a result side by side.
    pub(crate) lanes: usize,
    /// Rows of units that share the terms of a sum.
    pub(crate) shares: usize,
}

impl Workgroup {
    /// For vectors of `width` numbers.
    pub(crate) fn new(width: usize, hardware: &HardwareProperties) -> Workgroup {
        // A power of two, so that there are as many units whatever the width.
        let most = 1 << most_units(hardware).clamp(1, MOST_UNITS).ilog2();
        let lanes = width.next_power_of_two().min(most);
        Workgroup {
            lanes,
            shares: most / lanes,
        }
    }

    pub(crate) fn units(self) -> usize {
        self.lanes * self.shares
    }

    pub(crate) fn cube_dim(self) -> CubeDim {
        CubeDim::new_1d(self.units() as u32)
    }
}
