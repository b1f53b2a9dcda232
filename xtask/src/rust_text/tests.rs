//! The plain look at Rust text, on the places where plain looks go wrong.

use super::{code_view, functions, has_word};

/// `text` with `#` where the view must be blank.
#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(code_view(text), expected.replace('#', " "), "{text}");
}

#[test]
fn comments_are_blank() {
    check("a // b\nc", "a ####\nc");
    check("a /* b /* c */ d */ e", "a ################# e");
    check("a /* b\n c */ e", "a ####\n##### e");
}

#[test]
fn strings_are_blank() {
    check(r#"f("a\"b", c)"#, "f(######, c)");
    check(r##"f(r#"a"b"#, c)"##, "f(########, c)");
    check(r#"f(br"\", c)"#, "f(b####, c)");
    check("f(\"// no comment\")g", "f(###############)g");
    check("for\"a\"", "for###");
}

#[test]
fn characters_are_blank_and_lifetimes_are_not() {
    check("f('\"', b)", "f(###, b)");
    check("f('\\'', '\\u{1F600}', b)", "f(####, ###########, b)");
    check("fn f<'a>(x: &'a str, y: &'static str)", "fn f<'a>(x: &'a str, y: &'static str)");
}

#[test]
fn unfinished_literals_end_with_the_text() {
    check("a \"b", "a ##");
    check("a r\"b", "a ###");
    check("a /* b", "a ####");
    check("a '\\", "a ##");
}

#[test]
fn functions_have_names_lines_and_lengths() {
    let text = "\
fn one() {}
fn two(x: [u8; 3]) -> [u8; 4]
where
    X: Y,
{
    let f: fn(u8) = g;
    { nested(); }
    \"}\";
}
trait T {
    fn none(&self);
    fn some(&self) { a }
}
";
    let found: Vec<_> = functions(&code_view(text)).into_iter().map(|f| (f.name, f.line, f.lines)).collect();
    let expected = [("one", 1, 1), ("two", 2, 8), ("some", 12, 1)];
    assert_eq!(found, expected.map(|(name, line, lines)| (name.to_owned(), line, lines)));
}

#[test]
fn words_have_boundaries() {
    assert!(has_word("unsafe {", "unsafe"));
    assert!(!has_word("forbid(unsafe_code)", "unsafe"));
    assert!(!has_word("not_unsafe", "unsafe"));
    assert!(has_word("x.todo!()", "todo!"));
}
