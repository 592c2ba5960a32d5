//! `polload status` tells what is in force, and each thing that is not as it should be.

use std::fs;

use chainkit_abi::{Subject, mark, set_of};
use chainkit_bpf::Pins;
use chainkit_lab::{PodSpec, program};
use serde_json::Value;

use crate::dump::records;
use crate::policed::{POLICIES, Policed};
use crate::stage::{eventually, on_node};

fn status(node: &Policed<'_>) -> (Option<i32>, Vec<Value>) {
    let (code, said) = node.run("polload", &["status"]);
    assert_eq!(said[0]["kind"], "PolicyStatus", "{said:?}");
    (code, said)
}

fn of_kind<'a>(said: &'a [Value], kind: &str) -> Vec<&'a Value> {
    said.iter().filter(|one| one["kind"] == kind).collect()
}

/// Nothing is wrong; what it said.
#[track_caller]
fn is_fine(node: &Policed<'_>) -> Vec<Value> {
    let (code, said) = status(node);
    assert_eq!((code, of_kind(&said, "Fault").len()), (Some(0), 0), "{said:#?}");
    said
}

/// One thing is wrong, which is told in these words; what it said.
#[track_caller]
fn has_fault(node: &Policed<'_>, words: &str) -> Vec<Value> {
    let (code, said) = status(node);
    let faults = of_kind(&said, "Fault");
    assert_eq!((code, said[0]["faults"].as_u64()), (Some(1), Some(1)), "{said:#?}");
    assert!(faults[0]["what"].as_str().unwrap().contains(words), "{words}: {faults:?}");
    assert!(!faults[0]["remedy"].as_str().unwrap().is_empty());
    said
}

#[test]
fn what_is_in_force_is_told_with_endpoints_and_the_hits_of_each_rule() {
    on_node(|lab| {
        let node = Policed::new(lab);
        let said = is_fine(&node);
        assert_eq!((said.len(), &said[0]["generation"], &said[0]["mode"]), (1, &0.into(), &"none".into()));

        node.apply(POLICIES, &["--mode", "enforce"]);
        let said = is_fine(&node);
        let head = &said[0];
        assert_eq!((head["mode"].as_str(), head["node"].as_str()), (Some("enforce"), Some(chainkit_lab::NODE_NAME)));
        assert!(head["generation"].as_u64().unwrap() > 0 && head["objects_age"].is_u64(), "{head}");
        assert!(head["seconds_left"].is_null() && head["applied_at"].is_string(), "{head}");
        let endpoints = of_kind(&said, "EndpointPolicy");
        assert_eq!(endpoints.len(), 3, "{said:#?}");
        let of = |pod: &str| endpoints.iter().find(|one| one["pod"] == pod).unwrap();
        assert_eq!(of("shop/db")["policies"], serde_json::json!(["NetworkPolicy shop/db"]));
        assert_eq!(of("shop/web")["policies"], serde_json::json!(["NetworkPolicy shop/web"]));
        assert_eq!(of("shop/free")["policies"], serde_json::json!([]));
        assert_eq!((of("shop/db")["known"].clone(), of("shop/db")["mode"].clone()), (true.into(), "enforce".into()));
        let rules = of_kind(&said, "RuleHits");
        assert!(rules.iter().all(|rule| rule["denied"] == 0 && rule["last"].is_null()), "{rules:?}");

        // The web asks the database, which it may, and then for what it may not.
        let before = jiff_now();
        let (code, _) = node.run("polload", &["verify"]);
        assert_eq!(code, Some(0));
        let said = is_fine(&node);
        let hit: Vec<&Value> = of_kind(&said, "RuleHits").into_iter().filter(|rule| rule["last"].is_string()).collect();
        assert!(hit.iter().any(|rule| rule["action"] == "isolated" && rule["denied"].as_u64() > Some(0)), "{hit:?}");
        assert!(hit.iter().any(|rule| rule["action"] == "allow" && rule["allowed"].as_u64() > Some(0)), "{hit:?}");
        for rule in hit {
            let last = rule["last"].as_str().unwrap();
            assert!(last > before.as_str(), "{last} is not after {before}");
        }

        node.apply(POLICIES, &["--confirm", "10m"]);
        let said = is_fine(&node);
        assert!((1..=600).contains(&said[0]["seconds_left"].as_u64().unwrap()), "{}", said[0]);
        assert_eq!(node.run("polload", &["confirm"]).0, Some(0));
        assert!(is_fine(&node)[0]["seconds_left"].is_null());
        assert_eq!(node.run("polload", &["clear"]).0, Some(0));
        let said = is_fine(&node);
        assert_eq!((said.len(), &said[0]["cleared"]), (1, &true.into()));
    });
}

