//! An API server that says what a test has it say, over HTTP on the loopback.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::ApiOptions;

pub(super) struct Fake {
    pub(super) url: String,
    asked: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
    folder: tempfile::TempDir,
}

/// A request, and the line to who made it.
pub(super) struct Asked {
    /// Path and query.
    pub(super) path: String,
    /// How often this path, without its query, was asked for before.
    pub(super) before: usize,
    pub(super) token: Option<String>,
    line: TcpStream,
    over: Arc<AtomicBool>,
}

impl Fake {
    /// Answers with `answer`, and where that gives the request back, as a server that has nothing.
    pub(super) fn start(answer: impl Fn(Asked) -> Option<Asked> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (asked, over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let answer = Arc::new(answer);
        let (all, is_over) = (Arc::clone(&asked), Arc::clone(&over));
        let listener = thread::spawn(move || {
            for line in listener.incoming() {
                if is_over.load(Ordering::Acquire) {
                    return;
                }
                let (answer, all, over) = (Arc::clone(&answer), Arc::clone(&all), Arc::clone(&is_over));
                thread::spawn(move || {
                    let request = read(line.ok()?, &all, over)?;
                    answer(request)?.nothing();
                    Some(())
                });
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": url}}],
            "users": [{"name": "test", "user": {"token": "s3same"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        std::fs::write(folder.path().join("config"), config.to_string()).unwrap();
        Self { url, asked, over, listener: Some(listener), folder }
    }

    pub(super) fn options(&self) -> ApiOptions {
        ApiOptions { kubeconfig: Some(self.folder.path().join("config")), ..ApiOptions::default() }
    }

    /// Requests for what begins with this path, in order.
    pub(super) fn asked(&self, path: &str) -> Vec<String> {
        self.asked.lock().unwrap().iter().filter(|asked| asked.starts_with(path)).cloned().collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

fn read(line: TcpStream, all: &Mutex<Vec<String>>, over: Arc<AtomicBool>) -> Option<Asked> {
    let mut lines = BufReader::new(line.try_clone().ok()?).lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    let mut token = None;
    for header in lines.map_while(Result::ok).take_while(|header| !header.is_empty()) {
        if let Some(value) = header.strip_prefix("authorization: Bearer ") {
            token = Some(value.to_owned());
        }
    }
    let mut all = all.lock().unwrap();
    let same = |asked: &&String| asked.split('?').next() == path.split('?').next();
    let before = all.iter().filter(same).count();
    all.push(path.clone());
    Some(Asked { path, before, token, line, over })
}

impl Asked {
    pub(super) fn is_watch(&self) -> bool {
        self.path.contains("watch=1")
    }

    pub(super) fn is_of(&self, resource: &str) -> bool {
        self.path.split('?').next().is_some_and(|path| path.ends_with(&format!("/{resource}")))
    }

    /// Answers with a whole.
    pub(super) fn answer(mut self, status: u16, body: &str) -> Option<Self> {
        let length = body.len();
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        let _ = self.line.write_all(head.as_bytes()).and_then(|()| self.line.write_all(body.as_bytes()));
        None
    }

    pub(super) fn list(self, version: &str, next: &str, items: &[Value]) -> Option<Self> {
        let list = json!({
            "kind": "PodList", "apiVersion": "v1",
            "metadata": {"resourceVersion": version, "continue": next}, "items": items,
        });
        self.answer(200, &list.to_string())
    }

    pub(super) fn refuse(self, code: u16, reason: &str) -> Option<Self> {
        let status = json!({"kind": "Status", "apiVersion": "v1", "code": code, "message": reason});
        self.answer(code, &status.to_string())
    }

    /// Begins an answer that comes in parts.
    pub(super) fn begin(mut self) -> Self {
        let head = "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
        let _ = self.line.write_all(head.as_bytes());
        self
    }

    /// A part; whether anybody took it.
    pub(super) fn part(&mut self, part: &str) -> bool {
        let chunk = format!("{:x}\r\n{part}\r\n", part.len());
        self.line.write_all(chunk.as_bytes()).and_then(|()| self.line.flush()).is_ok()
    }

    /// Ends an answer as it should.
    pub(super) fn end(mut self) -> Option<Self> {
        let _ = self.line.write_all(b"0\r\n\r\n");
        None
    }

    /// Says nothing more until the test is over.
    pub(super) fn hang(self) -> Option<Self> {
        while !self.over.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(20));
        }
        None
    }

    /// Lists nothing, of kinds that every server has, and watches where nothing happens.
    fn nothing(self) {
        if self.is_watch() {
            self.begin().hang();
        } else if self.path.starts_with("/apis/policy.networking.k8s.io/") {
            self.answer(404, "404 page not found");
        } else {
            self.list("1", "", &[]);
        }
    }
}
