//! gRPC's own implementation, from Python, on both ends. With what status each call ended the client says itself.

use super::{are_the_same, lines, on_stage, run, serve};
use crate::dump::extra;

const PYTHON: &str = "/usr/bin/python3";
const SCRIPT: &str = include_str!("calls.py");

#[test]
fn calls_are_told_with_service_method_and_the_status_that_their_client_got() {
    let has_grpc = std::process::Command::new(PYTHON).args(["-c", "import grpc"]).output();
    if !has_grpc.is_ok_and(|output| output.status.success()) {
        return chainkit_lab::skip("python3-grpcio is not installed");
    }
    on_stage(&["tcpdump"], |stage| {
        let script = stage.write("calls.py", SCRIPT);
        let address = format!("{}:50051", stage.web.ip4);
        let mut command = stage.web.command(PYTHON);
        command.args([&script, "serve", &address]);
        let _server = serve(&stage.web, command, 50051);
        let mut printed = String::new();
        let (told, captured) = stage.told(&[], || printed = run(&stage.cart, PYTHON, &[&script, "ask", &address]));

        let answers = told.iter().filter(|flow| flow["l7"]["type"] == "RESPONSE");
        let answers = answers.map(|flow| {
            let grpc = &extra(flow)["l7"]["grpc"];
            assert_eq!(grpc["service"], "shop.Items", "{flow}");
            format!("{} {}", grpc["method"].as_str().unwrap(), grpc["status"])
        });
        let answers: Vec<String> = answers.collect();
        let printed: Vec<String> = printed.lines().map(str::to_owned).collect();
        assert_eq!(answers, printed, "{:#?}", lines(&told));
        assert!(printed.contains(&"Get 5".to_owned()) && printed.contains(&"Nothing 12".to_owned()), "{printed:#?}");

        let missing = told.iter().find(|flow| extra(flow)["l7"]["grpc"]["status"] == 5).unwrap();
        assert_eq!(extra(missing)["l7"]["grpc"]["message"], "no such item: 7 €");
        assert!(missing["l7"]["latency_ns"].as_str().unwrap().parse::<u64>().unwrap() > 0);
        let text = serde_json::to_string(&told).unwrap();
        assert!(!text.contains("geheim"), "{text}");
        assert!(told.iter().all(|flow| extra(flow)["l7"]["partial"].is_null()), "{:#?}", lines(&told));

        are_the_same(&captured.lines(), &lines(&told), "captured");
        are_the_same(&captured.lines_disturbed(33), &lines(&told), "disturbed");
    });
}
