//! Where the built programs are, and the folder of plugins of a lab's node.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::cni::{DEBIAN_PLUGINS, PLUGIN_NAMES};

/// A program of this workspace, as built: in the folder of `CHAINKIT_BIN_DIR`, else where Cargo puts it beside the one that asks.
///
/// # Errors
/// When it is not there, with what to do.
pub fn program(name: &str) -> Result<PathBuf, Error> {
    let what = || format!("find {name}");
    let here = std::env::current_exe().map_err(Error::io(what()))?;
    // A test is in target/debug/deps, a program in target/debug.
    let beside = here.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    let told = std::env::var_os("CHAINKIT_BIN_DIR").map(|folder| PathBuf::from(folder).join(name));
    let mut places = told.into_iter().chain(beside);
    places.find(|path| path.is_file()).ok_or_else(|| {
        Error::invalid(what(), "it is not built: cargo build --bins, or say where it is by CHAINKIT_BIN_DIR")
    })
}

/// Fills the folder, which may be done already.
pub(crate) fn install(folder: &Path) -> Result<PathBuf, Error> {
    if let Ok(plugins) = fs::read_dir(DEBIAN_PLUGINS) {
        for plugin in plugins.flatten() {
            link(&plugin.path(), &folder.join(plugin.file_name()))?;
        }
    }
    copy(&program("chainkit-lab")?, &folder.join("chainkit-lab"))?;
    for name in PLUGIN_NAMES {
        link(Path::new("chainkit-lab"), &folder.join(name))?;
    }
    if let Ok(chain) = program("cni-chain") {
        copy(&chain, &folder.join("cni-chain"))?;
    }
    Ok(folder.to_owned())
}

fn link(target: &Path, place: &Path) -> Result<(), Error> {
    match symlink(target, place) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::io(format!("link {} to {}", place.display(), target.display()))(error))
        }
        _ => Ok(()),
    }
}

/// The file itself, since a runtime's mount namespace hides some folders where it may be built.
fn copy(program: &Path, place: &Path) -> Result<(), Error> {
    if place.exists() {
        return Ok(());
    }
    // Not possible from one file system to another.
    if fs::hard_link(program, place).is_ok() {
        return Ok(());
    }
    fs::copy(program, place).map(drop).map_err(Error::io(format!("copy {} to {}", program.display(), place.display())))
}
