//! Texts that are huge, torn, nested, or none.

use std::fs;
use std::os::unix::fs::symlink;

use crate::common::{policy, shop};
use crate::*;

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
