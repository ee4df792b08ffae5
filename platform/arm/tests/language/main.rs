//! Templates in, resources out.

mod functions;
mod samples;
mod templates;
mod world;
