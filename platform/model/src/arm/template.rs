//! The tree of a template, and how it is grown.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;

use super::expr::{Expr, Target};
use super::names::Letters;
use super::value::{Int, Key, List, Object, Of, Secret, Text, Value};
use super::{Child, Extension, Kind, OnlyOne, ResourceType, TopLevel};

/// Where a template is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// A subscription: resource groups, and deployments in them.
    Subscription,
    /// A resource group.
    Group,
}

/// Everything that is deployed at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// Where it is deployed.
    pub scope: Scope,
    /// What whoever deploys it must or may say.
    pub parameters: Vec<Parameter>,
    /// Values with a name of their own.
    pub variables: Vec<Variable>,
    /// Resources that it speaks of, made elsewhere.
    pub existing: Vec<Existing>,
    /// What it makes, in the order in which it was added.
    pub items: Vec<Item>,
    /// What it tells once it is deployed.
    pub outputs: Vec<Output>,
}

/// What a template makes.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A resource.
    Resource(Resource),
    /// A template within this one.
    Deployment(Deployment),
}

/// A place in the source: where a descriptor added something. Never part of what is rendered, and all are equal.
#[derive(Clone, Copy, Default)]
pub struct Place(Option<&'static Location<'static>>);

impl Place {
    /// Where the caller is called.
    #[track_caller]
    pub fn here() -> Self {
        Place(Some(Location::caller()))
    }

    /// Whether it is known: it is lost where a graph was read from a file.
    pub fn is_known(self) -> bool {
        self.0.is_some()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(place) => write!(f, "{}:{}", place.file(), place.line()),
            None => f.write_str("an unknown place"),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Place {}

/// What whoever deploys a template must or may say.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its type, as ARM calls it: `string`, `int`, `bool`, `array`, `object`.
    pub kind: &'static str,
    /// Whether nobody may read it again.
    pub secure: bool,
    /// The values it may have, where they are listed.
    pub allowed: Vec<&'static str>,
    /// Its value if nothing is said.
    pub default: Option<Value>,
    /// The shortest and the longest text.
    pub length: Option<(usize, usize)>,
    /// The characters that a text may have, where they are held to some.
    pub letters: Option<Letters>,
    /// What it means.
    pub about: String,
    /// Who gives it.
    pub source: Source,
    /// Where it was declared.
    pub place: Place,
}

/// Who gives a parameter's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The file of the environment, or the default.
    Environment,
    /// Another layer's deployment.
    Layer {
        /// The layer's name, as in `platform`.
        layer: String,
        /// The output's name.
        output: String,
    },
    /// The deployment around the template.
    Outer,
}

/// A value with a name of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Value,
}

/// A resource that was made elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Existing {
    /// Its name within the template.
    pub symbol: String,
    /// What it is.
    pub target: Target,
}

/// A resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// Its name within the template.
    pub symbol: String,
    /// Its type and name, and what it is put on.
    pub target: Target,
    /// What it is made with, besides its name: location, properties and the like.
    pub body: Object,
    /// What must stand before it, besides what it speaks of.
    pub after: Vec<String>,
    /// Whether it is made at all.
    pub condition: Option<Expr>,
    /// Where it was added.
    pub place: Place,
}

/// A template within a template. Its expressions see its own parameters alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Deployment {
    /// Its name within the template around it.
    pub symbol: String,
    /// Its name in Azure, at most 64 characters.
    pub name: Value,
    /// The resource group that it is deployed to.
    pub group: Value,
    /// The values of its parameters.
    pub arguments: Vec<(String, Value)>,
    /// What it deploys.
    pub template: Template,
    /// What must stand before it, besides what it speaks of.
    pub after: Vec<String>,
    /// Whether it is made at all.
    pub condition: Option<Expr>,
    /// Where it was added.
    pub place: Place,
}

/// What a template tells once it is deployed.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Its type, as ARM calls it.
    pub kind: &'static str,
    /// Its value.
    pub value: Value,
    /// Where it was added.
    pub place: Place,
}

