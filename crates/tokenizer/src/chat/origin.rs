//! Tells which parts of a rendered conversation are the words of its messages. It must never call a part the
//! template's that a message could have changed.
//!
//! The conversation is rendered a second time with placeholders for the contents. If the first text is the
//! second with the contents (or what is left of them without outer white space) in place of the placeholders,
//! then what is between the placeholders is the same whatever the messages say, so it is the template's own.

use super::python::is_space;

/// First and one past the last byte.
pub(super) type Range = (usize, usize);

/// A character without a meaning of its own (Unicode, private use area). A template that writes it itself cannot
/// be followed; contents may hold it, as they are not in the text with the placeholders.
const MARKER: char = '\u{e000}';

/// The placeholder of each content; empty for empty contents, as templates ask for those.
pub(super) fn placeholders(contents: &[&str]) -> Vec<String> {
    let placeholder = |(number, content): (usize, &&str)| {
        if content.is_empty() { String::new() } else { format!("{MARKER}{number}{MARKER}") }
    };
    contents.iter().enumerate().map(placeholder).collect()
}

/// The parts of `rendered` that are the words of messages, in order. `None` if `rendered` is not `skeleton`
/// with each placeholder replaced by its content, stripped or not.
pub(super) fn user_text(rendered: &str, skeleton: &str, contents: &[&str]) -> Option<Vec<Range>> {
    // Split at the marker, a skeleton is: template, number, template, number, .., template.
    let mut parts = skeleton.split(MARKER);
    let mut rest = rendered.strip_prefix(parts.next()?)?;
    let mut user = Vec::new();
    while let Some(number) = parts.next() {
        let content: &str = contents.get(number.parse::<usize>().ok()?)?;
        let after = parts.next()?;
        let start = rendered.len() - rest.len();
        let forms = [
            content,
            content.trim_matches(is_space),
            content.trim_start_matches(is_space),
            content.trim_end_matches(is_space),
        ];
        let (form, next) =
            forms.into_iter().find_map(|form| Some((form, rest.strip_prefix(form)?.strip_prefix(after)?)))?;
        rest = next;
        user.push((start, start + form.len()));
    }
    rest.is_empty().then_some(user)
}

/// Whether any of the sorted ranges shares a byte with `start..end`.
pub(super) fn overlaps(ranges: &[Range], start: usize, end: usize) -> bool {
    first_ending_after(ranges, start).is_some_and(|range| range.0 < end)
}

/// Whether one of the sorted ranges holds all of `start..end`.
pub(super) fn covers(ranges: &[Range], start: usize, end: usize) -> bool {
    first_ending_after(ranges, start).is_some_and(|range| range.0 <= start && end <= range.1)
}

fn first_ending_after(ranges: &[Range], place: usize) -> Option<Range> {
    ranges.get(ranges.partition_point(|range| range.1 <= place)).copied()
}
