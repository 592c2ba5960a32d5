//! containerd of the lab's own, spoken to as the kubelet does (CRI) and as its own `ctr` does.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::image::{IMAGE, archive};
use super::{Machine, PodSandbox, SandboxSpec, SandboxStatus, cri};
use crate::{Error, Lab, Netns, Running};

/// How long containerd may take to answer.
const LIMIT: Duration = Duration::from_secs(60);

/// What a test needs to have installed for this.
const PROGRAMS: [&str; 5] = ["containerd", "ctr", "containerd-shim-runc-v2", "runc", "busybox"];

/// A containerd with its own state, socket and machine. All of it ends when this is dropped.
#[derive(Debug)]
pub struct Containerd {
    /// Ends before the machine does.
    daemon: Option<Running>,
    machine: Machine,
    folder: PathBuf,
}

impl Containerd {
    /// The first of the programs it takes that is not installed; a test is then to be skipped.
    #[must_use]
    pub fn lacks() -> Option<&'static str> {
        super::podman::lacking(&PROGRAMS)
    }

    /// Starts it, with the configuration lists that are in `etc/cni/net.d` below the lab's root, now or later.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(lab: &Lab) -> Result<Self, Error> {
        let folder = lab.root().join("tmp/containerd");
        fs::create_dir_all(&folder).map_err(Error::io(format!("make {}", folder.display())))?;
        let path = folder.join("config.toml");
        fs::write(&path, config(&folder, lab.root())).map_err(Error::io(format!("write {}", path.display())))?;
        let mut containerd = Self { daemon: None, machine: Machine::start(lab)?, folder };
        containerd.boot()?;
        let archive = archive(&lab.root().join("tmp"))?;
        for namespace in ["k8s.io", "default"] {
            containerd.ctr(&[
                "--namespace".as_ref(),
                namespace.as_ref(),
                "images".as_ref(),
                "import".as_ref(),
                "--snapshotter=native".as_ref(),
                archive.as_os_str(),
            ])?;
        }
        Ok(containerd)
    }

    fn boot(&mut self) -> Result<(), Error> {
        let config = self.folder.join("config.toml");
        let mut daemon = self.machine.spawn("containerd", &["--config".as_ref(), config.as_os_str()])?;
        daemon.wait_for_stderr("containerd successfully booted", LIMIT)?;
        self.daemon = Some(daemon);
        // It listens before all of it is ready.
        let started = Instant::now();
        while let Err(error) = cri::network_problem(&self.socket()) {
            if started.elapsed() > LIMIT {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Kills it and starts it anew; pods stay, as they do when containerd is upgraded.
    ///
    /// # Errors
    /// When it does not start again.
    pub fn restart(&mut self) -> Result<(), Error> {
        drop(self.daemon.take());
        self.boot()
    }

    /// Its machine.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// What it has written to its log.
    #[must_use]
    pub fn log(&self) -> String {
        self.daemon.as_ref().map(Running::stderr).unwrap_or_default()
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("sock")
    }

    /// Starts a pod's sandbox, as the kubelet does (`RunPodSandbox`), once containerd has loaded a configuration list.
    ///
    /// # Errors
    /// What containerd says, among it what plugins said.
    pub fn run_pod(&self, spec: &SandboxSpec) -> Result<PodSandbox, Error> {
        self.wait_for_network()?;
        let id = cri::run(&self.socket(), spec)?;
        let status = cri::status(&self.socket(), &id)?;
        let path = self.machine.path(format!("/proc/{}/ns/net", status.pid));
        let netns = Netns::open(&path, format!("{}/{}", spec.namespace, spec.name))?;
        Ok(PodSandbox { id, netns, status })
    }

    /// What it says of a sandbox.
    ///
    /// # Errors
    /// When it knows none of that id.
    pub fn status(&self, id: &str) -> Result<SandboxStatus, Error> {
        cri::status(&self.socket(), id)
    }

    /// Stops a sandbox, which calls DEL, and removes it.
    ///
    /// # Errors
    /// What containerd says, among it what plugins said.
    pub fn remove_pod(&self, id: &str) -> Result<(), Error> {
        self.stop_pod(id)?;
        cri::remove(&self.socket(), id)
    }

    /// Stops a sandbox, which calls DEL; the kubelet repeats this at will.
    ///
    /// # Errors
    /// As [`Containerd::remove_pod`].
    pub fn stop_pod(&self, id: &str) -> Result<(), Error> {
        cri::stop(&self.socket(), id)
    }

    /// Waits until a configuration list is loaded.
    ///
    /// # Errors
    /// When none is within a minute, with containerd's own reason.
    pub fn wait_for_network(&self) -> Result<(), Error> {
        let started = Instant::now();
        loop {
            let reason = match cri::network_problem(&self.socket())? {
                None => return Ok(()),
                Some(reason) => reason,
            };
            if started.elapsed() > LIMIT {
                return Err(Error::invalid("start pods: containerd has no network", reason));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs containerd's own client to its end; what it has written to stdout.
    ///
    /// # Errors
    /// As [`Machine::run`].
    pub fn ctr(&self, arguments: &[&std::ffi::OsStr]) -> Result<String, Error> {
        let socket = self.socket();
        let arguments = [&["--address".as_ref(), socket.as_os_str()], arguments].concat();
        self.machine.run("ctr", &arguments)
    }

    /// Starts a container by `ctr run --cni`, which goes on until it is killed by [`Containerd::kill_container`].
    ///
    /// # Errors
    /// When it does not run within a minute.
    pub fn run_container(&self, id: &str) -> Result<(Running, Netns), Error> {
        let socket = self.socket().display().to_string();
        let arguments = [
            "--address",
            &socket,
            "run",
            "--cni",
            "--snapshotter=native",
            IMAGE,
            id,
            "/bin/busybox",
            "sleep",
            "100000",
        ];
        let mut running = self.machine.spawn("ctr", &arguments)?;
        let started = Instant::now();
        loop {
            let tasks = self.ctr(&["tasks".as_ref(), "list".as_ref()])?;
            let task =
                tasks.lines().find(|line| line.split_whitespace().next() == Some(id) && line.contains("RUNNING"));
            if let Some(pid) = task.and_then(|line| line.split_whitespace().nth(1)) {
                let path = self.machine.path(format!("/proc/{pid}/ns/net"));
                return Ok((running, Netns::open(&path, id)?));
            }
            let ended = running.wait(Duration::from_millis(20)).is_ok();
            if ended || started.elapsed() > LIMIT {
                let said = format!("{}{}", running.stdout(), running.stderr());
                return Err(Error::invalid(format!("start the container {id} by ctr"), said));
            }
        }
    }

    /// Kills a container of [`Containerd::run_container`], whose `ctr` then calls DEL and ends.
    ///
    /// # Errors
    /// As [`Containerd::ctr`].
    pub fn kill_container(&self, id: &str) -> Result<(), Error> {
        self.ctr(&["tasks".as_ref(), "kill".as_ref(), "--signal".as_ref(), "KILL".as_ref(), id.as_ref()]).map(drop)
    }
}

/// Everything is in `folder`. What is switched off wants more than a test's machine may give.
fn config(folder: &Path, root: &Path) -> String {
    let (folder, root) = (folder.display(), root.display());
    format!(
        r#"version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.devmapper"]
[grpc]
address = "{folder}/sock"
[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{IMAGE}"
# Lowering the score of the OOM killer takes CAP_SYS_RESOURCE, which the root of a container may lack.
restrict_oom_score_adj = true
disable_apparmor = true
disable_hugetlb_controller = true
disable_tcp_service = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{root}/opt/cni/bin"
conf_dir = "{root}/etc/cni/net.d"
max_conf_num = 1
"#
    )
}
