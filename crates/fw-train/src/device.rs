//! Which device a run computes on.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use burn::tensor::Device;
#[cfg(feature = "flex")]
use fw_core::InstructionSet;
use serde::{Deserialize, Serialize};

use crate::Error;

/// A device by its name on the command line. Which of them a build can open depends on its cargo features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceName {
    /// The CPU, Burn's own backend.
    Flex,
    /// The CPU, through ndarray (deprecated by Burn).
    Ndarray,
    /// A GPU through WebGPU, Vulkan or Metal.
    Wgpu,
    /// An NVIDIA GPU through CUDA.
    Cuda,
}

impl DeviceName {
    /// Every device, in this build or not.
    pub const ALL: [DeviceName; 4] = [
        DeviceName::Flex,
        DeviceName::Ndarray,
        DeviceName::Wgpu,
        DeviceName::Cuda,
    ];

    /// The name, which is also the name of the cargo feature.
    pub fn name(self) -> &'static str {
        match self {
            DeviceName::Flex => "flex",
            DeviceName::Ndarray => "ndarray",
            DeviceName::Wgpu => "wgpu",
            DeviceName::Cuda => "cuda",
        }
    }

    /// A line about it.
    pub fn description(self) -> &'static str {
        match self {
            DeviceName::Flex => "CPU, Burn's own backend",
            DeviceName::Ndarray => "CPU, through ndarray (deprecated by Burn)",
            DeviceName::Wgpu => "GPU, through WebGPU, Vulkan or Metal",
            DeviceName::Cuda => "NVIDIA GPU, through CUDA",
        }
    }

    /// Whether tensors lie in the memory of the process.
    pub fn is_cpu(self) -> bool {
        matches!(self, DeviceName::Flex | DeviceName::Ndarray)
    }

    /// Whether this build has it.
    pub fn is_in_build(self) -> bool {
        match self {
            DeviceName::Flex => cfg!(feature = "flex"),
            DeviceName::Ndarray => cfg!(feature = "ndarray"),
            DeviceName::Wgpu => cfg!(feature = "wgpu"),
            DeviceName::Cuda => cfg!(feature = "cuda"),
        }
    }

    /// The device to use when none is named: the first of [`ALL`](Self::ALL) in this build.
    pub fn default_of_build() -> DeviceName {
        let mut all = DeviceName::ALL.into_iter();
        all.find(|device| device.is_in_build())
            .unwrap_or(DeviceName::Flex)
    }

    /// The Burn device, without autodiff: of a GPU the one that its driver prefers.
    ///
    /// # Errors
    /// If it is not in this build, or no adapter is found.
    pub fn open(self) -> Result<Device, Error> {
        if !self.is_in_build() {
            return Err(self.not_in_build());
        }
        match self {
            #[cfg(feature = "flex")]
            DeviceName::Flex => match InstructionSet::chosen() {
                Ok(_) => Ok(Device::flex()),
                Err(error) => Err(Error::usage(error.to_string())),
            },
            #[cfg(feature = "ndarray")]
            #[allow(deprecated, reason = "selectable as long as Burn has it")]
            DeviceName::Ndarray => Ok(Device::ndarray()),
            #[cfg(feature = "wgpu")]
            DeviceName::Wgpu => {
                self.require_adapter()?;
                Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice))
            }
            #[cfg(feature = "cuda")]
            DeviceName::Cuda => {
                self.require_adapter()?;
                Ok(Device::cuda(burn::tensor::DeviceIndex::Default))
            }
            #[allow(unreachable_patterns, reason = "unless a feature is off")]
            _ => Err(self.not_in_build()),
        }
    }

    /// The instructions that its kernels use, of a CPU with kernels of fw-core.
    pub fn instructions(self) -> Option<&'static str> {
        match self {
            #[cfg(feature = "flex")]
            DeviceName::Flex => InstructionSet::chosen().ok().map(InstructionSet::name),
            _ => None,
        }
    }

    /// All that this machine has of them.
    pub fn known_instructions(self) -> Vec<&'static str> {
        match self {
            #[cfg(feature = "flex")]
            DeviceName::Flex => {
                let all = InstructionSet::of_machine().into_iter();
                all.map(InstructionSet::name).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The adapters that a GPU backend of this build finds; empty for a CPU.
    pub fn adapters(self) -> Vec<String> {
        self.enumerate().iter().map(adapter_name).collect()
    }

    fn enumerate(self) -> Vec<Device> {
        match self {
            #[cfg(feature = "wgpu")]
            DeviceName::Wgpu => Device::enumerate(burn::tensor::DeviceType::Wgpu).to_vec(),
            #[cfg(feature = "cuda")]
            DeviceName::Cuda => Device::enumerate(burn::tensor::DeviceType::Cuda).to_vec(),
            _ => Vec::new(),
        }
    }

    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    fn require_adapter(self) -> Result<(), Error> {
        if !self.adapters().is_empty() {
            return Ok(());
        }
        Err(Error::usage(format!(
            "no adapter for device {self} was found. A GPU needs its driver (for Vulkan: the vendor's, or \
             mesa-vulkan-drivers, which also runs on a CPU for tests); `--device flex` runs on the CPU"
        )))
    }

    fn not_in_build(self) -> Error {
        let in_build: Vec<&str> = DeviceName::ALL
            .into_iter()
            .filter(|device| device.is_in_build())
            .map(DeviceName::name)
            .collect();
        Error::usage(format!(
            "device {self} is not in this build, which has: {}. Build it in with \
             `cargo build --release --features {self}`",
            in_build.join(", ")
        ))
    }
}

fn adapter_name(device: &Device) -> String {
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    if let Some(identity) = device.identity() {
        return identity.name;
    }
    format!("{device:?}")
}

/// Where a run computes: on a device, or on several of one kind, each of which takes its share of every batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devices {
    /// Of what kind.
    #[serde(rename = "device")]
    pub kind: DeviceName,
    /// Which adapters of that kind, counted from 0 in the order of `fw-train list`; empty is the one that the driver prefers.
    #[serde(rename = "devices", default, skip_serializing_if = "Vec::is_empty")]
    pub adapters: Vec<usize>,
}

