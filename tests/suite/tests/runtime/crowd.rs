//! Many pods at one time.

use std::sync::Barrier;
use std::thread;

use chainkit_lab::{Lab, Pod, PodSpec};

use crate::node::{assert_nothing_left, assert_pod_attached, aws_by, datapath, records};
use crate::stage::on_node_by_each_kit;

const PODS: usize = 100;
/// As many as a kubelet starts at one time, and then some.
const AT_ONCE: usize = 20;

/// Runs `work` for each number, [`AT_ONCE`] of them at one time.
fn all_at_once<T: Send>(work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let start = Barrier::new(AT_ONCE);
    thread::scope(|scope| {
        let (work, start) = (&work, &start);
        let threads: Vec<_> = (0..AT_ONCE)
            .map(|first| {
                scope.spawn(move || {
                    start.wait();
                    (first..PODS).step_by(AT_ONCE).map(|number| (number, work(number))).collect::<Vec<_>>()
                })
            })
            .collect();
        let mut done: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        done.sort_by_key(|(number, _)| *number);
        done.into_iter().map(|(_, result)| result).collect()
    })
}

fn add(lab: &Lab, chain: &chainkit_lab::cni::Chain, number: usize) -> Pod {
    lab.pod_through(chain, &PodSpec::new("crowd", &format!("pod-{number}"))).unwrap()
}

#[test]
fn a_hundred_pods_come_and_go_at_one_time() {
    on_node_by_each_kit(|lab, kit| {
        let chain = aws_by(lab, "1.0.0", kit);
        // The first of them install the datapath, and only one may.
        let pods = all_at_once(|number| add(lab, &chain, number));
        assert_eq!(records(lab).len(), PODS);
        assert_eq!(datapath(lab).endpoints().unwrap().len(), PODS);
        for pod in &pods {
            assert_pod_attached(lab, pod);
        }
        // Half of them go while as many come.
        let (going, staying) = pods.split_at(PODS / 2);
        let come = all_at_once(|number| {
            if let Some(pod) = going.get(number) {
                lab.delete_pod_through(&chain, pod).unwrap();
                None
            } else {
                Some(add(lab, &chain, PODS + number))
            }
        });
        let come: Vec<Pod> = come.into_iter().flatten().collect();
        for pod in staying.iter().chain(&come) {
            assert_pod_attached(lab, pod);
        }
        assert_eq!(datapath(lab).endpoints().unwrap().len(), PODS);
        let left: Vec<&Pod> = staying.iter().chain(&come).collect();
        all_at_once(|number| {
            if let Some(pod) = left.get(number) {
                lab.delete_pod_through(&chain, pod).unwrap();
            }
        });
        assert_nothing_left(lab);
    });
}
