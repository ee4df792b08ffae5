//! Connections: pages of a list with opaque cursors.

use std::borrow::Cow;

use async_graphql::{OutputType, SimpleObject, TypeName};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use skein_core::views::Listing;

use crate::error::ApiError;

/// How many nodes a page has at most; a larger `first` is taken for this.
pub const MAX_PAGE: usize = 100;
/// How many nodes a page has where `first` is not given.
pub const DEFAULT_PAGE: usize = 20;
/// What a cursor begins with before it is encoded: a later form can then be told apart.
const CURSOR: &str = "v1:";

/// A page of a list.
#[derive(SimpleObject)]
#[graphql(name_type)]
pub struct Connection<N: OutputType> {
    /// The nodes of this page, in order.
    pub edges: Vec<Edge<N>>,
    /// Where the page ends.
    pub page_info: PageInfo,
}

/// A node and its place in the list.
#[derive(SimpleObject)]
#[graphql(name_type)]
pub struct Edge<N: OutputType> {
    /// The place: give it as `after` to go on behind this node. It means nothing else.
    pub cursor: String,
    /// The node.
    pub node: N,
}

/// Where a page ends.
#[derive(SimpleObject)]
pub struct PageInfo {
    /// Whether the list goes on.
    pub has_next_page: bool,
    /// The last node's cursor.
    pub end_cursor: Option<String>,
}

impl<N: OutputType> TypeName for Connection<N> {
    fn type_name() -> Cow<'static, str> {
        format!("{}Connection", N::type_name()).into()
    }
}

impl<N: OutputType> TypeName for Edge<N> {
    fn type_name() -> Cow<'static, str> {
        format!("{}Edge", N::type_name()).into()
    }
}

/// Which page is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// How many nodes at most, 1 to [`MAX_PAGE`].
    pub first: usize,
    /// The row behind which the page begins.
    pub after: Option<String>,
}

impl Page {
    /// Reads the arguments `first` and `after`: [`DEFAULT_PAGE`] nodes from the start if they are absent, and
    /// [`MAX_PAGE`] at most, however many are asked for.
    ///
    /// # Errors
    /// A `first` below 1, and an `after` that is no cursor of ours.
    pub fn of(first: Option<i32>, after: Option<&str>) -> Result<Self, ApiError> {
        let first = match first {
            None => DEFAULT_PAGE,
            Some(first) => match usize::try_from(first) {
                Ok(first @ 1..) => first.min(MAX_PAGE),
                _ => return Err(ApiError::bad_input(format!("first is {first}: ask for 1 to {MAX_PAGE}"))),
            },
        };
        let row = |cursor: &str| {
            let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
            text.strip_prefix(CURSOR).map(str::to_owned)
        };
        let after = after
            .map(|cursor| {
                row(cursor).ok_or_else(|| ApiError::bad_input("after is no cursor: give one as an answer held it"))
            })
            .transpose()?;
        Ok(Page { first, after })
    }
}

/// What a page costs of an operation's complexity: each of its nodes counts.
/// `#[graphql(complexity = "page_cost(first, child_complexity)")]`
pub fn page_cost(first: Option<i32>, child_complexity: usize) -> usize {
    let nodes = first.map_or(DEFAULT_PAGE, |first| usize::try_from(first).unwrap_or(0).clamp(1, MAX_PAGE));
    nodes.saturating_mul(child_complexity)
}

impl<N: OutputType> Connection<N> {
    /// The page that a view's listing holds.
    pub fn of<R>(listing: Listing<R>, node: impl Fn(R) -> N) -> Self {
        let edges: Vec<Edge<N>> = listing
            .rows
            .into_iter()
            .map(|(row, value)| Edge { cursor: URL_SAFE_NO_PAD.encode(format!("{CURSOR}{row}")), node: node(value) })
            .collect();
        let end_cursor = edges.last().map(|edge| edge.cursor.clone());
        Connection { edges, page_info: PageInfo { has_next_page: listing.has_next, end_cursor } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_bounded_and_cursors_opaque() {
        let listing = Listing { rows: vec![("00x:é".to_owned(), 1), ("01".to_owned(), 2)], has_next: true };
        let page = Connection::of(listing, |value: i32| value);
        assert_eq!(page.page_info.end_cursor.as_deref(), Some(page.edges[1].cursor.as_str()));
        let next = Page::of(Some(1_000), Some(&page.edges[0].cursor)).unwrap();
        assert_eq!(next, Page { first: MAX_PAGE, after: Some("00x:é".into()) });
        assert_eq!(Page::of(None, None).unwrap(), Page { first: DEFAULT_PAGE, after: None });
        for first in [0, -1, i32::MIN] {
            assert_eq!(Page::of(Some(first), None).unwrap_err().code().as_str(), "BAD_USER_INPUT");
        }
        for cursor in ["", "00x", "%", "djI6MDA", "_w"] {
            assert_eq!(Page::of(None, Some(cursor)).unwrap_err().code().as_str(), "BAD_USER_INPUT", "{cursor}");
        }
    }
}
