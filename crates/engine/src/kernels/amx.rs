//! Products on the tile unit (AMX): 16 rows of weights times 16 rows of activations, 64 columns an instruction.
//! Never rounds: integers are cut into bytes, multiplied byte by byte, and put together again.
//!
//! The tile unit has no step for the scale of a sub-block, so weights are expanded to what they are, the
//! integers `scale * code + min`, of at most 31 bits. Less the zeros at the end of a row, they have some 17 to
//! 22 bits in practice, so three bytes: `w = w0 + 2^8 w1 + 2^16 w2`, the last one signed. With activations
//! `x = x0 + 2^8 x1`, x1 signed, a product is
//!
//! `w x = w0 x0 + 2^8 (w0 x1 + w1 x0) + 2^16 (w1 x1 + w2 x0) + 2^24 w2 x1`,
//!
//! four sums of at most two byte products a column. See Intel's Software Developer's Manual, volume 1,
//! chapter "Programming with Intel Advanced Matrix Extensions", for the tiles.

use std::arch::asm;
use std::arch::x86_64::*;

use super::avx512::{first_high, load, low_groups, next_high, number, store, words_of};
use super::huge_buffer::Line;
use super::panel::{
    Centre, FormatId, LAYOUTS, MAX_LIMBS, PANEL_ROWS, PanelLimbs, PanelView, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1,
    Q5_K, Q6_K, Q8_0, ROWS,
};

/// Rows of activations in a tile.
pub(super) const TILE_ROWS: usize = 16;

/// Columns that one step multiplies: a line of bytes.
pub(super) const STEP_COLS: usize = 64;

/// Lines of a tile of weights: four columns of 16 rows in each.
const TILE_LINES: usize = STEP_COLS / 4;

/// Steps after which the 32-bit sums of a tile have to be taken out: two unsigned byte products a column.
pub(super) const MAX_STEPS: usize = 256;
const _: () = assert!(MAX_STEPS * STEP_COLS * 2 * 255 * 255 <= i32::MAX as usize);

/// Sums of products that count alike, for weights of [`MAX_LIMBS`] bytes.
const MAX_SUMS: usize = MAX_LIMBS + 1;

/// (power of 2^8, row of activations, row of weights)
pub(super) type TileSums = [[[i32; PANEL_ROWS]; TILE_ROWS]; MAX_SUMS];

/// All zero.
pub(super) const ZERO_SUMS: TileSums = [[[0; PANEL_ROWS]; TILE_ROWS]; MAX_SUMS];

/// Whether the machine has the instructions and the system lets this process use them. Asks the system the
/// first time.
pub(super) fn is_available() -> bool {
    use std::sync::OnceLock;
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        // Leaf 7: bit 24 of EDX is AMX-TILE, bit 25 AMX-INT8 (Software Developer's Manual, CPUID).
        const AMX: u32 = 1 << 24 | 1 << 25;
        __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & AMX == AMX && is_permitted()
    })
}

/// Linux saves eight more kilobytes for each thread that uses tiles, and wants to be asked first.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: passes numbers only; an old or unwilling kernel returns an error.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// Lines of a panel of so many columns, expanded to so many bytes a weight.
pub(super) fn expanded_lines(cols: usize, limbs: usize) -> usize {
    cols.div_ceil(STEP_COLS) * limbs * TILE_LINES
}

