//! Packages of function apps: a zip that holds `host.json`, a `function.json` for each function and the binary.
//!
//! [`write`] makes the same bytes of the same files wherever it runs: sorted paths, one fixed time, modes as Unix knows
//! them. [`read`] takes a package apart and refuses one that the functions host could not start.

mod archive;
mod glibc;

pub use archive::{Compression, File, PackageError, digest, read, write};
pub use glibc::{ElfError, Glibc, OLDEST};
