//! Where objects come from beside files: watches, FIFOs, an API server.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a failure shows its line")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::{policy, run, run_on, shop};
use serde_json::{Value, json};

fn event(kind: &str, object: &Value) -> String {
    format!("{:#}\n", json!({"type": kind, "object": object}))
}

fn pod(name: &str, address: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop", "labels": {"app": name}},
        "spec": {"containers": []}, "status": {"podIP": address}})
}

fn deny_all() -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "deny", "namespace": "shop"},
        "spec": {"podSelector": {"matchLabels": {"app": "db"}}}})
}

/// Pairs of `matrix` among the pods of the input.
fn pairs(records: &[Value]) -> Vec<String> {
    let is_pod = |side: &Value| side.as_str().unwrap().ends_with("[Pod]");
    let pairs = records.iter().filter(|row| is_pod(&row["src"]) && is_pod(&row["dst"]));
    pairs.map(|row| format!("{} {}", row["src"].as_str().unwrap(), row["dst"].as_str().unwrap())).collect()
}

#[test]
fn of_a_watch_on_stdin_the_last_word_counts() {
    let watch = [
        event("ADDED", &pod("web", "10.0.0.1")),
        event("ADDED", &pod("db", "10.0.0.2")),
        event("ADDED", &pod("gone", "10.0.0.3")),
        event("ADDED", &deny_all()),
        event("MODIFIED", &pod("db", "10.0.0.4")),
        event("DELETED", &pod("gone", "10.0.0.3")),
    ]
    .concat();
    let matrix = run_on(&watch, &["matrix", "-", "-o", "jsonl", "--strict"]);
    assert_eq!((matrix.code, matrix.stderr.as_str()), (Some(0), ""));
    assert_eq!(pairs(&matrix.records()), ["shop/db[Pod] shop/web[Pod]"]);
}

#[test]
fn fifos_are_read_together_and_watches_that_go_on_until_they_are_quiet() {
    let folder = tempfile::tempdir().unwrap();
    let [pods, policies] = ["pods", "policies"].map(|name| {
        let path = folder.path().join(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    });
    let paths = [pods.clone(), policies.clone()];
    let (sender, done) = mpsc::channel::<()>();
    let writer = thread::spawn(move || {
        // The second one first: who reads opens both at once.
        let mut policies = fs::OpenOptions::new().write(true).open(&paths[1]).unwrap();
        let mut pods = fs::OpenOptions::new().write(true).open(&paths[0]).unwrap();
        policies.write_all(event("ADDED", &deny_all()).as_bytes()).unwrap();
        for (name, address) in [("web", "10.0.0.1"), ("db", "10.0.0.2")] {
            pods.write_all(event("ADDED", &pod(name, address)).as_bytes()).unwrap();
        }
        let _ = done.recv_timeout(Duration::from_secs(60));
    });
    let matrix = run(&["matrix", pods.to_str().unwrap(), policies.to_str().unwrap(), "-o", "jsonl"]);
    drop(sender);
    writer.join().unwrap();
    assert_eq!((matrix.code, matrix.stderr.as_str()), (Some(0), ""));
    assert_eq!(pairs(&matrix.records()), ["shop/db[Pod] shop/web[Pod]"]);
}

#[test]
fn what_is_torn_is_told_by_its_place() {
    let watch = format!(
        "{}{}\n{}",
        event("ADDED", &pod("a", "10.0.0.1")),
        "{\"type\": \"AD",
        event("ADDED", &pod("b", "10.0.0.2"))
    );
    let lint = run_on(&watch, &["matrix", "-", "-o", "jsonl"]);
    let line = watch.lines().position(|line| line.contains("\"AD") && !line.contains("ADDED")).unwrap() + 1;
    assert_eq!(lint.code, Some(0), "{}", lint.stderr);
    assert!(lint.stderr.contains(&format!("-:{line}: document 2: ")), "{}", lint.stderr);
    assert_eq!(pairs(&lint.records()).len(), 2);
}

/// An API server that has the [`objects`] and nothing else; `refused` it gives to nobody.
fn server(refused: &'static str) -> (tempfile::TempDir, PathBuf) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // It ends with the test's process.
    thread::spawn(move || {
        for line in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer(line, refused));
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let config = kubeconfig(folder.path(), &url);
    (folder, config)
}

fn answer(mut line: TcpStream, refused: &str) -> Option<()> {
    let mut request = BufReader::new(line.try_clone().ok()?).lines().map_while(Result::ok);
    let path = request.next()?.split([' ', '?']).nth(1)?.to_owned();
    request.take_while(|header| !header.is_empty()).for_each(drop);
    let resource = path.rsplit('/').next()?;
    let (status, body) = if resource == refused {
        (403, json!({"kind": "Status", "message": "no such role"}).to_string())
    } else if path.starts_with("/apis/policy.networking.k8s.io/") {
        (404, "404 page not found\n".to_owned())
    } else {
        let items: Vec<Value> =
            objects().into_iter().filter(|(of, _)| *of == resource).map(|(_, object)| object).collect();
        let metadata = json!({"resourceVersion": "1"});
        (200, json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items}).to_string())
    };
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    line.write_all(format!("{head}{body}").as_bytes()).ok()
}

