//! Values of a template: data with expressions in it, untyped as a tree and typed at the surface.

use std::marker::PhantomData;

use super::expr::Expr;

/// A value in a template.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A literal text, never an expression whatever its first letter is.
    Text(String),
    /// Several values.
    List(Vec<Value>),
    /// Named values.
    Object(Object),
    /// What Azure computes.
    Expr(Box<Expr>),
}

/// Named values, in the order in which they were set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Object(Vec<(Key, Value)>);

/// The name of a value in an object.
#[derive(Debug, Clone, PartialEq)]
pub enum Key {
    /// A literal name.
    Text(String),
    /// A name that Azure computes: the id of an identity.
    Expr(Expr),
}

impl Object {
    /// An object without values.
    pub fn new() -> Self {
        Object::default()
    }

    /// Sets a value; an earlier one of this name is replaced where it stands.
    pub fn set(&mut self, key: impl Into<Key>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, place)) => *place = value,
            None => self.0.push((key, value)),
        }
    }

    /// The object with one more value.
    #[must_use]
    pub fn with(mut self, key: impl Into<Key>, value: impl Into<Value>) -> Self {
        self.set(key, value);
        self
    }

    /// The value of a literal name.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| matches!(known, Key::Text(text) if text == key)).map(|(_, value)| value)
    }

    /// All values.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Value {
    /// Whether Azure computes it, as a whole.
    pub fn expr(&self) -> Option<&Expr> {
        match self {
            Value::Expr(expr) => Some(expr),
            _ => None,
        }
    }

    /// Calls with each expression in the value, keys included, and with the path to it.
    pub fn each_expr<'a>(&'a self, path: &mut Vec<String>, each: &mut dyn FnMut(&[String], &'a Expr)) {
        match self {
            Value::Expr(expr) => each(path, expr),
            Value::List(list) => {
                for (index, value) in list.iter().enumerate() {
                    path.push(format!("[{index}]"));
                    value.each_expr(path, each);
                    path.pop();
                }
            }
            Value::Object(object) => {
                for (key, value) in object.iter() {
                    path.push(match key {
                        Key::Text(text) => format!(".{text}"),
                        Key::Expr(_) => "[…]".to_owned(),
                    });
                    if let Key::Expr(expr) = key {
                        each(path, expr);
                    }
                    value.each_expr(path, each);
                    path.pop();
                }
            }
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Text(_) => (),
        }
    }
}

/// A value whose type is known: a literal, or an expression that gives it.
#[derive(Debug)]
pub struct Of<T> {
    value: Value,
    kind: PhantomData<fn() -> T>,
}

/// The type of texts.
#[derive(Debug)]
pub enum Text {}
/// The type of texts that nobody may read: no literal has it, only a secure parameter.
#[derive(Debug)]
pub enum Secret {}
/// The type of whole numbers.
#[derive(Debug)]
pub enum Int {}
/// The type of what Azure's description leaves open.
#[derive(Debug)]
pub enum Any {}
/// The type of lists.
#[derive(Debug)]
pub struct List<T>(PhantomData<fn() -> T>);
/// The type of objects with free names.
#[derive(Debug)]
pub struct Map<T>(PhantomData<fn() -> T>);

impl<T> Of<T> {
    /// The value, taken to be of this type. For generated code and for functions of the template language.
    pub fn trust(value: impl Into<Value>) -> Self {
        Of { value: value.into(), kind: PhantomData }
    }

    /// The value, without its type.
    pub fn as_value(&self) -> &Value {
        &self.value
    }

    /// A property of it, taken to be of this type. For generated code.
    pub fn member<U>(&self, name: &str) -> Of<U> {
        Of::trust(match Expr::from(self) {
            // The properties of a resource are what a reference gives unless all is asked for.
            Expr::Reference { target, full: true } if name == "properties" => Expr::Reference { target, full: false },
            whole => Expr::Property(Box::new(whole), name.to_owned()),
        })
    }
}

impl<T> Clone for Of<T> {
    fn clone(&self) -> Self {
        Of { value: self.value.clone(), kind: PhantomData }
    }
}

impl<T> PartialEq for Of<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T> From<&Of<T>> for Of<T> {
    fn from(value: &Of<T>) -> Self {
        value.clone()
    }
}

impl<T> From<Of<T>> for Value {
    fn from(typed: Of<T>) -> Self {
        typed.value
    }
}

impl<T> From<&Of<T>> for Value {
    fn from(typed: &Of<T>) -> Self {
        typed.value.clone()
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Value::Object(object)
    }
}

impl From<Expr> for Value {
    fn from(expr: Expr) -> Self {
        match expr {
            Expr::Literal(literal) => literal,
            computed => Value::Expr(Box::new(computed)),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Key::Text(text.to_owned())
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Key::Text(text)
    }
}

impl From<Of<Text>> for Key {
    fn from(text: Of<Text>) -> Self {
        match text.value {
            Value::Text(text) => Key::Text(text),
            other => Key::Expr(Expr::from(Of::<Text>::trust(other))),
        }
    }
}

macro_rules! literals {
    ($($from:ty => $to:ty: |$name:ident| $value:expr;)*) => {
        $(impl From<$from> for Of<$to> {
            fn from($name: $from) -> Self {
                Of::trust($value)
            }
        })*
    };
}

literals! {
    &str => Text: |text| Value::Text(text.to_owned());
    &String => Text: |text| Value::Text(text.clone());
    String => Text: |text| Value::Text(text);
    bool => bool: |flag| Value::Bool(flag);
    i32 => Int: |number| Value::Int(number.into());
    i64 => Int: |number| Value::Int(number);
    u16 => Int: |number| Value::Int(number.into());
    u32 => Int: |number| Value::Int(number.into());
    Value => Any: |value| value;
    Object => Any: |object| Value::Object(object);
}

impl<T, U: Into<Of<T>>> From<Vec<U>> for Of<List<T>> {
    fn from(list: Vec<U>) -> Self {
        Of::trust(Value::List(list.into_iter().map(|item| item.into().value).collect()))
    }
}

impl<T, U: Into<Of<T>>, const N: usize> From<[U; N]> for Of<List<T>> {
    fn from(list: [U; N]) -> Self {
        Vec::from(list).into()
    }
}

impl<T, K: Into<Key>, U: Into<Of<T>>> From<Vec<(K, U)>> for Of<Map<T>> {
    fn from(entries: Vec<(K, U)>) -> Self {
        let mut object = Object::new();
        for (key, value) in entries {
            object.set(key, value.into());
        }
        Of::trust(Value::Object(object))
    }
}

impl<T, K: Into<Key>, U: Into<Of<T>>, const N: usize> From<[(K, U); N]> for Of<Map<T>> {
    fn from(entries: [(K, U); N]) -> Self {
        Vec::from(entries).into()
    }
}