impl From<DeviceName> for Devices {
    fn from(kind: DeviceName) -> Self {
        Devices {
            kind,
            adapters: Vec::new(),
        }
    }
}

impl Devices {
    /// The Burn devices, at least one, without autodiff.
    ///
    /// # Errors
    /// If the kind is not in this build, an adapter is not found or named twice, or several are named of a kind that cannot
    /// train together.
    pub fn open(&self) -> Result<Vec<Device>, Error> {
        let first = self.kind.open()?;
        if self.adapters.is_empty() {
            return Ok(vec![first]);
        }
        let (kind, found) = (self.kind, self.kind.enumerate());
        let refuse = |why: String| Err(Error::usage(format!("--devices {}: {why}", self.list())));
        if found.is_empty() {
            return refuse(format!(
                "it chooses among GPUs, and {kind} is the CPU; name a GPU's kind with --device"
            ));
        }
        if self.adapters.len() > 1 && kind != DeviceName::Cuda {
            return refuse(format!(
                "{kind} trains on one device; several train together on cuda alone, where Burn sums gradients across them"
            ));
        }
        let mut devices = Vec::new();
        for (place, &index) in self.adapters.iter().enumerate() {
            if self.adapters[..place].contains(&index) {
                return refuse(format!("{index} is named twice"));
            }
            match found.get(index) {
                Some(device) => devices.push(device.clone()),
                None => {
                    let number = found.len();
                    let list = "`fw-train list` numbers them from 0 on";
                    return refuse(format!("{index} is none of the {number} of {kind}; {list}"));
                }
            }
        }
        Ok(devices)
    }

    fn list(&self) -> String {
        let adapters: Vec<String> = self.adapters.iter().map(usize::to_string).collect();
        adapters.join(",")
    }
}

impl Display for Devices {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        match self.adapters.is_empty() {
            true => write!(formatter, "{}", self.kind),
            false => write!(formatter, "{} {}", self.kind, self.list()),
        }
    }
}

impl Display for DeviceName {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = DeviceName::ALL.into_iter();
        all.find(|device| device.name() == text)
            .ok_or_else(|| "it must be one of: flex, ndarray, wgpu, cuda".to_owned())
    }
}
