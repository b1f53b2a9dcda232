//! A plain look at Rust text: what is code, and where functions are. Not a parser: it must not be asked for more than
//! tokens and braces.

#[cfg(test)]
mod tests;

/// The text with comments, strings and character literals turned into spaces; newlines stay.
pub(crate) fn code_view(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut view = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            view.push(chars[at]);
            at += 1;
        } else {
            view.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    view
}

/// Where the comment or literal that starts at `at` ends; `at` itself if none starts there.
fn literal_end(chars: &[char], at: usize) -> usize {
    let follows = |text: &str| text.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    if follows("//") {
        return find(chars, at, |c| c == '\n');
    }
    if follows("/*") {
        return block_comment_end(chars, at);
    }
    match chars[at] {
        '"' => string_end(chars, at),
        '\'' => character_end(chars, at),
        'r' if starts_literal(chars, at) => raw_string_end(chars, at),
        _ => at,
    }
}

/// Whether the `r` at `at` can begin a raw string, so is not the tail of a name; `b` or `c` may stand before it.
fn starts_literal(chars: &[char], at: usize) -> bool {
    let name = |at: usize| chars.get(at).is_some_and(|c| is_name(*c));
    match at.checked_sub(1) {
        Some(before) if matches!(chars[before], 'b' | 'c') => before == 0 || !name(before - 1),
        Some(before) => !name(before),
        None => true,
    }
}

fn find(chars: &[char], from: usize, wanted: impl Fn(char) -> bool) -> usize {
    let rest = chars.get(from..).unwrap_or_default();
    rest.iter().position(|c| wanted(*c)).map_or(chars.len(), |offset| from + offset)
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

fn raw_string_end(chars: &[char], start: usize) -> usize {
    let quote = find(chars, start + 1, |c| c != '#');
    if chars.get(quote) != Some(&'"') {
        return start; // a raw name such as r#type, or just a name
    }
    let hashes = quote - start - 1;
    let mut at = quote + 1;
    while at < chars.len() {
        at = find(chars, at, |c| c == '"') + 1;
        if at + hashes <= chars.len() && chars[at..at + hashes].iter().all(|c| *c == '#') {
            return at + hashes;
        }
    }
    chars.len()
}

/// The end of a character literal, or `start` for a lifetime.
fn character_end(chars: &[char], start: usize) -> usize {
    match chars.get(start + 1) {
        Some('\\') => (find(chars, start + 3, |c| c == '\'') + 1).min(chars.len()),
        Some(_) if chars.get(start + 2) == Some(&'\'') => start + 3,
        _ => start,
    }
}

/// A function in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Byte offset of the word `fn` in the code view.
    pub(crate) start: usize,
    /// Line of the word `fn`, counted from 1.
    pub(crate) line: usize,
    /// Lines from there to the closing brace.
    pub(crate) lines: usize,
}

/// All functions with a body in a code view.
pub(crate) fn functions(code: &str) -> Vec<Function> {
    word_offsets(code, "fn").filter_map(|start| function_at(code, start)).collect()
}

fn function_at(code: &str, start: usize) -> Option<Function> {
    let after = code[start + 2..].trim_start();
    let name: String = after.chars().take_while(|c| is_name(*c)).collect();
    if name.is_empty() {
        return None; // a function pointer type
    }
    let length = body_end(&code[start..])?;
    let line = code[..start].matches('\n').count() + 1;
    let lines = code[start..start + length].matches('\n').count() + 1;
    Some(Function { name, start, line, lines })
}

/// Length of the function that `code` begins with, its closing brace included; `None` if it has no body.
fn body_end(code: &str) -> Option<usize> {
    let mut brackets = 0usize;
    let mut braces = 0usize;
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' if braces == 0 => brackets += 1,
            ')' | ']' if braces == 0 => brackets = brackets.saturating_sub(1),
            ';' if braces == 0 && brackets == 0 => return None,
            '{' if brackets == 0 => braces += 1,
            '}' if brackets == 0 => {
                braces = braces.saturating_sub(1);
                if braces == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Byte offsets at which `word` stands. Where it begins or ends like a name, no longer name may hold it.
pub(crate) fn word_offsets<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let first_is_name = word.chars().next().is_some_and(is_name);
    let last_is_name = word.chars().next_back().is_some_and(is_name);
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = text[..*at].chars().next_back().is_some_and(is_name);
        let after = text[*at + word.len()..].chars().next().is_some_and(is_name);
        let inside_a_name = (first_is_name && before) || (last_is_name && after);
        !inside_a_name
    })
}

/// Whether `word` stands in the text, see [`word_offsets`].
pub(crate) fn has_word(text: &str, word: &str) -> bool {
    word_offsets(text, word).next().is_some()
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
