//! The graph as what others read: templates of each layer, and the package of each function app. Pure: the caller writes the files.

mod arm;
mod bicep;
mod diagram;
mod layers;
mod names;
mod package;
mod pipelines;
mod policy;
mod queues;
mod render;
mod roles;

pub use arm::arm;
pub use bicep::bicep;
pub use layers::{GATEWAY, Layer, PLATFORM, RenderError, check, layers};
pub use names::Names;
pub use package::{HANDLER, package, router_package};
pub use pipelines::{ENVIRONMENTS, pipelines};
pub use policy::{FragmentXml, NAMED_VALUES, PolicyOf, fragments, policy_xml};
pub use render::render;
pub use roles::{Grant, Need, Role, Thing};
