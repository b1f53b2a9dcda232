//! Vector code for inner loops, chosen at run time: one definition per loop, over lanes of field elements. Every instruction set gives the
//! same elements, since what is stored is always reduced.
//!
//! | module | what it holds |
//! |---|---|
//! | `lanes` | what a loop may do with a few elements at once |
//! | `memory` | large columns |
//! | `portable`, `avx512` | the instruction sets |

#![expect(unsafe_code, reason = "vector instructions; each block says why it is sound")]

mod lanes;
mod memory;
mod portable;

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(test)]
mod tests;

pub(crate) use self::lanes::{ExtLanes, Lanes};
pub(crate) use self::memory::{zero_cells, zeros};

/// A loop over lanes.
pub(crate) trait Kernel {
    /// What it computes.
    type Output;

    /// The loop. Always inlined, so that it is compiled once for each instruction set.
    fn run<L: Lanes>(self) -> Self::Output;
}

/// An instruction set. A value exists only on machines that have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// Plain Rust, on every machine.
    pub const PORTABLE: Self = Self(Kind::Portable);

    /// All that this machine has, the fastest last.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let mut found = vec![Self::PORTABLE];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
            found.push(Self(Kind::Avx512));
        }
        found
    }

    /// The fastest one of this machine.
    #[must_use]
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
            return Self(Kind::Avx512);
        }
        Self::PORTABLE
    }

    /// For users, logs and benches.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
        }
    }

    /// Runs a loop whose columns are all eight elements long or a multiple of that.
    pub(crate) fn run_wide<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => {
                // SAFETY: this value exists only where AVX-512 F and DQ do.
                unsafe { avx512::run(kernel) }
            }
            Kind::Portable => kernel.run::<portable::Eight>(),
        }
    }

    /// Runs a loop over columns of `length` elements. Short ones have no room for wide lanes.
    pub(crate) fn run<K: Kernel>(self, length: usize, kernel: K) -> K::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 if length.is_multiple_of(avx512::WIDTH) => {
                // SAFETY: this value exists only where AVX-512 F and DQ do.
                unsafe { avx512::run(kernel) }
            }
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => kernel.run::<portable::One>(),
            Kind::Portable => kernel.run::<portable::One>(),
        }
    }
}
