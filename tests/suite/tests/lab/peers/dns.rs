//! unbound and dnsmasq, asked by dig over UDP and TCP. What was answered dig says.

use chainkit_lab::Running;

use super::{Stage, are_the_same, lines, on_stage, run, serve};

/// unbound with a zone of its own, at port 53.
fn unbound(stage: &Stage<'_>) -> Running {
    let ip = stage.web.ip4;
    let many: String = (1..=60).map(|n| format!("local-data: \"many.shop.test. A 10.99.0.{n}\"\n")).collect();
    let configuration = format!(
        "server:\n interface: {ip}\n port: 53\n do-daemonize: no\n chroot: \"\"\n username: \"\"\n pidfile: \"{pid}\"\n
        use-syslog: no\n logfile: \"\"\n access-control: 0.0.0.0/0 allow\n num-threads: 1\n so-rcvbuf: 0\n module-config: \"iterator\"\n
        do-not-query-localhost: yes\n local-zone: \"shop.test.\" static\n local-zone: \"in-addr.arpa.\" static\n
        local-data: \"web.shop.test. 77 A 10.99.1.1\"\n local-data: \"web.shop.test. AAAA fd00::9\"\n
        local-data: \"shop.test. MX 10 mail.shop.test.\"\n local-data: \"shop.test. TXT 'some text'\"\n
        local-data: \"_http._tcp.shop.test. SRV 1 2 80 web.shop.test.\"\n
        local-data: \"7.99.10.in-addr.arpa. PTR web.shop.test.\"\n{many}
        remote-control:\n control-enable: no\n",
        pid = stage.path("unbound.pid"),
    );
    let path = stage.write("unbound.conf", &configuration);
    let mut command = stage.web.command("unbound");
    command.args(["-d", "-c", &path]);
    serve(&stage.web, command, 53)
}

/// Asks as dig does; what it says of the answer: rcode, and types and data of its records.
fn dig(stage: &Stage<'_>, port: u16, arguments: &[&str]) -> (String, Vec<(String, String)>) {
    let (server, port) = (format!("@{}", stage.web.ip4), port.to_string());
    let fixed = [server.as_str(), "-p", &port, "+tries=1", "+noall", "+comments", "+answer"];
    let text = run(&stage.cart, "dig", &[&fixed, arguments].concat());
    let status = text.split("status: ").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or_default().to_owned();
    let answers = text.lines().filter(|line| !line.starts_with(';') && !line.is_empty());
    let answers = answers.map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words[3].to_owned(), words[4].to_owned())
    });
    (status, answers.collect())
}

/// What is to be told of a question and its answer.
fn pair(name: &str, qtype: &str, answer: &(String, Vec<(String, String)>)) -> [String; 2] {
    let rcode = match answer.0.as_str() {
        "NOERROR" => 0,
        "SERVFAIL" => 2,
        "NXDOMAIN" => 3,
        "REFUSED" => 5,
        other => panic!("{other}"),
    };
    let types: Vec<&str> = answer.1.iter().map(|(rrtype, _)| rrtype.as_str()).collect();
    let ips = answer.1.iter().filter(|(rrtype, _)| rrtype == "A" || rrtype == "AAAA").map(|(_, data)| data.as_str());
    let ips: Vec<&str> = ips.collect();
    [format!("> dns 0 {name} {qtype}  "), format!("< dns {rcode} {name} {qtype} {} {}", types.join(","), ips.join(","))]
}

#[test]
fn what_unbound_answers_is_told_as_dig_has_it() {
    on_stage(&["unbound", "dig", "tcpdump"], |stage| {
        let _unbound = unbound(stage);
        let mut expected = Vec::new();
        let (told, captured) = stage.told(&[], || {
            for (name, qtype, way) in [
                ("web.shop.test.", "A", "+notcp"),
                ("web.shop.test.", "AAAA", "+notcp"),
                ("shop.test.", "MX", "+notcp"),
                ("shop.test.", "TXT", "+tcp"),
                ("_http._tcp.shop.test.", "SRV", "+notcp"),
                ("7.99.10.in-addr.arpa.", "PTR", "+notcp"),
                ("nothing.shop.test.", "A", "+notcp"),
                ("nothing.shop.test.", "AAAA", "+tcp"),
                ("many.shop.test.", "A", "+tcp"),
            ] {
                let answer = dig(stage, 53, &[way, name, qtype]);
                expected.extend(pair(name, qtype, &answer));
            }
        });
        are_the_same(&lines(&told), &expected, "told");
        assert!(expected.iter().any(|line| line.matches("10.99.0.").count() == 60), "{expected:#?}");
        let latencies = told.iter().filter(|flow| flow["l7"]["type"] == "RESPONSE");
        assert!(latencies.clone().count() > 0);
        for flow in latencies {
            assert!(flow["l7"]["latency_ns"].as_str().unwrap().parse::<u64>().unwrap() > 0, "{flow}");
        }
        let ttl = told.iter().find(|flow| flow["l7"]["dns"]["ips"][0] == "10.99.1.1").unwrap();
        assert_eq!(ttl["l7"]["dns"]["ttl"], 77);
        are_the_same(&captured.lines(), &expected, "captured");
        are_the_same(&captured.lines_disturbed(3), &expected, "disturbed");
    });
}

#[test]
fn an_answer_too_long_for_a_datagram_is_told_twice_and_its_names_follow_aliases() {
    on_stage(&["dnsmasq", "dig", "tcpdump"], |stage| {
        let mut command = stage.web.command("dnsmasq");
        let listen = format!("--listen-address={}", stage.web.ip4);
        let keep = [
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--port=5353",
            "--user=root",
        ];
        command
            .args(keep)
            .arg("--bind-interfaces")
            .arg(listen)
            .arg(format!("--pid-file={}", stage.path("dnsmasq.pid")));
        command.args(["--host-record=web.shop.test,10.99.1.1", "--cname=alias.shop.test,middle.shop.test"]);
        command.arg("--cname=middle.shop.test,web.shop.test");
        for n in 1..=60 {
            command.arg(format!("--txt-record=long.shop.test,text number {n} which takes its place"));
        }
        let _dnsmasq = serve(&stage.web, command, 5353);
        let mut expected = Vec::new();
        let (told, captured) = stage.told(&[], || {
            expected.extend(pair("alias.shop.test.", "A", &dig(stage, 5353, &["alias.shop.test.", "A"])));
            // A truncated answer, and then, since it was, the whole one over TCP.
            dig(stage, 5353, &["+bufsize=512", "long.shop.test.", "TXT"]);
        });
        let lines = lines(&told);
        assert_eq!(lines.get(..2), Some(&expected[..]), "{lines:#?}");
        assert_eq!(told[1]["l7"]["dns"]["cnames"], serde_json::json!(["middle.shop.test.", "web.shop.test."]));
        assert_eq!(lines.len(), 6, "{lines:#?}");
        assert_eq!(lines[5].matches("TXT").count(), 61, "{lines:#?}");
        are_the_same(&captured.lines(), &lines, "captured");
        let protocols: Vec<bool> = told.iter().map(|flow| flow["l4"]["TCP"].is_object()).collect();
        assert_eq!(protocols, [false, false, false, false, true, true]);
    });
}
