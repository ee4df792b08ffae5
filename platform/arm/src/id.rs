//! Resource ids: `/subscriptions/…/resourceGroups/…/providers/Namespace/type/name/…`.

use std::fmt;

/// A resource id, taken apart. Ids are equal in any case.
#[derive(Debug, Clone)]
pub struct Id {
    /// The subscription; `None` for what belongs to the tenant.
    pub subscription: Option<String>,
    /// The group; `None` for what belongs to the subscription.
    pub group: Option<String>,
    /// What follows `/providers/`, outermost first: type and name of the resource, after those that it extends.
    pub providers: Vec<(String, String)>,
}

/// Why a text is no resource id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no resource id: {1}")]
pub struct IdError(pub String, pub &'static str);

impl Id {
    /// Takes a text apart.
    ///
    /// # Errors
    /// It is no id.
    pub fn parse(text: &str) -> Result<Id, IdError> {
        let wrong = |why| IdError(text.to_owned(), why);
        let rest = text.strip_prefix('/').ok_or_else(|| wrong("it has to begin with a slash"))?;
        let mut parts: Vec<&str> = rest.trim_end_matches('/').split('/').collect();
        if parts == [""] {
            parts.clear();
        }
        if parts.iter().any(|part| part.is_empty()) {
            return Err(wrong("a segment is empty"));
        }
        let mut parts = parts.into_iter().peekable();
        let mut id = Id { subscription: None, group: None, providers: Vec::new() };
        if parts.next_if(|part| part.eq_ignore_ascii_case("subscriptions")).is_some() {
            id.subscription = Some(parts.next().ok_or_else(|| wrong("the subscription is missing"))?.to_owned());
            if parts.next_if(|part| part.eq_ignore_ascii_case("resourceGroups")).is_some() {
                id.group = Some(parts.next().ok_or_else(|| wrong("the group's name is missing"))?.to_owned());
            }
        }
        while let Some(word) = parts.next() {
            if !word.eq_ignore_ascii_case("providers") {
                return Err(wrong("`providers` was expected"));
            }
            let mut kind = parts.next().ok_or_else(|| wrong("the provider is missing"))?.to_owned();
            let mut name = String::new();
            while let Some(segment) = parts.next_if(|part| !part.eq_ignore_ascii_case("providers")) {
                kind = format!("{kind}/{segment}");
                let own = parts.next().ok_or_else(|| wrong("a name is missing after its type"))?;
                if !name.is_empty() {
                    name.push('/');
                }
                name.push_str(own);
            }
            if name.is_empty() {
                return Err(wrong("a type and a name are missing after the provider"));
            }
            id.providers.push((kind, name));
        }
        Ok(id)
    }

    /// The id of a resource below a scope (`/subscriptions/…`, a resource's id, or empty for the tenant).
    ///
    /// # Errors
    /// The name has not one segment for each of the type's after the provider.
    pub fn of(scope: &str, kind: &str, name: &str) -> Result<String, String> {
        let scope = scope.trim_end_matches('/');
        let (provider, types) = kind
            .split_once('/')
            .ok_or_else(|| format!("{kind:?} is no type, as in Microsoft.Storage/storageAccounts"))?;
        let (types, names): (Vec<&str>, Vec<&str>) = (types.split('/').collect(), name.split('/').collect());
        if types.len() != names.len() || names.iter().any(|name| name.is_empty()) {
            return Err(format!(
                "the name {name:?} has {} segments, and the type {kind} needs {}",
                names.len(),
                types.len()
            ));
        }
        if kind.eq_ignore_ascii_case("Microsoft.Resources/resourceGroups") {
            return Ok(format!("{scope}/resourceGroups/{name}"));
        }
        if kind.eq_ignore_ascii_case("Microsoft.Resources/subscriptions") {
            return Ok(format!("{scope}/subscriptions/{name}"));
        }
        let mut id = format!("{scope}/providers/{provider}");
        for (kind, name) in types.iter().zip(names) {
            id.extend(["/", kind, "/", name]);
        }
        Ok(id)
    }

    /// The type of the resource; that of a group or subscription where nothing follows it.
    pub fn kind(&self) -> &str {
        match (self.providers.last(), &self.group) {
            (Some((kind, _)), _) => kind,
            (None, Some(_)) => "Microsoft.Resources/resourceGroups",
            (None, None) => "Microsoft.Resources/subscriptions",
        }
    }

    /// The name of the resource, a segment for each of the type's.
    pub fn name(&self) -> &str {
        match (self.providers.last(), &self.group, &self.subscription) {
            (Some((_, name)), _, _) => name,
            (None, Some(group), _) => group,
            (None, None, Some(subscription)) => subscription,
            (None, None, None) => "",
        }
    }

    /// The resource of which this is a child; `None` for one of the first level.
    pub fn parent(&self) -> Option<Id> {
        let (kind, name) = self.providers.last()?;
        let (kind, _) = kind.rsplit_once('/')?;
        let (name, _) = name.rsplit_once('/')?;
        let mut parent = self.clone();
        *parent.providers.last_mut()? = (kind.to_owned(), name.to_owned());
        Some(parent)
    }

    /// The subscription, group or resource that this extends or belongs to.
    pub fn scope(&self) -> Id {
        let mut scope = self.clone();
        scope.providers.pop();
        scope
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(subscription) = &self.subscription {
            write!(f, "/subscriptions/{subscription}")?;
        }
        if let Some(group) = &self.group {
            write!(f, "/resourceGroups/{group}")?;
        }
        for (kind, name) in &self.providers {
            let mut kinds = kind.split('/');
            write!(f, "/providers/{}", kinds.next().unwrap_or_default())?;
            for (kind, name) in kinds.zip(name.split('/')) {
                write!(f, "/{kind}/{name}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_taken_apart_and_put_together() {
        let text = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a/blobServices/default\
                    /providers/Microsoft.Authorization/roleAssignments/r";
        let id = Id::parse(text).unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!((id.kind(), id.name()), ("Microsoft.Authorization/roleAssignments", "r"));
        assert_eq!(id.parent().map(|id| id.to_string()), None);
        let scope = id.scope();
        assert_eq!((scope.kind(), scope.name()), ("Microsoft.Storage/storageAccounts/blobServices", "a/default"));
        assert!(scope.parent().unwrap().to_string().ends_with("/storageAccounts/a"));
        assert_eq!(Id::of(&scope.to_string(), id.kind(), id.name()).as_deref(), Ok(text));
        for id in ["/", "/subscriptions/s", "/subscriptions/s/resourceGroups/g"] {
            assert_eq!(Id::parse(id).unwrap().to_string(), id.trim_end_matches('/'));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "x",
            "/x",
            "/subscriptions",
            "/subscriptions//x",
            "/providers/A",
            "/providers/A/b",
            "/providers/A/b/c/d",
        ] {
            assert!(Id::parse(text).is_err(), "{text:?}");
        }
        assert!(Id::of("/s", "A/b/c", "x").is_err());
        assert!(Id::of("/s", "A", "x").is_err());
    }
}
