//! Network namespaces without names, and work inside them.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use nix::libc::O_NONBLOCK;
use nix::sched::{CloneFlags, setns, unshare};
use serde_json::Value;

use crate::Error;
use crate::process::{Running, dying_with_parent};

/// A network namespace of the lab; it is gone when this and everything that runs in it is.
#[derive(Debug)]
pub struct Netns {
    /// Whose it is, for messages: `node`, `world` or `namespace/name` of a pod.
    name: String,
    /// What keeps it alive.
    file: File,
    path: PathBuf,
}

impl Netns {
    /// Makes an empty one with `lo` up, as a runtime does for a pod before it calls the plugins.
    ///
    /// # Errors
    /// When the caller is not root.
    pub fn new(name: impl Into<String>) -> Result<Self, Error> {
        let name = name.into();
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        let file = match made.join() {
            Ok(file) => file.map_err(Error::io(format!("make the network namespace of {name} (this needs root)")))?,
            Err(panic) => resume_unwind(panic),
        };
        let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
        let netns = Self { name, file, path };
        netns.ip(["link set lo up"])?;
        Ok(netns)
    }

    /// Opens one that somebody else has made, such as a runtime; `name` is for messages.
    ///
    /// # Errors
    /// When `path` is no network namespace, or not there.
    pub fn open(path: &Path, name: impl Into<String>) -> Result<Self, Error> {
        let what = || format!("open the network namespace {}", path.display());
        // Should it be a pipe, opening it must not wait for a writer.
        let file = File::options().read(true).custom_flags(O_NONBLOCK).open(path).map_err(Error::io(what()))?;
        let name = name.into();
        let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
        let netns = Self { name, file, path };
        netns.run(|| ()).map_err(|error| match error {
            Error::Io { source, .. } => Error::Io { what: what(), source },
            other => other,
        })?;
        Ok(netns)
    }

    /// That of the calling thread.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub fn current(name: impl Into<String>) -> Result<Self, Error> {
        Self::open(Path::new("/proc/thread-self/ns/net"), name)
    }

    /// What tells it from all others that are alive: the inode number in `nsfs`, as in `net:[4026531840]`.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn inode(&self) -> Result<u64, Error> {
        let facts = self.file.metadata();
        facts.map(|facts| facts.ino()).map_err(Error::io(format!("look at the network namespace of {}", self.name)))
    }

    /// Whose it is: `node`, `world` or `namespace/name` of a pod.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path that opens it, good for `nsenter --net=` and as `CNI_NETNS`, as long as this value and this process live.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command that runs `program` inside, in this process's own mount namespace (unlike `ip netns exec`, which remounts
    /// `/sys` and so hides pinned BPF objects).
    ///
    /// The program is killed when the thread that started it ends; give the command to [`Running::start`] to have it
    /// live longer.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = dying_with_parent();
        command.arg("nsenter").arg(format!("--net={}", self.path.display())).arg("--").arg(program);
        command
    }

    /// Starts a program inside, which goes on until it ends by itself or the guard is dropped.
    ///
    /// # Errors
    /// When `setpriv` cannot be started; a program that is missing ends at once with status 127.
    pub fn spawn<I, S>(&self, program: impl AsRef<std::ffi::OsStr>, arguments: I) -> Result<Running, Error>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        let mut command = self.command(program);
        command.args(arguments);
        Running::start(command)
    }

    /// Runs `work` on a thread inside: what it opens (sockets, files under `/proc/sys/net`) and the threads it starts belong to
    /// this namespace for good, so a socket can be bound here and used anywhere.
    ///
    /// # Errors
    /// When the namespace cannot be entered. A panic of `work` goes on in the caller.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        // Under the name of the caller's thread, which is that of a test in messages.
        let name = thread::current().name().unwrap_or(&self.name).to_owned();
        thread::scope(|scope| {
            let inside = thread::Builder::new().name(name).spawn_scoped(scope, || {
                setns(&self.file, CloneFlags::CLONE_NEWNET)
                    .map_err(Error::io(format!("enter the network namespace of {}", self.name)))?;
                Ok(work())
            });
            let inside = inside.map_err(Error::io("start a thread"))?;
            inside.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Hands `ip` the commands (each what follows the word `ip`), in one process.
    ///
    /// # Errors
    /// [`Error::Ip`] at the first that fails; those before it stay done.
    pub fn ip<'a>(&self, commands: impl IntoIterator<Item = &'a str>) -> Result<(), Error> {
        self.ip_batch(&["-batch", "-"], commands)
    }

    /// As [`Netns::ip`], for the commands where `ip` has to be told that it is IPv6 (`ip -6 rule`).
    ///
    /// # Errors
    /// As [`Netns::ip`].
    pub fn ip6<'a>(&self, commands: impl IntoIterator<Item = &'a str>) -> Result<(), Error> {
        self.ip_batch(&["-6", "-batch", "-"], commands)
    }

    /// What `ip -json link show` says of one interface; `which` is as in `dev eth0`.
    pub(crate) fn link(&self, which: &str) -> Result<Value, Error> {
        let links = self.show_links(&which.split(' ').collect::<Vec<_>>())?;
        links
            .into_iter()
            .next()
            .ok_or_else(|| Error::invalid(format!("find {which} of {}", self.name), "it is not there"))
    }

    /// What `ip -json link show` says of all interfaces.
    pub(crate) fn links(&self) -> Result<Vec<Value>, Error> {
        self.show_links(&[])
    }

    fn show_links(&self, which: &[&str]) -> Result<Vec<Value>, Error> {
        let what = || format!("list the interfaces of {}", self.name);
        let mut command = self.command("ip");
        command.args(["-json", "link", "show"]).args(which);
        let output = command.output().map_err(Error::io(what()))?;
        if !output.status.success() {
            return Err(Error::invalid(what(), String::from_utf8_lossy(&output.stderr).trim()));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| Error::invalid(what(), error.to_string()))
    }

    fn ip_batch<'a>(&self, options: &[&str], commands: impl IntoIterator<Item = &'a str>) -> Result<(), Error> {
        let commands: Vec<&str> = commands.into_iter().collect();
        let input = commands.join("\n") + "\n";
        let output = self
            .run(|| {
                let mut ip = Command::new("ip")
                    .args(options)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()?;
                if let Some(mut stdin) = ip.stdin.take() {
                    // It stops reading at the first error, which its status tells.
                    drop(stdin.write_all(input.as_bytes()));
                }
                ip.wait_with_output()
            })?
            .map_err(Error::io("run `ip` (of the package iproute2)"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let line = said.rsplit("Command failed -:").next().and_then(|line| line.trim().parse::<usize>().ok());
        let command = line.and_then(|line| commands.get(line.checked_sub(1)?).copied()).unwrap_or("-batch");
        Err(Error::Ip { netns: self.name.clone(), command: command.to_owned(), said })
    }

    /// Writes a setting below `/proc/sys/net/`, as in `ipv4/ip_forward`.
    ///
    /// # Errors
    /// When there is no such setting, or it takes no such value.
    pub fn sysctl(&self, setting: &str, value: &str) -> Result<(), Error> {
        let path = format!("/proc/sys/net/{setting}");
        self.run(|| fs::write(&path, value))?
            .map_err(Error::io(format!("write {value:?} to {path} in the namespace of {}", self.name)))
    }

    /// Index of the interface `name` inside.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn ifindex(&self, name: &str) -> Result<u32, Error> {
        self.run(|| nix::net::if_::if_nametoindex(name))?
            .map_err(Error::io(format!("find the interface {name} of {}", self.name)))
    }
}
