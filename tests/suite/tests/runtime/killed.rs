//! The plugin is killed at any moment, and whoever calls it next finds a node that it can put in order.
//!
//! There is no hook for this in the plugin: it is run over and over and killed after a delay that sweeps over the time that a whole run
//! takes, so that each of its steps is the last one in some round.

use std::thread;
use std::time::{Duration, Instant};

use chainkit_lab::cni::{Attachment, Chain, Verb};
use chainkit_lab::{Netns, Pod, PodSpec};
use nix::sys::signal::Signal;

use crate::node::{
    assert_attached, assert_nothing_left, assert_pod_attached, aws_by, cni_chain, datapath, log, records,
};
use crate::stage::{SOON, on_node_by_each_kit};

/// Rounds of each sweep.
const ROUNDS: u32 = 40;
/// Place of the tested plugin in the chain.
const OURS: usize = 1;

/// A pod whose primary has done its part.
struct Wired {
    netns: Netns,
    attachment: Attachment,
    result: String,
}

fn wire(chain: &Chain, name: &str) -> Wired {
    let netns = Netns::new(name).unwrap();
    let attachment = Attachment::new(format!("container-{name}"), netns.path()).of_pod("shop", name, "uid");
    let result = chain.call(0, Verb::Add, &attachment, None).unwrap().succeed().unwrap().stdout;
    Wired { netns, attachment, result }
}

impl Wired {
    fn call(&self, chain: &Chain, verb: Verb) -> chainkit_lab::cni::Call {
        chain.call(OURS, verb, &self.attachment, Some(&self.result)).unwrap()
    }

    fn succeed(&self, chain: &Chain, verb: Verb) {
        let answer = self.call(chain, verb).succeed().unwrap();
        let expected = if verb == Verb::Add { self.result.trim() } else { "" };
        assert_eq!(answer.stdout.trim(), expected);
    }

    /// Calls the plugin and kills it after a while; whether it had ended before.
    fn kill_after(&self, chain: &Chain, verb: Verb, delay: Duration) -> bool {
        let mut running = self.call(chain, verb).start().unwrap();
        thread::sleep(delay);
        // It may have ended.
        let _ = running.signal(Signal::SIGKILL);
        running.wait(SOON).unwrap().success()
    }

    /// How long a whole call takes, in the middle of a few.
    fn time(&self, chain: &Chain, verb: Verb, undo: Verb) -> Duration {
        let mut times: Vec<Duration> = (0..5)
            .map(|_| {
                let started = Instant::now();
                self.succeed(chain, verb);
                let time = started.elapsed();
                self.succeed(chain, undo);
                time
            })
            .collect();
        times.sort();
        times[2]
    }
}

/// The delays of a sweep over `whole`, and a little beyond.
fn sweep(whole: Duration) -> impl Iterator<Item = Duration> {
    (0..=ROUNDS).map(move |round| whole.mul_f64(1.1) * round / ROUNDS)
}

#[test]
fn an_add_killed_at_any_step_is_finished_by_the_next() {
    on_node_by_each_kit(|lab, kit| {
        let chain = aws_by(lab, "1.0.0", kit);
        let pod = wire(&chain, "web");
        let whole = pod.time(&chain, Verb::Add, Verb::Del);
        let mut killed = 0;
        for delay in sweep(whole) {
            killed += u32::from(!pod.kill_after(&chain, Verb::Add, delay));
            pod.succeed(&chain, Verb::Add);
            assert_attached(lab, &pod.attachment.container_id, &["eth0"]);
            pod.succeed(&chain, Verb::Del);
            assert_nothing_left(lab);
        }
        assert!(killed > 0, "none of {ROUNDS} was killed: the sweep misses");
    });
}

#[test]
fn an_add_killed_at_any_step_is_undone_by_del() {
    on_node_by_each_kit(|lab, kit| {
        let chain = aws_by(lab, "1.0.0", kit);
        let pod = wire(&chain, "web");
        let whole = pod.time(&chain, Verb::Add, Verb::Del);
        for delay in sweep(whole) {
            pod.kill_after(&chain, Verb::Add, delay);
            pod.succeed(&chain, Verb::Del);
            assert_nothing_left(lab);
        }
    });
}

#[test]
fn the_first_add_of_a_node_killed_at_any_step_is_finished_by_the_next() {
    on_node_by_each_kit(|lab, kit| {
        let chain = aws_by(lab, "1.0.0", kit);
        let pod = wire(&chain, "web");
        let started = Instant::now();
        pod.succeed(&chain, Verb::Add);
        let whole = started.elapsed();
        for delay in sweep(whole).step_by(2) {
            // A node that has never had a datapath.
            cni_chain(lab, &["release", "--all", "--purge"]);
            pod.kill_after(&chain, Verb::Add, delay);
            pod.succeed(&chain, Verb::Add);
            assert_attached(lab, &pod.attachment.container_id, &["eth0"]);
        }
        pod.succeed(&chain, Verb::Del);
        assert_nothing_left(lab);
    });
}

#[test]
fn a_del_killed_at_any_step_is_finished_by_the_next() {
    on_node_by_each_kit(|lab, kit| {
        let chain = aws_by(lab, "1.0.0", kit);
        let pod = wire(&chain, "web");
        let whole = pod.time(&chain, Verb::Add, Verb::Del);
        for delay in sweep(whole) {
            pod.succeed(&chain, Verb::Add);
            pod.kill_after(&chain, Verb::Del, delay);
            pod.succeed(&chain, Verb::Del);
            assert_nothing_left(lab);
        }
    });
}

