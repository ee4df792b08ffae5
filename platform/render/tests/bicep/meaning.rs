//! What a template means, in whichever language it is written.

use std::collections::BTreeMap;
use std::fmt;

/// A template.
#[derive(Debug, Default)]
pub struct Module {
    pub subscription: bool,
    pub parameters: BTreeMap<String, Parameter>,
    pub variables: BTreeMap<String, Term>,
    /// By identity: what `Identity` shows.
    pub items: BTreeMap<String, Item>,
    pub outputs: BTreeMap<String, (String, Term)>,
}

#[derive(Debug, PartialEq, Default)]
pub struct Parameter {
    pub kind: String,
    pub secure: bool,
    pub default: Option<Term>,
    pub allowed: Option<Term>,
    pub shortest: Option<Term>,
    pub longest: Option<Term>,
    pub about: Option<Term>,
    pub from: Option<Term>,
    pub pattern: Option<Term>,
}

/// A resource, or a deployment within the template.
#[derive(Debug)]
pub struct Item {
    /// The version of its API; deployments have none of their own in Bicep.
    pub version: Option<String>,
    pub condition: Option<Term>,
    pub body: BTreeMap<String, Term>,
    /// The identities of what comes before it.
    pub after: Vec<String>,
    pub nested: Option<Module>,
}

/// Which resource is meant.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    pub kind: String,
    pub names: Vec<Term>,
    pub on: Option<Box<Identity>>,
    pub group: Option<Box<Term>>,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As one text, since ARM has a child's name as one.
        let slashed =
            self.names.iter().enumerate().flat_map(|(index, name)| {
                (index > 0).then(|| Term::Text("/".into())).into_iter().chain([name.clone()])
            });
        write!(f, "{} {}", self.kind, join(slashed))?;
        if let Some(on) = &self.on {
            write!(f, " on [{on}]")?;
        }
        self.group.as_ref().map_or(Ok(()), |group| write!(f, " in {group}"))
    }
}

/// A value or an expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Term {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
    List(Vec<Term>),
    Object(BTreeMap<String, Term>),
    Parameter(String),
    Variable(String),
    Call(String, Vec<Term>),
    Member(Box<Term>, String),
    /// Texts and values, one after the other.
    Join(Vec<Term>),
    Id(Box<Identity>),
    /// A deployed resource: its properties, or with `true` all of it.
    Reference(Box<Identity>, String, bool),
    Output(Box<Identity>, String),
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, terms: &[Term]| {
            terms
                .iter()
                .enumerate()
                .try_for_each(|(index, term)| write!(f, "{}{term}", if index > 0 { ", " } else { "" }))
        };
        match self {
            Term::Null => f.write_str("null"),
            Term::Bool(flag) => write!(f, "{flag}"),
            Term::Int(number) => write!(f, "{number}"),
            Term::Text(text) => write!(f, "{text:?}"),
            Term::List(terms) => {
                f.write_str("[")?;
                list(f, terms)?;
                f.write_str("]")
            }
            Term::Object(entries) => {
                f.write_str("{")?;
                entries.iter().try_for_each(|(key, value)| write!(f, "{key}: {value};"))?;
                f.write_str("}")
            }
            Term::Parameter(name) => write!(f, "<{name}>"),
            Term::Variable(name) => write!(f, "<<{name}>>"),
            Term::Call(name, inputs) => {
                write!(f, "{name}(")?;
                list(f, inputs)?;
                f.write_str(")")
            }
            Term::Member(of, name) => write!(f, "{of}.{name}"),
            Term::Join(parts) => parts.iter().try_for_each(|part| write!(f, "{part}")),
            Term::Id(identity) => write!(f, "id({identity})"),
            Term::Reference(identity, version, full) => {
                write!(f, "reference({identity}@{version}{})", if *full { ", all" } else { "" })
            }
            Term::Output(identity, name) => write!(f, "output({identity}, {name})"),
        }
    }
}

/// One text of several parts: what is joined within it becomes part of it, and literals side by side become one.
pub fn join(parts: impl IntoIterator<Item = Term>) -> Term {
    fn push(joined: &mut Vec<Term>, part: Term) {
        match (joined.last_mut(), part) {
            (_, Term::Join(inner)) => inner.into_iter().for_each(|part| push(joined, part)),
            (Some(Term::Text(text)), Term::Text(more)) => text.push_str(&more),
            (_, Term::Text(empty)) if empty.is_empty() => (),
            (_, part) => joined.push(part),
        }
    }
    let mut joined = Vec::new();
    parts.into_iter().for_each(|part| push(&mut joined, part));
    match joined.as_slice() {
        [] => Term::Text(String::new()),
        [Term::Text(_)] => joined.remove(0),
        _ => Term::Join(joined),
    }
}

