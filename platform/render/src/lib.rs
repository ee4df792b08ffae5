//! The graph as what others read: the list of resources in ARM's shape, and the package of each function app. Pure:
//! the caller writes the files.

mod arm;
mod names;
mod package;
mod resources;

pub use arm::arm;
pub use names::Names;
pub use package::{HANDLER, package};
pub use resources::{Endpoints, Identity, Resource, resources};