/// A type that a parameter or an output may have.
pub trait ParameterType {
    /// What ARM calls it.
    const KIND: &'static str;
    /// Whether nobody may read it.
    const SECURE: bool = false;
    /// The texts that it may be, if it is one of a few.
    const ALLOWED: &'static [&'static str] = &[];
}

impl ParameterType for Text {
    const KIND: &'static str = "string";
}

impl ParameterType for Secret {
    const KIND: &'static str = "string";
    const SECURE: bool = true;
}

impl ParameterType for Int {
    const KIND: &'static str = "int";
}

impl ParameterType for bool {
    const KIND: &'static str = "bool";
}

impl<T> ParameterType for List<T> {
    const KIND: &'static str = "array";
}

/// A resource that can be spoken of: the proof that it was added, or declared to exist.
#[derive(Debug)]
pub struct Ref<R> {
    symbol: String,
    target: Target,
    kind: PhantomData<fn() -> R>,
}

impl<R> Clone for Ref<R> {
    fn clone(&self) -> Self {
        Ref { symbol: self.symbol.clone(), target: self.target.clone(), kind: PhantomData }
    }
}

impl<R> Ref<R> {
    /// Its name within the template.
    pub fn symbol(&self) -> &str {
        &self.symbol
    }

    /// What it is.
    pub fn target(&self) -> &Target {
        &self.target
    }
}

/// A nested deployment that can be spoken of.
#[derive(Debug, Clone)]
pub struct DeploymentRef {
    symbol: String,
}

impl DeploymentRef {
    /// Its name within the template.
    pub fn symbol(&self) -> &str {
        &self.symbol
    }

    /// What it told.
    pub fn output<T>(&self, output: &OutputRef<T>) -> Of<T> {
        Of::trust(Expr::Output { deployment: self.symbol.clone(), name: output.name.clone() })
    }
}

/// An output of a template that is nested, or will be.
#[derive(Debug, Clone)]
pub struct OutputRef<T> {
    name: String,
    kind: PhantomData<fn() -> T>,
}

/// A template that will be nested, with the values that it gets.
#[derive(Debug, Clone)]
pub struct Nested {
    /// The template.
    pub template: Template,
    arguments: Vec<(String, Value)>,
}

impl Nested {
    /// An empty template for a resource group.
    pub fn new() -> Self {
        Nested { template: Template::new(Scope::Group), arguments: Vec::new() }
    }

    /// Hands a value of the template around it in, under this name.
    #[track_caller]
    pub fn pass<T: ParameterType>(&mut self, name: &str, value: impl Into<Of<T>>) -> Of<T> {
        let value = Value::from(value.into());
        if !self.arguments.contains(&(name.to_owned(), value.clone())) {
            self.arguments.push((name.to_owned(), value));
            let mut parameter = NewParameter::<T>::new(name, "");
            parameter.parameter.source = Source::Outer;
            // The value was held against the list where it was given.
            parameter.parameter.allowed.clear();
            self.template.parameter(parameter);
        }
        Of::trust(Expr::Parameter(name.to_owned()))
    }
}

impl Default for Nested {
    fn default() -> Self {
        Nested::new()
    }
}

/// A parameter that is about to be declared.
#[derive(Debug, Clone)]
pub struct NewParameter<T> {
    parameter: Parameter,
    kind: PhantomData<fn() -> T>,
}

impl<T: ParameterType> NewParameter<T> {
    /// A parameter that must be given.
    #[track_caller]
    pub fn new(name: &str, about: &str) -> Self {
        let parameter = Parameter {
            name: name.to_owned(),
            kind: T::KIND,
            secure: T::SECURE,
            allowed: T::ALLOWED.to_vec(),
            default: None,
            length: None,
            letters: None,
            about: about.to_owned(),
            source: Source::Environment,
            place: Place::here(),
        };
        NewParameter { parameter, kind: PhantomData }
    }

    /// With a value if none is given.
    #[must_use]
    pub fn or(mut self, default: impl Into<Of<T>>) -> Self {
        self.parameter.default = Some(default.into().into());
        self
    }

    /// With texts of so many characters only.
    #[must_use]
    pub fn length(mut self, shortest: usize, longest: usize) -> Self {
        self.parameter.length = Some((shortest, longest));
        self
    }

