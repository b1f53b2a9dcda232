//! Decimal numbers on the command line as exact integers. Never a float: 0.8 is 800 thousandths and nothing else.

#[cfg(test)]
mod tests;

/// Digits before the point at most; more is beyond every limit anyway.
const WHOLE_DIGITS_MAX: usize = 6;

/// Thousandths: `0.8` is 800.
pub(crate) fn milli(text: &str) -> Result<u32, String> {
    fixed(text, 3)
}

/// Parts per million: `0.95` is 950000.
pub(crate) fn ppm(text: &str) -> Result<u32, String> {
    fixed(text, 6)
}

/// Parts per billion: `0.999999` is 999999000.
pub(crate) fn ppb(text: &str) -> Result<u32, String> {
    fixed(text, 9)
}

/// Millionths of an amount: `12.5` is 12500000.
pub(crate) fn micro(text: &str) -> Result<u64, String> {
    fixed_u64(text, 6)
}

/// A decimal number with at most `places` digits behind the point, times 10^places.
fn fixed(text: &str, places: usize) -> Result<u32, String> {
    u32::try_from(fixed_u64(text, places)?).map_err(|_| "far too large".to_owned())
}

fn fixed_u64(text: &str, places: usize) -> Result<u64, String> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let is_number = !(whole.is_empty() && fraction.is_empty()) && all_digits(whole) && all_digits(fraction);
    if !is_number {
        return Err("not a decimal number; write it like 0.8, without sign or exponent".to_owned());
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > places {
        return Err(format!("more than {places} digits behind the point; it would have to be rounded"));
    }
    let whole = whole.trim_start_matches('0');
    if whole.len() > WHOLE_DIGITS_MAX {
        return Err("far too large".to_owned());
    }
    let digits = format!("{whole}{fraction:0<places$}");
    digits.parse().map_err(|_| "far too large".to_owned())
}