/// Writes a panel's weights, shifted right by the zeros they end in, as bytes: (step, byte, four columns), of
/// 16 rows each. Columns past the end keep what was there; activations are zero there.
///
/// # Panics
/// If `out` is shorter than [`expanded_lines`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn expand(format: FormatId, panel: PanelView<'_>, limbs: &PanelLimbs, out: &mut [Line]) {
    match format {
        Q4_0 => expand_format::<Q4_0>(panel, limbs, out),
        Q4_1 => expand_format::<Q4_1>(panel, limbs, out),
        Q5_0 => expand_format::<Q5_0>(panel, limbs, out),
        Q5_1 => expand_format::<Q5_1>(panel, limbs, out),
        Q8_0 => expand_format::<Q8_0>(panel, limbs, out),
        Q4_K => expand_format::<Q4_K>(panel, limbs, out),
        Q5_K => expand_format::<Q5_K>(panel, limbs, out),
        Q6_K => expand_format::<Q6_K>(panel, limbs, out),
        ROWS => expand_rows(panel, out),
        _ => unreachable!("format {format} is not a packed one"),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn expand_format<const FORMAT: FormatId>(panel: PanelView<'_>, limbs: &PanelLimbs, out: &mut [Line]) {
    match limbs.count {
        2 => expand_limbs::<FORMAT, 2>(panel, limbs, out),
        3 => expand_limbs::<FORMAT, 3>(panel, limbs, out),
        4 => expand_limbs::<FORMAT, 4>(panel, limbs, out),
        count => unreachable!("{count} bytes a weight"),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn expand_limbs<const FORMAT: FormatId, const LIMBS: usize>(
    panel: PanelView<'_>,
    limbs: &PanelLimbs,
    out: &mut [Line],
) {
    let layout = const { LAYOUTS[FORMAT] };
    let groups = const { LAYOUTS[FORMAT].steps() / 4 };
    let shifts = shift_lanes(limbs);
    for index in 0..panel.sub_blocks {
        panel.prefetch(&layout, index);
        let scale = _mm512_srav_epi32(number(panel.scales, layout.scales, panel.grid, index), shifts);
        let min = match layout.centre {
            Centre::FromSum(bits) => _mm512_mullo_epi32(scale, _mm512_set1_epi32(-(1 << bits))),
            Centre::FromCode(_) => _mm512_setzero_si512(),
            Centre::None => _mm512_srav_epi32(number(panel.mins, layout.mins, panel.grid, index), shifts),
        };
        let weights = SubBlockWeights::new(scale, min);
        let mut high = first_high::<FORMAT>(panel.high, index);
        for group in 0..groups {
            let [low] = low_groups::<FORMAT, 1>(&[panel], index * groups + group);
            let quad = (index * groups + group) * 2;
            put::<LIMBS>(
                out,
                quad,
                weights.of(words_of::<FORMAT, 0>(low, high), words_of::<FORMAT, 1>(low, high)),
            );
            put::<LIMBS>(
                out,
                quad + 1,
                weights.of(words_of::<FORMAT, 2>(low, high), words_of::<FORMAT, 3>(low, high)),
            );
            high = next_high::<FORMAT>(high);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn expand_rows(panel: PanelView<'_>, out: &mut [Line]) {
    for (quad, lines) in panel.low.as_chunks::<2>().0.iter().enumerate() {
        let zero = _mm512_setzero_si512();
        put::<2>(out, quad, Quad { low: [load(&lines[0]), load(&lines[1])], high: [zero, zero] });
    }
}

/// The zeros that rows end in, in 32-bit lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn shift_lanes(limbs: &PanelLimbs) -> __m512i {
    // SAFETY: 16 bytes are there; the load needs no alignment.
    _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(limbs.shifts.as_ptr().cast()) })
}

/// Weights of 16 rows and four columns, as low and high halves in words: of the first two columns and of the
/// last two.
struct Quad {
    low: [__m512i; 2],
    high: [__m512i; 2],
}

/// What turns the codes of one sub-block into weights.
struct SubBlockWeights {
    scale: __m512i,
    min: __m512i,
    /// The scale as a factor of the first of two words, and of the second, if all fit words.
    factors: Option<[__m512i; 2]>,
}

impl SubBlockWeights {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn new(scale: __m512i, min: __m512i) -> SubBlockWeights {
        let second = _mm512_slli_epi32::<16>(scale);
        let fits = _mm512_cmpeq_epi32_mask(_mm512_srai_epi32::<16>(second), scale) == u16::MAX;
        let first = _mm512_maskz_mov_epi16(FIRST_WORDS, scale);
        SubBlockWeights { scale, min, factors: fits.then_some([first, second]) }
    }

    /// `scale * code + min` for the codes of two times two columns.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn of(&self, first: __m512i, second: __m512i) -> Quad {
        let (a, b) = self.pair(first);
        let (c, d) = self.pair(second);
        let merge_low = |even, odd| _mm512_mask_mov_epi16(even, SECOND_WORDS, _mm512_slli_epi32::<16>(odd));
        let merge_high = |even, odd| _mm512_mask_mov_epi16(_mm512_srli_epi32::<16>(even), SECOND_WORDS, odd);
        Quad { low: [merge_low(a, b), merge_low(c, d)], high: [merge_high(a, b), merge_high(c, d)] }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn pair(&self, codes: __m512i) -> (__m512i, __m512i) {
        if let Some([first, second]) = self.factors {
            return (
                _mm512_add_epi32(self.min, _mm512_madd_epi16(codes, first)),
                _mm512_add_epi32(self.min, _mm512_madd_epi16(codes, second)),
            );
        }
        let even = _mm512_srai_epi32::<16>(_mm512_slli_epi32::<16>(codes));
        let odd = _mm512_srai_epi32::<16>(codes);
        (
            _mm512_add_epi32(self.min, _mm512_mullo_epi32(self.scale, even)),
            _mm512_add_epi32(self.min, _mm512_mullo_epi32(self.scale, odd)),
        )
    }
}

/// The first and the second of the two words of each lane.
const FIRST_WORDS: __mmask32 = 0x5555_5555;
const SECOND_WORDS: __mmask32 = 0xaaaa_aaaa;

/// Writes four columns' weights, byte by byte.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn put<const LIMBS: usize>(out: &mut [Line], quad: usize, weights: Quad) {
    let (step, line) = (quad / TILE_LINES, quad % TILE_LINES);
    let out = &mut out[step * LIMBS * TILE_LINES + line..][..(LIMBS - 1) * TILE_LINES + 1];
    let [first, second] = bytes_of(weights.low);
    store(&mut out[0], first);
    store(&mut out[TILE_LINES], second);
    if LIMBS > 2 {
        let [third, fourth] = bytes_of(weights.high);
        store(&mut out[2 * TILE_LINES], third);
        if LIMBS > 3 {
            store(&mut out[3 * TILE_LINES], fourth);
        }
    }
}

/// The low bytes of four columns' words, and the high bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn bytes_of(words: [__m512i; 2]) -> [__m512i; 2] {
    // Bytes 0, 2, 1, 3 of each lane.
    let order = _mm512_set4_epi32(0x0f0d_0e0c, 0x0b09_0a08, 0x0705_0604, 0x0301_0200);
    let [first, second] = words.map(|words| _mm512_shuffle_epi8(words, order));
    [
        _mm512_mask_mov_epi16(first, SECOND_WORDS, _mm512_slli_epi32::<16>(second)),
        _mm512_mask_mov_epi16(_mm512_srli_epi32::<16>(first), SECOND_WORDS, second),
    ]
}

/// 16 rows of activations as two planes of bytes: for each step a line of low bytes and one of high bytes.
#[derive(Clone, Copy)]
pub(super) struct PlanesView<'a> {
    /// From the first of the 16 rows on.
    pub(super) lines: &'a [Line],
    /// Lines from one row to the next.
    pub(super) stride: usize,
}

