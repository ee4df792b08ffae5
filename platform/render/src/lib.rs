//! The graph as what others read: the list of resources in ARM's shape, and the package of each function app. Pure:
//! the caller writes the files.

mod names;
mod package;
mod resources;

pub use names::Names;
pub use package::{HANDLER, package};
pub use resources::{Endpoints, Identity, Resource, resources};