#[test]
fn what_a_killed_del_leaves_is_swept_by_calls_for_other_pods() {
    on_node_by_each_kit(|lab, kit| {
        let chain = aws_by(lab, "1.0.0", kit);
        let other = wire(&chain, "other");
        let whole = {
            let pod = wire(&chain, "web");
            let whole = pod.time(&chain, Verb::Add, Verb::Del);
            chain.call(0, Verb::Del, &pod.attachment, None).unwrap().succeed().unwrap();
            whole
        };
        for delay in sweep(whole) {
            let pod = wire(&chain, "web");
            pod.succeed(&chain, Verb::Add);
            pod.kill_after(&chain, Verb::Del, delay);
            chain.call(0, Verb::Del, &pod.attachment, None).unwrap().succeed().unwrap();
            // The runtime removes the namespace, and forgets.
            let Wired { netns, .. } = pod;
            let ends = lab.node().ifindex(&chainkit_lab::host_veth_name("shop", "web"));
            drop(netns);
            if ends.is_ok() {
                crate::stage::eventually("a veth outlives its pod", || {
                    lab.node().ifindex(&chainkit_lab::host_veth_name("shop", "web")).is_err()
                });
            }
            // Sweeps are a minute apart, unless nobody remembers the last.
            let _ = std::fs::remove_file(lab.root().join("run/chainkit/swept"));
            other.succeed(&chain, Verb::Add);
            assert_attached(lab, &other.attachment.container_id, &["eth0"]);
            assert_eq!(records(lab).len(), 1, "{}", log(lab));
            assert_eq!(datapath(lab).endpoints().unwrap().len(), 1, "{}", log(lab));
            let _ = std::fs::remove_file(lab.root().join("run/chainkit/swept"));
            other.succeed(&chain, Verb::Del);
            assert_nothing_left(lab);
        }
    });
}

#[test]
fn a_plugin_that_is_stopped_and_then_killed_holds_nobody_up_for_good() {
    on_node_by_each_kit(|lab, kit| {
        let chain = aws_by(lab, "1.0.0", kit);
        let (stuck, other) = (wire(&chain, "stuck"), wire(&chain, "other"));
        let whole = stuck.time(&chain, Verb::Add, Verb::Del);
        for delay in sweep(whole).step_by(4) {
            let mut running = stuck.call(&chain, Verb::Add).start().unwrap();
            thread::sleep(delay);
            let _ = running.signal(Signal::SIGSTOP);
            let mut waiting = other.call(&chain, Verb::Add).start().unwrap();
            thread::sleep(whole);
            let _ = running.signal(Signal::SIGKILL);
            running.wait(SOON).unwrap();
            assert!(waiting.wait(SOON).unwrap().success(), "{}{}", waiting.stdout(), waiting.stderr());
            assert_attached(lab, &other.attachment.container_id, &["eth0"]);
            stuck.succeed(&chain, Verb::Add);
            assert_attached(lab, &stuck.attachment.container_id, &["eth0"]);
            for pod in [&stuck, &other] {
                pod.succeed(&chain, Verb::Del);
            }
            assert_nothing_left(lab);
        }
    });
}

#[test]
fn adds_of_a_crowd_that_are_killed_leave_every_pod_attachable() {
    on_node_by_each_kit(|lab, kit| {
        let chain = aws_by(lab, "0.4.0", kit);
        let pods: Vec<Wired> = (0..20).map(|number| wire(&chain, &format!("pod-{number}"))).collect();
        let whole = pods[0].time(&chain, Verb::Add, Verb::Del);
        thread::scope(|scope| {
            for (number, pod) in (0_u32..).zip(&pods) {
                let chain = &chain;
                scope.spawn(move || {
                    pod.kill_after(chain, Verb::Add, whole * number / 10);
                    pod.succeed(chain, Verb::Add);
                });
            }
        });
        for pod in &pods {
            assert_attached(lab, &pod.attachment.container_id, &["eth0"]);
        }
        assert_eq!(records(lab).len(), pods.len());
        thread::scope(|scope| {
            for (number, pod) in (0_u32..).zip(&pods) {
                let chain = &chain;
                scope.spawn(move || {
                    pod.kill_after(chain, Verb::Del, whole * number / 10);
                    pod.succeed(chain, Verb::Del);
                });
            }
        });
        assert_nothing_left(lab);
    });
}

#[test]
fn adopt_finishes_what_a_killed_add_has_begun() {
    on_node_by_each_kit(|lab, kit| {
        let chain = aws_by(lab, "0.4.0", kit);
        let pods: Vec<Pod> = (0..3)
            .map(|number| lab.pod_through(&chain, &PodSpec::new("shop", &format!("pod-{number}"))).unwrap())
            .collect();
        // An ADD takes longer than a DEL, which is why the sweep does not reach its end.
        let started = Instant::now();
        chain.call(OURS, Verb::Del, &pods[0].attachment(), None).unwrap().succeed().unwrap();
        let whole = started.elapsed();
        for delay in sweep(whole).step_by(8) {
            for pod in &pods {
                let result = chain.result(&pod.attachment()).unwrap();
                chain.call(OURS, Verb::Del, &pod.attachment(), Some(&result)).unwrap().succeed().unwrap();
                let mut running =
                    chain.call(OURS, Verb::Add, &pod.attachment(), Some(&result)).unwrap().start().unwrap();
                thread::sleep(delay);
                let _ = running.signal(Signal::SIGKILL);
                running.wait(SOON).unwrap();
            }
            cni_chain(lab, &["adopt", "--all"]);
            for pod in &pods {
                assert_pod_attached(lab, pod);
            }
        }
        for pod in &pods {
            lab.delete_pod_through(&chain, pod).unwrap();
        }
        assert_nothing_left(lab);
    });
}
