//! Renders a chat template, as `apply_chat_template` of Transformers does. It must never read the time, and
//! never work longer than the messages justify.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, Tuple, ValueKind};
use minijinja::{AutoEscape, Environment, ErrorKind, State, Value, filters};

use super::guard::{MEASURE, guard, syntax_error};
use super::python;
use super::{MAX_MESSAGE_CHARS, MAX_RENDERED_BYTES};
use crate::Error;

/// What a template may do with no messages; one unit is an instruction or 64 bytes.
const FUEL_BASE: u64 = 200_000;
/// What it may do more for each message.
const FUEL_PER_MESSAGE: u64 = 2_000;
/// One unit more for so many bytes of messages: sixteen copies of each byte.
const BYTES_PER_FUEL: u64 = 4;
/// Levels of lists and maps that a template may build.
const MAX_DEPTH: usize = 16;
/// Values in a list or map that a template may build, and all within, with no messages.
const MAX_NODES: usize = 1 << 12;
/// How many more for each message.
const NODES_PER_MESSAGE: usize = 8;
/// One unit of fuel pays for so many values that are copied.
const NODES_PER_FUEL: usize = 16;

/// What the interpreter does not need to give: they build lists of lists, or show what is inside.
const REMOVED_FILTERS: [&str; 8] =
    ["batch", "chain", "groupby", "pprint", "reverse", "slice", "urlencode", "zip"];
const REMOVED_FUNCTIONS: [&str; 2] = ["debug", "dict"];

/// A template that was checked.
#[derive(Debug)]
pub(crate) struct ChatTemplate {
    guarded: String,
}

/// What a template is rendered with.
pub(super) struct Context<'a> {
    /// (role, content) of each message.
    pub(super) messages: Vec<(&'a str, &'a str)>,
    pub(super) add_generation_prompt: bool,
    /// (`bos_token`, its text), ..
    pub(super) tokens: Vec<(&'static str, &'a str)>,
}

/// Why a template was stopped by what it called.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("refused: {0}")]
    Refused(String),
    #[error("a list or map that is too large or too deep")]
    Nesting { max_nodes: usize },
}

impl ChatTemplate {
    /// Checks a template from a file.
    pub(crate) fn new(source: &str) -> Result<Self, Error> {
        let template = Self { guarded: guard(source, &syntax())? };
        environment(0).template_from_str(&template.guarded).map_err(|error| syntax_error(&error))?;
        Ok(template)
    }

    /// Renders the messages.
    pub(super) fn render(&self, context: &Context<'_>) -> Result<String, Error> {
        let count = context.messages.len();
        let bytes: u64 = context.messages.iter().map(|(_, content)| content.len() as u64).sum();
        let mut environment = environment(MAX_NODES + count * NODES_PER_MESSAGE);
        environment.set_fuel(Some(FUEL_BASE + count as u64 * FUEL_PER_MESSAGE + bytes / BYTES_PER_FUEL));
        let messages = context.messages.iter().map(|(role, content)| {
            Value::from_pairs([("role", Value::from(*role)), ("content", Value::from(*content))])
        });
        let fixed = [
            ("messages", messages.collect::<Value>()),
            ("add_generation_prompt", Value::from(context.add_generation_prompt)),
            ("tools", Value::from(())),
            ("documents", Value::from(())),
        ];
        let tokens = context.tokens.iter().map(|(name, text)| (*name, Value::from(*text)));
        let template = environment.template_from_str(&self.guarded).map_err(|error| syntax_error(&error))?;
        let rendered = template.render(Value::from_pairs(fixed.into_iter().chain(tokens)));
        let rendered = rendered.map_err(|error| failure(&error, self.guarded.contains("strftime_now(")))?;
        if rendered.len() > MAX_RENDERED_BYTES {
            return Err(Error::TextSize { bytes: rendered.len(), max: MAX_RENDERED_BYTES });
        }
        Ok(rendered)
    }
}

/// The settings of Transformers.
fn syntax() -> SyntaxConfig {
    let mut builder = SyntaxConfig::builder();
    builder.trim_blocks(true).lstrip_blocks(true).build().expect("the delimiters are those of Jinja")
}

