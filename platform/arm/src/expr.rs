//! The grammar of expressions: `expr := prim ('.' id | '[' expr ']')*`.
//!
//! Public for those who hold what others wrote against a template without evaluating it.

use crate::MAX_EXPRESSION;

/// How deep calls may nest.
const MAX_DEPTH: usize = 100;

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// `'it''s'`
    Text(String),
    /// `-12`
    Int(i64),
    /// `name(…)` or `namespace.name(…)`
    Call {
        /// The namespace of a function of the template itself.
        namespace: Option<String>,
        /// As it is spelt.
        name: String,
        /// Evaluated by the function, since some evaluate only what they need.
        args: Vec<Expr>,
    },
    /// `of.key` or `of[key]`
    Index {
        /// What is looked into.
        of: Box<Expr>,
        /// The property or position.
        key: Box<Expr>,
        /// `.?` and `[?`: null where it is missing.
        safe: bool,
    },
}

/// What a text of a template is.
#[derive(Debug, PartialEq)]
pub enum Text<'t> {
    /// Itself.
    Literal(&'t str),
    /// The expression between the brackets.
    Expression(&'t str),
}

/// An expression begins with `[` and ends with `]`; `[[` is a bracket that is meant.
pub fn classify(text: &str) -> Text<'_> {
    match text.strip_prefix('[') {
        Some(rest) if rest.starts_with('[') => Text::Literal(rest),
        Some(rest) => rest.strip_suffix(']').map_or(Text::Literal(text), Text::Expression),
        None => Text::Literal(text),
    }
}

/// Parses what stands between the brackets.
///
/// # Errors
/// What is wrong, with its place in bytes.
pub fn parse(text: &str) -> Result<Expr, String> {
    let characters = text.chars().count() + 2;
    if characters > MAX_EXPRESSION {
        return Err(format!("the expression has {characters} characters, and {MAX_EXPRESSION} are allowed"));
    }
    let mut parser = Parser { text, at: 0, depth: 0 };
    let expr = parser.expr()?;
    parser.blank();
    if parser.at < text.len() {
        return Err(format!("{:?} at {} was not expected", parser.rest(12), parser.at));
    }
    Ok(expr)
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

impl<'t> Parser<'t> {
    fn rest(&self, most: usize) -> &'t str {
        let rest = &self.text[self.at..];
        rest.char_indices().nth(most).map_or(rest, |(end, _)| &rest[..end])
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn blank(&mut self) {
        while let Some(space) = self.peek().filter(|c| c.is_whitespace()) {
            self.at += space.len_utf8();
        }
    }

    fn eat(&mut self, wanted: char) -> bool {
        self.blank();
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.eat(wanted) {
            return Ok(());
        }
        Err(match self.peek() {
            Some(found) => format!("{wanted:?} was expected at {}, not {found:?}", self.at),
            None => format!("{wanted:?} is missing at the end"),
        })
    }

    fn identifier(&mut self) -> Option<&'t str> {
        self.blank();
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        if end == 0 || rest.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        self.at += end;
        Some(&rest[..end])
    }

    fn expr(&mut self) -> Result<Expr, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("it nests deeper than {MAX_DEPTH} levels"));
        }
        let mut expr = self.prim()?;
        // Every link of a chain makes the tree one level deeper.
        let mut links = 0;
        loop {
            self.blank();
            let key = if self.eat('.') {
                let safe = self.eat('?');
                let name = self.identifier().ok_or_else(|| format!("a property's name is missing at {}", self.at))?;
                Some((Expr::Text(name.to_owned()), safe))
            } else if self.eat('[') {
                let safe = self.eat('?');
                let key = self.expr()?;
                self.expect(']')?;
                Some((key, safe))
            } else {
                None
            };
            let Some((key, safe)) = key else { break };
            links += 1;
            if self.depth + links > MAX_DEPTH {
                return Err(format!("it nests deeper than {MAX_DEPTH} levels"));
            }
            expr = Expr::Index { of: Box::new(expr), key: Box::new(key), safe };
        }
        self.depth -= 1;
        Ok(expr)
    }

    fn prim(&mut self) -> Result<Expr, String> {
        self.blank();
        match self.peek() {
            None => Err("an expression is missing".to_owned()),
            Some('\'') => self.quoted(),
            Some(c) if c.is_ascii_digit() || c == '-' || c == '+' => self.number(),
            Some(_) => self.call(),
        }
    }

    fn quoted(&mut self) -> Result<Expr, String> {
        let start = self.at;
        self.at += 1;
        let mut value = String::new();
        loop {
            let rest = &self.text[self.at..];
            let end = rest.find('\'').ok_or_else(|| format!("the text that begins at {start} does not end"))?;
            value.push_str(&rest[..end]);
            self.at += end + 1;
            if self.peek() != Some('\'') {
                return Ok(Expr::Text(value));
            }
            value.push('\'');
            self.at += 1;
        }
    }

    fn number(&mut self) -> Result<Expr, String> {
        let rest = &self.text[self.at..];
        let sign = usize::from(rest.starts_with(['-', '+']));
        let digits = rest[sign..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - sign);
        let text = &rest[..sign + digits];
        let number = text.parse().map_err(|_| format!("{text:?} at {} is not an integer of 64 bits", self.at))?;
        self.at += text.len();
        Ok(Expr::Int(number))
    }

    fn call(&mut self) -> Result<Expr, String> {
        let start = self.at;
        let Some(mut name) = self.identifier() else {
            return Err(format!("{:?} at {start} was not expected", self.rest(12)));
        };
        let mut namespace = None;
        if self.eat('.') {
            namespace = Some(name.to_owned());
            name = self.identifier().ok_or_else(|| format!("a function's name is missing at {}", self.at))?;
        }
        if !self.eat('(') {
            return Err(format!("{name:?} at {start} is neither a text in quotes nor a function's call"));
        }
        let mut args = Vec::new();
        if !self.eat(')') {
            loop {
                args.push(self.expr()?);
                if self.eat(')') {
                    break;
                }
                self.expect(',')?;
            }
        }
        Ok(Expr::Call { namespace, name: name.to_owned(), args })
    }
}

