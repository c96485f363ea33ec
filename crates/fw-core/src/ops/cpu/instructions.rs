//! Which instructions the CPU kernels use.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{Display, Formatter};
use core::str::FromStr;
use std::sync::OnceLock;

use macerator::Arch;

/// Instructions that the CPU kernels of this crate can be computed with: those of the machine's newest set, unless the environment variable
/// `FW_INSTRUCTIONS` names another, such as `FW_INSTRUCTIONS=avx2`.
///
/// Sets add numbers up in different orders, so that results agree to rounding and not to the bit. To name one makes the numbers of
/// one machine again on another. Burn's own kernels, which compute what this crate leaves to Burn, choose for themselves.
///
/// ```
/// use fw_core::InstructionSet;
///
/// let chosen = InstructionSet::chosen().expect("FW_INSTRUCTIONS is not set, or names one of this machine");
/// assert!(InstructionSet::of_machine().contains(&chosen));
/// assert_eq!("avx2".parse(), Ok(InstructionSet::Avx2));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InstructionSet {
    /// `scalar`: none that compute several numbers at once.
    Scalar,
    /// `sse4.2`, on x86-64.
    Sse42,
    /// `avx2`, with fused multiply-adds, on x86-64.
    Avx2,
    /// `avx512`, on x86-64.
    Avx512,
    /// `native`: the vectors that every processor of another kind has, such as NEON.
    Native,
}

/// A name in `FW_INSTRUCTIONS` that is no instruction set of this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{VARIABLE} is {name:?}; it must be one of the instruction sets of this machine: {known}")]
pub struct InstructionSetError {
    name: String,
    known: String,
}

const VARIABLE: &str = "FW_INSTRUCTIONS";

impl InstructionSet {
    const ALL: [Self; 5] = [
        Self::Scalar,
        Self::Sse42,
        Self::Avx2,
        Self::Avx512,
        Self::Native,
    ];

    /// The name that it is chosen by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Sse42 => "sse4.2",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Native => "native",
        }
    }

    /// All that this machine has, the newest last.
    pub fn of_machine() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        let newest = match Arch::detect() {
            Arch::Scalar => Self::Scalar,
            Arch::V2 => Self::Sse42,
            Arch::V3 => Self::Avx2,
            // Half precision adds nothing to what these kernels compute.
            _ => Self::Avx512,
        };
        #[cfg(target_arch = "x86_64")]
        let is_here = |set: &Self| *set <= newest;
        #[cfg(not(target_arch = "x86_64"))]
        let is_here = |set: &Self| matches!(set, Self::Scalar | Self::Native);
        Self::ALL.into_iter().filter(is_here).collect()
    }

    /// The one that kernels of this process use. It is looked up once.
    ///
    /// # Errors
    /// If `FW_INSTRUCTIONS` is none of [those of this machine](Self::of_machine). A kernel that is asked for then panics with the same
    /// message.
    pub fn chosen() -> Result<Self, InstructionSetError> {
        static CHOSEN: OnceLock<Result<InstructionSet, InstructionSetError>> = OnceLock::new();
        let chosen = CHOSEN.get_or_init(|| match std::env::var_os(VARIABLE) {
            None => Ok(*Self::of_machine()
                .last()
                .expect("the portable one is everywhere")),
            Some(name) => Self::named(&name.to_string_lossy()),
        });
        chosen.clone()
    }

    fn named(name: &str) -> Result<Self, InstructionSetError> {
        let here = Self::of_machine();
        let set: Option<Self> = name.parse().ok().filter(|set| here.contains(set));
        set.ok_or_else(|| InstructionSetError {
            name: name.to_string(),
            known: here
                .iter()
                .map(|set| set.name())
                .collect::<Vec<_>>()
                .join(", "),
        })
    }

    fn arch(self) -> Arch {
        #[cfg(target_arch = "x86_64")]
        return match self {
            Self::Scalar => Arch::Scalar,
            Self::Sse42 => Arch::V2,
            Self::Avx2 => Arch::V3,
            Self::Avx512 | Self::Native => Arch::V4,
        };
        #[cfg(not(target_arch = "x86_64"))]
        match self {
            Self::Scalar => Arch::Scalar,
            _ => Arch::detect(),
        }
    }
}

impl Display for InstructionSet {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for InstructionSet {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let mut all = Self::ALL.into_iter();
        let found = all.find(|set| set.name() == name);
        found.ok_or_else(|| alloc::format!("{name:?} is no instruction set"))
    }
}

/// What kernels are computed with.
///
/// # Panics
/// If `FW_INSTRUCTIONS` names a set that this machine does not have.
pub(crate) fn arch() -> Arch {
    match InstructionSet::chosen() {
        Ok(set) => set.arch(),
        Err(error) => panic!("{error}"),
    }
}

/// Every instruction set that this machine has.
#[cfg(test)]
pub(crate) fn architectures() -> Vec<Arch> {
    let all = InstructionSet::of_machine().into_iter();
    all.map(InstructionSet::arch).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_does_not_have_is_refused_by_name() {
        let here = InstructionSet::of_machine();
        assert_eq!(here[0], InstructionSet::Scalar);
        for set in here {
            assert_eq!(InstructionSet::named(set.name()), Ok(set));
        }
        let error = InstructionSet::named("mmx").unwrap_err().to_string();
        let begin = "FW_INSTRUCTIONS is \"mmx\"; it must be one of the instruction sets of this machine: scalar";
        assert!(error.starts_with(begin), "{error}");
    }
}
