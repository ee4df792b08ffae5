//! The sections of a policy, and which statements each of them takes.

use std::marker::PhantomData;

use crate::element::Element;

pub(crate) mod sealed {
    //! Only this crate says what a statement and what a section is.

    use crate::element::Element;

    /// A statement that becomes an element.
    pub trait Statement {
        /// The element.
        fn element(self) -> Element;
    }

    /// A section.
    pub trait Section {}
}

/// A section of a policy.
pub trait SectionKind: sealed::Section {
    /// The element's name.
    const NAME: &'static str;
}

macro_rules! sections {
    ($($(#[$doc:meta])* $section:ident = $name:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $section {}

        impl sealed::Section for $section {}

        impl SectionKind for $section {
            const NAME: &'static str = $name;
        }
    )*};
}

sections! {
    /// What happens to a request as it comes in.
    Inbound = "inbound";
    /// What happens before the request goes to the backend.
    Backend = "backend";
    /// What happens to the answer.
    Outbound = "outbound";
    /// What happens to an error of any other section.
    OnError = "on-error";
}

/// A statement that the section takes.
#[diagnostic::on_unimplemented(message = "`{Self}` may not stand in the section `{S}`")]
pub trait AllowedIn<S: SectionKind>: sealed::Statement {}

/// Statements of a section, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steps<S> {
    pub(crate) elements: Vec<Element>,
    section: PhantomData<S>,
}

impl<S: SectionKind> Steps<S> {
    /// No statement yet.
    pub fn new() -> Self {
        Steps { elements: Vec::new(), section: PhantomData }
    }

    /// One more.
    #[must_use]
    pub fn then(mut self, statement: impl AllowedIn<S>) -> Self {
        self.elements.push(statement.element());
        self
    }

    /// One more if there is one.
    #[must_use]
    pub fn then_if(self, statement: Option<impl AllowedIn<S>>) -> Self {
        match statement {
            Some(statement) => self.then(statement),
            None => self,
        }
    }
}

impl<S: SectionKind> Default for Steps<S> {
    fn default() -> Self {
        Steps::new()
    }
}

/// A section below the outermost scope: `<base/>`, where the wider scope's section is carried out, and statements
/// before and after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section<S> {
    before: Steps<S>,
    after: Steps<S>,
}

impl<S: SectionKind> Section<S> {
    pub(crate) fn new() -> Self {
        Section { before: Steps::new(), after: Steps::new() }
    }

    /// A statement before what the wider scope does.
    #[must_use]
    pub fn first(mut self, statement: impl AllowedIn<S>) -> Self {
        self.before = self.before.then(statement);
        self
    }

    /// A statement after what the wider scope did.
    #[must_use]
    pub fn then(mut self, statement: impl AllowedIn<S>) -> Self {
        self.after = self.after.then(statement);
        self
    }

    /// [`Section::then`], if there is a statement.
    #[must_use]
    pub fn then_if(mut self, statement: Option<impl AllowedIn<S>>) -> Self {
        self.after = self.after.then_if(statement);
        self
    }

    pub(crate) fn element(&self) -> Element {
        Element::new(S::NAME)
            .children(self.before.elements.iter().cloned())
            .child(Element::new("base"))
            .children(self.after.elements.iter().cloned())
    }
}
