//! What hostile and huge input does to `polload`: it ends in bounded time and memory, with clear words, and gives no half answer
//! without saying so.
//!
//! Sizes are full where the program is optimised, as `tests/run large` has it, and a fiftieth of that elsewhere; what shows
//! in full sizes alone is left to it.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a failure shows its line")]

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Ended, policy, shop};
use tempfile::TempDir;

/// Part of a full size.
const fn sized(full: usize) -> usize {
    if cfg!(debug_assertions) { full / 50 } else { full }
}

/// 100 MB; more than a text may have, in any case.
const HUGE: usize = if cfg!(debug_assertions) { 5 << 19 } else { 100 << 20 };
/// Address space for input that is small, in MiB. A program with debug information takes much of it for itself.
const LITTLE: usize = 512;
/// The same for input of 100 MB.
const MUCH: usize = 1536;
/// Only what never ends takes this long, in seconds.
const NEVER: usize = 300;

/// Runs `polload` with so much address space (MiB). However it ends, it ends by itself.
fn run_within(memory: usize, arguments: &[&str]) -> Ended {
    let output = Command::new("sh")
        .args(["-c", "ulimit -c 0; ulimit -v $(($1 * 1024)); shift; exec timeout -s KILL \"$@\"", "sh"])
        .args([&memory.to_string(), &NEVER.to_string(), env!("CARGO_BIN_EXE_polload")])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let ended = Ended::from(output);
    assert!(matches!(ended.code, Some(0..=2)), "{arguments:?} ended with {:?}: {}", ended.code, ended.stderr);
    ended
}

/// Files that are removed in the end.
struct Scratch(TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// A file of these parts.
    fn file(&self, name: &str, parts: &[&[u8]]) -> String {
        let path = self.path(name);
        let mut file = BufWriter::new(File::create(&path).unwrap());
        parts.iter().for_each(|part| file.write_all(part).unwrap());
        file.flush().unwrap();
        path
    }

    /// A file of a head, of what `item` makes of 0, 1, 2 ... until there are so many bytes, and of an end. With how many there are.
    fn filled(
        &self,
        name: &str,
        bytes: usize,
        head: &str,
        end: &str,
        item: impl Fn(usize) -> String,
    ) -> (String, usize) {
        let path = self.path(name);
        let mut file = BufWriter::new(File::create(&path).unwrap());
        file.write_all(head.as_bytes()).unwrap();
        let (mut written, mut items) = (0, 0);
        while written < bytes {
            let text = item(items);
            file.write_all(text.as_bytes()).unwrap();
            written += text.len();
            items += 1;
        }
        file.write_all(end.as_bytes()).unwrap();
        file.flush().unwrap();
        (path, items)
    }
}

fn address(number: usize) -> String {
    format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255)
}

/// A pod of namespace `shop` with these labels, in flow style.
fn labelled(name: &str, number: usize, labels: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{{labels}}}}}\n\
         spec: {{containers: [{{name: c, ports: [{{name: http, containerPort: 8080}}]}}]}}\n\
         status: {{podIP: {}}}\n",
        address(number)
    )
}

/// Lines, joined.
fn each(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut all, number| {
        all.push_str(&line(number));
        all
    })
}

/// Whether `explain` says that `from` may reach a port of `to`.
fn allows(memory: usize, file: &str, from: &str, to: &str, port: &str) -> bool {
    let explained = run_within(memory, &["explain", "-j", file, "--from", from, "--to", to, "--port", port]);
    let records = explained.records();
    assert_eq!(records.len(), 1, "{}", explained.stderr);
    assert_eq!(explained.code, Some(i32::from(records[0]["verdict"] == "DENIED")));
    records[0]["verdict"] == "ALLOWED"
}

/// Objects beside a document that is bad are used, and the document is told with these words.
fn is_told_and_the_rest_counts(scratch: &Scratch, name: &str, document: &str, words: &str) {
    let file = scratch.file(name, &[shop().as_bytes(), b"---\n", document.as_bytes()]);
    let matrix = run_within(LITTLE, &["matrix", "-j", &file]);
    assert_eq!(matrix.code, Some(0), "{name}: {}", matrix.stderr);
    assert!(matrix.records().iter().any(|row| row["src"] == "shop/web[Pod]"), "{name}: {}", matrix.stdout);
    assert!(matrix.stderr.contains(words) && matrix.stderr.len() < 2000, "{name}: {}", matrix.stderr);
    let strict = run_within(LITTLE, &["matrix", "-j", "--strict", &file]);
    assert_eq!((strict.code, strict.stdout.as_str()), (Some(2), ""), "{name}: {}", strict.stderr);
}

