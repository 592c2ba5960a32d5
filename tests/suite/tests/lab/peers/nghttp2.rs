//! nghttp2's server and its load generator: many streams at once, and header compression that is never said whole again.

use super::{are_the_same, lines, on_stage, run, serve};

const PROGRAMS: &[&str] = &["nghttpd", "h2load", "tcpdump"];
const PATHS: [&str; 3] = ["/a.txt", "/folder/b.txt", "/missing"];

/// Runs a test with nghttpd, which has two files; and the base of their URLs.
fn with_server(test: impl FnOnce(&super::Stage<'_>, &str) + Send) {
    on_stage(PROGRAMS, |stage| {
        std::fs::create_dir(stage.folder.path().join("folder")).unwrap();
        stage.write("a.txt", "a");
        stage.write("folder/b.txt", "be");
        let mut command = stage.web.command("nghttpd");
        let (address, folder) = (stage.web.ip4.to_string(), stage.path(""));
        command.args(["--no-tls", "-a", &address, "-d", &folder, "8080"]);
        let _server = serve(&stage.web, command, 8080);
        test(stage, &format!("http://{address}:8080"));
    });
}

#[test]
fn each_of_a_thousand_requests_in_many_streams_is_told_with_its_answer() {
    with_server(|stage, base| {
        let urls = PATHS.map(|path| format!("{base}{path}"));
        let (told, captured) = stage.told(&[], || {
            let header = "x-long: abcdefghijklmnopqrstuvwxyz";
            let [a, b, missing] = &urls;
            let summary = run(
                &stage.cart,
                "h2load",
                &["-n", "1200", "-c", "4", "-m", "10", "-t", "1", "-H", header, a, b, missing],
            );
            assert!(summary.contains("1200 done"), "{summary}");
        });
        let lines = lines(&told);
        let count = |line: &str| lines.iter().filter(|told| *told == line).count();
        for (url, answer) in urls.iter().zip(["200 GET U 1", "200 GET U 2", "404 GET U 147"]) {
            assert_eq!(count(&format!("> http2 0 GET {url} 0")), 400, "{:#?}", lines.get(..30));
            // The length of what nghttpd says of a missing file is its own affair.
            let begin = format!("< http2 {}", answer.replace('U', url));
            let begin = begin.strip_suffix("147").unwrap_or(&begin);
            assert_eq!(
                lines.iter().filter(|told| told.starts_with(begin)).count(),
                400,
                "{begin}: {:#?}",
                lines.get(..30)
            );
        }
        assert_eq!(lines.len(), 2400);
        are_the_same(&captured.lines(), &lines, "captured");
        are_the_same(&captured.lines_disturbed(61), &lines, "disturbed");
    });
}

#[test]
fn a_connection_that_is_joined_on_its_way_says_less_and_nothing_wrong() {
    with_server(|stage, base| {
        let url = format!("{base}{}", PATHS[1]);
        let (told, captured) = stage.told(&[], || {
            run(&stage.cart, "h2load", &["-n", "60", "-c", "1", "-m", "1", "-t", "1", &url]);
        });
        assert_eq!(told.len(), 120);
        for count in [3, 8, 21] {
            let lines = captured.lines_joined_after(count);
            assert!(lines.len() > 60, "after {count} packets: {lines:#?}");
            for line in &lines {
                assert!(line.starts_with(">~ ") || line.starts_with("<~ "), "told as whole: {line}");
                let is_right = |(known, truth): (&str, &str)| known.is_empty() || truth.contains(known) || known == "?";
                let words: Vec<&str> = line.split(' ').collect();
                let code = if line.starts_with('>') { "0" } else { "200" };
                assert!(is_right((words[2], code)) || words[2] == "0", "{line}");
                assert!(is_right((words[3], "GET")) && is_right((words[4], &url)), "{line}");
            }
        }
    });
}
