//! The real `flowdump` on a lab node, and what it prints.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use chainkit_bpf::find;
use chainkit_lab::{Lab, Running};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::stage::{SOON, eventually};

/// The program: in the folder of `CHAINKIT_BIN_DIR`, else where Cargo puts it.
fn binary() -> PathBuf {
    let folder = std::env::var_os("CHAINKIT_BIN_DIR").map(PathBuf::from);
    // target/debug/deps/lab-0123456789abcdef
    let folder = folder.unwrap_or_else(|| std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned());
    let path = folder.join("flowdump");
    assert!(path.exists(), "{} is not there: cargo build --bins, or say where by CHAINKIT_BIN_DIR", path.display());
    path
}

/// `flowdump` in the network namespace of the node, with its root.
pub(crate) fn flowdump(lab: &Lab, arguments: &[&str]) -> Command {
    let mut command = lab.node().command(binary());
    // So that a failure of it is whole in the message of the test.
    command.env("RUST_BACKTRACE", "1").args(arguments).arg("--root").arg(lab.root());
    command
}

/// One that runs.
pub(crate) struct Dump {
    pub(crate) running: Running,
}

/// What one has left.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Dump {
    /// Starts one, and waits until it looks.
    pub(crate) fn start(lab: &Lab, arguments: &[&str]) -> Self {
        let before = readers(lab);
        let dump = Self { running: Running::start(flowdump(lab, arguments)).unwrap() };
        dump.looks(lab, before + 1);
        dump
    }

    /// Waits until there are so many readers, of which this one is the last.
    fn looks(&self, lab: &Lab, count: u32) {
        eventually("flowdump does not begin to look", || {
            let stderr = self.running.stderr();
            assert!(!stderr.contains("error"), "{stderr}");
            readers(lab) == count
        });
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Ended {
        let status = self.running.wait(SOON).unwrap();
        Ended { status, stdout: self.running.stdout(), stderr: self.running.stderr() }
    }

    /// Sends it a signal and waits for its end.
    pub(crate) fn end_by(self, signal: Signal) -> Ended {
        self.running.signal(signal).unwrap();
        self.wait()
    }

    /// Ends it as Ctrl-C does; it has to end well.
    pub(crate) fn interrupt(self) -> Ended {
        let ended = self.end_by(Signal::SIGINT);
        assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
        ended
    }
}

/// A word with a bit for each reader of the node's datapath; to be called in the node's namespace.
pub(crate) fn readers_word(lab: &Lab) -> u64 {
    find(lab.root()).unwrap().map_or(0, |datapath| datapath.control_value().unwrap().observers)
}

/// How many readers the node's datapath has.
pub(crate) fn readers(lab: &Lab) -> u32 {
    readers_word(lab).count_ones()
}

/// Runs one to its end, which has to be a good one.
pub(crate) fn run(lab: &Lab, arguments: &[&str]) -> Ended {
    let ended = Dump { running: Running::start(flowdump(lab, arguments)).unwrap() }.wait();
    assert_eq!(ended.status.code(), Some(0), "{arguments:?}: {}", ended.stderr);
    ended
}

/// The records of JSON lines.
pub(crate) fn records(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// The flows of JSON lines, without what is of the process that printed them: their ids, and the time of day, to which
/// each takes the kernel's clock by itself.
pub(crate) fn flows(text: &str) -> Vec<Value> {
    let flows = records(text).into_iter().filter(|record| record["flow"].is_object());
    flows
        .map(|mut record| {
            let mut flow = record["flow"].take();
            for of_process in ["uuid", "time"] {
                assert!(flow[of_process].take().is_string(), "{flow}");
            }
            if let Some(connection) = flow["extensions"]["value"].get_mut("connection") {
                assert!(connection["first_seen"].take().is_string(), "{connection}");
            }
            flow
        })
        .collect()
}

/// What `extensions` hold of a flow.
pub(crate) fn extra(flow: &Value) -> &Value {
    &flow["extensions"]["value"]
}

/// Sum of a number of `extensions`, of all flows that were seen at this point (`FROM_ENDPOINT`, `TO_ENDPOINT`) with this
/// transport.
pub(crate) fn sum(flows: &[Value], point: &str, transport: &str, number: &str) -> u64 {
    let at_point = |flow: &&Value| flow["trace_observation_point"] == point && flow["l4"][transport].is_object();
    flows.iter().filter(at_point).map(|flow| extra(flow)[number].as_u64().unwrap()).sum()
}
