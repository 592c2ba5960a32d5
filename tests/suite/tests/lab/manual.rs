//! Every command of `man flowdump`, on a node whose pods talk, as a shell runs it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use chainkit_lab::peer::{dns, http};
use chainkit_lab::{Lab, Running, program, skip};

use crate::denied_by::Stage;
use crate::stage::{SOON, at, on_node};

/// What runs until it is ended ends after so long, counted from when it looks: a machine under load takes its time to get there.
const LIVE: &str = "1s";

/// What does not end by that, a server and what says itself how long it runs, is ended as Ctrl-C does after so long.
const LONGEST: &str = "10s";

/// The commands of a page in the form of man: what stands between `.nf` and `.fi`, one string for each place.
fn examples(page: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match line {
            ".nf" => {
                inside = true;
                all.push(String::new());
            }
            ".fi" => inside = false,
            line if inside => {
                let plain = line.replace("\\-", "-").replace("\\*(Aq", "'").replace("\\&", "").replace("\\\\", "\\");
                let block = all.last_mut().unwrap();
                block.push_str(&plain);
                block.push('\n');
            }
            _ => {}
        }
    }
    let is_command =
        |block: &String| block.lines().any(|line| line.starts_with("flowdump") || line.contains("| flowdump"));
    all.retain(is_command);
    all
}

/// Puts a script in a folder that comes first in the path.
fn script(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/bash\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The programs of the examples: `flowdump` with the lab's root, for a while; `kubectl` with the lab's objects, whose watches end as those of a server do.
fn tools(lab: &Lab, folder: &Path) {
    let (flowdump, root) = (program("flowdump").unwrap(), lab.root().display());
    let real = flowdump.display();
    // A subcommand has to come before the options.
    let text = format!(
        "sub=(); case ${{1:-}} in map|metrics|top|health) sub=(\"$1\"); shift;; esac\n\
         [[ \" $* \" == *' -r '* ]] && exec {real} \"${{sub[@]}}\" \"$@\"\n\
         span=(--duration {LIVE}); [[ \" ${{sub[*]}} $* \" != *' --duration '* && ${{sub[*]}} != metrics ]] || span=()\n\
         exec timeout --preserve-status --signal=INT {LONGEST} {real} \"${{sub[@]}}\" --root {root} \"${{span[@]}}\" \"$@\""
    );
    script(folder, "flowdump", &text);
    let objects = lab.pods_file().unwrap();
    script(folder, "kubectl", &format!("cat {}\n[[ $* != *--watch* ]] || sleep 1", objects.display()));
}

/// What an example's shell printed, and how it ended.
fn run(lab: &Lab, tools: &Path, block: &str) -> (bool, String, String) {
    let folder = tempfile::tempdir().unwrap();
    // What two nodes have saved, for those that begin with it.
    for saved in ["node-1.jsonl", "node-2.jsonl", "flows.jsonl"] {
        fs::copy(lab.root().join("tmp/flows.jsonl"), folder.path().join(saved)).unwrap();
    }
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap_or_default());
    // Nothing that an example leaves in the background outlives it.
    let within =
        r#"setsid bash -euo pipefail -c "$1" & wait $!; status=$?; kill -KILL -- -$! 2>/dev/null; exit $status"#;
    let mut command: Command = lab.node().command("bash");
    command.args(["-c", within, "bash", block]).current_dir(folder.path()).env("PATH", path);
    let mut running = Running::start(command).unwrap();
    let status = running.wait(SOON).unwrap();
    (status.success(), running.stdout(), running.stderr())
}

#[test]
fn every_command_of_the_manual_runs_as_it_is_shown() {
    if !["jq", "setsid"].iter().all(|tool| Command::new(tool).arg("--version").output().is_ok()) {
        return skip("jq or setsid is not installed");
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../man/flowdump.1");
    let blocks = examples(&fs::read_to_string(page).unwrap());
    assert!(blocks.len() > 10, "{blocks:#?}");
    on_node(|lab| {
        let stage = Stage::new(lab);
        stage.apply(&[]);
        let tools_folder = tempfile::tempdir().unwrap();
        tools(lab, tools_folder.path());
        let (web, cart, other) = (&stage.web, &stage.cart, &stage.other);
        let zone = [("web.shop.test".to_owned(), web.ip4.into())];
        let _names = web.run(|| dns::serve(at(web.ip4, 53), &zone)).unwrap().unwrap();
        let _pages = web.run(|| http::serve(at(web.ip4, 80), "hello")).unwrap().unwrap();
        let over = AtomicBool::new(false);
        thread::scope(|threads| {
            threads.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    for status in [200, 503] {
                        let path = format!("/status/{status}");
                        cart.run(|| http::get(at(web.ip4, 80), "web", &path)).unwrap().unwrap();
                    }
                    cart.run(|| dns::query(at(web.ip4, 53), "web.shop.test", dns::Kind::A)).unwrap().unwrap();
                    // Nobody lets it in.
                    drop(
                        other.run(|| std::net::TcpStream::connect_timeout(&at(web.ip4, 80), Duration::from_millis(50))),
                    );
                    thread::sleep(Duration::from_millis(20));
                }
            });
            let told = std::panic::catch_unwind(|| {
                let (_, saved, _) = run_first(lab, tools_folder.path());
                fs::write(lab.root().join("tmp/flows.jsonl"), saved).unwrap();
                for block in &blocks {
                    // What needs an API server is tested with one elsewhere; hubble is a program of others.
                    let kept: Vec<&str> = block.lines().filter(|line| !line.starts_with("hubble ")).collect();
                    if kept.iter().any(|line| line.contains("--api")) {
                        continue;
                    }
                    let (is_good, stdout, stderr) = run(lab, tools_folder.path(), &kept.join("\n"));
                    assert!(is_good, "{block}\n{stderr}");
                    assert!(!stderr.contains("error:"), "{block}\n{stderr}");
                    // What there need not be any of on this node.
                    let is_quiet = [
                        "NETFILTER_DROP",
                        "com[.]$",
                        "rcode != 0u",
                        "100MiB",
                        ">100ms",
                        "> flows.jsonl ||",
                        "to-port 53",
                    ];
                    let may_be_quiet = is_quiet.iter().any(|part| block.contains(part));
                    // What is served is not printed, but where.
                    let serves = block.starts_with("flowdump metrics") && stderr.contains("http://127.0.0.1:");
                    assert!(may_be_quiet || serves || !stdout.is_empty(), "prints nothing:\n{block}\n{stderr}");
                }
            });
            over.store(true, Ordering::Relaxed);
            told.unwrap();
        });
    });
}

/// Flows of this node, as they are saved.
fn run_first(lab: &Lab, tools: &Path) -> (bool, String, String) {
    fs::write(lab.root().join("tmp/flows.jsonl"), "").unwrap();
    run(lab, tools, "flowdump -j --l7")
}