#[test]
fn aliases_that_stand_for_more_and_more_are_refused() {
    let scratch = Scratch::new();
    let ten = |of: usize| vec![format!("*a{of}"); 10].join(",");
    let lists = each(30, |n| match n {
        0 => "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned(),
        _ => format!("a{n}: &a{n} [{}]\n", ten(n - 1)),
    });
    is_told_and_the_rest_counts(&scratch, "lists.yaml", &lists, "write");
    let merged = each(40, |n| match n {
        0 => "a0: &a0 {k0: v}\n".to_owned(),
        _ => format!("a{n}: &a{n} {{<<: [{}], k{n}: {{<<: *a{}}}}}\n", ten(n - 1), n - 1),
    });
    is_told_and_the_rest_counts(&scratch, "merged.yaml", &merged, "write");
    is_told_and_the_rest_counts(&scratch, "own.yaml", "a: &a [*a, *a]\n", "an alias within what it stands for");
    is_told_and_the_rest_counts(&scratch, "merge-own.yaml", "b: &b {<<: *b}\n", "an alias within what it stands for");
    let used = format!("a: &a x\nb:\n{}", "- *a\n".repeat(200_000));
    is_told_and_the_rest_counts(&scratch, "used.yaml", &used, "aliases stand for more than");
    let named = format!("b:\n{}", each(200_000, |n| format!("- &a{n} x\n")));
    is_told_and_the_rest_counts(&scratch, "named.yaml", &named, "anchors name too much");
    let text = format!("b: {}{}{}\n", each(90, |n| format!("&a{n} [")), "x".repeat(1 << 20), "]".repeat(90));
    is_told_and_the_rest_counts(&scratch, "text.yaml", &text, "anchors name too much");
}

#[test]
fn values_nested_without_end_are_refused() {
    let scratch = Scratch::new();
    let deep = sized(10_000_000);
    for (name, document, words) in [
        ("lists.yaml", format!("a: {}", "[".repeat(deep)), "document"),
        ("mappings.yaml", format!("a: {}", "{a: ".repeat(deep)), "document"),
        ("dashes.yaml", "- ".repeat(deep), "nested more than"),
        ("lines.yaml", each(5000, |n| format!("{}a:\n", " ".repeat(n))), "nested more than"),
        ("lists.json", format!("{{\"kind\":\"Pod\",\"a\":{}", "[".repeat(deep)), "no JSON"),
        ("mappings.json", "{\"a\":".repeat(deep), "no JSON"),
    ] {
        is_told_and_the_rest_counts(&scratch, name, &document, words);
    }
}

#[test]
fn a_list_of_100_mb_is_read_in_either_form() {
    let scratch = Scratch::new();
    let pod = |n: usize| {
        let (ip, namespace) = (address(n + 1), n % 1000);
        let pad = "registry.example/app:1";
        (
            format!(
                "- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: p{n}\n    namespace: n{namespace}\n    labels:\n      \
                 app: a{n}\n  spec:\n    containers:\n    - name: c\n      image: {pad}\n  status:\n    podIP: {ip}\n"
            ),
            format!(
                "{}{{\n \"apiVersion\": \"v1\",\n \"kind\": \"Pod\",\n \"metadata\": {{\n  \"name\": \"p{n}\",\n  \
                 \"namespace\": \"n{namespace}\",\n  \"labels\": {{\n   \"app\": \"a{n}\"\n  }}\n }},\n \"spec\": {{\n  \
                 \"containers\": [\n   {{\n    \"name\": \"c\",\n    \"image\": \"{pad}\"\n   }}\n  ]\n }},\n \"status\": \
                 {{\n  \"podIP\": \"{ip}\"\n }}\n}}\n",
                if n == 0 { "" } else { "," }
            ),
        )
    };
    let size = sized(100 << 20) / if cfg!(debug_assertions) { 2 } else { 1 };
    let deny = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny, namespace: n7}\n\
                spec: {podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}\n";
    let deny = scratch.file("deny.yaml", &[deny.as_bytes()]);
    let yaml = scratch.filled("list.yaml", size, "apiVersion: v1\nkind: List\nitems:\n", "", |n| pod(n).0);
    let json = scratch.filled(
        "list.json",
        sized(100 << 20),
        "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[\n",
        "]}\n",
        |n| pod(n).1,
    );
    for (file, items) in [yaml, json] {
        // The last of namespace n7 are reached by their own alone.
        let last = (items - 1) / 1000 * 1000 - 1000 + 7;
        let to = format!("n7/p{last}");
        for (from, code) in [("n7/p7", 0), ("n8/p8", 1)] {
            let asked = ["explain", "-j", &file, &deny, "--from", from, "--to", &to, "--port", "80"];
            let explained = run_within(MUCH, &asked);
            assert_eq!(explained.code, Some(code), "{file} {from}: {}", explained.stderr);
        }
    }
}