/// Now, as the records have it, to the second.
fn jiff_now() -> String {
    let output = std::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%S"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn what_is_not_as_it_should_be_is_told() {
    on_node(|lab| {
        let node = Policed::new(lab);
        node.apply(POLICIES, &[]);
        is_fine(&node);
        let (tables, datapath) = (node.tables(), node.datapath());

        let slot = datapath.endpoint(node.web.host_ifindex).unwrap().unwrap().0;
        let subject = tables.subject(slot).unwrap();
        tables.set_subject(slot, Subject { policy: subject.policy + 7, ..subject }).unwrap();
        has_fault(&node, "shop/web");
        tables.set_subject(slot, subject).unwrap();

        datapath.mark(&node.lock(), node.web.host_ifindex, mark::TAKING_OVER, 0).unwrap();
        let said = has_fault(&node, "is not judged");
        assert_eq!(of_kind(&said, "EndpointPolicy").len(), 2);
        datapath.mark(&node.lock(), node.web.host_ifindex, 0, mark::TAKING_OVER).unwrap();
        is_fine(&node);

        // Nobody told of it.
        let late = lab.pod_of(&PodSpec::new("shop", "late").label("app", "db").ipv6()).unwrap();
        node.cache_result(&late);
        assert_eq!(node.run("cni-chain", &["adopt", "--all"]).0, Some(0));
        let said = has_fault(&node, "shop/late");
        let endpoint = of_kind(&said, "EndpointPolicy").into_iter().find(|one| one["pod"] == "shop/late").unwrap();
        assert_eq!(endpoint["known"], false);
        assert_eq!(endpoint["isolated"], serde_json::json!(["ingress", "egress"]));
        node.apply(POLICIES, &[]);
        is_fine(&node);

        let marker = lab.root().join("var/lib/chainkit/policy/active.json");
        let text = fs::read(&marker).unwrap();
        fs::write(&marker, &text[..text.len() / 2]).unwrap();
        let (code, said) = status(&node);
        assert_eq!(code, Some(1), "{said:?}");
        assert!(
            of_kind(&said, "Fault").iter().any(|one| one["what"].as_str().unwrap().contains("active.json")),
            "{said:?}"
        );
        fs::write(&marker, &text).unwrap();
        is_fine(&node);
        let folder = datapath.judging();
        let rules = fs::read_dir(lab.root().join("var/lib/chainkit/policy"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.is_dir())
            .unwrap()
            .join("rules");
        let kept = fs::read(&rules).unwrap();
        fs::write(&rules, "{\"number\":").unwrap();
        fs::write(&rules, "what is this\n").unwrap();
        has_fault(&node, "rules");
        fs::write(&rules, kept).unwrap();
        is_fine(&node);

        // From elsewhere, interface indexes mean nothing.
        let mut command = lab.world().command(program("polload").unwrap());
        let output = command.env("CHAINKIT_ROOT", lab.root()).args(["status", "-j"]).output().unwrap();
        let said = records(&String::from_utf8(output.stdout).unwrap());
        assert_eq!(output.status.code(), Some(1));
        assert!(of_kind(&said, "Fault")[0]["what"].as_str().unwrap().contains("another network namespace"), "{said:?}");

        datapath.take_tables(&node.lock(), set_of(folder)).unwrap();
        has_fault(&node, "tables are not all there");
    });
}

#[test]
fn a_judged_pod_whose_packets_no_program_sees_is_told_and_found() {
    on_node(|lab| {
        let node = Policed::new(lab);
        node.apply(POLICIES, &["--mode", "enforce"]);
        is_fine(&node);
        let links = Pins::below(lab.root()).directory().join("links");
        let of_web = format!("{}-", node.web.host_ifindex);
        let mut pins: Vec<_> = fs::read_dir(&links).unwrap().map(|entry| entry.unwrap().path()).collect();
        pins.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&of_web));
        if pins.is_empty() {
            // Without tcx nothing is pinned that could be lost; the filters are.
            let mut tc = lab.node().command("tc");
            let gone = tc.args(["qdisc", "del", "dev", &node.web.host_ifname, "clsact"]).status().unwrap();
            assert!(gone.success());
        } else {
            pins.iter().for_each(|pin| fs::remove_file(pin).unwrap());
        }
        let mut said = Vec::new();
        // The kernel takes a link off a moment after its last holder is gone.
        eventually("the programs are gone", || {
            said = status(&node).1;
            of_kind(&said, "Fault").len() == 2
        });
        for (fault, end) in of_kind(&said, "Fault").into_iter().zip(["ingress", "egress"]) {
            let what = fault["what"].as_str().unwrap();
            assert!(
                what.contains("shop/web") && what.ends_with(&format!("no program of ours hangs on its {end}")),
                "{what}"
            );
        }
        let (code, found) = crate::verify::verify(&node);
        assert_eq!((code, found["what"].as_str(), found["more"].as_u64()), (Some(1), Some("attachment"), Some(1)));
        assert!(found["means"].as_str().unwrap().contains("shop/web"), "{found}");
        // As the remedy says.
        assert_eq!(node.run("cni-chain", &["release", "--pod", "shop/web"]).0, Some(0));
        assert_eq!(node.run("cni-chain", &["adopt", "--all"]).0, Some(0));
        is_fine(&node);
        crate::verify::is_verified(&node);
    });
}

#[test]
fn a_policy_that_nobody_confirmed_and_one_that_a_start_has_ended_are_told() {
    on_node(|lab| {
        let node = Policed::new(lab);
        node.apply(POLICIES, &["--mode", "audit"]);
        node.apply(POLICIES, &["--confirm", "1s"]);
        eventually("the kernel goes back", || status(&node).1[0]["went_back"] == true);
        has_fault(&node, "nobody confirmed");
        assert_eq!(node.run("polload", &["restore"]).0, Some(0));
        is_fine(&node);
        // As after a start of the node: the kernel knows of nothing.
        node.datapath().set_active(chainkit_abi::Active::default(), 0);
        has_fault(&node, "no policy is in force");
        assert_eq!(node.run("polload", &["restore"]).0, Some(0));
        is_fine(&node);
    });
}
