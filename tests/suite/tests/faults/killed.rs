//! `kill -9` in the middle of things.

use std::thread;
use std::time::{Duration, Instant};

use chainkit_lab::NODE_NAME;

use crate::ground::{lets, on_ground};

/// How often it is killed; the moments are spread over the time that it takes.
const TIMES: u32 = 40;

#[test]
fn an_apply_that_is_killed_at_any_moment_leaves_one_whole_policy() {
    on_ground(|ground| {
        let files = [ground.file("a.json", &[lets("a")]), ground.file("b.json", &[lets("b")])];
        ground.apply(&files[0]);
        let started = Instant::now();
        ground.apply(&files[1]);
        let takes = started.elapsed();
        let mut seen = [0, 0];
        for turn in 0..TIMES {
            let wanted = usize::try_from(turn % 2).unwrap();
            let arguments = ["apply", "--node", NODE_NAME, files[wanted].to_str().unwrap()];
            let mut child = ground.command(&arguments).stdout(std::process::Stdio::null()).spawn().unwrap();
            thread::sleep(takes * turn / TIMES);
            child.kill().unwrap();
            child.wait().unwrap();
            let who = ground.who();
            assert!(who == (true, false) || who == (false, true), "turn {turn}: {who:?}");
            seen[usize::from(who.1)] += 1;
            if turn % 8 == 0 {
                ground.verified();
            }
        }
        println!("killed {TIMES} times within {takes:?}: a was let in {} times, b {} times", seen[0], seen[1]);
        // Whatever they have left, the next one does its work and takes it away.
        ground.apply(&files[0]);
        assert_eq!(ground.who(), (true, false));
        assert_eq!(ground.folders().len(), 1, "{:?}", ground.folders());
        ground.verified();
    });
}

#[test]
fn what_is_in_force_outlives_a_watch_that_is_killed() {
    on_ground(|ground| {
        let file = ground.file("a.json", &[lets("a")]);
        let fifo = ground.lab.root().join("tmp/fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        // Held open for both, so that the watch goes on.
        let _held = std::fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
        let arguments = ["watch", "--node", NODE_NAME, file.to_str().unwrap(), fifo.to_str().unwrap()];
        let mut watch = ground.command(&arguments).stdout(std::process::Stdio::null()).spawn().unwrap();
        crate::ground::eventually("policy comes in force", || ground.who() == (true, false));
        let refused = ground.polload(&["apply", "--node", NODE_NAME, file.to_str().unwrap(), "--dry-run"]);
        assert!(refused.status.success(), "to look is no change");
        watch.kill().unwrap();
        watch.wait().unwrap();
        thread::sleep(Duration::from_millis(50));
        assert_eq!(ground.who(), (true, false));
        ground.verified();
        let other = ground.file("b.json", &[lets("b")]);
        ground.apply(&other);
        assert_eq!(ground.who(), (false, true));
    });
}