#[test]
fn an_object_of_100_mb_is_used_or_refused_aloud() {
    let scratch = Scratch::new();
    let text = "x".repeat(HUGE);
    let head = "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"big\",\"annotations\":{\"a\":\"";
    let json = scratch.file("text.json", &[head.as_bytes(), text.as_bytes(), b"\"}}}"]);
    let yaml = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: big\n  annotations:\n    a: ";
    let plain = scratch.file("plain.yaml", &[yaml.as_bytes(), text.as_bytes(), b"\n"]);
    let more = scratch.file("more.yaml", &[shop().as_bytes()]);
    let matrix = run_within(MUCH, &["matrix", "-j", &json, &more]);
    assert_eq!((matrix.code, matrix.stderr.as_str()), (Some(0), ""));
    assert!(matrix.stdout.contains("default/big[Pod]"), "{}", matrix.stdout);

    let quoted = scratch.file("quoted.yaml", &[yaml.as_bytes(), b"\"", text.as_bytes(), b"\"\n"]);
    let brackets =
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: big}\nspec: {ingress: [{from: [";
    let (brackets, _) = scratch.filled("brackets.yaml", HUGE, brackets, "]}]}\n", |_| "{podSelector: {}},".to_owned());
    for (file, words) in [(plain, "more than 2 MiB"), (quoted, "more than 2 MiB"), (brackets, "more than 2 MiB")] {
        let matrix = run_within(MUCH, &["matrix", "-j", &file, &more]);
        assert_eq!(matrix.code, Some(0), "{file}: {}", matrix.stderr);
        assert!(matrix.stderr.contains(words) && !matrix.stdout.contains("big"), "{file}: {}", matrix.stderr);
        fs::remove_file(file).unwrap();
    }
}

#[test]
fn an_object_of_more_than_2_000_000_values_is_refused_aloud() {
    let scratch = Scratch::new();
    let more = scratch.file("more.yaml", &[shop().as_bytes()]);
    let policy = "{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"NetworkPolicy\",\"metadata\":{\"name\":\"big\"},\"spec\":{";
    // More values than an object may have: each item is so many, and in full size many more.
    let many = |name: &str, head: &str, end: &str, values: usize, item: &dyn Fn(usize) -> String| {
        let items = each((2_000_000 / values + 1).max(HUGE / item(0).len()), item);
        scratch.file(name, &[policy.as_bytes(), head.as_bytes(), items.as_bytes(), end.as_bytes()])
    };
    let peers = many("peers.json", "\"ingress\":[{\"from\":[{}", "]}]}}", 3, &|_| ",{\"podSelector\":{}}".to_owned());
    let types = many("types.json", "\"policyTypes\":[\"\"", "]}}", 1, &|_| ",\"\"".to_owned());
    let fields = many("fields.json", "\"f\":1", "}}", 1, &|n| format!(",\"f{n}\":1"));
    let all = [types, peers, fields];
    // They are as large as they are: one is enough where nothing is optimised.
    for file in if cfg!(debug_assertions) { &all[..1] } else { &all } {
        let matrix = run_within(MUCH, &["matrix", "-j", file, &more]);
        assert_eq!(matrix.code, Some(0), "{file}: {}", matrix.stderr);
        assert!(matrix.stderr.contains("an object of more than 2000000 values"), "{file}: {}", matrix.stderr);
        assert!(!matrix.stdout.contains("big"), "{file}");
    }
}

#[test]
fn a_list_that_tells_its_kind_last_is_read_in_bounded_memory() {
    let scratch = Scratch::new();
    let item = |n: usize| format!("- {{metadata: {{name: p{n}}}}}\n");
    let lines = scratch.filled("lines.yaml", HUGE / 4, "items:\n", "kind: PodList\napiVersion: v1\n", item);
    let explained = [
        "explain",
        "-j",
        &lines.0,
        "--from",
        "default/p0",
        "--to",
        &format!("default/p{}", lines.1 - 1),
        "--port",
        "80",
    ];
    let explained = run_within(MUCH, &explained);
    assert_eq!((explained.code, explained.stderr.as_str()), (Some(0), ""));
}

#[test]
#[cfg_attr(debug_assertions, ignore = "too much to keep is many MB, which take long where nothing is optimised")]
fn a_kind_that_the_whole_document_tells_alone_leaves_out_aloud_what_is_too_much() {
    let scratch = Scratch::new();
    let item = |n: usize| format!("- {{metadata: {{name: p{n}}}}}\n");
    let tagged = scratch.filled("tagged.yaml", HUGE / 2, "items:\n", "!!str kind: PodList\napiVersion: v1\n", item);
    let lint = run_within(MUCH, &["lint", "-j", &tagged.0]);
    assert_eq!(lint.code, Some(1), "{}", lint.stderr);
    assert!(lint.stdout.contains("write its kind first"), "{}", &lint.stdout[..lint.stdout.len().min(1000)]);
}

#[test]
fn text_without_any_structure_is_refused_in_bounded_memory() {
    let scratch = Scratch::new();
    for (name, unit) in [
        ("x.yaml", &b"x"[..]),
        ("zero.yaml", b"\0"),
        ("zero.json", b"\0"),
        ("bytes.yaml", b"\xff"),
        ("space.yaml", b" "),
        ("line.yaml", b"\n"),
        ("open.yaml", b"["),
        ("quote.yaml", b"\""),
        ("anchor.yaml", b"&"),
        ("comment.yaml", b"#"),
        ("separator.yaml", b"---\n"),
        ("key.yaml", b"a: "),
        ("question.yaml", b"{? a,"),
        ("brace.json", b"{\"\n"),
    ] {
        let block = unit.repeat((1 << 20) / unit.len());
        let file = scratch.file(name, &[block.as_slice(); HUGE >> 20]);
        let refused = run_within(MUCH, &["matrix", "-j", &file]);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{name}: {}", refused.stderr);
        assert!(refused.stderr.contains("no Kubernetes objects of use in"), "{name}: {}", refused.stderr);
        // A line that begins with a brace begins a document, of which each is told for itself as far as any are.
        let told = if name == "brace.json" { "more objects or fields cannot be used" } else { "" };
        let longest = if name == "brace.json" { 200_000 } else { 4000 };
        assert!(refused.stderr.contains(told) && refused.stderr.len() < longest, "{name}: {}", refused.stderr);
        fs::remove_file(file).unwrap();
    }
}

#[test]
fn more_problems_than_are_kept_are_counted() {
    let scratch = Scratch::new();
    let count = sized(1_000_000);
    for (name, head, item, end) in [
        ("items.json", "{\"kind\":\"List\",\"items\":[0", ",0", "]}"),
        ("values.json", "{\"kind\":1}", " {}", ""),
        ("items.yaml", "kind: List\nitems:\n- 1\n", "- 1\n", ""),
        ("documents.yaml", "--- a\n", "--- a\n", ""),
        ("broken.yaml", "kind: Pod\nmetadata: {name: [}\n", "---\nkind: Pod\nmetadata: {name: [}\n", ""),
    ] {
        let file = scratch.file(name, &[head.as_bytes(), item.repeat(count).as_bytes(), end.as_bytes()]);
        let lint = run_within(MUCH, &["lint", "-j", &file]);
        assert_eq!(lint.code, Some(1), "{name}: {}", lint.stderr);
        assert!(lint.stderr.contains("more objects or fields cannot be used"), "{name}: {}", lint.stderr);
        let kept = lint.stdout.lines().count();
        assert!((1000..2000).contains(&kept), "{name}: {kept} findings");
        let strict = run_within(MUCH, &["matrix", "-j", "--strict", &file]);
        assert_eq!((strict.code, strict.stdout.as_str()), (Some(2), ""), "{name}: {}", strict.stderr);
    }
}

#[test]
fn selectors_of_10_000_values_and_expressions_select_what_they_say() {
    let scratch = Scratch::new();
    let pods = shop() + &each(1000, |n| labelled(&format!("p{n}"), n + 256, &format!("app: a{n}, tier: t{}", n % 10)));
    let many = sized(10_000).max(1000);
    let values = each(many, |n| format!("a{}, ", n * 2));
    let expressions = each(many, |n| format!("{{key: k{n}, operator: DoesNotExist}}, "));
    let spec = format!(
        "{{podSelector: {{matchExpressions: [{{key: app, operator: In, values: [{values}db]}}]}}, ingress: [\
         {{from: [{{podSelector: {{matchExpressions: [{{key: app, operator: NotIn, values: [{values}x]}}, {expressions}\
         {{key: tier, operator: Exists}}]}}}}]}}]}}"
    );
    let file = scratch.file("values.yaml", &[pods.as_bytes(), policy("values", &spec).as_bytes()]);
    // Selected are those of an even number and db; let in are those of an odd one, and not web, which has no tier.
    assert!(allows(LITTLE, &file, "shop/p1", "shop/p998", "80/tcp"));
    assert!(allows(LITTLE, &file, "shop/p999", "shop/db", "80/tcp"));
    assert!(!allows(LITTLE, &file, "shop/p2", "shop/p998", "80/tcp"));
    assert!(!allows(LITTLE, &file, "shop/web", "shop/db", "80/tcp"));
    assert!(allows(LITTLE, &file, "shop/p2", "shop/p3", "80/tcp"));
    assert_eq!(run_within(LITTLE, &["lint", "-j", &file]).code.map(|code| code < 2), Some(true));
}

#[test]
fn rules_of_10_000_ports_and_100_000_peers_allow_what_they_say() {
    let scratch = Scratch::new();
    let head = |name: &str| {
        format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec:\n  podSelector: {{}}\n  ingress:\n"
        )
    };
    let many = sized(10_000).max(1000);
    let ports = each(many, |n| format!("    - {{port: {}, endPort: {}}}\n", n * 6 + 1, n * 6 + 3));
    let ports = format!("{}{}  - ports:\n{ports}", shop(), head("ports"));
    let file = scratch.file("ports.yaml", &[ports.as_bytes()]);
    assert!(allows(LITTLE, &file, "shop/web", "shop/db", &format!("{}/tcp", many * 6 - 3)));
    assert!(!allows(LITTLE, &file, "shop/web", "shop/db", &format!("{}/tcp", many * 6 - 2)));

    let many = sized(100_000);
    let cidr = |n: usize| format!("{}.{}.{}.0/24", 11 + (n >> 16), n >> 8 & 255, n & 255);
    let blocks = each(many, |n| format!("    - ipBlock: {{cidr: {}}}\n", cidr(n)));
    let blocks = format!("{}{}  - from:\n{blocks}", shop(), head("blocks"));
    let excepts = each(many, |n| format!("        - {}\n", cidr(n)));
    let excepts = format!(
        "{}{}  - from:\n    - ipBlock:\n        cidr: 0.0.0.0/0\n        except:\n{excepts}",
        shop(),
        head("excepts")
    );
    let last = |n: usize| cidr(n).replace("0/24", "255");
    for (name, text, inside) in [("blocks.yaml", blocks, true), ("excepts.yaml", excepts, false)] {
        let file = scratch.file(name, &[text.as_bytes()]);
        assert_eq!(allows(MUCH, &file, &last(many - 1), "shop/db", "80"), inside, "{name}");
        assert_eq!(allows(MUCH, &file, &last(many), "shop/db", "80"), !inside, "{name}");
    }

    let pods = each(many, |n| {
        format!(
            "    - {{namespaceSelector: {{matchLabels: {{team: t{n}}}}}, podSelector: {{matchLabels: {{app: a{n}}}}}}}\n"
        )
    });
    let pods = format!("{}{}  - from:\n{pods}    - podSelector: {{matchLabels: {{app: web}}}}\n", shop(), head("pods"));
    let file = scratch.file("pods.yaml", &[pods.as_bytes()]);
    assert!(allows(MUCH, &file, "shop/web", "shop/db", "80"));
    assert!(!allows(MUCH, &file, "bank/till", "shop/db", "80"));
}

#[test]
fn label_sets_of_65_000_pods_are_told_apart() {
    let scratch = Scratch::new();
    let (pods, namespaces) = (sized(65_000), if cfg!(debug_assertions) { 50 } else { 650 });
    let mut text = String::new();
    for n in 0..namespaces {
        writeln!(text, "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: n{n}, labels: {{team: t{}}}}}", n % 20)
            .unwrap();
        let expression = match n % 4 {
            0 => format!("{{key: app, operator: In, values: [a{n}, a{}]}}", n + namespaces),
            1 => format!("{{key: app, operator: NotIn, values: [a{n}, a{}]}}", n + namespaces),
            2 => "{key: gold, operator: Exists}".to_owned(),
            _ => "{key: gold, operator: DoesNotExist}".to_owned(),
        };
        let selector = format!("{{matchExpressions: [{expression}]}}");
        writeln!(
            text,
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: x, namespace: n{n}}}\nspec: \
             {{podSelector: {{}}, ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{team: t{}}}}}, podSelector: \
             {selector}}}], ports: [{{port: 80}}]}}]}}",
            n % 20
        )
        .unwrap();
    }
    for n in 0..pods {
        let gold = if n % 3 == 0 { ", gold: ''" } else { "" };
        writeln!(
            text,
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{n}, namespace: n{}, labels: {{app: a{n}{gold}}}}}\nstatus: \
             {{podIP: {}}}",
            n % namespaces,
            address(n + 1)
        )
        .unwrap();
    }
    let file = scratch.file("labels.yaml", &[text.as_bytes()]);
    let pod = |namespace: usize, turn: usize| format!("n{namespace}/p{}", namespace + turn * namespaces);
    let (last, asked) = (pods / namespaces - 1, |from: &str, to: &str| allows(LITTLE, &file, from, to, "80"));
    assert!(asked(&pod(0, 1), &pod(0, last)) && !asked(&pod(0, 2), &pod(0, last)), "In");
    assert!(!asked(&pod(1, 1), &pod(1, last)) && asked(&pod(1, 2), &pod(1, last)), "NotIn");
    assert!(asked(&pod(2, 2), &pod(2, last)) && !asked(&pod(2, 3), &pod(2, last)), "Exists");
    assert!(!asked(&pod(3, 0), &pod(3, last)) && asked(&pod(3, 1), &pod(3, last)), "DoesNotExist");
    assert!(!asked(&pod(4, 0), &pod(3, last)), "of another team");
}

