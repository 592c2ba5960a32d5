//! After a boot what was in force is put back: by `polload restore`, or by the plugin's next ADD.

use serde_json::json;

use crate::probe::{does_not_reach, echo, reaches};
use crate::stage::{Stage, app, at, deny_all, policy};
use crate::start::{bound, came, chain, sink, start};
use crate::talk::{End, PORT, Talk};

#[test]
fn what_restore_puts_back_ends_what_it_denies_and_nothing_else() {
    let Some(stage) = Stage::new() else { return };
    let [web, cart, api] = ["shop/web", "shop/cart", "shop/api"].map(|name| stage.pod(name));
    let mut allowed = Talk::open("web to cart", End::v4(&web), End::v4(&cart));
    let mut denied = Talk::open("web to api", End::v6(&web), End::v6(&api));
    let peers = json!([app("cart"), app("web")]);
    let spec = json!({"podSelector": {}, "ingress": [{"from": peers}], "egress": [{"to": peers}]});
    let isolated = json!({"podSelector": {"matchLabels": {"app": "api"}}, "policyTypes": ["Ingress", "Egress"]});
    stage.apply(&[policy("shop/allow", &spec), policy("shop/isolate-api", &isolated)], &[]);
    // `api` is let in by the first policy from `web`, which may not go there.
    denied.has_ended();
    allowed.goes_on();
    stage.lab.reboot().unwrap();
    // Nothing of ours is there: everything passes.
    allowed.goes_on();
    denied.goes_on();
    let said = stage.run("polload", &["restore", "-o", "jsonl"]);
    assert!(said.contains(r#""result":"restored""#), "{said}");
    stage.adopt();
    denied.has_ended();
    allowed.goes_on();
    let said = stage.run("polload", &["restore", "-o", "jsonl"]);
    assert!(said.contains(r#""result":"unchanged""#), "{said}");
    stage.run("polload", &["clear"]);
    denied.finish();
    allowed.finish();
    // What was cleared stays so.
    stage.lab.reboot().unwrap();
    let said = stage.run("polload", &["restore", "-o", "jsonl"]);
    assert!(said.contains(r#""generation":0"#), "{said}");
}

#[test]
fn the_plugins_next_add_puts_back_what_was_in_force() {
    let Some(stage) = Stage::new() else { return };
    let (chain, sink) = (chain(&stage), sink(&stage));
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    stage.apply(&[namespace, bound("shop/late", "late"), deny_all("shop")], &[]);
    stage.lab.reboot().unwrap();
    let late = start(&stage, &chain, "shop/late", &sink);
    came(&sink, 0);
    let _servers = echo(End::new(late.netns(), late.ip4), PORT);
    does_not_reach(End::new(stage.lab.world(), chainkit_lab::INTERNET), at(late.ip4, PORT));
    reaches(End::new(stage.lab.node(), chainkit_lab::NODE), at(late.ip4, PORT));
    let said = stage.run("polload", &["restore", "-o", "jsonl"]);
    assert!(said.contains(r#""result":"unchanged""#) && !said.contains(r#""generation":0"#), "{said}");
    stage.run("polload", &["clear"]);
    start(&stage, &chain, "shop/later", &sink);
    came(&sink, 1);
}

#[test]
fn what_waited_for_its_confirmation_is_not_put_back_and_what_was_before_it_is() {
    let Some(stage) = Stage::new() else { return };
    let (web, cart) = (stage.pod("shop/web"), stage.pod("shop/cart"));
    let _servers = echo(End::v4(&cart), PORT);
    stage.apply(&[deny_all("shop")], &[]);
    stage.apply(&[], &["--confirm", "10m"]);
    reaches(End::v4(&web), at(cart.ip4, PORT));
    stage.lab.reboot().unwrap();
    stage.run("polload", &["restore"]);
    stage.adopt();
    does_not_reach(End::v4(&web), at(cart.ip4, PORT));
}
