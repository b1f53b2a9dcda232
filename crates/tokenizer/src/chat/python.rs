//! What chat templates expect of Python beyond Jinja: methods of strings and mappings. It must never do work
//! that it has not paid fuel for.

use minijinja::value::{Kwargs, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value, filters};

/// How many bytes one unit of fuel pays for.
const BYTES_PER_FUEL: usize = 64;

/// White space as `str.strip` of Python has it: that of Unicode, and four separators.
pub(super) fn is_space(symbol: char) -> bool {
    symbol.is_whitespace() || ('\x1c'..='\x1f').contains(&symbol)
}

/// The tests `iterable` and `sequence`: all that has items, undefined too, but not none.
pub(super) fn is_iterable(value: &Value) -> bool {
    let kind = value.kind();
    let has_items = matches!(kind, ValueKind::Seq | ValueKind::Map | ValueKind::Iterable);
    has_items || matches!(kind, ValueKind::String | ValueKind::Undefined)
}

/// The filter `trim`.
pub(super) fn trim(text: &str, symbols: Option<&str>) -> String {
    text.trim_matches(stripper(symbols)).to_owned()
}

fn stripper(symbols: Option<&str>) -> impl Fn(char) -> bool + Copy {
    move |symbol| symbols.map_or_else(|| is_space(symbol), |symbols| symbols.contains(symbol))
}

/// Calls a method that the interpreter does not have.
pub(super) fn method(
    state: &mut State,
    value: &Value,
    name: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    match (value.as_str(), value.kind()) {
        (Some(text), _) => string_method(state, value, text, name, arguments),
        (None, ValueKind::Map) => mapping_method(state, value, name, arguments),
        (None, _) => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn mapping_method(state: &mut State, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    match name {
        "get" => {
            let (key, default): (&Value, Option<Value>) = from_args(arguments)?;
            let found = value.get_item(key)?;
            Ok(if found.is_undefined() { default.unwrap_or_else(|| Value::from(())) } else { found })
        }
        "items" => {
            let () = from_args(arguments)?;
            state.apply_filter("items", std::slice::from_ref(value))
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn string_method(
    state: &State,
    value: &Value,
    text: &str,
    name: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    charge(state, text.len())?;
    let symbols = || from_args::<(Option<&str>,)>(arguments).map(|(symbols,)| stripper(symbols));
    Ok(match name {
        "strip" => Value::from(text.trim_matches(symbols()?)),
        "lstrip" => Value::from(text.trim_start_matches(symbols()?)),
        "rstrip" => Value::from(text.trim_end_matches(symbols()?)),
        "startswith" => Value::from(any_affix(arguments, |affix| text.starts_with(affix))?),
        "endswith" => Value::from(any_affix(arguments, |affix| text.ends_with(affix))?),
        "upper" => from_args::<()>(arguments).map(|()| Value::from(text.to_uppercase()))?,
        "lower" => from_args::<()>(arguments).map(|()| Value::from(text.to_lowercase()))?,
        "title" => from_args::<()>(arguments).map(|()| Value::from(title(text)))?,
        "split" => split(state, value, arguments)?,
        "replace" => replace(state, text, arguments)?,
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

fn charge(state: &State, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(u64::try_from(bytes.div_ceil(BYTES_PER_FUEL)).unwrap_or(u64::MAX))
}

/// One affix or a tuple of them.
fn any_affix(arguments: &[Value], has: impl Fn(&str) -> bool) -> Result<bool, Error> {
    let (affixes,): (&Value,) = from_args(arguments)?;
    let text = |affix: &Value| {
        let wrong =
            || Error::new(ErrorKind::InvalidOperation, "an affix must be a string or a tuple of strings");
        affix.as_str().map(str::to_owned).ok_or_else(wrong)
    };
    if affixes.as_str().is_some() {
        return Ok(has(&text(affixes)?));
    }
    for affix in affixes.try_iter()? {
        if has(&text(&affix)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// As `str.title` of Python: a letter after a letter is lower case, any other one upper case.
fn title(text: &str) -> String {
    let mut titled = String::with_capacity(text.len());
    let mut in_word = false;
    for symbol in text.chars() {
        if in_word {
            titled.extend(symbol.to_lowercase());
        } else {
            titled.extend(symbol.to_uppercase());
        }
        in_word = symbol.is_alphabetic();
    }
    titled
}

fn split(state: &State, value: &Value, arguments: &[Value]) -> Result<Value, Error> {
    let (separator, most): (Option<&str>, Option<i64>) = from_args(arguments)?;
    if separator == Some("") {
        return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
    }
    // Each part is a value of its own.
    let text = value.as_str().unwrap_or_default();
    charge(state, text.len().saturating_mul(size_of::<Value>()))?;
    filters::split(value, separator.map(Into::into), most)
}

fn replace(state: &State, text: &str, arguments: &[Value]) -> Result<Value, Error> {
    let (old, new, most): (&str, &str, Option<i64>) = from_args(arguments)?;
    let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    charge(state, text.matches(old).take(most).count().saturating_mul(new.len()))?;
    Ok(Value::from(text.replacen(old, new, most)))
}

/// The filter `tojson` as Transformers has it: without the escapes for HTML that the interpreter puts in.
/// The order of keys is not kept here, so a mapping of several is refused rather than written differently.
pub(super) fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let wrong = |what: &'static str| Error::new(ErrorKind::InvalidOperation, what);
    let ascii: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    if ascii == Some(true) {
        return Err(wrong("tojson with ensure_ascii is not supported"));
    }
    if !order_is_known(value)? {
        return Err(wrong("tojson of a mapping with several keys is not supported: their order is not kept"));
    }
    let escaped = filters::tojson(value, None, Kwargs::from_iter([] as [(&str, Value); 0]))?;
    Ok(Value::from(without_html_escapes(escaped.as_str().unwrap_or_default())))
}

/// Whether no mapping within has several keys. The recursion is as deep as measured values are.
fn order_is_known(value: &Value) -> Result<bool, Error> {
    let is_map = value.kind() == ValueKind::Map;
    if is_map && value.len().is_none_or(|keys| keys > 1) {
        return Ok(false);
    }
    if !is_map && !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Ok(true);
    }
    value.try_iter()?.try_fold(true, |known, item| {
        let item = if is_map { value.get_item(&item)? } else { item };
        Ok(known && order_is_known(&item)?)
    })
}

fn without_html_escapes(json: &str) -> String {
    const ESCAPES: [(&str, &str); 4] =
        [("\\u003c", "<"), ("\\u003e", ">"), ("\\u0026", "&"), ("\\u0027", "'")];
    let mut text = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        text.push_str(before);
        let known = ESCAPES.into_iter().find(|(code, _)| escape.starts_with(code));
        // Any other escape is kept; two bytes of it, so that the second of two backslashes starts none.
        let (written, length) = known.map_or((&escape[..2], 2), |(code, plain)| (plain, code.len()));
        text.push_str(written);
        rest = &escape[length..];
    }
    text + rest
}