    /// With texts of these characters only. ARM cannot say it: `skein-deploy` holds values to it.
    #[must_use]
    pub fn letters(mut self, letters: Letters) -> Self {
        self.parameter.letters = Some(letters);
        self
    }

    /// With one of these texts only.
    #[must_use]
    pub fn one_of(mut self, allowed: &[&'static str]) -> Self {
        self.parameter.allowed = allowed.to_vec();
        self
    }

    /// Given by another layer's output.
    #[must_use]
    pub fn from_layer(mut self, layer: &str, output: &str) -> Self {
        self.parameter.source = Source::Layer { layer: layer.to_owned(), output: output.to_owned() };
        self
    }
}

impl Parameter {
    /// A parameter that must be given; see [`NewParameter`] for what else can be said of it.
    #[track_caller]
    #[expect(clippy::new_ret_no_self, reason = "it is declared by the template that gets it")]
    pub fn new<T: ParameterType>(name: &str, about: &str) -> NewParameter<T> {
        NewParameter::new(name, about)
    }
}

impl Template {
    /// A template that makes nothing yet.
    pub fn new(scope: Scope) -> Self {
        Template {
            scope,
            parameters: Vec::new(),
            variables: Vec::new(),
            existing: Vec::new(),
            items: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// Declares a parameter, and gives its value.
    pub fn parameter<T: ParameterType>(&mut self, new: NewParameter<T>) -> Of<T> {
        let value = Of::trust(Expr::Parameter(new.parameter.name.clone()));
        self.parameters.push(new.parameter);
        value
    }

    /// Gives a value a name, and the named value.
    pub fn variable<T>(&mut self, name: &str, value: impl Into<Of<T>>) -> Of<T> {
        self.variables.push(Variable { name: name.to_owned(), value: value.into().into() });
        Of::trust(Expr::Variable(name.to_owned()))
    }

    /// Adds a resource that stands on its own.
    #[track_caller]
    pub fn add<R: TopLevel>(&mut self, symbol: &str, name: impl Into<Of<Text>>, body: R) -> Ref<R> {
        self.make(symbol, Target::new(R::KIND, vec![name.into().into()]), body)
    }

    /// Adds a resource below another.
    #[track_caller]
    pub fn child<R: Child>(
        &mut self,
        symbol: &str,
        parent: &Ref<R::Parent>,
        name: impl Into<Of<Text>>,
        body: R,
    ) -> Ref<R> {
        self.make(symbol, parent.target.below(R::KIND, name.into().into()), body)
    }

    /// Adds the one resource of its type below another.
    #[track_caller]
    pub fn only<R: Child + OnlyOne>(&mut self, symbol: &str, parent: &Ref<R::Parent>, body: R) -> Ref<R> {
        self.make(symbol, parent.target.below(R::KIND, R::KIND.only.unwrap_or_default().into()), body)
    }

    /// Puts a resource on another.
    #[track_caller]
    pub fn extend<R: Extension, S>(&mut self, symbol: &str, on: &Ref<S>, name: impl Into<Of<Text>>, body: R) -> Ref<R> {
        let mut target = Target::new(R::KIND, vec![name.into().into()]);
        target.on = Some(Box::new(on.target.clone()));
        self.make(symbol, target, body)
    }

    #[track_caller]
    fn make<R: ResourceType>(&mut self, symbol: &str, target: Target, body: R) -> Ref<R> {
        self.items.push(Item::Resource(Resource {
            symbol: symbol.to_owned(),
            target: target.clone(),
            body: body.into(),
            after: Vec::new(),
            condition: None,
            place: Place::here(),
        }));
        Ref { symbol: symbol.to_owned(), target, kind: PhantomData }
    }

    /// Declares a resource of the template's own resource group that something else makes.
    pub fn existing<R: TopLevel>(&mut self, symbol: &str, name: impl Into<Of<Text>>) -> Ref<R> {
        self.known(symbol, Target::new(R::KIND, vec![name.into().into()]))
    }

    /// Declares a resource of another resource group of the same subscription.
    pub fn elsewhere<R: TopLevel>(
        &mut self,
        symbol: &str,
        group: impl Into<Of<Text>>,
        name: impl Into<Of<Text>>,
    ) -> Ref<R> {
        let mut target = Target::new(R::KIND, vec![name.into().into()]);
        target.group = Some(Box::new(group.into().into()));
        self.known(symbol, target)
    }

    /// Declares a resource below another that something else makes.
    pub fn existing_child<R: Child>(
        &mut self,
        symbol: &str,
        parent: &Ref<R::Parent>,
        name: impl Into<Of<Text>>,
    ) -> Ref<R> {
        self.known(symbol, parent.target.below(R::KIND, name.into().into()))
    }

    fn known<R>(&mut self, symbol: &str, target: Target) -> Ref<R> {
        self.existing.push(Existing { symbol: symbol.to_owned(), target: target.clone() });
        Ref { symbol: symbol.to_owned(), target, kind: PhantomData }
    }

    /// Deploys a template within this one, to a resource group.
    #[track_caller]
    pub fn nest(
        &mut self,
        symbol: &str,
        name: impl Into<Of<Text>>,
        group: impl Into<Of<Text>>,
        nested: Nested,
    ) -> DeploymentRef {
        self.items.push(Item::Deployment(Deployment {
            symbol: symbol.to_owned(),
            name: name.into().into(),
            group: group.into().into(),
            arguments: nested.arguments,
            template: nested.template,
            after: Vec::new(),
            condition: None,
            place: Place::here(),
        }));
        DeploymentRef { symbol: symbol.to_owned() }
    }

    /// Makes something wait for something else that it does not speak of. Both by their symbols.
    ///
    /// # Panics
    /// If nothing of the first symbol was added.
    pub fn after(&mut self, later: &str, earlier: &str) {
        let after = self
            .items
            .iter_mut()
            .find(|item| item.symbol() == later)
            .map(Item::after_mut)
            .expect("what waits was added before");
        if !after.iter().any(|known| known == earlier) {
            after.push(earlier.to_owned());
        }
    }

    /// Makes something only if a condition holds.
    ///
    /// # Panics
    /// If nothing of this symbol was added.
    pub fn only_if(&mut self, symbol: &str, condition: Of<bool>) {
        let item = self.items.iter_mut().find(|item| item.symbol() == symbol).expect("it was added before");
        let place = match item {
            Item::Resource(resource) => &mut resource.condition,
            Item::Deployment(deployment) => &mut deployment.condition,
        };
        *place = Some(condition.into());
    }

    /// Tells a value once the template is deployed.
    #[track_caller]
    pub fn output<T: ParameterType>(&mut self, name: &str, value: impl Into<Of<T>>) -> OutputRef<T> {
        let value = value.into().into();
        self.outputs.push(Output { name: name.to_owned(), kind: T::KIND, value, place: Place::here() });
        OutputRef { name: name.to_owned(), kind: PhantomData }
    }

    /// Every resource, those of nested templates included, outermost first.
    pub fn resources(&self) -> Vec<&Resource> {
        let mut found = Vec::new();
        for item in &self.items {
            match item {
                Item::Resource(resource) => found.push(resource),
                Item::Deployment(deployment) => found.extend(deployment.template.resources()),
            }
        }
        found
    }
}

impl Item {
    /// Its name within the template.
    pub fn symbol(&self) -> &str {
        match self {
            Item::Resource(resource) => &resource.symbol,
            Item::Deployment(deployment) => &deployment.symbol,
        }
    }

    /// What must stand before it, besides what it speaks of.
    pub fn after(&self) -> &[String] {
        match self {
            Item::Resource(resource) => &resource.after,
            Item::Deployment(deployment) => &deployment.after,
        }
    }

    fn after_mut(&mut self) -> &mut Vec<String> {
        match self {
            Item::Resource(resource) => &mut resource.after,
            Item::Deployment(deployment) => &mut deployment.after,
        }
    }

    /// Where it was added.
    pub fn place(&self) -> Place {
        match self {
            Item::Resource(resource) => resource.place,
            Item::Deployment(deployment) => deployment.place,
        }
    }

    /// Calls with each expression of the item that the template around it evaluates, and with the path to it.
    pub fn each_expr<'a>(&'a self, each: &mut dyn FnMut(&[String], &'a Expr)) {
        let at = |part: &str| vec![part.to_owned()];
        match self {
            Item::Resource(resource) => {
                for name in &resource.target.names {
                    each(&at("name"), name);
                }
                for name in resource.target.on.iter().flat_map(|on| &on.names) {
                    each(&at("scope"), name);
                }
                for (key, value) in resource.body.iter() {
                    let mut path = match key {
                        Key::Text(text) => at(text),
                        Key::Expr(_) => at("[…]"),
                    };
                    value.each_expr(&mut path, each);
                }
                if let Some(condition) = &resource.condition {
                    each(&at("condition"), condition);
                }
            }
            Item::Deployment(deployment) => {
                deployment.name.each_expr(&mut at("name"), each);
                deployment.group.each_expr(&mut at("resourceGroup"), each);
                for (name, value) in &deployment.arguments {
                    value.each_expr(&mut at(&format!("properties.parameters.{name}")), each);
                }
                if let Some(condition) = &deployment.condition {
                    each(&at("condition"), condition);
                }
            }
        }
    }

    /// The symbols of what must stand before it within `template`, sorted: what it speaks of, what it is below or on,
    /// and what it was told to wait for. Resources that exist already are left out.
    pub fn depends_on<'a>(&'a self, template: &'a Template) -> Vec<&'a str> {
        let mut found: Vec<&str> = self.after().iter().map(String::as_str).collect();
        let mut note = |target: &Target| {
            if let Some(symbol) = template.symbol_of(target) {
                found.push(symbol);
            }
        };
        self.each_expr(&mut |_, expr| {
            expr.each(&mut |expr| {
                if let Expr::Id(target) | Expr::Reference { target, .. } = expr {
                    note(target);
                }
            });
        });
        if let Item::Resource(resource) = self {
            let mut above = resource.target.parent();
            while let Some(parent) = above {
                note(&parent);
                above = parent.parent();
            }
            if let Some(on) = &resource.target.on {
                note(on);
            }
        }
        let mut deployments = Vec::new();
        self.each_expr(&mut |_, expr| {
            expr.each(&mut |expr| {
                if let Expr::Output { deployment, .. } = expr {
                    deployments.push(deployment.as_str());
                }
            });
        });
        found.extend(deployments);
        found.retain(|symbol| *symbol != self.symbol());
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl Template {
    /// The symbol of a resource that this template makes.
    pub fn symbol_of(&self, target: &Target) -> Option<&str> {
        self.items.iter().find_map(|item| match item {
            Item::Resource(resource) if resource.target.is(target) => Some(resource.symbol.as_str()),
            _ => None,
        })
    }

    /// Whether the template makes the resource or declares that it exists.
    pub fn knows(&self, target: &Target) -> bool {
        self.symbol_of(target).is_some() || self.existing.iter().any(|existing| existing.target.is(target))
    }
}

impl Target {
    pub(super) fn new(kind: &'static Kind, names: Vec<Expr>) -> Self {
        Target { kind, names, on: None, group: None }
    }

    fn below(&self, kind: &'static Kind, name: Expr) -> Self {
        let names = self.names.iter().cloned().chain([name]).collect();
        Target { kind, names, on: self.on.clone(), group: self.group.clone() }
    }

    /// Whether both are one resource. The version of its API does not matter.
    pub fn is(&self, other: &Target) -> bool {
        self.kind.name == other.kind.name
            && self.names == other.names
            && self.group == other.group
            && match (&self.on, &other.on) {
                (None, None) => true,
                (Some(own), Some(others)) => own.is(others),
                _ => false,
            }
    }

    /// The resource above it, if its type is below another.
    pub fn parent(&self) -> Option<Target> {
        let (names, kind) = (self.names.split_last()?.1, crate::azure::kind(self.kind.name.rsplit_once('/')?.0)?);
        (!names.is_empty()).then(|| Target { kind, names: names.to_vec(), on: None, group: self.group.clone() })
    }
}
