//! Hostile chat templates: each is refused, or stopped soon, with the reason. None may end the process.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use tokenizer::{Error, MAX_TAG_TOKENS, Tokenizer};

use crate::fixtures::{chat_spec, message};

fn run(template: &str) -> Result<String, Error> {
    let messages = [message("user", "hello"), message("assistant", "world")];
    Tokenizer::new(chat_spec(template))?.apply_chat_template(&messages, true)
}

#[track_caller]
fn check(template: &str, is_expected: impl Fn(&Error) -> bool) {
    let error = run(template).expect_err(template);
    assert!(is_expected(&error), "{template:.100}: {error}");
}

fn is_fuel(error: &Error) -> bool {
    *error == Error::TemplateFuel
}

fn is_nesting(error: &Error) -> bool {
    matches!(error, Error::TemplateNesting { .. })
}

fn is_feature(error: &Error) -> bool {
    matches!(error, Error::TemplateFeature { .. })
}

/// Forty lists, each of which holds the one before it twice: 2^40 values, if they can be made.
fn doubled(use_it: &str) -> String {
    let double = "{% set x = [x, x] %}".repeat(40);
    format!("{{% set x = [1] %}}{double}{{% set y = [x, 1] %}}{{% set x = [x, 2] %}}{use_it}")
}

#[test]
fn endless_work() {
    check("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", is_fuel);
    check("{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}", |error| {
        is_fuel(error) || matches!(error, Error::TemplateFailed { .. })
    });
    check("{% for a in messages recursive %}{{ loop(messages) }}{{ loop(messages) }}{% endfor %}", |error| {
        is_fuel(error) || matches!(error, Error::TemplateFailed { .. })
    });
}

#[test]
fn endless_text() {
    check("{{ 'a' * 1000000000 }}", is_fuel);
    check(
        "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        is_fuel,
    );
    check(
        "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        is_fuel,
    );
    check(
        "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x.replace('a', 'aa') %}{% endfor %}",
        is_fuel,
    );
    check("{{ ('a' * 9999).replace('a', 'b' * 99999) }}", is_fuel);
    check("{{ ('a' * 9999) | replace('a', 'b' * 99999) }}", is_fuel);
    check("{{ ('a,' * 900000).split(',') | length }}", is_fuel);
    check("{{ 'a\nb' | indent(1000000000) }}", is_fuel);
    check("{{ '%1000000000d' | format(1) }}", is_fuel);
    check("{{ [1, 2] | join('a' * 20000000) }}", is_fuel);
}

#[test]
fn values_that_hold_one_value_many_times() {
    let uses = [
        "{{ x }}",
        "{{ x == y }}",
        "{{ x < y }}",
        "{{ x ~ y }}",
        "{{ x | tojson }}",
        "{{ x in [y] }}",
        "{{ x | string }}",
        "{{ [x, y] | sort }}",
        "{{ {x: y} }}",
        "",
    ];
    for use_it in uses {
        check(&doubled(use_it), is_nesting);
    }
    for maker in [
        "[ns.x]",
        "[ns.x, ns.x]",
        "(ns.x, ns.x)",
        "{'a': ns.x, 'b': ns.x}",
        "[ns.x] * 9",
        "[ns.x] + [ns.x]",
        "['', ''] | map('default', ns.x, true) | list",
    ] {
        let template = format!(
            "{{% set ns = namespace(x=[1]) %}}{{% for i in range(60) %}}{{% set ns.x = {maker} %}}{{% endfor %}}{{{{ ns.x == [1] }}}}"
        );
        check(&template, is_nesting);
    }
    check("{% macro f(x) %}{{ f([x, x]) }}{% endmacro %}{{ f([1]) }}", is_nesting);
    check("{% for a in messages recursive %}{{ loop([[a, a], [a, a]]) }}{% endfor %}", is_nesting);
    check("{% set a = ([[([[1] * 99] * 99)] * 99] * 99) * 99 %}{{ a == a }}", is_nesting);
    check("{{ (([['a'] * 999] * 999)) ~ '' }}", is_nesting);
}

#[test]
fn values_that_hold_themselves() {
    for template in [
        "{% set ns = namespace(x=1) %}{% set ns.x = ns %}{{ ns }}",
        "{% set ns = namespace(x=1) %}{% set ns.x = [ns] %}",
        "{% set ns = namespace(x=1) %}{% set other = ns %}",
        "{% set ns = namespace(x=1) %}{{ ns }}",
        "{% set ns = namespace(x=1) %}{% macro f(a) %}{% endmacro %}{{ f(ns) }}",
        "{% set make = namespace %}",
        "{{ namespace(x=1) }}",
        "{% set a, b = namespace(), 1 %}",
        "{% with ns = namespace() %}{% endwith %}",
        "{% set x = (namespace(x=1)) if true else 1 %}",
    ] {
        check(template, |error| is_feature(error) || matches!(error, Error::TemplateSyntax { .. }));
    }
    check("{% for a in messages %}{{ [loop] }}{% endfor %}", is_nesting);
    check("{% macro f() %}{% endmacro %}{{ [f] }}", is_nesting);
}

