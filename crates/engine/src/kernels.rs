//! Bit-exact kernels: packed weights times packed activations, and attention sums. The only place of this
//! crate with `unsafe`. Never rounds and never overflows: every instruction set gives the same integers.
//!
//! | module | what it holds |
//! |---|---|
//! | [`huge_buffer`] | memory for weights on huge pages |
//! | [`panel`] | weights packed into panels of 16 rows |
//! | [`activations`] | tokens' activations as rows of 16-bit numbers |
//! | [`matmul`] | panels times tokens |
//! | [`attention`] | scores of 16 keys, weighted sums of values |
//! | [`peak`] | what the machine can do at best, for benches |
//! | `amx`, `avx512`, `avx512_words`, `avx2`, `portable` | the instruction sets |
//!
//! Few tokens are bound by memory, so kernels take the packed codes as they are. Many are bound by products, so
//! panels are expanded first: to bytes of whole weights for the tile unit (`amx`), to words of codes for the
//! others.
//!
//! Why words and not bytes without a tile unit. `vpdpwssd` multiplies two 16-bit columns per lane and `vpdpbusd`
//! four 8-bit ones, at the same rate. An activation has 16 bits, so the byte form needs two instructions for
//! four columns, and so does the word form; but words need no digits, no recombination, and take the
//! activations as they are.
//!
//! Exactness of the 32-bit lanes of words: a sub-block has at most 32 columns, a code is at most 255 and an activation
//! at most 2^15 in magnitude, so a dot product stays below 32 * 255 * 2^15 < 2^28. It is then multiplied by
//! the sub-block's scale and summed in 64 bits.

#![expect(unsafe_code, reason = "vector instructions and huge pages; each block says why it is sound")]

pub mod activations;
pub mod attention;
pub mod huge_buffer;
pub mod matmul;
pub mod panel;
pub mod peak;

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_words;
mod portable;
#[cfg(test)]
mod tests;

pub use self::activations::PackedActivations;
pub use self::matmul::{TileBuffer, matmul};
pub use self::panel::{PANEL_ROWS, PackedMatrix};

/// An instruction set for which there are kernels, faster ones after slower ones. A value exists only on machines that have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Isa(IsaKind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum IsaKind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// AVX-512 VNNI, and the tile unit for many tokens.
    #[cfg(target_arch = "x86_64")]
    Amx,
}

impl Isa {
    /// Plain Rust, on every machine.
    pub const PORTABLE: Isa = Isa(IsaKind::Portable);

    /// The fastest one of this machine.
    pub fn best() -> Isa {
        *Isa::available().last().expect("portable code is always there")
    }

    /// All that this machine has, the fastest last.
    pub fn available() -> Vec<Isa> {
        let mut found = vec![Isa::PORTABLE];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c") {
                found.push(Isa(IsaKind::Avx2));
            }
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vnni")
            {
                found.push(Isa(IsaKind::Avx512Vnni));
                if amx::is_available() {
                    found.push(Isa(IsaKind::Amx));
                }
            }
        }
        found
    }

    /// The one of that name, if this machine has it.
    pub fn named(name: &str) -> Option<Isa> {
        Isa::available().into_iter().find(|isa| isa.name() == name)
    }

    /// For users, logs and benches.
    pub fn name(self) -> &'static str {
        match self.0 {
            IsaKind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            IsaKind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            IsaKind::Avx512Vnni => "avx512",
            #[cfg(target_arch = "x86_64")]
            IsaKind::Amx => "amx",
        }
    }
}