impl Expr {
    /// Visits this and everything below.
    pub fn walk(&self, visit: &mut impl FnMut(&Expr)) {
        visit(self);
        match self {
            Expr::Text(_) | Expr::Int(_) => {}
            Expr::Call { args, .. } => args.iter().for_each(|arg| arg.walk(visit)),
            Expr::Index { of, key, .. } => {
                of.walk(visit);
                key.walk(visit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(text: &str, expected: Expect) {
        let shown = match parse(text) {
            Ok(expr) => show(&expr),
            Err(error) => format!("error: {error}"),
        };
        expected.assert_eq(&shown);
    }

    fn show(expr: &Expr) -> String {
        match expr {
            Expr::Text(text) => format!("{text:?}"),
            Expr::Int(number) => number.to_string(),
            Expr::Call { namespace, name, args } => {
                let args: Vec<_> = args.iter().map(show).collect();
                let namespace = namespace.as_deref().map(|n| format!("{n}::")).unwrap_or_default();
                format!("({namespace}{name} {})", args.join(" "))
            }
            Expr::Index { of, key, safe } => {
                format!("{}{}[{}]", show(of), if *safe { "?" } else { "" }, show(key))
            }
        }
    }

    #[test]
    fn the_grammar() {
        check("parameters('a')", expect![[r#"(parameters "a")"#]]);
        check(" concat ( 'it''s' , -3 ) ", expect![[r#"(concat "it's" -3)"#]]);
        check("a().b.c[1]['x'][add(1,2)]", expect![[r#"(a )["b"]["c"][1]["x"][(add 1 2)]"#]]);
        check("a().?b[?0]", expect![[r#"(a )?["b"]?[0]"#]]);
        check("contoso.name('x')", expect![[r#"(contoso::name "x")"#]]);
        check("'é'''", expect![[r#""é'""#]]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        check("", expect!["error: an expression is missing"]);
        check("a(", expect!["error: an expression is missing"]);
        check("a('x", expect!["error: the text that begins at 2 does not end"]);
        check("a('x'", expect!["error: ',' is missing at the end"]);
        check("a b", expect![[r#"error: "a" at 0 is neither a text in quotes nor a function's call"#]]);
        check("a() + 1", expect![[r#"error: "+ 1" at 4 was not expected"#]]);
        check("99999999999999999999", expect![[r#"error: "99999999999999999999" at 0 is not an integer of 64 bits"#]]);
        assert!(parse(&"a(".repeat(5000)).unwrap_err().contains("deeper"));
        assert!(parse(&format!("a(){}", ".b".repeat(5000))).unwrap_err().contains("deeper"));
        assert!(parse(&" ".repeat(30_000)).unwrap_err().contains("24576"));
    }

    #[test]
    fn brackets_make_an_expression() {
        assert_eq!(classify("[a()]"), Text::Expression("a()"));
        assert_eq!(classify("[[a()]"), Text::Literal("[a()]"));
        assert_eq!(classify("[a()"), Text::Literal("[a()"));
        assert_eq!(classify("a"), Text::Literal("a"));
        assert_eq!(classify("[]"), Text::Expression(""));
    }

    #[test]
    fn any_text_is_parsed_or_refused() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let pieces = ["a(", ")", "'", "''", ",", ".", "[", "]", "?", "1", "-", " ", "é", "b", "("];
        for _ in 0..20_000 {
            let text: String = (0..random.usize(..24)).map(|_| pieces[random.usize(..pieces.len())]).collect();
            let _ = parse(&text);
        }
    }
}