#[test]
fn policies_of_one_namespace_are_10_000_and_all_count() {
    let scratch = Scratch::new();
    let count = sized(10_000);
    let mut text = shop() + &each(100, |n| labelled(&format!("p{n}"), n + 256, &format!("app: a{n}")));
    text += &each(count, |n| {
        let from = if n % 2 == 0 {
            format!("{{podSelector: {{matchLabels: {{app: a{n}}}}}}}")
        } else {
            format!("{{ipBlock: {{cidr: 11.{}.{}.0/24}}}}", n >> 8, n & 255)
        };
        policy(
            &format!("x{n}"),
            &format!("{{podSelector: {{}}, ingress: [{{from: [{from}], ports: [{{port: {}}}]}}]}}", n + 1),
        )
    });
    let file = scratch.file("policies.yaml", &[text.as_bytes()]);
    assert!(allows(LITTLE, &file, "shop/p98", "shop/p1", "99"));
    assert!(!allows(LITTLE, &file, "shop/p98", "shop/p1", "98"));
    let last = count - 1;
    let outside = format!("11.{}.{}.9", last >> 8, last & 255);
    assert!(allows(LITTLE, &file, &outside, "shop/p1", &count.to_string()));
    assert!(!allows(LITTLE, &file, &outside, "shop/p1", &last.to_string()));
    let matrix = run_within(LITTLE, &["matrix", "-j", &file]);
    assert_eq!(matrix.code, Some(0), "{}", matrix.stderr);
    let reached = |row: &serde_json::Value| row["src"] == "shop/p98[Pod]" && row["dst"] == "shop/p1[Pod]";
    let rows = matrix.records().into_iter().filter(reached).collect::<Vec<_>>();
    assert_eq!((rows.len(), rows[0]["allow"]["TCP"].to_string()), (1, "[[99,99]]".to_owned()));
}