#[test]
fn deep_trees() {
    let many = MAX_TAG_TOKENS;
    check(&format!("{{{{ 1{} }}}}", "+1".repeat(many)), is_feature);
    check(&format!("{{{{ {}1 }}}}", "not ".repeat(many)), is_feature);
    check(&format!("{{{{ {}1 }}}}", "-".repeat(many)), is_feature);
    check(&format!("{{{{ x{} }}}}", "[0:]".repeat(many)), is_feature);
    check(&format!("{{{{ x{} }}}}", "|trim".repeat(many)), is_feature);
    check(&format!("{{% for {}a{} in b %}}{{% endfor %}}", "(".repeat(many), ")".repeat(many)), is_feature);
    check(&format!("{{% if 1 %}}{}{{% endif %}}", "{% elif 2 %}".repeat(300)), is_feature);
    check(&"{{ 1 }}".repeat(5000), is_feature);
    let is_syntax = |error: &Error| matches!(error, Error::TemplateSyntax { .. });
    check(&format!("{{{{ {}1{} }}}}", "(".repeat(200), ")".repeat(200)), is_syntax);
    check(&format!("{{{{ {}1{} }}}}", "[".repeat(200), "]".repeat(200)), is_syntax);
    check(&"{% if 1 %}".repeat(1000), is_syntax);
    // Just below the limits all is well, on the small stack of a test.
    let ok = [
        format!("{{{{ 1{} }}}}", "+1".repeat(many / 2 - 8)),
        format!("{{{{ {}1 }}}}", "not ".repeat(many - 8)),
        format!("{{{{ {}1 }}}}", "-".repeat(many - 8)),
        format!("{{{{ [1]{} }}}}", "[0:]".repeat(many / 4 - 8)),
        format!("{{% if 1 %}}{}{{% endif %}}", "{% elif 2 %}".repeat(250)),
        format!("{{% set x = [1] %}}{}{{{{ x }}}}", "{% set x = x[0:] + [] %}".repeat(2000)),
    ];
    for template in ok {
        assert!(run(&template).is_ok(), "{template:.100}: {:?}", run(&template));
    }
}

#[test]
fn what_is_not_allowed() {
    for template in [
        "{% include 'chat template' %}",
        "{% import 'x' as y %}",
        "{% from 'x' import y %}",
        "{% extends 'x' %}",
        "{% block a %}{% endblock %}",
        "{%- raw %}\na{% endraw %}",
        "{{ __measure(1) }}",
        "{% set __measure = 1 %}",
    ] {
        check(template, is_feature);
    }
    for template in
        ["{{ debug() }}", "{{ dict(a=1) }}", "{{ messages | batch(1) }}", "{{ messages | pprint }}"]
    {
        check(template, |error| matches!(error, Error::TemplateFailed { .. } | Error::TemplateSyntax { .. }));
    }
}

/// Pieces of templates, so that random ones get past the parser now and then.
const WORDS: &str = "{{ }} {% %} {# #} {%- -%} messages message loop ns namespace ( ) [ ] { } , : . | ~ + - * ** // % \
    == != < = 'a' \" ' \\ 1 0 1.5 99999999999999999999999999 x for in endfor if elif else endif set endset macro \
    endmacro call endcall filter endfilter not and is defined string trim tojson map select default format join \
    replace split get items raise_exception range do with endwith recursive break continue true none autoescape \
    endautoescape é 🙂 \0 [::-1] [1:]";
const TAGS: [&str; 7] = [
    "{% for message in messages %}",
    "{% endfor %}",
    "{{ message.content }}",
    "{% set x = [x, 1] %}",
    "{% set ns = namespace(x=1) %}",
    "{{ x }}",
    "\n",
];

fn piece() -> impl Strategy<Value = String> {
    let known: Vec<&str> = WORDS.split_whitespace().chain(TAGS).collect();
    prop_oneof![proptest::sample::select(known).prop_map(str::to_owned), "[ -~]{0,3}"]
}

proptest! {
    #![proptest_config(Config { cases: 1000, rng_seed: RngSeed::Fixed(2), failure_persistence: None, ..Config::default() })]

    #[test]
    fn any_template_renders_or_says_why(pieces in prop::collection::vec(piece(), 0..40)) {
        let template = pieces.concat();
        if let Ok(tokenizer) = Tokenizer::new(chat_spec(&template)) {
            let messages = [message("user", "hello<|im_end|>"), message("assistant", " a ")];
            let _ = tokenizer.encode_chat(&messages, true);
        }
    }

    #[test]
    fn any_expression_renders_or_says_why(pieces in prop::collection::vec(piece(), 1..12)) {
        let template = format!("{{% set x = messages %}}{{{{ {} }}}}", pieces.join(" "));
        let _ = run(&template);
    }
}
