//! By what names the resources of a template are found: ids, names, symbols and loops.

use std::sync::Arc;

use super::{Draft, named};
use crate::Id;

/// A resource of a template, as expressions name it.
pub(crate) struct Named {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) symbol: Option<String>,
    /// The loop that it is a copy of, and which one.
    pub(crate) copy: Option<String>,
    pub(crate) turn: Option<i64>,
    pub(crate) deployed: bool,
    pub(crate) existing: bool,
}

/// The resources of a template, conditions that do not hold included.
pub(crate) struct Names {
    list: Vec<Named>,
    /// The names of all loops, also of those that never turn.
    loops: Vec<String>,
    /// The id of the subscription or group that they go to.
    target: String,
    pub(crate) symbolic: bool,
    /// Those of the template around one whose expressions see it.
    outer: Option<Arc<Names>>,
}

/// What `reference()` means.
pub(crate) struct Found {
    pub(crate) id: String,
    /// Among the resources of the template, conditions that do not hold included.
    pub(crate) index: Option<usize>,
    /// It is in the template around this one.
    pub(crate) outer: bool,
}

impl Names {
    pub(super) fn new(
        drafts: &[Draft],
        loops: Vec<String>,
        target: String,
        symbolic: bool,
        outer: Option<Arc<Names>>,
    ) -> Self {
        Names { list: drafts.iter().map(named).collect(), loops, target, symbolic, outer }
    }

    fn all(&self, test: impl Fn(&Named) -> bool) -> Vec<usize> {
        (0..self.list.len()).filter(|index| test(&self.list[*index])).collect()
    }

    /// The resources that `dependsOn` means; `None` where it means none.
    pub(super) fn matching(&self, wanted: &str) -> Option<Vec<usize>> {
        let same = |text: &str| text.eq_ignore_ascii_case(wanted);
        let some = |found: Vec<usize>| Some(found).filter(|found| !found.is_empty());
        if self.symbolic {
            if let Some((symbol, turn)) = wanted.strip_suffix(']').and_then(|rest| rest.split_once('[')) {
                let turn = turn.parse().ok();
                let found = self.all(|one| one.symbol.as_deref() == Some(symbol) && one.turn == turn);
                return some(found);
            }
            if let Some(found) = some(self.all(|one| one.symbol.as_deref() == Some(wanted))) {
                return Some(found);
            }
        }
        let id = match wanted.starts_with('/') {
            true => Some(wanted.trim_end_matches('/').to_owned()),
            // `Namespace/type/name`, below the target.
            false if wanted.contains('/') => {
                Id::parse(&format!("{}/providers/{wanted}", self.target)).ok().map(|id| id.to_string())
            }
            false => None,
        };
        if let Some(id) = id
            && let Some(found) = some(self.all(|one| one.id.eq_ignore_ascii_case(&id)))
        {
            return Some(found);
        }
        some(self.all(|one| one.copy.as_deref().is_some_and(same)))
            .or_else(|| some(self.all(|one| same(&one.name))))
            .or_else(|| self.loops.iter().any(|name| same(name)).then(Vec::new))
    }

    /// The ids of a loop's copies, in their order.
    pub(crate) fn copies(&self, wanted: &str) -> Option<Vec<String>> {
        let found = self.all(|one| {
            one.turn.is_some()
                && (one.symbol.as_deref() == Some(wanted) || one.copy.as_deref() == Some(wanted))
                && one.deployed
        });
        if found.is_empty() {
            return self.outer.as_ref().and_then(|outer| outer.copies(wanted));
        }
        Some(found.into_iter().map(|index| self.list[index].id.clone()).collect())
    }

    /// Whether a text looks like a symbolic name, though the template has none.
    pub(super) fn is_label(&self, wanted: &str) -> bool {
        !self.symbolic
            && wanted.starts_with(|c: char| c.is_ascii_alphabetic())
            && wanted.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    }

    /// The resource that `reference()` means.
    pub(crate) fn find(&self, wanted: &str) -> Result<Found, String> {
        if let Some(found) = self.matching(wanted) {
            let alive: Vec<usize> = found.iter().copied().filter(|index| self.list[*index].deployed).collect();
            return match alive.as_slice() {
                [index] => Ok(Found { id: self.list[*index].id.clone(), index: Some(*index), outer: false }),
                [] => Err(format!("the condition of {wanted:?} does not hold, so that it is not there")),
                _ => Err(format!("{wanted:?} is the name of several resources; refer to one by its id")),
            };
        }
        if let Some(outer) = &self.outer
            && let Ok(found) = outer.find(wanted)
        {
            return Ok(Found { index: None, outer: true, ..found });
        }
        if wanted.starts_with('/') {
            let id = Id::parse(wanted).map_err(|error| error.to_string())?;
            return Ok(Found { id: id.to_string(), index: None, outer: false });
        }
        if self.is_label(wanted)
            && let Some(index) = self.labelled(wanted)
        {
            return Ok(Found { id: self.list[index].id.clone(), index: Some(index), outer: false });
        }
        Err(format!("there is no resource {wanted:?} in the template"))
    }

    /// The resource whose type a left-over symbolic name describes: the outermost one with the name as a word of its
    /// type, if there is one only.
    fn labelled(&self, wanted: &str) -> Option<usize> {
        let described = self
            .all(|one| one.deployed && !one.existing && words(&one.kind).any(|word| word.eq_ignore_ascii_case(wanted)));
        let depth = |index: usize| self.list[index].kind.split('/').count();
        let least = described.iter().map(|index| depth(*index)).min()?;
        let mut outermost = described.into_iter().filter(|index| depth(*index) == least);
        outermost.next().filter(|_| outermost.next().is_none())
    }
}

/// The words of a type: `Microsoft.ManagedIdentity/userAssignedIdentities` has `Managed`, `Identity` and more.
fn words(kind: &str) -> impl Iterator<Item = &str> {
    kind.split(['.', '/']).flat_map(|part| {
        let starts = part.char_indices().filter(|(at, c)| *at == 0 || c.is_ascii_uppercase()).map(|(at, _)| at);
        let starts: Vec<usize> = starts.collect();
        let ends: Vec<usize> = starts.iter().skip(1).copied().chain([part.len()]).collect();
        starts.into_iter().zip(ends).map(|(start, end)| &part[start..end]).collect::<Vec<_>>()
    })
}