fn kubeconfig(folder: &Path, url: &str) -> PathBuf {
    let context = |name: &str| json!({"name": name, "context": {"cluster": "c", "user": "u"}});
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [context("test"), context("other")],
    });
    let path = folder.join("config");
    fs::write(&path, config.to_string()).unwrap();
    path
}

/// What the server has, by resource.
fn objects() -> [(&'static str, Value); 3] {
    [("pods", pod("web", "10.0.0.1")), ("pods", pod("db", "10.0.0.2")), ("networkpolicies", deny_all())]
}

#[test]
fn the_api_server_is_asked_instead_of_files_and_beside_them() {
    let (folder, config) = server("");
    let config = config.to_str().unwrap();
    let matrix = run(&["matrix", "--api", "--kubeconfig", config, "--context", "other", "-o", "jsonl", "--strict"]);
    assert_eq!(matrix.code, Some(0), "{}", matrix.stderr);
    assert_eq!(pairs(&matrix.records()), ["shop/db[Pod] shop/web[Pod]"]);
    let more = folder.path().join("more.yaml");
    fs::write(&more, policy("open", "{podSelector: {}, ingress: [{}]}")).unwrap();
    let matrix = run(&["matrix", "--api", "--kubeconfig", config, more.to_str().unwrap(), "-o", "jsonl"]);
    assert_eq!(pairs(&matrix.records()), ["shop/db[Pod] shop/web[Pod]", "shop/web[Pod] shop/db[Pod]"]);
}

#[test]
fn diff_holds_the_cluster_against_what_it_is_to_become() {
    let (folder, config) = server("");
    let new = folder.path().join("new.json");
    fs::write(&new, json!({"kind": "List", "items": [pod("web", "10.0.0.1"), pod("db", "10.0.0.2")]}).to_string())
        .unwrap();
    let (config, new) = (config.to_str().unwrap(), new.to_str().unwrap());
    let diff = run(&["diff", "--api", "--kubeconfig", config, new, "-o", "jsonl"]);
    assert_eq!(diff.code, Some(1), "{}", diff.stderr);
    let gained = diff.records();
    let of_web = gained.iter().find(|row| row["src"] == "shop/web[Pod]" && row["dst"] == "shop/db[Pod]").unwrap();
    assert_eq!((&of_web["gained"]["TCP"], &of_web["lost"]["TCP"]), (&json!([[1, 65535]]), &json!([])));
    assert_eq!(run(&["diff", "--api", "--kubeconfig", config, new, new]).code, Some(2));
    assert_eq!(run(&["diff", new]).code, Some(2));
}

#[test]
fn a_server_that_refuses_or_is_not_there_ends_it_with_what_to_do() {
    let (folder, config) = server("networkpolicies");
    let refused = run(&["lint", "--api", "--kubeconfig", config.to_str().unwrap()]);
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("grant the verb \"list\" on the resource \"networkpolicies\""),
        "{}",
        refused.stderr
    );
    // Nobody listens on the port of discard.
    let config = kubeconfig(folder.path(), "http://127.0.0.1:9");
    let away = run(&["lint", "--api", "--kubeconfig", config.to_str().unwrap()]);
    assert_eq!(away.code, Some(4), "{}", away.stderr);
    assert!(away.stderr.contains("cannot reach the API server http://127.0.0.1:9"), "{}", away.stderr);
    let unnamed = run(&["lint", "--api", "--kubeconfig", "/nonexistent/config"]);
    assert_eq!(unnamed.code, Some(2), "{}", unnamed.stderr);
    assert_eq!(run_on(&shop(), &["lint", "-", "--context", "x"]).code, Some(2), "it takes --api");
    assert_eq!(run(&["lint"]).code, Some(2));
}
