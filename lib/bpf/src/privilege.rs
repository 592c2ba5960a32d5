//! Which capabilities this process has, so that what lacks can be named before the kernel says no in its own words.

use std::fs;

use crate::error::{Error, Result};

/// A capability that something here takes, with its number (linux/capability.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capability {
    NetAdmin = 12,
    SysAdmin = 21,
    Perfmon = 38,
    Bpf = 39,
}

/// What loading and attaching takes.
pub(crate) const ATTACH: [Capability; 3] = [Capability::Bpf, Capability::NetAdmin, Capability::Perfmon];

/// What finding a datapath takes that is not pinned: objects are opened by their ids.
pub(crate) const DISCOVER: [Capability; 2] = [Capability::SysAdmin, Capability::NetAdmin];

impl Capability {
    const fn name(self) -> &'static str {
        match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        }
    }

    const fn bit(self) -> u64 {
        1 << self as u64
    }
}

/// The names of what lacks of `needed`, given the effective set. `CAP_SYS_ADMIN` stands for the two that were split off it.
fn missing(effective: u64, needed: &[Capability]) -> Vec<&'static str> {
    let has = |capability: Capability| {
        effective & capability.bit() != 0
            || matches!(capability, Capability::Bpf | Capability::Perfmon)
                && effective & Capability::SysAdmin.bit() != 0
    };
    needed.iter().filter(|capability| !has(**capability)).map(|capability| capability.name()).collect()
}

/// The effective set, out of `/proc/self/status` (proc_pid_status(5)); `None`: it cannot be told.
fn effective() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Refuses, naming what lacks, unless this process has all of `needed`.
pub(crate) fn require(needed: &[Capability], action: &str) -> Result<()> {
    let missing = effective().map(|effective| missing(effective, needed)).unwrap_or_default();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Privilege { action: action.to_owned(), needs: missing.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lacks_is_named() {
        let only_net_admin = Capability::NetAdmin.bit();
        assert_eq!(missing(only_net_admin, &ATTACH), ["CAP_BPF", "CAP_PERFMON"]);
        assert_eq!(missing(only_net_admin, &DISCOVER), ["CAP_SYS_ADMIN"]);
        assert!(missing(u64::MAX, &ATTACH).is_empty());
    }

    #[test]
    fn the_old_capability_stands_for_the_new_ones() {
        let old = Capability::SysAdmin.bit() | Capability::NetAdmin.bit();
        assert!(missing(old, &ATTACH).is_empty());
    }
}
