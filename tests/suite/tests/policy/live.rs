//! What is open goes on or ends as policy changes, in the direction it was opened in.

use chainkit_lab::Pod;
use serde_json::{Value, json};

use crate::stage::{
    Stage, Watch, app, deny_all, eventually, host, isolate, object, policy, spec, within_a_second, without,
};
use crate::talk::{End, PORT, Talk};

/// What `web` may do under isolation: all that is open between it and the peer, both ways.
fn allow(peer: &Value) -> Value {
    let ports = json!([{"port": PORT}, {"port": PORT, "protocol": "UDP"}]);
    let spec = json!({
        "podSelector": {"matchLabels": {"app": "web"}},
        "ingress": [{"from": [peer], "ports": ports}],
        "egress": [{"to": [peer], "ports": ports}],
        "policyTypes": ["Ingress", "Egress"],
    });
    policy("shop/allow", &spec)
}

/// What `web` has open: as a client over IPv4, as a server over IPv6.
fn both(web: &Pod, cart: &Pod) -> [Talk; 2] {
    [Talk::open("web to cart", End::v4(web), End::v4(cart)), Talk::open("cart to web", End::v6(cart), End::v6(web))]
}

#[test]
fn policy_that_allows_what_is_open_does_not_touch_it() {
    let Some(stage) = Stage::new() else { return };
    let (web, cart) = (stage.pod("shop/web"), stage.pod("shop/cart"));
    let mut talks = both(&web, &cart);
    for _ in 0..3 {
        stage.apply(&[deny_all("shop"), allow(&app("cart")), allow_cart()], &[]);
        talks.iter_mut().for_each(Talk::goes_on);
        stage.apply(&[allow(&app("cart"))], &[]);
        talks.iter_mut().for_each(Talk::goes_on);
    }
    stage.run("polload", &["clear"]);
    talks.into_iter().for_each(Talk::finish);
}

/// The other side of [`allow`], where `cart` is isolated too.
fn allow_cart() -> Value {
    let spec = json!({
        "podSelector": {"matchLabels": {"app": "cart"}}, "ingress": [{"from": [app("web")]}], "egress": [{"to": [app("web")]}],
        "policyTypes": ["Ingress", "Egress"],
    });
    policy("shop/allow-cart", &spec)
}

#[test]
fn what_a_tightened_policy_denies_ends_and_goes_on_once_it_is_allowed_again() {
    let Some(stage) = Stage::new() else { return };
    let (web, cart) = (stage.pod("shop/web"), stage.pod("shop/cart"));
    let [mut by_web, mut to_web] = both(&web, &cart);
    let allowed = [allow(&app("cart"))];
    stage.apply(&allowed, &[]);

    stage.apply(&[isolate("shop", "web", &["Ingress"])], &[]);
    to_web.has_ended();
    by_web.goes_on();
    stage.apply(&allowed, &[]);
    to_web.goes_on();

    stage.apply(&[isolate("shop", "web", &["Egress"])], &[]);
    by_web.has_ended();
    to_web.goes_on();
    stage.apply(&[], &[]);
    by_web.goes_on();

    stage.apply(&[deny_all("shop")], &[]);
    by_web.has_ended();
    to_web.has_ended();
    stage.run("polload", &["clear", "--now"]);
    by_web.finish();
    to_web.finish();
}

#[test]
fn what_waits_for_a_confirmation_that_does_not_come_goes_back_by_itself() {
    let Some(stage) = Stage::new() else { return };
    let (web, cart) = (stage.pod("shop/web"), stage.pod("shop/cart"));
    let mut talks = both(&web, &cart);
    stage.apply(&[allow(&app("cart"))], &[]);
    stage.apply(&[deny_all("shop")], &["--confirm", "10s"]);
    talks.iter_mut().for_each(Talk::has_ended);
    // Nobody does anything: the kernel itself goes back.
    talks.iter_mut().for_each(Talk::goes_on);
    stage.apply(&[deny_all("shop")], &["--confirm", "2s"]);
    stage.run("polload", &["confirm"]);
    std::thread::sleep(std::time::Duration::from_secs(3));
    talks.iter_mut().for_each(Talk::has_ended);
    stage.apply(&[], &["--confirm", "8s"]);
    talks.iter_mut().for_each(Talk::goes_on);
    eventually("it does not go back", || talks.iter().all(Talk::is_quiet));
    talks.iter_mut().for_each(Talk::has_ended);
}

