//! Builds what the commands start.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::python;

/// The folder of the built binaries.
pub struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// The binary's path.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// The repository's root.
pub fn root() -> PathBuf {
    // One level above this crate, wherever the repository stands.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// The Cargo that runs us.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    // What Cargo told us of xtask's own package: build scripts that look at it (ring's does) would run again.
    for (name, _) in env::vars_os() {
        let told = name.to_str().is_some_and(|name| {
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"].iter().any(|start| name.starts_with(start))
        });
        if told {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Where Cargo builds.
pub fn target() -> Result<PathBuf> {
    // {target}/{profile}/xtask
    let xtask = env::current_exe().context("cannot tell where xtask stands")?;
    let target = xtask.parent().and_then(Path::parent).context("xtask does not stand in Cargo's target folder")?;
    Ok(target.to_owned())
}

/// The target that ships.
const SHIPPED: &str = "x86_64-unknown-linux-gnu";
/// The oldest GLIBC that it is linked for.
const GLIBC: &str = "2.28";
/// Zig links for an old GLIBC on a new machine; cargo-zigbuild lets Cargo use it.
const ZIG: [&str; 2] = ["ziglang==0.15.2", "cargo-zigbuild==0.24.1"];

/// Builds every binary of the workspace, always the same set, so that one build serves all commands. Cargo's messages
/// go to stderr; it says nothing when `quiet` unless it fails.
pub fn binaries(release: bool, quiet: bool) -> Result<Binaries> {
    let mut cargo = cargo();
    cargo.args(["build", "--bins"]).args(WHOLE);
    if quiet {
        cargo.arg("--quiet");
    }
    // The simulator runs optimised only, from the same tree as everything else that is.
    if release {
        cargo.arg("--release");
    } else {
        cargo.args(["--exclude", "skein-sim"]);
    }
    finish(cargo)?;
    Ok(Binaries { folder: target()?.join(if release { "release" } else { "debug" }) })
}

/// The running xtask stays out: it is built already.
const WHOLE: [&str; 3] = ["--workspace", "--exclude", "xtask"];

/// Builds binaries that ship, with the features that they have in the whole.
pub fn shipped(bins: &[String]) -> Result<Binaries> {
    let programs = python::environment("zig", &ZIG)?;
    let target = target()?;
    let mut cargo = cargo();
    let inherited = env::var_os("PATH").unwrap_or_default();
    cargo.env("PATH", env::join_paths([programs.clone()].into_iter().chain(env::split_paths(&inherited)))?);
    cargo.args(["zigbuild", "--release", "--target", &format!("{SHIPPED}.{GLIBC}")]).args(WHOLE);
    cargo.args(bins.iter().flat_map(|bin| ["--bin", bin]));
    without_places(&mut cargo, &root(), &target);
    finish(cargo)?;
    Ok(Binaries { folder: target.join(SHIPPED).join("release") })
}

/// Lets no place of this machine into a binary: the same commit is the same bytes in any folder.
fn without_places(cargo: &mut Command, root: &Path, target: &Path) {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    // The last that fits counts: the target folder stands within the root.
    let mut places = vec![(root.to_owned(), "/skein"), (target.to_owned(), "/skein/target")];
    places.extend(home.map(|home| (home, "/cargo")));
    let places = places.iter().map(|(place, name)| format!("{}={name}", place.display()));
    let flags: Vec<String> = places.clone().map(|place| format!("--remap-path-prefix={place}")).collect();
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    let flags: Vec<String> = places.map(|place| format!("-ffile-prefix-map={place}")).collect();
    cargo.env("CFLAGS_x86_64_unknown_linux_gnu", flags.join(" "));
}

fn finish(mut cargo: Command) -> Result<()> {
    let status = cargo.stdin(Stdio::null()).stdout(Stdio::null()).status().context("cannot start cargo")?;
    if !status.success() {
        bail!("the build failed ({status}); nothing was started");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Builds two small crates, one with code that its build script writes, and gives the binary.
    fn built(root: &Path, flags: bool) -> Vec<u8> {
        let files = [
            (
                "Cargo.toml",
                "[workspace]\nmembers = [\"app\", \"lib\"]\nresolver = \"3\"\n[profile.release]\nstrip = \"debuginfo\"\n",
            ),
            (
                "app/Cargo.toml",
                "[package]\nname = \"app\"\nedition = \"2024\"\n[dependencies]\nlib = { path = \"../lib\" }\n",
            ),
            ("app/src/main.rs", "fn main() { println!(\"{}\", lib::told(std::env::args().count())) }\n"),
            ("lib/Cargo.toml", "[package]\nname = \"lib\"\nedition = \"2024\"\n"),
            (
                "lib/build.rs",
                "fn main() { let out = std::env::var(\"OUT_DIR\").unwrap(); std::fs::write(out + \"/made.rs\", \"pub fn made(n: usize) -> usize { assert!(n < 9); n }\").unwrap() }\n",
            ),
            (
                "lib/src/lib.rs",
                "include!(concat!(env!(\"OUT_DIR\"), \"/made.rs\"));\npub fn told(n: usize) -> String { format!(\"{} {:?}\", made(n), [1, 2].get(n).expect(\"few\")) }\n",
            ),
        ];
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let target = root.join("target");
        let mut cargo = cargo();
        cargo
            .current_dir(root)
            .env("CARGO_TARGET_DIR", &target)
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("RUSTFLAGS");
        cargo.args(["build", "--release", "--offline", "--quiet", "--target", SHIPPED]);
        if flags {
            without_places(&mut cargo, root, &target);
        }
        finish(cargo).unwrap();
        fs::read(target.join(SHIPPED).join("release/app")).unwrap()
    }

    #[test]
    fn the_folder_makes_no_difference_to_a_binary() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().join("one"), folder.path().join("another/and longer")];
        let [one, another] = folders.each_ref().map(|root| built(root, true));
        assert!(one == another, "the same code gives other bytes in another folder");
        let place = folder.path().to_str().unwrap().as_bytes();
        assert!(!one.windows(place.len()).any(|bytes| bytes == place), "the binary says where it was built");
        // The flags do it: without them the place is in it.
        assert!(built(&folders[0], false).windows(place.len()).any(|bytes| bytes == place));
    }
}
