//! Network namespaces: opening one by its path, and work inside it.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    os::unix::fs::MetadataExt,
    panic::resume_unwind,
    path::{Path, PathBuf},
    thread,
};

use netlink_packet_route::{
    RouteNetlinkMessage,
    nsid::{NsidAttribute, NsidMessage},
};
use nix::{
    fcntl::{OFlag, open},
    sched::{CloneFlags, setns},
    sys::{
        stat::Mode,
        statfs::{NSFS_MAGIC, fstatfs},
    },
};

use crate::{
    error::{During, Error, Result},
    netlink::Line,
};

/// A network namespace, kept alive by this value.
#[derive(Debug)]
pub struct Netns {
    file: File,
    path: PathBuf,
    inode: u64,
}

impl Netns {
    /// Opens one by a path such as `/run/netns/NAME` or `/proc/PID/ns/net`.
    ///
    /// What is there is looked at before it is opened, so that no device or pipe is ever opened in its place.
    ///
    /// # Errors
    /// [`Error::Missing`] where nothing is, [`Error::NotNetns`] where something else is, and the kernel's.
    pub fn open(path: &Path) -> Result<Self> {
        let action = || format!("open the network namespace {}", path.display());
        let place = match open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(place) => place,
            // The last is what /proc answers for a process that is ending.
            Err(nix::Error::ENOENT | nix::Error::ENOTDIR | nix::Error::ESRCH) => {
                return Err(Error::Missing(path.to_owned()));
            }
            other => other.during(action)?,
        };
        let not = |what: &str| Error::NotNetns { path: path.to_owned(), what: what.to_owned() };
        if fstatfs(&place).during(action)?.filesystem_type() != NSFS_MAGIC {
            // `ip netns add` and CNI runtimes make an empty file first, and mount the namespace over it afterwards.
            return Err(not("it is not on nsfs: a plain file or directory, over which no namespace is mounted"));
        }
        let file = File::open(format!("/proc/self/fd/{}", place.as_raw_fd())).during(action)?;
        let netns = Self::of(file, path)?;
        match netns_id(&Line::route().during(action)?, netns.as_fd()) {
            Ok(_) => Ok(netns),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Err(not("it is a namespace of another kind")),
            Err(error) => Err(error).during(action),
        }
    }

    /// The one this thread is in.
    ///
    /// # Errors
    /// The kernel's; for one, where `/proc` is not mounted.
    pub fn current() -> Result<Self> {
        let path = Path::new("/proc/thread-self/ns/net");
        let file = File::open(path).during(|| format!("open the current network namespace {}", path.display()))?;
        Self::of(file, path)
    }

    fn of(file: File, path: &Path) -> Result<Self> {
        let facts = file.metadata().during(|| format!("look at the network namespace {}", path.display()))?;
        Ok(Self { file, path: path.to_owned(), inode: facts.ino() })
    }

    /// The number that names it as long as it lives (`net:[4026531840]` in `/proc/PID/ns/net`).
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` inside, on a thread of its own; the calling thread stays where it is.
    ///
    /// Sockets opened in `work` belong to the namespace for good. A panic of `work` goes on in the caller.
    ///
    /// # Errors
    /// When the namespace cannot be entered, which takes `CAP_SYS_ADMIN`.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let entering = || format!("enter the network namespace {}", self.path.display());
        thread::scope(|scope| {
            let inside = thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, || {
                setns(&self.file, CloneFlags::CLONE_NEWNET)?;
                Ok::<T, nix::Error>(work())
            });
            match inside.during(|| "start a thread".to_owned())?.join() {
                Ok(done) => done.during(entering),
                Err(panic) => resume_unwind(panic),
            }
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The number by which the namespace of `line` knows another one; `None`: it does not.
///
/// Interfaces whose other end is there are told with this number (`IFLA_LINK_NETNSID`). The kernel gives it on first use. Any
/// file may be asked for; the kernel says `EINVAL` to one that is no network namespace.
pub(crate) fn netns_id(line: &Line, netns: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let mut message = NsidMessage::default();
    message.attributes.push(NsidAttribute::Fd(netns.as_raw_fd().cast_unsigned()));
    let answers = line.ask(RouteNetlinkMessage::GetNsId(message), 0, |answer| match answer {
        RouteNetlinkMessage::NewNsId(message) => message.attributes.into_iter().find_map(|attribute| match attribute {
            NsidAttribute::Id(id) => Some(id),
            _ => None,
        }),
        _ => None,
    })?;
    // NETNSA_NSID_NOT_ASSIGNED (linux/net_namespace.h) is -1.
    Ok(answers.first().copied().filter(|id| *id >= 0))
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_path_with_nothing_behind_it_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("cni-1");
        assert!(matches!(Netns::open(&missing), Err(Error::Missing(path)) if path == missing));
        assert!(matches!(Netns::open(Path::new("/proc/4194305/ns/net")), Err(Error::Missing(_))));
    }

    #[test]
    fn what_is_no_network_namespace_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("cni-1");
        File::create(&plain).unwrap();
        let refused = Netns::open(&plain).unwrap_err();
        assert!(refused.to_string().contains("no network namespace: it is not on nsfs"), "{refused}");
        let refused = Netns::open(Path::new("/proc/self/ns/mnt")).unwrap_err();
        assert!(refused.to_string().contains("a namespace of another kind"), "{refused}");
        assert!(matches!(Netns::open(Path::new("/dev/null")), Err(Error::NotNetns { .. })));
    }

    #[test]
    fn a_pipe_is_refused_without_waiting_for_a_writer() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        assert!(matches!(Netns::open(&pipe), Err(Error::NotNetns { .. })));
    }

    #[test]
    fn the_current_one_is_the_one_of_this_process() {
        let opened = Netns::open(Path::new("/proc/self/ns/net")).unwrap();
        assert_eq!(opened.inode(), Netns::current().unwrap().inode());
    }

    #[test]
    fn work_runs_inside_and_the_caller_stays_outside() {
        if !nix::unistd::geteuid().is_root() {
            use std::io::Write;
            // Past the test harness, in the form that tests/run gathers.
            drop(writeln!(io::stderr(), "skipped: netns::tests::work_runs_inside: needs root"));
            return;
        }
        let elsewhere = thread::spawn(|| {
            nix::sched::unshare(CloneFlags::CLONE_NEWNET).unwrap();
            Netns::current().unwrap()
        });
        let elsewhere = elsewhere.join().unwrap();
        let here = Netns::current().unwrap().inode();
        assert_ne!(elsewhere.inode(), here);
        assert_eq!(elsewhere.run(|| Netns::current().unwrap().inode()).unwrap(), elsewhere.inode());
        assert_eq!(Netns::current().unwrap().inode(), here);
        let panicked = catch_unwind(AssertUnwindSafe(|| elsewhere.run(|| std::panic::panic_any("in there"))));
        assert_eq!(*panicked.unwrap_err().downcast::<&str>().unwrap(), "in there");
    }
}