fn environment(max_nodes: usize) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_syntax(syntax());
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_debug(false);
    environment.set_unknown_method_callback(python::method);
    for filter in REMOVED_FILTERS {
        environment.remove_filter(filter);
    }
    for function in REMOVED_FUNCTIONS {
        environment.remove_global(function);
    }
    environment.add_filter("trim", |text: &str, symbols: Option<&str>| python::trim(text, symbols));
    environment.add_filter("tojson", |value: &Value, options: Kwargs| python::to_json(value, options));
    environment.add_filter("default", move |state: &State, value: &Value, arguments: Rest<Value>| {
        let default = arguments.first().map(|default| measure(state, default, max_nodes)).transpose()?;
        filters::default(
            state,
            value,
            Rest(default.into_iter().chain(arguments.iter().skip(1).cloned()).collect()),
        )
    });
    environment.add_test("iterable", |value: &Value| python::is_iterable(value));
    environment.add_test("sequence", |value: &Value| python::is_iterable(value));
    environment.add_function(MEASURE, move |state: &State, value: &Value| measure(state, value, max_nodes));
    environment.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
        Err(stopped(Stop::Refused(message.chars().take(MAX_MESSAGE_CHARS).collect())))
    });
    environment
}

fn stopped(stop: Stop) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, "stopped").with_source(stop)
}

/// The reason in our words. `strftime_now` is not defined, so that templates with a default for the date use it;
/// the interpreter has two ways to say so to those that do not.
fn failure(error: &minijinja::Error, uses_clock: bool) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        match current.downcast_ref() {
            Some(Stop::Refused(message)) => return Error::TemplateRefused { message: message.clone() },
            Some(Stop::Nesting { max_nodes }) => {
                return Error::TemplateNesting { max_depth: MAX_DEPTH, max_nodes: *max_nodes };
            }
            None => {}
        }
        if let Some(inner) = current.downcast_ref::<minijinja::Error>() {
            let detail = inner.detail().unwrap_or_default();
            if inner.kind() == ErrorKind::OutOfFuel {
                return Error::TemplateFuel;
            }
            if uses_clock
                && ["strftime_now is unknown", "value of type undefined is not callable"].contains(&detail)
            {
                return Error::TemplateClock;
            }
        }
        cause = current.source();
    }
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let message = detail.chars().take(MAX_MESSAGE_CHARS).collect();
    Error::TemplateFailed { line: error.line().unwrap_or(0), message }
}

/// Copies a list or map into one that holds its items itself, and counts them with all that is within.
fn measure(state: &State, value: &Value, max_nodes: usize) -> Result<Value, minijinja::Error> {
    let mut left = max_nodes;
    let copy = copy(value, MAX_DEPTH, &mut left).ok_or_else(|| stopped(Stop::Nesting { max_nodes }))?;
    state.consume_fuel(((max_nodes - left) / NODES_PER_FUEL) as u64)?;
    Ok(copy)
}

/// `None` if more than `left` values are within, or more than `depth` levels, or something that may hold itself.
fn copy(value: &Value, depth: usize, left: &mut usize) -> Option<Value> {
    *left = left.checked_sub(1)?;
    let depth = depth.checked_sub(1)?;
    let mut items = |value: &Value| -> Option<Vec<Value>> {
        value.try_iter().ok()?.map(|item| copy(&item, depth, left)).collect()
    };
    let kind = value.kind();
    if matches!(kind, ValueKind::Seq | ValueKind::Iterable) {
        let items = items(value)?;
        return Some(if value.is_tuple() { Tuple::from(items).into() } else { Value::from(items) });
    }
    if kind == ValueKind::Map && is_plain_map(value) {
        let keys = items(value)?;
        let values = keys.iter().map(|key| copy(&value.get_item(key).ok()?, depth, left));
        let values: Vec<Value> = values.collect::<Option<_>>()?;
        return Some(Value::from_pairs(keys.into_iter().zip(values)));
    }
    (!matches!(kind, ValueKind::Map | ValueKind::Plain | ValueKind::Invalid)).then(|| value.clone())
}

/// Whether a map is of the kind that literals make, and not a namespace or a loop.
fn is_plain_map(value: &Value) -> bool {
    let empty: [(&str, Value); 0] = [];
    let plain = Value::from_pairs(empty);
    let type_of = |value: &Value| value.as_object().map(|object| object.type_name());
    type_of(value) == type_of(&plain)
}
