//! Makes a foreign Jinja template safe to run. It must never let through a template that can take more time,
//! memory or stack than its fuel and its size allow.
//!
//! Fuel pays for instructions and for what they write, but not for three things, so these are refused or
//! measured here, on the syntax tree:
//! - Recursion over the tree itself: the tokens in a tag, the tags, and `elif` are limited.
//! - Values that hold one value many times: with `{% set x = [x, x] %}` forty lines make 2^40 values, and
//!   printing or comparing them visits all. Each expression that makes a list or map is put into a call of
//!   [`MEASURE`], which counts what it makes (see `template.rs`).
//! - Values that hold themselves: only namespaces can, so a namespace may only be used by its attributes.

use std::collections::HashSet;

use minijinja::machinery::{Span, Token, ast, parse, tokenize};
use minijinja::syntax::SyntaxConfig;

use crate::Error;

/// Most tokens between `{{` or `{%` and its end.
pub const MAX_TAG_TOKENS: usize = 512;
/// Most tags in a template. (What is refused names this number, like those beside it.)
const MAX_TAGS: usize = 1 << 12;
/// Most `elif` in a template; each one nests in the one before it.
const MAX_ELIFS: usize = 1 << 8;
/// The function that measures lists and maps; a name that no template uses.
pub(super) const MEASURE: &str = "__measure";

/// Checks `source` and returns it with the calls of [`MEASURE`] put in.
pub(super) fn guard(source: &str, syntax: &SyntaxConfig) -> Result<String, Error> {
    refuse_raw(source)?;
    check_tokens(source, syntax)?;
    let makers = walk(source, syntax)?;
    let guarded = insert_calls(source, &makers);
    // The places come from a parser that promises nothing about them, so the result is looked at again.
    match walk(&guarded, syntax)?.first() {
        Some(left) => Err(feature("a list or map that cannot be measured", *left)),
        None => Ok(guarded),
    }
}

/// The interpreter drops a line break after `{% raw %}`, which Jinja keeps, so the prompt would be another.
fn refuse_raw(source: &str) -> Result<(), Error> {
    let mut starts = source.match_indices("{%");
    let is_raw = |start: usize| {
        let tag = source.get(start + 2..).unwrap_or_default();
        let name = tag.trim_start_matches(['-', '+']).trim_start();
        name.strip_prefix("raw")
            .is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_'))
    };
    match starts.find(|(start, _)| is_raw(*start)) {
        Some((start, _)) => {
            let line = 1 + source.bytes().take(start).filter(|&byte| byte == b'\n').count();
            Err(Error::TemplateFeature { what: "raw", line })
        }
        None => Ok(()),
    }
}

fn check_tokens(source: &str, syntax: &SyntaxConfig) -> Result<(), Error> {
    let (mut in_tag, mut tags, mut elifs) = (0_usize, 0_usize, 0_usize);
    for token in tokenize(source, false, syntax.clone()) {
        let (token, span) = token.map_err(|error| syntax_error(&error))?;
        in_tag += 1;
        if matches!(token, Token::VariableStart | Token::BlockStart) {
            in_tag = 0;
            tags += 1;
        }
        if matches!(token, Token::TemplateData(_)) {
            in_tag = 0;
        }
        if matches!(token, Token::Ident("elif")) {
            elifs += 1;
        }
        if matches!(token, Token::Ident(MEASURE)) {
            return Err(feature("a reserved name", span));
        }
        if in_tag > MAX_TAG_TOKENS {
            return Err(feature("a tag of more than 512 tokens", span));
        }
        if tags > MAX_TAGS {
            return Err(feature("more than 4096 tags", span));
        }
        if elifs > MAX_ELIFS {
            return Err(feature("more than 256 elif", span));
        }
    }
    Ok(())
}

/// The places of the expressions that make a list or map and are not measured.
fn walk(source: &str, syntax: &SyntaxConfig) -> Result<Vec<Span>, Error> {
    let template = parse(source, "chat template", syntax.clone()).map_err(|error| syntax_error(&error))?;
    let mut walker = Walker::default();
    walker.statement(&template);
    let alias =
        walker.bare_names.iter().find(|(name, _)| *name == "namespace" || walker.namespaces.contains(name));
    if let Some((_, span)) = alias {
        return Err(feature("a namespace other than by its attributes", *span));
    }
    match walker.refused {
        Some((what, span)) => Err(feature(what, span)),
        None => Ok(walker.makers),
    }
}

