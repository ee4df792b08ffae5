//! One GraphQL of several services: what a router needs to answer a document over all of them, without doing any I/O.
//!
//! [`compose`] makes one schema of the services' own, with their root fields side by side. [`Graph::split`] takes a
//! client's document apart into one for each service, and [`Plan::merge`] makes one answer of theirs. There is no
//! stitching: a root field is answered by its service as a whole, and no service hears of another.
//!
//! What a service would say about a document of its own is left to it: types of fields and arguments, access, depth. What
//! taking a document apart would hide is refused here: see [`Refusal`].
//!
//! ```
//! use skein_graph::{Schema, compose};
//!
//! let graph = compose(&[
//!     Schema { service: "orders", place: "orders.graphql", sdl: "type Query { order(id: ID!): String }" },
//!     Schema { service: "stocks", place: "stocks.graphql", sdl: "type Query { stock(sku: ID!): Int }" },
//! ])
//! .unwrap();
//! let variables = serde_json::Map::from_iter([("id".to_owned(), "7".into())]);
//! let plan = graph.split("query ($id: ID!) { stock(sku: \"a\") mine: order(id: $id) }", None, &variables).unwrap();
//! assert_eq!(plan.parts()[1].service, "orders");
//! assert_eq!(plan.parts()[1].document, "query($id: ID!) {\n\tmine: order(id: $id)\n}\n");
//! let answers = [Ok(r#"{"data":{"stock":3}}"#.to_owned()), Ok(r#"{"data":{"mine":"PLACED"}}"#.to_owned())];
//! assert_eq!(plan.merge(&answers, "4bf92f35"), r#"{"data":{"stock":3,"mine":"PLACED"}}"#);
//! ```

mod compose;
mod introspect;
mod merge;
mod print;
mod refusal;
mod split;

pub use compose::{ComposeError, Graph, Schema, compose};
pub use merge::{Failed, Plan};
pub use refusal::Refusal;
pub use split::Part;
