//! What rules have decided counts for the rule that decided it, whoever had its number before.

use serde_json::Value;

use crate::stage::{Stage, Watch, eventually, isolate};

/// What rules of policies have decided: the name of the first policy, and how much of anything.
fn counts(stage: &Stage) -> Vec<(String, u64)> {
    let said = stage.run("polload", &["status", "-o", "jsonl"]);
    let records = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let rules = records.filter(|one| one["kind"] == "RuleHits" && !one["tier"].is_null());
    let count = |rule: &Value| ["allowed", "denied", "audited"].map(|what| rule[what].as_u64().unwrap()).iter().sum();
    rules.map(|rule| (rule["rule"][0].as_str().unwrap().to_owned(), count(&rule))).collect()
}

/// There are rules, and none has decided anything.
#[track_caller]
fn all_begin_at_zero(stage: &Stage) {
    let counts = counts(stage);
    assert!(!counts.is_empty() && counts.iter().all(|(_, count)| *count == 0), "{counts:?}");
}

/// Which generation judges, once it has been taken note of that the kernel went back.
fn generation(stage: &Stage) -> u64 {
    let said = stage.run("polload", &["restore", "-o", "jsonl"]);
    serde_json::from_str::<Value>(&said).unwrap()["generation"].as_u64().unwrap()
}

/// Waits until the kernel has gone back by itself.
#[track_caller]
fn goes_back(stage: &Stage) {
    let unconfirmed = generation(stage);
    eventually("the kernel goes back", || generation(stage) != unconfirmed);
}

/// Has packets judged, of which each rule denies some.
#[track_caller]
fn traffic(stage: &Stage) {
    stage.run("polload", &["verify"]);
    let counts = counts(stage);
    assert!(!counts.is_empty() && counts.iter().all(|(_, count)| *count > 0), "{counts:?}");
}

#[test]
fn a_number_that_is_given_to_another_rule_begins_at_zero() {
    let Some(stage) = Stage::new() else { return };
    let _pods = ["shop/web", "shop/api"].map(|name| stage.pod(name));
    let [web, api] = ["web", "api"].map(|app| isolate("shop", app, &["Ingress"]));
    stage.apply(std::slice::from_ref(&web), &[]);
    stage.run("polload", &["clear"]);
    stage.apply(std::slice::from_ref(&api), &[]);
    traffic(&stage);
    stage.run("polload", &["clear"]);
    stage.apply(std::slice::from_ref(&web), &[]);
    all_begin_at_zero(&stage);

    // One that stays goes on, and one that was gone meanwhile begins anew.
    traffic(&stage);
    let before = counts(&stage);
    stage.apply(&[web.clone(), api.clone()], &[]);
    let after = counts(&stage);
    assert!(before.iter().all(|count| after.contains(count)), "{before:?}, then {after:?}");
    assert_eq!(after.iter().filter(|(_, count)| *count == 0).count(), 1, "{after:?}");
    stage.apply(std::slice::from_ref(&api), &[]);
    stage.apply(std::slice::from_ref(&web), &[]);
    all_begin_at_zero(&stage);

    // The kernel goes back by itself, and the numbers of what nobody confirmed are free.
    stage.apply(&[web.clone(), api], &["--confirm", "15s"]);
    traffic(&stage);
    let before = counts(&stage);
    goes_back(&stage);
    let back = counts(&stage);
    assert!(back.len() == 1 && before.contains(&back[0]), "{before:?}, then {back:?}");
    stage.apply(&[web, isolate("shop", "api", &["Egress"])], &[]);
    let after = counts(&stage);
    assert!(after.contains(&back[0]) && after.iter().any(|(_, count)| *count == 0), "{back:?}, then {after:?}");

    // After a boot nothing has been decided.
    stage.lab.reboot().unwrap();
    stage.run("polload", &["restore"]);
    stage.adopt();
    all_begin_at_zero(&stage);
}

#[test]
fn a_rule_that_comes_while_another_may_come_back_has_a_number_of_its_own() {
    let Some(stage) = Stage::new() else { return };
    let _pods = ["shop/web", "shop/api"].map(|name| stage.pod(name));
    let [web, api] = ["web", "api"].map(|app| isolate("shop", app, &["Ingress"]));
    stage.apply(&[web], &[]);
    stage.apply(std::slice::from_ref(&api), &["--confirm", "10m"]);
    // The number of the first is nobody's, and it may still come back.
    stage.apply(&[api, isolate("shop", "web", &["Egress"])], &["--confirm", "15s"]);
    traffic(&stage);
    goes_back(&stage);
    all_begin_at_zero(&stage);
}

#[test]
fn a_rule_that_comes_back_while_a_cluster_is_followed_begins_at_zero() {
    let Some(stage) = Stage::new() else { return };
    let _pods = ["shop/web", "shop/api"].map(|name| stage.pod(name));
    let [web, api] = ["web", "api"].map(|app| isolate("shop", app, &["Ingress"]));
    let mut watch = Watch::start(&stage, &[&stage.objects()[..], &[web.clone(), api]].concat(), &[]);
    all_begin_at_zero(&stage);
    traffic(&stage);
    let before = counts(&stage);
    watch.change("DELETED", &web);
    watch.change("ADDED", &web);
    let after = counts(&stage);
    assert_eq!((after.len(), after.iter().filter(|(_, count)| *count == 0).count()), (2, 1), "{after:?}");
    assert!(before.iter().any(|count| after.contains(count)), "{before:?}, then {after:?}");
}
