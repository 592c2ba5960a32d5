//! Sources that are late when `polload watch` begins.

use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use chainkit_lab::NODE_NAME;
use serde_json::json;

use crate::ground::{eventually, lets, on_ground};

#[test]
fn policy_in_force_stays_until_a_source_tells_of_any() {
    on_ground(|ground| {
        ground.apply(&ground.file("a.json", &[lets("a")]));
        let objects = ground.file("objects.json", &[]);
        let fifo = ground.lab.root().join("tmp/policies");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        let arguments = ["watch", "--node", NODE_NAME, objects.to_str().unwrap(), fifo.to_str().unwrap()];
        let mut watch = ground.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Longer than a source has to be quiet for.
        thread::sleep(Duration::from_millis(2500));
        assert_eq!(ground.who(), (true, false));
        let mut writer = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
        writeln!(writer, "{}", json!({"type": "ADDED", "object": lets("b")})).unwrap();
        eventually("the policy that came is in force", || ground.who() == (false, true));
        watch.kill().unwrap();
        watch.wait().unwrap();
    });
}
