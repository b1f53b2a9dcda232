//! Times as logs write them, as nanoseconds since 1970 of the log's own clock. Never a time zone is guessed: two logs are
//! compared only if they come from one clock.

use super::SECOND_NS;

/// `07-17-2024 09:44:23.305` and `2023/07/30 17:28:02.589`, also with `T` or `-` in the second form.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let (date, time) = text.split_once([' ', 'T'])?;
    let mut parts = date.split(['-', '/']);
    let (first, second, third) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (year, month, day) = if first.len() == 4 { (first, second, third) } else { (third, first, second) };
    let (year, month, day) = (number(year, 9_999)?, number(month, 12)?, number(day, 31)?);
    if year < 1970 || month == 0 || day == 0 {
        return None;
    }
    let mut clock = time.trim_end_matches('Z').split(':');
    let (hour, minute, second) = (clock.next()?, clock.next()?, clock.next()?);
    if clock.next().is_some() {
        return None;
    }
    let (whole, fraction) = second.split_once('.').unwrap_or((second, "0"));
    let (hour, minute, whole) = (number(hour, 23)?, number(minute, 59)?, number(whole, 60)?);
    let days = days_since_1970(year, month, day)?;
    let seconds = days.checked_mul(86_400)?.checked_add(hour * 3_600 + minute * 60 + whole)?;
    seconds.checked_mul(SECOND_NS)?.checked_add(fraction_ns(fraction)?)
}

fn number(text: &str, most: u64) -> Option<u64> {
    let is_digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_digits && *number <= most)
}

fn fraction_ns(text: &str) -> Option<u64> {
    if text.is_empty() || text.len() > 9 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let missing = u32::try_from(9_usize.checked_sub(text.len())?).ok()?;
    text.parse::<u64>().ok()?.checked_mul(10_u64.checked_pow(missing)?)
}

/// Hinnant, "chrono-compatible low-level date algorithms", `days_from_civil`, for years from 1970 on.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    days.checked_sub(719_468)
}