#[test]
fn names_of_a_megabyte_are_refused_and_not_printed_back() {
    let scratch = Scratch::new();
    let long = "x".repeat(1 << 20);
    let pod = |metadata: &str, spec: &str, status: &str| {
        format!("---\napiVersion: v1\nkind: Pod\nmetadata: {{{metadata}}}\nspec: {{{spec}}}\nstatus: {{{status}}}\n")
    };
    let text = [
        shop(),
        pod(&format!("name: {long}"), "", ""),
        pod(&format!("name: a, namespace: {long}"), "", ""),
        pod("name: b", "", &format!("podIP: {long}")),
        pod(
            "name: c",
            &format!("containers: [{{name: c, ports: [{{name: p, containerPort: 1, protocol: {long}}}]}}]"),
            "",
        ),
        format!("---\napiVersion: {long}\nkind: {long}\n"),
        format!("---\n{long}: &{long} 1\n"),
        format!("---\n!{long} {long}\n"),
        policy("types", &format!("{{policyTypes: [{long}]}}")),
        policy("protocol", &format!("{{ingress: [{{ports: [{{protocol: {long}}}]}}]}}")),
        policy("cidr", &format!("{{ingress: [{{from: [{{ipBlock: {{cidr: {long}}}}}]}}]}}")),
        policy("operator", &format!("{{podSelector: {{matchExpressions: [{{key: a, operator: {long}}}]}}}}")),
    ]
    .concat();
    let file = scratch.file("names.yaml", &[text.as_bytes()]);
    let matrix = run_within(LITTLE, &["matrix", "-j", &file]);
    assert_eq!(matrix.code, Some(0), "{}", matrix.stderr);
    for words in
        ["metadata.name", "metadata.namespace", "is no address", "is no protocol", "policyTypes[0]", "is no CIDR"]
    {
        assert!(matrix.stderr.contains(words), "{words}: {}", matrix.stderr);
    }
    let longest = matrix.stderr.lines().chain(matrix.stdout.lines()).map(str::len).max();
    assert!(longest < Some(2000), "{longest:?}");
}

