//! `flowdump --api`: names from an API server, here one of this test.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failure shows its line")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

/// A server with one pod, and what it was asked for.
struct Fake {
    folder: TempDir,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    /// One that answers lists with `status`, and says nothing to watches.
    fn start(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "k", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}]});
        fs::write(folder.path().join("config"), config.to_string()).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let heard = Arc::clone(&heard);
                thread::spawn(move || serve(stream, status, &heard));
            }
        });
        Self { folder, asked }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("config")
    }
}

fn serve(mut stream: TcpStream, status: &str, asked: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        while reader.read_line(&mut line).unwrap_or(0) > 2 {}
        asked.lock().unwrap().push(path.clone());
        if path.contains("watch=1") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            continue;
        }
        let mut items = Vec::new();
        if path.starts_with("/api/v1/pods?") {
            let metadata = json!({"name": "web-1", "namespace": "shop", "uid": "1", "labels": {"app": "web"}});
            items.push(json!({"metadata": metadata, "status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}}));
        }
        let kind = if items.is_empty() { "NodeList" } else { "PodList" };
        let list = json!({"apiVersion": "v1", "kind": kind, "metadata": {"resourceVersion": "7"}, "items": items});
        let body = list.to_string();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
        if stream.write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}

/// What is shown of one saved flow between two addresses.
fn shown(arguments: &[&str], folder: &TempDir) -> Output {
    let flows = folder.path().join("flows.jsonl");
    let flow = json!({"flow": {"time": "2026-11-23T00:00:01Z", "verdict": "FORWARDED", "Type": "L3_L4",
        "IP": {"source": "10.0.0.1", "destination": "10.0.0.2", "ipVersion": "IPv4"},
        "l4": {"TCP": {"source_port": 40000, "destination_port": 80}}}});
    fs::write(&flows, format!("{flow}\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowdump"));
    command.args(["-r", flows.to_str().unwrap(), "-j"]).args(arguments).output().unwrap()
}

#[test]
fn names_come_from_the_api_server_and_nothing_more_is_asked_for() {
    let fake = Fake::start("200 OK");
    let output = shown(&["--api", "--kubeconfig", fake.config().to_str().unwrap()], &fake.folder);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""));
    let flow: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(flow["flow"]["source"]["pod_name"], "web-1");
    assert_eq!(flow["flow"]["source"]["namespace"], "shop");
    let asked = fake.asked.lock().unwrap().clone();
    let lists = asked.iter().filter(|path| !path.contains("watch=1"));
    let mut lists: Vec<&str> = lists.map(|path| path.split('?').next().unwrap()).collect();
    lists.sort_unstable();
    assert_eq!(lists, ["/api/v1/namespaces", "/api/v1/nodes", "/api/v1/pods", "/api/v1/services"]);
}

#[test]
fn flows_do_not_wait_for_a_server_that_cannot_be_asked() {
    let fake = Fake::start("503 Service Unavailable");
    let output = shown(&["--api", "--kubeconfig", fake.config().to_str().unwrap()], &fake.folder);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("503") && stderr.contains("has not given all names"), "{stderr}");
    let flow: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(flow["flow"]["IP"]["source"], "10.0.0.1");
}

#[test]
fn a_server_that_nobody_names_is_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    let output = shown(&["--api", "--kubeconfig", "/nonexistent/config"], &folder);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("cannot tell which API server to ask"), "{stderr}");
    let output = shown(&["--kubeconfig", "x"], &folder);
    assert_eq!(output.status.code(), Some(2));
}