/// Sets up this thread's tiles while it exists.
pub(super) struct Tiles(());

impl Tiles {
    /// All eight tiles have 16 rows of 64 bytes.
    ///
    /// # Safety
    /// [`is_available`] has returned true.
    pub(super) unsafe fn new() -> Tiles {
        #[repr(C, align(64))]
        struct Config {
            palette: u8,
            start_row: u8,
            reserved: [u8; 14],
            row_bytes: [u16; 16],
            rows: [u8; 16],
        }
        let mut config =
            Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        config.row_bytes[..8].fill(64);
        config.rows[..8].fill(TILE_ROWS as u8);
        // SAFETY: reads the 64 bytes of a valid configuration; nothing but this module uses tiles.
        unsafe {
            asm!(
                "ldtilecfg [{config}]",
                config = in(reg) &raw const config,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(readonly, nostack, preserves_flags),
            );
        }
        Tiles(())
    }

    /// Sums of the byte products of some steps. The first `limbs + 1` of `sums` are written.
    ///
    /// # Panics
    /// If there are not as many steps in `x` as in `weights`, more than [`MAX_STEPS`], or not 16 rows.
    pub(super) fn multiply(&self, limbs: usize, weights: &[Line], x: PlanesView<'_>, sums: &mut TileSums) {
        let steps = weights.len() / (limbs * TILE_LINES);
        assert!(steps <= MAX_STEPS, "{steps} steps");
        assert!(x.lines.len() >= (TILE_ROWS - 1) * x.stride + 2 * steps, "16 rows of {steps} steps");
        // SAFETY: the lines are there, as just checked, and a `Tiles` exists only where the instructions do,
        // with the tiles set up.
        unsafe {
            match limbs {
                2 => multiply_limbs::<2>(steps, weights, x, sums),
                3 => multiply_limbs::<3>(steps, weights, x, sums),
                4 => multiply_limbs::<4>(steps, weights, x, sums),
                _ => unreachable!("{limbs} bytes a weight"),
            }
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: gives the tiles back, which only this module uses.
        unsafe {
            asm!(
                "tilerelease",
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nomem, nostack, preserves_flags),
            );
        }
    }
}