/// A call, as what it means where several spellings mean one thing.
pub fn call(name: &str, mut inputs: Vec<Term>, subscription: bool) -> Result<Term, String> {
    let lower = name.to_lowercase();
    Ok(match (lower.as_str(), inputs.as_slice()) {
        ("format", [Term::Text(pattern), values @ ..]) => formatted(pattern, values)?,
        ("resourceid", [Term::Text(kind), ..]) if !subscription => identified(kind, None, None, &inputs[1..])?,
        ("subscriptionresourceid", [Term::Text(kind), ..]) if subscription => {
            identified(kind, None, None, &inputs[1..])?
        }
        ("extensionresourceid", [on, Term::Text(kind), ..]) => match on {
            Term::Id(on) => identified(kind, Some(on.clone()), None, &inputs[2..])?,
            Term::Join(parts) => match parts.as_slice() {
                [Term::Text(before), Term::Member(of, member), Term::Text(between), group]
                    if before == "/subscriptions/"
                        && between == "/resourceGroups/"
                        && member == "subscriptionId"
                        && **of == Term::Call("subscription".into(), Vec::new()) =>
                {
                    identified(kind, None, Some(Box::new(group.clone())), &inputs[2..])?
                }
                [Term::Text(before), Term::Member(of, member), Term::Text(between), group @ ..]
                    if before == "/subscriptions/"
                        && between.starts_with("/resourceGroups/")
                        && member == "subscriptionId"
                        && **of == Term::Call("subscription".into(), Vec::new()) =>
                {
                    let rest = Term::Text(between["/resourceGroups/".len()..].to_owned());
                    let group = join([rest].into_iter().chain(group.iter().cloned()));
                    identified(kind, None, Some(Box::new(group)), &inputs[2..])?
                }
                _ => return Err(format!("the scope {on} is not understood")),
            },
            _ => return Err(format!("the scope {on} is not understood")),
        },
        ("true", []) => Term::Bool(true),
        ("false", []) => Term::Bool(false),
        ("null", []) => Term::Null,
        ("createarray", _) => Term::List(inputs),
        ("createobject", _) if inputs.len().is_multiple_of(2) => {
            let mut entries = BTreeMap::new();
            while !inputs.is_empty() {
                let (key, value) = (inputs.remove(0), inputs.remove(0));
                entries.insert(keyed(&key), value);
            }
            Term::Object(entries)
        }
        _ => Term::Call(lower, inputs),
    })
}

/// How the name of a value is kept.
pub fn keyed(key: &Term) -> String {
    match key {
        Term::Text(text) => text.clone(),
        Term::Join(parts) if parts.len() == 1 => parts[0].to_string(),
        computed => computed.to_string(),
    }
}

fn identified(kind: &str, on: Option<Box<Identity>>, group: Option<Box<Term>>, names: &[Term]) -> Result<Term, String> {
    if kind.matches('/').count() != names.len() {
        return Err(format!("{kind} has not {} names", names.len()));
    }
    Ok(Term::Id(Box::new(Identity { kind: kind.to_owned(), names: names.to_vec(), on, group })))
}

fn formatted(pattern: &str, values: &[Term]) -> Result<Term, String> {
    let (mut parts, mut text) = (Vec::new(), String::new());
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '{' | '}' if letters.peek() == Some(&letter) => {
                text.push(letter);
                letters.next();
            }
            '{' => {
                let number: String = letters.by_ref().take_while(|letter| *letter != '}').collect();
                let value = number.parse::<usize>().ok().and_then(|number| values.get(number));
                let value = value.ok_or_else(|| format!("{pattern:?} names no value by {number:?}"))?;
                parts.extend([Term::Text(std::mem::take(&mut text)), value.clone()]);
            }
            '}' => return Err(format!("a bracket alone in {pattern:?}")),
            plain => text.push(plain),
        }
    }
    parts.push(Term::Text(text));
    let joined = join(parts);
    // A value alone becomes a text, which is more than the value.
    Ok(match joined {
        Term::Join(_) | Term::Text(_) => joined,
        alone => Term::Join(vec![alone]),
    })
}