/// What `lint` says of files with so many findings of each kind; each is a line that can be taken in.
fn findings(memory: usize, files: &[&str]) -> BTreeMap<String, usize> {
    let lint = run_within(memory, &[&["lint", "-j"], files].concat());
    assert_eq!((lint.code, lint.stderr.as_str()), (Some(1), ""));
    let longest = lint.stdout.lines().map(str::len).max();
    assert!(longest < Some(10_000), "{longest:?}");
    let mut ids = BTreeMap::new();
    for record in lint.records() {
        *ids.entry(record["id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    ids
}

#[test]
fn lint_compares_10_000_cluster_wide_policies_and_10_000_rules() {
    let scratch = Scratch::new();
    let (count, others) = (sized(10_000), if cfg!(debug_assertions) { 30 } else { 1000 });
    let pods = shop() + &each(others, |n| labelled(&format!("p{n}"), n + 256, &format!("app: a{n}")));
    let pods = scratch.file("pods.yaml", &[pods.as_bytes()]);
    let policy = |n: usize, peers: &str, ports: &str| {
        let but = |n: usize| format!("{{matchExpressions: [{{key: app, operator: NotIn, values: [a{n}]}}]}}");
        let subject = format!("{{pods: {{namespaceSelector: {{}}, podSelector: {}}}}}", but(n % others));
        let peers = peers.replace("BUT", &but(n % (others - 3)));
        format!(
            "---\napiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: x{n}}}\n\
             spec: {{tier: Admin, priority: {}, subject: {subject}, ingress: [{{action: Deny, from: [{peers}]{ports}}}]}}\n",
            n % 1000
        )
    };
    let shadowed = each(count, |n| policy(n, "{namespaces: {}}", ""));
    let shadowed = scratch.file("shadowed.yaml", &[shadowed.as_bytes()]);
    // The first has all but one pod for its subjects, and the second that one.
    assert_eq!(findings(LITTLE, &[&pods, &shadowed]).get("unreachable-rule"), Some(&(count - 2)));
    let peers = "{pods: {namespaceSelector: {}, podSelector: BUT}}";
    let ports = |n: usize| format!(", protocols: [{{tcp: {{destinationPort: {{number: {}}}}}}}]", n + 1);
    let apart = each(count, |n| policy(n, peers, &ports(n)));
    let apart = scratch.file("apart.yaml", &[apart.as_bytes()]);
    let lint = run_within(MUCH, &["lint", "-j", &pods, &apart]);
    assert!(!lint.stdout.contains("unreachable-rule"), "{}", lint.stderr);
    assert_eq!(lint.stdout.contains("unreachable-not-looked-for"), !cfg!(debug_assertions), "{}", lint.stderr);
}

#[test]
fn lint_compares_rules_of_100_000_peers() {
    let scratch = Scratch::new();
    let count = sized(100_000);
    let pods = scratch.file("pods.yaml", &[shop().as_bytes()]);
    let cidr = |n: usize| format!("{}.{}.{}.0/24", 11 + (n >> 16), n >> 8 & 255, n & 255);
    let head = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x, namespace: shop}\n\
                spec:\n  podSelector: {}\n  ingress:\n";
    for (name, peers, others) in [
        ("blocks.yaml", each(count, |n| format!("    - ipBlock: {{cidr: {}}}\n", cidr(n))), None),
        ("pods.yaml", each(count, |n| format!("    - podSelector: {{matchLabels: {{app: a{n}}}}}\n")), Some(101)),
    ] {
        // Turned round, so that what is looked for comes last.
        let turned: String = peers.lines().rev().flat_map(|line| [line, "\n"]).collect();
        let text = format!("{head}  - from:\n{peers}  - from:\n{turned}");
        let found = findings(MUCH, &[&pods, &scratch.file(&format!("rules-{name}"), &[text.as_bytes()])]);
        assert_eq!(found.get("unreachable-rule"), Some(&1), "{name}: {found:?}");
        // A hundred, and how many more there are.
        assert_eq!(found.get("peer-selects-nothing").copied(), others, "{name}: {found:?}");
    }
}

#[test]
fn lint_cuts_what_it_says_of_900_000_fields_and_of_names_of_a_megabyte() {
    let scratch = Scratch::new();
    let pods = scratch.file("pods.yaml", &[shop().as_bytes()]);
    let policy = |fields: &str| {
        format!(
            "{{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"NetworkPolicy\",\"metadata\":{{\"name\":\"big\",\
             \"namespace\":\"shop\"}},\"spec\":{{\"podSelector\":{{}}{fields}}}}}"
        )
    };
    let fields = policy(&each(sized(900_000), |n| format!(",\"f{n}\":1")));
    let found = findings(MUCH, &[&pods, &scratch.file("fields.json", &[fields.as_bytes()])]);
    assert_eq!(found, BTreeMap::from([("unknown-field".to_owned(), 101)]));
    let name = policy(&format!(",\"{}\":1", "x".repeat(1 << 20)));
    let found = findings(LITTLE, &[&pods, &scratch.file("name.json", &[name.as_bytes()])]);
    assert_eq!(found, BTreeMap::from([("unknown-field".to_owned(), 1)]));
}

#[test]
fn ranges_outside_are_worked_out_once_for_1000_pods() {
    let scratch = Scratch::new();
    let count = sized(100_000);
    let cidr = |n: usize| format!("{}.{}.{}.0/24", 11 + (n >> 15), n >> 7 & 255, n << 1 & 255);
    let blocks = each(count, |n| format!("    - ipBlock: {{cidr: {}}}\n", cidr(n)));
    let many = sized(1000).max(100);
    let pods = shop() + &each(many, |n| labelled(&format!("p{n}"), n + 256, &format!("app: a{n}")));
    let text = format!(
        "{pods}---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: x, namespace: shop}}\n\
         spec:\n  podSelector: {{}}\n  ingress:\n  - from:\n{blocks}    ports: [{{port: 80}}]\n  - from:\n    - ipBlock: \
         {{cidr: 0.0.0.0/0}}\n"
    );
    let file = scratch.file("blocks.yaml", &[text.as_bytes()]);
    let matrix = run_within(MUCH, &["matrix", "-j", &file]);
    assert_eq!((matrix.code, matrix.stderr.as_str()), (Some(0), ""));
    let from = |row: &&str| row.contains("\"src\":\"0.0.0.0-255.255.255.255\"");
    assert_eq!(matrix.stdout.lines().filter(from).count(), many + 3, "each pod");
    let diff = run_within(MUCH, &["diff", "-j", &file, &file]);
    assert_eq!((diff.code, diff.stdout.as_str()), (Some(0), ""), "{}", diff.stderr);
}

#[test]
fn a_stream_of_50_000_documents_is_read_to_its_end() {
    let scratch = Scratch::new();
    let count = sized(50_000);
    let text = each(count, |n| labelled(&format!("p{n}"), n + 1, "app: web"));
    let end = policy("deny", "{podSelector: {matchLabels: {app: db}}, ingress: []}") + &labelled("db", 0, "app: db");
    let file = scratch.file("documents.yaml", &[text.as_bytes(), end.as_bytes()]);
    assert!(allows(LITTLE, &file, "shop/p0", &format!("shop/p{}", count - 1), "80"));
    assert!(!allows(LITTLE, &file, "shop/p0", "shop/db", "80"));
}

#[test]
fn a_text_is_utf_8_with_or_without_a_mark_and_carriage_returns() {
    let scratch = Scratch::new();
    let sound = shop();
    let expected = run_within(LITTLE, &["matrix", "-j", &scratch.file("plain.yaml", &[sound.as_bytes()])]).stdout;
    assert!(expected.contains("shop/web[Pod]"));
    let marked = scratch.file("marked.yaml", &["\u{feff}".as_bytes(), sound.as_bytes()]);
    let returns = scratch.file("returns.yaml", &[sound.replace('\n', "\r\n").as_bytes()]);
    for file in [marked, returns] {
        let matrix = run_within(LITTLE, &["matrix", "-j", &file]);
        assert_eq!((matrix.code, matrix.stdout, matrix.stderr), (Some(0), expected.clone(), String::new()), "{file}");
    }
    let wide = |swap: bool| -> Vec<u8> {
        let units = "\u{feff}".encode_utf16().chain(sound.encode_utf16());
        units.flat_map(|unit| if swap { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    };
    for swap in [false, true] {
        let file = scratch.file("wide.yaml", &[&wide(swap)]);
        let refused = run_within(LITTLE, &["matrix", "-j", &file]);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{}", refused.stderr);
        assert!(refused.stderr.contains("not UTF-8"), "{}", refused.stderr);
    }
}

#[test]
fn folders_100_deep_and_links_in_a_circle_end() {
    let scratch = Scratch::new();
    let top = PathBuf::from(scratch.path("top"));
    let deep = |depth: usize| (0..depth).fold(top.clone(), |path, _| path.join("d"));
    fs::create_dir_all(deep(100)).unwrap();
    let write = |folder: &Path, name: &str, text: String| fs::write(folder.join(name), text).unwrap();
    write(&deep(1), "shop.yaml", shop());
    write(&deep(50), "near.yaml", labelled("near", 300, "app: near"));
    write(&deep(99), "far.yaml", labelled("far", 301, "app: far"));
    symlink(&top, deep(3).join("up")).unwrap();
    symlink("round.yaml", deep(2).join("trip.yaml")).unwrap();
    symlink("trip.yaml", deep(2).join("round.yaml")).unwrap();
    symlink("self.yaml", deep(2).join("self.yaml")).unwrap();
    symlink("/dev/zero", deep(2).join("zero.yaml")).unwrap();
    let matrix = run_within(LITTLE, &["matrix", "-j", top.to_str().unwrap()]);
    assert_eq!(matrix.code, Some(0), "{}", matrix.stderr);
    assert!(matrix.stdout.contains("shop/near[Pod]") && !matrix.stdout.contains("shop/far[Pod]"), "{}", matrix.stdout);
    for words in
        ["more than 64 folders deep", "round.yaml: cannot be followed", "self.yaml: cannot be followed", "zero.yaml"]
    {
        assert!(matrix.stderr.contains(words), "{words}: {}", matrix.stderr);
    }
}
