//! Where the namespace is that an interface of the node leads to.

use std::{
    collections::HashSet,
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage},
};

use crate::{
    error::{During, Result},
    netlink::Line,
    netns::{Netns, netns_id},
};

/// At most this many entries of a folder are looked at.
const MOST: usize = 65_536;

/// The path of the network namespace in which the other end of an interface of this one is; `None` when no path leads there.
///
/// Runtimes mount namespaces in `run/netns` and `var/run/netns`, which are looked for under `root`; then the namespaces of the
/// processes under `root`'s `proc` and the machine's own are tried. Reading those of others takes `CAP_SYS_PTRACE`.
///
/// # Errors
/// The kernel's, when it is asked about the interface; one that is gone is `None`.
pub fn netns_of_interface(root: &Path, host_ifindex: u32) -> Result<Option<PathBuf>> {
    let action = || format!("find the other end of interface {host_ifindex}");
    let line = Line::route().during(action)?;
    let Some(id) = peer_netns(&line, host_ifindex).during(action)? else { return Ok(None) };
    let mut seen = HashSet::new();
    let mut is_it = |path: &Path| {
        let Ok(netns) = Netns::open(path) else { return false };
        seen.insert(netns.inode()) && matches!(netns_id(&line, netns.as_fd()), Ok(Some(found)) if found == id)
    };
    for folder in ["run/netns", "var/run/netns"] {
        if let Some(path) = entries(&root.join(folder)).into_iter().find(|path| is_it(path)) {
            return Ok(Some(path));
        }
    }
    let own = Path::new("/proc");
    let under_root = root.join("proc");
    let folders = if under_root == own { vec![under_root] } else { vec![under_root, own.to_owned()] };
    for folder in folders {
        let processes = entries(&folder).into_iter().filter(|path| is_process(path)).map(|path| path.join("ns/net"));
        if let Some(path) = processes.into_iter().find(|path| is_it(path)) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The number of the namespace that an interface leads to.
fn peer_netns(line: &Line, index: u32) -> io::Result<Option<i32>> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    let answers = line.ask(RouteNetlinkMessage::GetLink(message), 0, |answer| match answer {
        RouteNetlinkMessage::NewLink(link) => link.attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::LinkNetNsId(id) => Some(id),
            _ => None,
        }),
        _ => None,
    });
    match answers {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        other => Ok(other?.first().copied()),
    }
}

/// What a folder holds, in the order of names; nothing where it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(listed) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = listed.take(MOST).flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn is_process(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}
