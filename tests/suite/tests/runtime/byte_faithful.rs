//! What the plugins before ours have answered is handed on byte for byte, however oddly it is written.

use chainkit_lab::PodSpec;
use chainkit_lab::cni::Verb;

use crate::node::{assert_nothing_left, assert_pod_attached, aws};
use crate::stage::on_node;

/// Results that a plugin may answer, `VERSION` and `NETNS` to be put in; each is odd in a way of its own.
const ODD: [(&str, &str); 9] = [
    (
        "what aws-cni answers",
        r#"{"cniVersion":"VERSION","interfaces":[{"name":"eni0"},{"name":"eth0","mac":"2","sandbox":"NETNS"},{"name":"dummy0","mac":"0","sandbox":"1"}],"ips":[{"version":"4","interface":1,"address":"10.1.64.1/32"}],"dns":{}}"#,
    ),
    (
        "keys that nobody knows, in an order that nobody would sort",
        r#"{"zebra":[{"b":1,"a":2}],"ips":[],"cniVersion":"VERSION","apple":null,"interfaces":[{"sandbox":"NETNS","name":"eth0","extra":{"y":[],"x":{}}}],"Ips":"no"}"#,
    ),
    ("white space", "{ \t\"cniVersion\" :\n\n  \"VERSION\"\r\n ,\"interfaces\":[ ]  ,  \"ips\" : [ ] }"),
    (
        "escapes",
        r#"{"cniVersion":"VERSION","n\u0061me":"\u00e9\ud83d\ude00\/\b\f\n\r\t\"\\","interfaces":[],"dns":{"domain":"\u0000\u007f"}}"#,
    ),
    (
        "numbers that no machine type holds",
        r#"{"cniVersion":"VERSION","a":123456789012345678901234567890,"b":-0,"c":1E400,"d":0.10000000000000000000001,"e":1e-7,"f":18446744073709551616,"interfaces":[]}"#,
    ),
    ("letters of the world", r#"{"cniVersion":"VERSION","interfaces":[],"né":"日本語 🦀","<&>":"</script>\u2028"}"#),
    ("nothing but a version", r#"{"cniVersion":"VERSION"}"#),
    (
        "depth",
        r#"{"cniVersion":"VERSION","deep":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[{"a":[{}]}]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}"#,
    ),
    (
        "indexes that point nowhere",
        r#"{"cniVersion":"VERSION","interfaces":[{"name":"eth0","sandbox":"NETNS"}],"ips":[{"version":"4","interface":7,"address":"10.1.64.1/32"},{"version":"6","interface":-1,"address":"fd00::1/64","gateway":null}],"routes":[{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}"#,
    ),
];

#[test]
fn each_version_gets_back_exactly_what_it_gave() {
    on_node(|lab| {
        for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
            let chain = aws(lab, version);
            let pod = lab.pod_through(&chain, &PodSpec::new("shop", "web")).unwrap();
            for (what, text) in ODD {
                let netns = pod.netns_path().display().to_string();
                let previous = text.replace("VERSION", version).replace("NETNS", &netns);
                let answer = chain.call(1, Verb::Add, &pod.attachment(), Some(&previous)).unwrap().run().unwrap();
                assert!(answer.status.success(), "{what}, {version}: {answer}");
                let line = answer.stdout.strip_suffix('\n').unwrap_or(&answer.stdout);
                assert_eq!(line, previous, "{what}, {version}");
                assert_pod_attached(lab, &pod);
            }
            lab.delete_pod_through(&chain, &pod).unwrap();
            assert_nothing_left(lab);
        }
    });
}

#[test]
fn a_result_that_names_no_version_is_handed_on_without_one() {
    on_node(|lab| {
        let chain = aws(lab, "0.4.0");
        let pod = lab.pod_through(&chain, &PodSpec::new("shop", "web")).unwrap();
        let previous = r#"{"ips":[{"version":"4","address":"10.1.64.1/32"}],"interfaces":[],"1":1}"#;
        let answer = chain.call(1, Verb::Add, &pod.attachment(), Some(previous)).unwrap().succeed().unwrap();
        assert_eq!(answer.stdout.trim_end(), previous);
        lab.delete_pod_through(&chain, &pod).unwrap();
    });
}

#[test]
fn a_large_result_is_handed_on_whole() {
    on_node(|lab| {
        let chain = aws(lab, "1.0.0");
        let pod = lab.pod_through(&chain, &PodSpec::new("shop", "web")).unwrap();
        let ips: Vec<String> = (0..4000).map(|number| format!(r#"{{"address":"fd00::{number:x}/128"}}"#)).collect();
        let previous = format!(r#"{{"cniVersion":"1.0.0","interfaces":[],"ips":[{}]}}"#, ips.join(", "));
        assert!(previous.len() > 100_000);
        let answer = chain.call(1, Verb::Add, &pod.attachment(), Some(&previous)).unwrap().succeed().unwrap();
        assert_eq!(answer.stdout.trim_end(), previous);
        assert_pod_attached(lab, &pod);
        lab.delete_pod_through(&chain, &pod).unwrap();
    });
}
