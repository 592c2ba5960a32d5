//! The page of `flowdump map -o html` in headless Chromium, where there is one: what a user sees, finds and clicks.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failure shows its line")]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// 500 nodes in 20 namespaces and 5,000 edges; the first is denied.
fn lines() -> String {
    let mut lines = String::new();
    for number in 0..5000u32 {
        let (from, to) = (number % 500, (number % 500 + 1 + number / 500 * 7) % 500);
        let end = |pod: u32| format!(r#"{{"namespace":"ns-{}","pod_name":"pod-{pod}"}}"#, pod % 20);
        let verdict = if number == 0 { "DROPPED" } else { "FORWARDED" };
        let address = |pod: u32| format!("10.0.{}.{}", pod / 250, pod % 250);
        let _ = writeln!(
            lines,
            r#"{{"flow":{{"verdict":"{verdict}","IP":{{"source":"{}","destination":"{}"}},"l4":{{"TCP":{{"source_port":40000,"destination_port":80}}}},"source":{},"destination":{},"is_reply":false,"Summary":"flow-{number}"}}}}"#,
            address(from),
            address(to),
            end(from),
            end(to)
        );
    }
    lines
}

/// A Chromium that is spoken to by the pipe of its DevTools, and ends with this.
struct Browser {
    process: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    asked: u64,
    session: Option<String>,
}

impl Browser {
    fn start(profile: &str) -> Self {
        // It reads from descriptor 3 and writes to 4.
        let script = r#"exec chromium --headless=new --no-sandbox --disable-gpu --remote-debugging-pipe --window-size=1400,900 --user-data-dir="$0" about:blank 3<&0 4>&1 </dev/null >/dev/null 2>&1"#;
        let mut process = Command::new("sh")
            .args(["-c", script, profile])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (ask, answers) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        let mut browser = Self { process, ask, answers, asked: 0, session: None };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}))["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", &json!({"targetId": target, "flatten": true}));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        browser
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.asked += 1;
        let mut question = json!({"id": self.asked, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            question["sessionId"] = json!(session);
        }
        self.ask.write_all(format!("{question}\0").as_bytes()).unwrap();
        loop {
            let mut answer = Vec::new();
            assert!(self.answers.read_until(0, &mut answer).unwrap() > 0, "chromium has ended");
            answer.pop();
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            if answer["id"] == self.asked {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    fn value(&mut self, script: &str) -> Value {
        self.call("Runtime.evaluate", &json!({"expression": script, "returnByValue": true}))["result"]["value"].clone()
    }

    /// Waits, long, until a script says so.
    fn until(&mut self, script: &str) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while self.value(script) != json!(true) {
            assert!(Instant::now() < deadline, "never: {script}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_map_of_500_nodes_and_5000_edges_can_be_searched_and_clicked() {
    if Command::new("chromium").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        eprintln!("skipped: there is no chromium");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (flows, page) = (folder.path().join("flows.jsonl"), folder.path().join("map.html"));
    std::fs::write(&flows, lines()).unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_flowdump"))
        .args(["map", "--by", "pod", "--edges", "6000", "-o", "html", "-r"])
        .arg(&flows)
        .output()
        .unwrap();
    assert!(made.status.success());
    std::fs::write(&page, made.stdout).unwrap();

    let mut browser = Browser::start(folder.path().join("profile").to_str().unwrap());
    browser.call("Page.navigate", &json!({"url": format!("file://{}", page.display())}));
    browser.until("document.documentElement.dataset.settled === 'true'");
    let counts = "document.getElementById('counts').textContent";
    assert_eq!(browser.value(counts), "500 nodes · 5,000 edges · 5,000 flows");

    let place = browser.value("mapPlace('ns-7/pod-7')");
    for kind in ["mousePressed", "mouseReleased"] {
        let event = json!({"type": kind, "x": place["x"], "y": place["y"], "button": "left", "clickCount": 1});
        browser.call("Input.dispatchMouseEvent", &event);
    }
    browser.until("document.querySelector('#side h2').textContent === 'ns-7/pod-7'");

    browser.value("document.getElementById('search').focus()");
    browser.call("Input.insertText", &json!({"text": "ns-0/pod-0 ns-1/pod-1"}));
    browser.until("document.getElementById('counts').textContent.includes(' of 500 nodes')");
    browser.value("document.querySelector('#side .row.bad').click()");
    browser.until("document.querySelector('#side h2').textContent === 'ns-0/pod-0 → ns-1/pod-1'");
    let details = browser.value("document.getElementById('side').textContent");
    assert!(details.as_str().unwrap().contains("Denied1") && details.as_str().unwrap().contains("flow-0"), "{details}");
    let shot = browser.call("Page.captureScreenshot", &json!({}));
    assert!(shot["data"].as_str().unwrap().len() > 20_000, "a picture with something in it");
}
