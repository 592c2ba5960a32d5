//! podman with its CNI back end, as Debian 12 has it.

use std::fs;
use std::path::PathBuf;

use super::Machine;
use super::image::{IMAGE, archive};
use crate::{Error, Lab, Netns};

/// What a test needs to have installed for this.
const PROGRAMS: [&str; 4] = ["podman", "conmon", "runc", "busybox"];

/// podman on the lab's node, with state of its own. Its containers end when this is dropped.
#[derive(Debug)]
pub struct Podman {
    machine: Machine,
    folder: PathBuf,
}

impl Podman {
    /// The first of the programs it takes that is not installed; a test is then to be skipped.
    #[must_use]
    pub fn lacks() -> Option<&'static str> {
        lacking(&PROGRAMS)
    }

    /// Makes it ready, with the configuration lists that are in `etc/cni/net.d` below the lab's root.
    ///
    /// # Errors
    /// When the image cannot be loaded.
    pub fn start(lab: &Lab) -> Result<Self, Error> {
        let folder = lab.root().join("tmp/podman");
        let machine = Machine::start(lab)?;
        let podman = Self { machine, folder };
        let config = format!(
            r#"[containers]
# Raising these takes CAP_SYS_RESOURCE, which the root of a container may lack.
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
apparmor_profile = ""
cgroupns = "host"
[network]
network_backend = "cni"
network_config_dir = "{0}/etc/cni/net.d"
cni_plugin_dirs = ["{0}/opt/cni/bin"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
"#,
            lab.root().display()
        );
        let path = podman.folder.join("containers.conf");
        let policy = podman.folder.join("policy.json");
        (|| {
            fs::create_dir_all(&podman.folder)?;
            fs::write(&path, config)?;
            fs::write(&policy, r#"{"default": [{"type": "insecureAcceptAnything"}]}"#)
        })()
        .map_err(Error::io(format!("write podman's settings in {}", podman.folder.display())))?;
        let archive = archive(&lab.root().join("tmp"))?;
        let policy = policy.display().to_string();
        podman.podman(&["load", "--signature-policy", &policy, "--input", &archive.display().to_string()])?;
        Ok(podman)
    }

    /// Its machine.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Runs podman to its end; what it has written to stdout.
    ///
    /// # Errors
    /// When it fails.
    pub fn podman(&self, arguments: &[&str]) -> Result<String, Error> {
        let folder = self.folder.display();
        let config = format!("CONTAINERS_CONF={folder}/containers.conf");
        let (storage, state) = (format!("--root={folder}/storage"), format!("--runroot={folder}/run"));
        let tmp = format!("--tmpdir={folder}/tmp");
        let ours = [config.as_str(), "podman", &storage, &state, &tmp, "--storage-driver=vfs", "--runtime=runc"];
        self.machine.run("env", &[&ours, arguments].concat())
    }

    /// Starts a container on a network; its id and its network namespace.
    ///
    /// # Errors
    /// As [`Podman::podman`].
    pub fn run_container(&self, name: &str, network: &str) -> Result<(String, Netns), Error> {
        let network = format!("--network={network}");
        let id = self.podman(&["run", "--detach", "--pull=never", "--name", name, &network, IMAGE])?;
        let pid = self.podman(&["inspect", "--format", "{{.State.Pid}}", name])?;
        let netns = Netns::open(&self.machine.path(format!("/proc/{}/ns/net", pid.trim())), name)?;
        Ok((id.trim().to_owned(), netns))
    }

    /// Kills and removes a container, which calls DEL.
    ///
    /// # Errors
    /// As [`Podman::podman`].
    pub fn remove_container(&self, name: &str) -> Result<(), Error> {
        self.podman(&["rm", "--force", "--time=0", name]).map(drop)
    }
}

/// The first of these programs that is nowhere in `PATH`, nor where Debian puts what users do not call.
pub(super) fn lacking(programs: &[&'static str]) -> Option<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/libexec/podman".into()]).collect();
    programs.iter().copied().find(|program| !folders.iter().any(|folder| folder.join(program).exists()))
}
