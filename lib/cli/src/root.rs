//! `--root`: another tree in front of all host paths.

use std::path::{Component, Path, PathBuf};

use clap::Args;

/// The flag `--root`, for tests and for reading a support bundle.
#[derive(Args, Clone, Debug)]
pub struct RootArgs {
    /// Put this directory in front of all paths of the host
    #[arg(long, value_name = "DIR", env = "CHAINKIT_ROOT", default_value = "/", hide_env_values = true)]
    pub root: PathBuf,
}

impl RootArgs {
    /// Where the host's `path` lies. `path` is absolute; what would climb out of the root is left out.
    #[must_use]
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let mut full = self.root.clone();
        full.extend(path.as_ref().components().filter(|part| matches!(part, Component::Normal(_))));
        full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_put_in_front_of_host_paths() {
        let root = |root: &str| RootArgs { root: root.into() };
        assert_eq!(root("/").path("/run/chainkit"), Path::new("/run/chainkit"));
        assert_eq!(root("/tmp/bundle").path("/run/chainkit"), Path::new("/tmp/bundle/run/chainkit"));
        assert_eq!(root("bundle").path("run/chainkit"), Path::new("bundle/run/chainkit"));
        assert_eq!(root("/tmp/bundle").path("/../../etc"), Path::new("/tmp/bundle/etc"));
    }
}
