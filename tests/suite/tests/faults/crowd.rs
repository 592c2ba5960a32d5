//! Many at one time.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use chainkit_lab::{NODE_NAME, PodSpec};
use serde_json::{Value, json};

use crate::ground::{PORT, lets, on_ground};

const APPLIERS: usize = 20;
const PODS: usize = 100;
const AT_ONCE: usize = 5;

#[test]
fn twenty_appliers_at_once_take_turns() {
    on_ground(|ground| {
        let files: Vec<_> = ["a", "b"].iter().map(|who| ground.file(&format!("{who}.json"), &[lets(who)])).collect();
        ground.apply(&files[0]);
        thread::scope(|scope| {
            for number in 0..APPLIERS {
                let file = files[number % 2].to_str().unwrap();
                scope.spawn(move || ground.fine(&["apply", "--node", NODE_NAME, file]));
            }
            // Whoever it is, it is one of them at each moment.
            for _ in 0..5 {
                let reached = [ground.reaches(&ground.a), ground.reaches(&ground.b)];
                println!("while they apply: {reached:?}");
            }
        });
        let who = ground.who();
        assert!(who == (true, false) || who == (false, true), "{who:?}");
        assert_eq!(ground.folders().len(), 1, "{:?}", ground.folders());
        ground.verified();
    });
}

/// A pod of the crowd, as the cluster knows it before it is there: the label `app` is its name, as the lab has it.
fn expected(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "crowd", "name": format!("p{number}"), "labels": {"app": format!("p{number}"), "crowd": "yes"}},
        "spec": {"nodeName": NODE_NAME, "containers": [{"name": "c", "image": "i"}]}, "status": {},
    })
}

#[test]
fn a_hundred_pods_come_and_go_while_policy_is_applied_and_none_is_ever_without_its_rules() {
    on_ground(|ground| {
        let isolated = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"namespace": "crowd", "name": "deny"},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
        });
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "crowd"}});
        let more: Vec<Value> = (0..PODS).map(expected).chain([namespace]).collect();
        let files: Vec<_> = ["a", "b"]
            .iter()
            .map(|who| ground.file_with(&format!("{who}.json"), &[isolated.clone(), lets(who)], &more))
            .collect();
        ground.apply(&files[0]);
        let to = SocketAddr::new(ground.server.ip4.into(), PORT);
        let over = AtomicBool::new(false);
        let (next, through) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            let applying = scope.spawn(|| {
                let mut times = 0;
                while !over.load(Ordering::Acquire) {
                    ground.apply(&files[times % 2]);
                    times += 1;
                }
                times
            });
            let pods: Vec<_> = (0..AT_ONCE)
                .map(|_| {
                    scope.spawn(|| {
                        loop {
                            let number = next.fetch_add(1, Ordering::AcqRel);
                            if number >= PODS {
                                break;
                            }
                            let spec = PodSpec::new("crowd", &format!("p{number}"));
                            let pod = ground.lab.pod_through(&ground.chain, &spec).unwrap();
                            // Its very first packet, and some after it.
                            for _ in 0..3 {
                                let open = || TcpStream::connect_timeout(&to, Duration::from_millis(60)).is_ok();
                                if pod.run(open).unwrap() {
                                    through.fetch_add(1, Ordering::AcqRel);
                                }
                            }
                            ground.lab.delete_pod_through(&ground.chain, &pod).unwrap();
                        }
                    })
                })
                .collect();
            for pod in pods {
                pod.join().unwrap();
            }
            over.store(true, Ordering::Release);
            println!("{PODS} pods came and went while policy was applied {} times", applying.join().unwrap());
        });
        assert_eq!(through.load(Ordering::Acquire), 0, "packets of isolated pods have passed");
        ground.verified();
    });
}