fn insert_calls(source: &str, makers: &[Span]) -> String {
    let call = format!("{MEASURE}(");
    // Sorted by place; where one expression ends and another starts, the end comes first.
    let starts = makers.iter().map(|span| (span.start_offset as usize, true));
    let ends = makers.iter().map(|span| (span.end_offset as usize, false));
    let mut places: Vec<(usize, bool)> = starts.chain(ends).collect();
    places.sort_unstable();
    let mut guarded = String::with_capacity(source.len() + makers.len() * (call.len() + 1));
    let mut done = 0;
    for (place, is_start) in places {
        guarded.push_str(source.get(done..place).unwrap_or_default());
        guarded.push_str(if is_start { &call } else { ")" });
        done = place;
    }
    guarded.push_str(source.get(done..).unwrap_or_default());
    guarded
}

fn feature(what: &'static str, span: Span) -> Error {
    Error::TemplateFeature { what, line: usize::from(span.start_line) }
}

pub(super) fn syntax_error(error: &minijinja::Error) -> Error {
    let message = error.detail().unwrap_or("syntax error").chars().take(super::MAX_MESSAGE_CHARS).collect();
    Error::TemplateSyntax { line: error.line().unwrap_or(0), message }
}

/// Where an expression starts. The parser lets `[1:]` in `a.b[1:]` start at `.b`, so the start of such a chain is
/// that of its first link; but that of `[1:]` in `(a.b)[1:]` is at the bracket, before all that is inside.
fn start_of(expression: &ast::Expr<'_>) -> u32 {
    use ast::Expr;
    let start = expression.span().start_offset;
    let before = match expression {
        Expr::Slice(inner) => &inner.expr,
        Expr::GetItem(inner) => &inner.expr,
        Expr::GetAttr(inner) => &inner.expr,
        Expr::Call(inner) => &inner.expr,
        Expr::Var(_)
        | Expr::Const(_)
        | Expr::UnaryOp(_)
        | Expr::BinOp(_)
        | Expr::Compare(_)
        | Expr::IfExpr(_)
        | Expr::Filter(_)
        | Expr::Test(_)
        | Expr::List(_)
        | Expr::Tuple(_)
        | Expr::Map(_) => return start,
    };
    if start < before.span().start_offset { start } else { start_of(before) }
}

/// Where an expression stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    /// An argument of [`MEASURE`], or part of an expression that makes a list or map and is measured as a whole.
    Measured,
    /// Anywhere else.
    Other,
}