/// # Safety
/// The tiles are set up, and the lines of `steps` steps are there: `steps * LIMBS * 16` of weights, and two per
/// step in each of 16 rows of activations. At most [`MAX_STEPS`].
#[inline(never)]
unsafe fn multiply_limbs<const LIMBS: usize>(
    steps: usize,
    weights: &[Line],
    x: PlanesView<'_>,
    sums: &mut TileSums,
) {
    // Tiles 0 to 4 are the sums, 5 and 6 low and high bytes of the activations, 7 bytes of the weights.
    // SAFETY: reads what the caller vouches for, writes the first LIMBS + 1 sums of 1024 bytes.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "tilezero tmm4",
            "test {steps}, {steps}",
            "jz 3f",
            "2:",
            "tileloadd tmm5, [{x} + {x_stride}]",
            "tileloadd tmm6, [{x} + {x_stride} + 64]",
            "tileloadd tmm7, [{w} + {w_stride}]",
            "tdpbuud tmm0, tmm5, tmm7",
            "tdpbsud tmm1, tmm6, tmm7",
            "tileloadd tmm7, [{w} + {w_stride} + 1024]",
            ".if {limbs} == 2",
            "tdpbusd tmm1, tmm5, tmm7",
            "tdpbssd tmm2, tmm6, tmm7",
            ".else",
            "tdpbuud tmm1, tmm5, tmm7",
            "tdpbsud tmm2, tmm6, tmm7",
            "tileloadd tmm7, [{w} + {w_stride} + 2048]",
            ".if {limbs} == 3",
            "tdpbusd tmm2, tmm5, tmm7",
            "tdpbssd tmm3, tmm6, tmm7",
            ".else",
            "tdpbuud tmm2, tmm5, tmm7",
            "tdpbsud tmm3, tmm6, tmm7",
            "tileloadd tmm7, [{w} + {w_stride} + 3072]",
            "tdpbusd tmm3, tmm5, tmm7",
            "tdpbssd tmm4, tmm6, tmm7",
            ".endif",
            ".endif",
            "add {x}, 128",
            "add {w}, 1024 * {limbs}",
            "dec {steps}",
            "jnz 2b",
            "3:",
            "tilestored [{sums} + {w_stride}], tmm0",
            "tilestored [{sums} + {w_stride} + 1024], tmm1",
            "tilestored [{sums} + {w_stride} + 2048], tmm2",
            ".if {limbs} > 2",
            "tilestored [{sums} + {w_stride} + 3072], tmm3",
            ".endif",
            ".if {limbs} > 3",
            "tilestored [{sums} + {w_stride} + 4096], tmm4",
            ".endif",
            limbs = const LIMBS,
            steps = inout(reg) steps => _,
            w = inout(reg) weights.as_ptr() => _,
            w_stride = in(reg) size_of::<Line>(),
            x = inout(reg) x.lines.as_ptr() => _,
            x_stride = in(reg) x.stride * size_of::<Line>(),
            sums = in(reg) sums.as_mut_ptr(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// Row n of the activations times the weights: the sums put together, shifted left by the zeros that were
/// taken off and by `shift`. Modulo 2^64.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn join(
    sums: &TileSums,
    n: usize,
    limbs: &PanelLimbs,
    shift: u32,
    out: &mut [i64; PANEL_ROWS],
    add: bool,
) {
    // SAFETY: 16 bytes are there; the load needs no alignment.
    let shifts = unsafe { _mm_loadu_si128(limbs.shifts.as_ptr().cast()) };
    let shifts = [shifts, _mm_srli_si128::<8>(shifts)];
    for half in 0..2 {
        let lanes = |sum: usize| {
            let lanes = &sums[sum][n][8 * half..][..8];
            // SAFETY: eight numbers of 32 bits are there; the load needs no alignment.
            _mm512_cvtepi32_epi64(unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) })
        };
        let mut value = _mm512_add_epi64(lanes(0), _mm512_slli_epi64::<8>(lanes(1)));
        value = _mm512_add_epi64(value, _mm512_slli_epi64::<16>(lanes(2)));
        if limbs.count > 2 {
            value = _mm512_add_epi64(value, _mm512_slli_epi64::<24>(lanes(3)));
        }
        if limbs.count > 3 {
            value = _mm512_add_epi64(value, _mm512_slli_epi64::<32>(lanes(4)));
        }
        value = _mm512_sllv_epi64(
            value,
            _mm512_add_epi64(_mm512_cvtepu8_epi64(shifts[half]), _mm512_set1_epi64(i64::from(shift))),
        );
        let out = out[8 * half..][..8].as_mut_ptr().cast();
        // SAFETY: eight numbers of 64 bits are there; loads and stores need no alignment.
        unsafe {
            if add {
                value = _mm512_add_epi64(value, _mm512_loadu_si512(out));
            }
            _mm512_storeu_si512(out.cast(), value);
        }
    }
}