#[test]
fn what_a_peer_has_open_is_judged_again_when_its_labels_change() {
    let Some(stage) = Stage::new() else { return };
    let (web, cart) = (stage.pod("shop/web"), stage.pod("shop/cart"));
    let mut talks = both(&web, &cart);
    let mut objects = stage.objects();
    let trusted = json!({"podSelector": {"matchLabels": {"tier": "trusted"}}});
    object(&mut objects, "shop/cart")["metadata"]["labels"]["tier"] = "trusted".into();
    objects.push(allow(&trusted));
    // So that the two kinds of peers are there from the start, and only the address changes.
    let mut watch = Watch::start(&stage, &objects, &[]);
    talks.iter_mut().for_each(Talk::goes_on);
    for _ in 0..2 {
        let cart = object(&mut objects, "shop/cart");
        cart["metadata"]["labels"]["tier"] = "other".into();
        watch.change("MODIFIED", cart);
        within_a_second("they go on", || talks.iter().all(Talk::is_quiet));
        talks.iter_mut().for_each(Talk::has_ended);
        cart["metadata"]["labels"]["tier"] = "trusted".into();
        watch.change("MODIFIED", cart);
        talks.iter_mut().for_each(Talk::goes_on);
    }
    drop(watch);
    // What is in force stays.
    talks.iter_mut().for_each(Talk::goes_on);
    object(&mut objects, "shop/cart")["metadata"]["labels"]["tier"] = "other".into();
    stage.apply_exactly(&objects, &[]);
    talks.iter_mut().for_each(Talk::has_ended);
}

#[test]
fn what_was_allowed_to_a_pod_ends_when_its_address_is_freed_and_given_to_another() {
    let Some(stage) = Stage::new() else { return };
    let web = stage.pod("shop/web");
    let old = stage.lab.remote_pod("shop", "cart").unwrap();
    let there = End::new(stage.lab.world(), old);
    let mut talks = [Talk::open("web to cart", End::v4(&web), there), Talk::open("cart to web", there, End::v4(&web))];
    let mut objects = stage.objects();
    objects.push(allow(&app("cart")));
    let mut watch = Watch::start(&stage, &objects, &[]);
    talks.iter_mut().for_each(Talk::goes_on);
    let cart = object(&mut objects, "shop/cart").clone();
    watch.change("DELETED", &cart);
    within_a_second("they go on", || talks.iter().all(Talk::is_quiet));
    talks.iter_mut().for_each(Talk::has_ended);
    // The same pod comes back with its address, and what was sent arrives.
    watch.change("ADDED", &cart);
    talks.iter_mut().for_each(Talk::goes_on);
    watch.change("DELETED", &cart);
    let mut other = cart.clone();
    for (field, value) in [("name", "other"), ("uid", "00000000-0000-4000-8000-aaaaaaaaaaaa")] {
        other["metadata"][field] = value.into();
    }
    other["metadata"]["labels"]["app"] = "other".into();
    // No rule tells it from an address that is nobody's, so nothing is to change.
    watch.send("ADDED", &other);
    within_a_second("they go on", || talks.iter().all(Talk::is_quiet));
    talks.iter_mut().for_each(Talk::has_ended);
    other["metadata"]["labels"]["app"] = "cart".into();
    watch.change("MODIFIED", &other);
    talks.iter_mut().for_each(Talk::goes_on);
    other["metadata"]["labels"]["app"] = "other".into();
    watch.change("MODIFIED", &other);
    within_a_second("they go on", || talks.iter().all(Talk::is_quiet));
    talks.iter_mut().for_each(Talk::has_ended);
    drop(watch);
    stage.apply_exactly(&[without(&objects, "shop/cart"), vec![other]].concat(), &[]);
    talks.iter_mut().for_each(Talk::has_ended);
}

#[test]
fn what_is_open_to_a_block_ends_when_the_block_is_taken_out() {
    let Some(stage) = Stage::new() else { return };
    let web = stage.pod_of(spec("shop/web"));
    let outside = End::new(stage.lab.world(), chainkit_lab::INTERNET);
    let mut talks =
        [Talk::open("web to outside", End::v4(&web), outside), Talk::open("outside to web", outside, End::v4(&web))];
    stage.apply(&[allow(&host(chainkit_lab::INTERNET))], &[]);
    talks.iter_mut().for_each(Talk::goes_on);
    let except = json!({"ipBlock": {"cidr": "0.0.0.0/0", "except": [format!("{}/32", chainkit_lab::INTERNET)]}});
    stage.apply(&[allow(&except)], &[]);
    talks.iter_mut().for_each(Talk::has_ended);
    stage.apply(&[allow(&json!({"ipBlock": {"cidr": "198.51.100.0/24"}}))], &[]);
    talks.into_iter().for_each(Talk::finish);
}
