//! What a container runtime sees as its machine.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::process::dying_with_parent;
use crate::{Error, Lab, Running};

/// What the cgroups of machines are called, with the process id of the lab and a number behind it.
const PREFIX: &str = "chainkit-lab";

/// How long the machine may take to be there.
const LIMIT: Duration = Duration::from_secs(60);

/// The lab's node as a container runtime sees it: in the node's network namespace, with mounts, processes, cgroups, `/run`, `/opt` and
/// `/var/lib` of its own, and the lab's plugins, their configuration, its bpffs and what plugins keep in their usual places. Programs that
/// detach themselves, as containerd's shims do, end with it, and nothing of it is left on the real machine.
#[derive(Debug)]
pub struct Machine {
    /// Its first process, without which the kernel ends all others.
    first: Option<Running>,
    /// Process id of that, as seen from outside.
    pid: u32,
    node: PathBuf,
    root: PathBuf,
    cgroup: String,
}

impl Machine {
    /// Starts one on the node of a lab, with the lab's plugins.
    ///
    /// # Errors
    /// When namespaces or cgroups cannot be made.
    pub fn start(lab: &Lab) -> Result<Self, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        sweep();
        lab.plugin_folder()?;
        let cgroup = format!("{PREFIX}.{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut command = lab.node().command("unshare");
        command.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=KILL", "--"]);
        command.args(["bash", "-c", include_str!("machine.sh"), "machine", &cgroup]).arg(lab.root());
        let (node, root) = (lab.node().path().to_owned(), lab.root().to_owned());
        let mut first = Running::start(command)?;
        let ready = first.wait_for_stdout("ready ", LIMIT);
        let pid = first.stdout().trim().strip_prefix("ready ").and_then(|pid| pid.parse().ok()).unwrap_or(0);
        // From here on its cgroups are taken away, also when it is of no use.
        let machine = Self { first: Some(first), pid, node, root, cgroup };
        ready.map(|()| machine)
    }

    /// A command that runs inside, and is killed with the thread that started it; see [`Netns::command`](crate::Netns::command).
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        // It moves into the machine's own cgroup, and dies with `nsenter`, which stays since a PID namespace is for children.
        const JOIN: &str = r#"while read -r _ place type _; do
            case $type in cgroup | cgroup2) echo 0 >"$place/machine/cgroup.procs" ;; esac
        done </proc/mounts
        shift
        exec setpriv --pdeathsig KILL -- "$@""#;
        let mut command = dying_with_parent();
        command.env("CHAINKIT_ROOT", &self.root);
        command.args(["nsenter", "--target", &self.pid.to_string(), "--mount", "--pid", "--cgroup"]);
        command.arg(format!("--net={}", self.node.display())).args(["--", "sh", "-c", JOIN, "sh", "--"]).arg(program);
        command
    }

    /// Starts a program inside.
    ///
    /// # Errors
    /// As [`Running::start`].
    pub fn spawn<S: AsRef<OsStr>>(&self, program: &str, arguments: &[S]) -> Result<Running, Error> {
        let mut command = self.command(program);
        command.args(arguments);
        Running::start(command)
    }

    /// Runs a program inside to its end, which has to be a good one; what it has written to stdout.
    ///
    /// # Errors
    /// When it cannot be started, does not end within two minutes, or ends badly.
    pub fn run<S: AsRef<OsStr>>(&self, program: &str, arguments: &[S]) -> Result<String, Error> {
        let mut running = self.spawn(program, arguments)?;
        let status = running.wait(Duration::from_secs(120))?;
        if status.success() {
            return Ok(running.stdout());
        }
        let words: Vec<_> = arguments.iter().map(|word| word.as_ref().to_string_lossy()).collect();
        let said = format!("{status}: {}{}", running.stdout(), running.stderr());
        Err(Error::invalid(format!("run `{program} {}`", words.join(" ")), said))
    }

    /// How a path of the machine, on which no link is absolute, is reached from outside.
    #[must_use]
    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        let inside = inside.as_ref();
        Path::new(&format!("/proc/{}/root", self.pid)).join(inside.strip_prefix("/").unwrap_or(inside))
    }

    /// The lab's root, which is at the same place inside.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let pid = i32::try_from(self.pid).unwrap_or(0);
        if pid > 1 {
            // The kernel kills all that is in there before the first process is gone.
            let _ = kill(Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        if let Some(mut first) = self.first.take() {
            drop(first.wait(LIMIT));
        }
        remove_cgroups(&self.cgroup);
    }
}

/// Takes the cgroups of machines away whose lab is gone.
fn sweep() {
    for place in hierarchies() {
        let Ok(groups) = std::fs::read_dir(place) else { continue };
        for group in groups.flatten() {
            let name = group.file_name().to_string_lossy().into_owned();
            let lab = name.strip_prefix(PREFIX).and_then(|rest| rest.trim_start_matches('.').split('.').next());
            let is_gone = |pid: i32| kill(Pid::from_raw(pid), None) == Err(nix::errno::Errno::ESRCH);
            if lab.and_then(|pid| pid.parse().ok()).is_some_and(is_gone) {
                remove_group(&group.path());
            }
        }
    }
}

fn remove_cgroups(name: &str) {
    for place in hierarchies() {
        remove_group(&place.join(name));
    }
}

/// Removes a cgroup and those in it; one that still holds a process stays, to be swept by a later lab.
fn remove_group(group: &Path) {
    let Ok(entries) = std::fs::read_dir(group) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|file_type| file_type.is_dir()) {
            remove_group(&entry.path());
        }
    }
    drop(std::fs::remove_dir(group));
}

fn hierarchies() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let place = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let place = words.next()?;
        matches!(words.next()?, "cgroup" | "cgroup2").then(|| PathBuf::from(place))
    };
    mounts.lines().filter_map(place).collect()
}
