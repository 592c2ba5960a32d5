//! A container image made of busybox, since a lab has no registry to pull one from.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::Error;

/// Name of the image. Its only program is busybox, which sleeps unless told otherwise.
pub const IMAGE: &str = "lab.invalid/busybox:1";

/// Where Debian's `busybox-static` puts it.
const BUSYBOX: &str = "/usr/bin/busybox";

/// Makes the image below `folder`, as `docker save` writes it, unless it is there; its path.
pub(super) fn archive(folder: &Path) -> Result<PathBuf, Error> {
    let archive = folder.join("busybox.tar");
    if archive.exists() {
        return Ok(archive);
    }
    let work = folder.join("image");
    let what = || format!("make a container image of {BUSYBOX} (of the package busybox-static) in {}", work.display());
    (|| {
        fs::create_dir_all(work.join("root/bin"))?;
        fs::copy(BUSYBOX, work.join("root/bin/busybox"))?;
        symlink("busybox", work.join("root/bin/sh"))
    })()
    .map_err(Error::io(what()))?;
    tar(&work.join("root"), &work.join("layer.tar"), &["."])?;
    let sum = output(Command::new("sha256sum").arg(work.join("layer.tar")))?;
    let digest = sum.split(' ').next().unwrap_or_default();
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"Entrypoint": ["/bin/busybox"], "Cmd": ["sleep", "1000000"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]);
    for (name, text) in [("config.json", config), ("manifest.json", manifest)] {
        fs::write(work.join(name), text.to_string()).map_err(Error::io(what()))?;
    }
    tar(&work, &archive, &["manifest.json", "config.json", "layer.tar"])?;
    Ok(archive)
}

fn tar(folder: &Path, archive: &Path, names: &[&str]) -> Result<(), Error> {
    let mut command = Command::new("tar");
    command.arg("-C").arg(folder).args(["--owner=0", "--group=0", "-cf"]).arg(archive).args(names);
    output(&mut command).map(drop)
}

fn output(command: &mut Command) -> Result<String, Error> {
    let what = format!("run {command:?}");
    let output = command.output().map_err(Error::io(what.clone()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::invalid(what, String::from_utf8_lossy(&output.stderr).trim()))
}