/// Walks the whole tree. It is at most as deep as the limits on tokens, tags and the parser allow.
#[derive(Default)]
struct Walker<'a> {
    makers: Vec<Span>,
    namespaces: HashSet<&'a str>,
    /// Variables that are used as a whole, not by an attribute.
    bare_names: Vec<(&'a str, Span)>,
    refused: Option<(&'static str, Span)>,
}

impl<'a> Walker<'a> {
    fn statements(&mut self, statements: &[ast::Stmt<'a>]) {
        for statement in statements {
            self.statement(statement);
        }
    }

    fn statement(&mut self, statement: &ast::Stmt<'a>) {
        use ast::Stmt;
        match statement {
            Stmt::Template(inner) => self.statements(&inner.children),
            Stmt::EmitExpr(inner) => self.value(&inner.expr),
            Stmt::EmitRaw(_) | Stmt::Continue(_) | Stmt::Break(_) => {}
            Stmt::ForLoop(inner) => {
                self.value(&inner.iter);
                self.values(&inner.filter_expr);
                self.statements(&inner.body);
                self.statements(&inner.else_body);
            }
            Stmt::IfCond(inner) => {
                self.value(&inner.expr);
                self.statements(&inner.true_body);
                self.statements(&inner.false_body);
            }
            Stmt::WithBlock(inner) => {
                self.values(inner.assignments.iter().map(|(_, value)| value));
                self.statements(&inner.body);
            }
            Stmt::Set(inner) => self.set(inner),
            Stmt::SetBlock(inner) => {
                self.values(&inner.filter);
                self.statements(&inner.body);
            }
            Stmt::AutoEscape(inner) => {
                self.value(&inner.enabled);
                self.statements(&inner.body);
            }
            Stmt::FilterBlock(inner) => {
                self.value(&inner.filter);
                self.statements(&inner.body);
            }
            Stmt::Macro(inner) => self.macro_declaration(inner),
            Stmt::CallBlock(inner) => {
                self.call(&inner.call);
                self.macro_declaration(&inner.macro_decl);
            }
            Stmt::Do(inner) => self.call(&inner.call),
            Stmt::Block(inner) => self.refuse("block", inner.span()),
            Stmt::Import(inner) => self.refuse("import", inner.span()),
            Stmt::FromImport(inner) => self.refuse("import", inner.span()),
            Stmt::Extends(inner) => self.refuse("extends", inner.span()),
            Stmt::Include(inner) => self.refuse("include", inner.span()),
        }
    }

    fn refuse(&mut self, what: &'static str, span: Span) {
        self.refused.get_or_insert((what, span));
    }

    /// `namespace(..)` may only be given a name.
    fn set(&mut self, set: &ast::Set<'a>) {
        if let (ast::Expr::Var(target), ast::Expr::Call(call)) = (&set.target, &set.expr)
            && let ast::Expr::Var(function) = &call.expr
            && function.id == "namespace"
        {
            self.namespaces.insert(target.id);
            self.arguments(&call.args, Within::Other);
        } else {
            self.value(&set.expr);
        }
    }

    fn macro_declaration(&mut self, declaration: &ast::Macro<'a>) {
        self.values(&declaration.defaults);
        self.statements(&declaration.body);
    }

    fn values<'e>(&mut self, expressions: impl IntoIterator<Item = &'e ast::Expr<'a>>)
    where
        'a: 'e,
    {
        for expression in expressions {
            self.value(expression);
        }
    }

    fn value(&mut self, expression: &ast::Expr<'a>) {
        self.expression(expression, Within::Other);
    }

    fn expression(&mut self, expression: &ast::Expr<'a>, within: Within) {
        use ast::{BinOpKind, Expr};
        let makes = matches!(expression, Expr::List(_) | Expr::Tuple(_) | Expr::Map(_) | Expr::Slice(_))
            || matches!(expression, Expr::BinOp(inner) if matches!(inner.op, BinOpKind::Add | BinOpKind::Mul));
        if makes && within == Within::Other {
            self.makers.push(Span { start_offset: start_of(expression), ..expression.span() });
        }
        // The parts of a measured expression are measured with it, if they end up in what it makes.
        let parts = if makes { Within::Measured } else { Within::Other };
        match expression {
            Expr::Var(inner) => self.bare_names.push((inner.id, inner.span())),
            Expr::Const(_) => {}
            Expr::Slice(inner) => {
                self.expression(&inner.expr, parts);
                self.values([&inner.start, &inner.stop, &inner.step].into_iter().flatten());
            }
            Expr::UnaryOp(inner) => self.value(&inner.expr),
            Expr::BinOp(inner) => {
                self.expression(&inner.left, parts);
                self.expression(&inner.right, parts);
            }
            Expr::Compare(inner) => {
                self.value(&inner.expr);
                self.values(inner.ops.iter().map(|operand| &operand.expr));
            }
            Expr::IfExpr(inner) => {
                self.values([&inner.test_expr, &inner.true_expr]);
                self.values(&inner.false_expr);
            }
            Expr::Filter(inner) => {
                self.values(&inner.expr);
                self.arguments(&inner.args, Within::Other);
            }
            Expr::Test(inner) => {
                self.by_part(&inner.expr);
                self.arguments(&inner.args, Within::Other);
            }
            Expr::GetAttr(inner) => self.by_part(&inner.expr),
            Expr::GetItem(inner) => {
                self.by_part(&inner.expr);
                self.value(&inner.subscript_expr);
            }
            Expr::Call(inner) => self.call(inner),
            Expr::List(inner) => inner.items.iter().for_each(|item| self.expression(item, parts)),
            Expr::Tuple(inner) => inner.items.iter().for_each(|item| self.expression(item, parts)),
            Expr::Map(inner) => {
                inner.keys.iter().chain(&inner.values).for_each(|item| self.expression(item, parts));
            }
        }
    }

    /// An expression of which only a part or a property is used, so that it may be the name of a namespace.
    fn by_part(&mut self, expression: &ast::Expr<'a>) {
        if !matches!(expression, ast::Expr::Var(_)) {
            self.value(expression);
        }
    }

    fn call(&mut self, call: &ast::Call<'a>) {
        let measured = matches!(&call.expr, ast::Expr::Var(function) if function.id == MEASURE);
        self.value(&call.expr);
        self.arguments(&call.args, if measured { Within::Measured } else { Within::Other });
    }

    fn arguments(&mut self, arguments: &[ast::CallArg<'a>], within: Within) {
        for argument in arguments {
            match argument {
                ast::CallArg::Pos(value)
                | ast::CallArg::Kwarg(_, value)
                | ast::CallArg::PosSplat(value)
                | ast::CallArg::KwargSplat(value) => self.expression(value, within),
            }
        }
    }
}
