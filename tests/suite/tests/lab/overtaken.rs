//! What somebody takes off by hand stays off: a `polload watch` ends, and its unit does not start it again.

use std::fs::File;
use std::path::Path;

use chainkit_lab::NODE_NAME;

use crate::policed::{POLICIES, Policed};
use crate::stage::{SOON, eventually, on_node};

#[test]
fn a_watch_ends_with_1_where_policy_was_cleared_and_its_unit_leaves_it_so() {
    on_node(|lab| {
        let node = Policed::new(lab);
        let [objects, policies] = node.files(POLICIES);
        let fifo = lab.root().join("tmp/fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        // A source that says nothing, so that the watch goes on.
        let _writer = File::options().read(true).write(true).open(&fifo).unwrap();
        let datapath = node.datapath();
        let mut watch = node.start(&["watch", "--node", NODE_NAME, &objects, &policies, fifo.to_str().unwrap()]);
        eventually("policy is in force", || datapath.judging() != 0);
        assert_eq!(node.run("polload", &["clear", "--now"]).0, Some(0));
        let ended = watch.wait(SOON).unwrap();
        assert_eq!(ended.code(), Some(1), "{}", watch.stderr());
        assert_eq!(datapath.judging(), 0);
    });
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bins/polload/systemd/polload-watch.service");
    let unit = std::fs::read_to_string(unit).unwrap();
    assert!(unit.lines().any(|line| line == "RestartPreventExitStatus=1"), "{unit}");
}
