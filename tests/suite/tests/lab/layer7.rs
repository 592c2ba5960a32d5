//! Requests and responses of real connections, as `flowdump --l7` tells them.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use chainkit_bpf::{Kit, find};
use chainkit_lab::peer::{dns, http, tcp};
use chainkit_lab::{Lab, Pod};
use serde_json::{Value, json};

use crate::dump::{Dump, extra, flows};
use crate::stage::{Watch, at, eventually, on_node};

/// The messages among flows: what each says, and from which pod's side it was seen.
pub(crate) fn messages(stdout: &str) -> Vec<Value> {
    flows(stdout).into_iter().filter(|flow| flow["l7"].is_object()).collect()
}

/// Those that were seen at the client.
fn at_client(messages: &[Value]) -> Vec<&Value> {
    messages.iter().filter(|flow| flow["traffic_direction"] == "EGRESS").collect()
}

/// Starts `flowdump --l7`, and waits until it gets payload.
pub(crate) fn start(lab: &Lab, arguments: &[&str]) -> Dump {
    let dump = Dump::start(lab, &[&["--l7"], arguments].concat());
    eventually("flowdump does not ask for payload", || {
        find(lab.root()).unwrap().is_some_and(|datapath| datapath.control_value().unwrap().payload != 0)
    });
    dump
}

/// Has two pods of a new node do something, and what `flowdump` with these arguments tells of it checked.
fn told(arguments: &[&str], act: impl FnOnce(&Pod, &Pod) + Send, check: impl FnOnce(&[Value]) + Send) {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let _watch = Watch::start(lab, &[&cart, &web], Kit::best());
        let file = lab.pods_file().unwrap();
        let dump = start(lab, &[&["-j", "--pods", file.to_str().unwrap()], arguments].concat());
        act(&cart, &web);
        check(&messages(&dump.interrupt().stdout));
    });
}

/// Serves one connection with these bytes, whatever is asked, once `length` bytes have come.
fn answer_once(pod: &Pod, length: usize, bytes: Vec<u8>) -> (SocketAddr, thread::JoinHandle<()>) {
    let listener = pod.run(|| TcpListener::bind(at(pod.ip4, 8080)).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let served = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut vec![0; length]).unwrap();
        stream.write_all(&bytes).unwrap();
    });
    (address, served)
}

/// Sends, and reads to the end.
fn ask(pod: &Pod, to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    pod.run(|| {
        let mut stream = TcpStream::connect(to).unwrap();
        stream.write_all(bytes).unwrap();
        stream.read_to_end(&mut answer).unwrap();
    })
    .unwrap();
    answer
}

#[test]
fn an_http_request_and_its_response_are_told_at_both_ends_with_their_latency() {
    let act = |cart: &Pod, web: &Pod| {
        let server = web.run(|| http::serve(at(web.ip4, 8080), "hello")).unwrap().unwrap();
        let answer = cart.run(|| http::get(server.address(), "web.shop", "/items?token=abc")).unwrap().unwrap();
        assert_eq!(answer.status, 200);
    };
    told(&[], act, |messages| {
        assert_eq!(messages.len(), 4, "{messages:#?}");
        let [request, response] = at_client(messages)[..] else { panic!("{messages:#?}") };
        for (flow, is_reply, source, kind) in [(request, false, "cart", "REQUEST"), (response, true, "web", "RESPONSE")]
        {
            assert_eq!(flow["Type"], "L7");
            assert_eq!(flow["event_type"]["type"], 129);
            assert_eq!(flow["is_reply"], is_reply);
            assert_eq!(flow["source"]["pod_name"], source);
            assert_eq!(flow["l7"]["type"], kind);
            assert_eq!(flow["l7"]["http"]["method"], "GET");
            assert_eq!(flow["l7"]["http"]["url"], "http://web.shop/items?token=*****");
            assert_eq!(extra(flow)["l7"]["protocol"], "http1");
            assert_eq!(extra(flow)["event"], "l7");
        }
        assert_eq!(response["l7"]["http"]["code"], 200);
        assert!(response["l7"]["latency_ns"].as_str().unwrap().parse::<u64>().unwrap() > 0);
        assert_eq!(extra(response)["l7"]["body_bytes"], 5);
    });
}

/// A request and a response that bear secrets.
const REQUEST: &[u8] = b"GET /a?key=geheim HTTP/1.1\r\nHost: web\r\nAuthorization: Bearer geheim\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 204 No Content\r\nSet-Cookie: geheim\r\n\r\n";

#[test]
fn secrets_are_shown_only_when_asked_for() {
    for (arguments, shown) in [(&[][..], false), (&["--show-secrets"], true)] {
        let act = |cart: &Pod, web: &Pod| {
            let (address, served) = answer_once(web, REQUEST.len(), RESPONSE.to_vec());
            assert_eq!(ask(cart, address, REQUEST), RESPONSE);
            served.join().unwrap();
        };
        told(arguments, act, |messages| {
            assert_eq!(at_client(messages).len(), 2, "{messages:#?}");
            let text = serde_json::to_string(messages).unwrap();
            assert_eq!(text.contains("geheim"), shown, "{text}");
        });
    }
}

#[test]
fn a_response_in_the_packet_that_ends_its_connection_is_told() {
    let act = |cart: &Pod, web: &Pod| {
        let listener = web.run(|| TcpListener::bind(at(web.ip4, 8080)).unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // To the client's FIN; then data and FIN in one segment, by which the connection is over.
            stream.read_to_end(&mut Vec::new()).unwrap();
            socket2::SockRef::from(&stream).set_tcp_cork(true).unwrap();
            stream.write_all(RESPONSE).unwrap();
        });
        cart.run(|| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(REQUEST).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            stream.read_to_end(&mut Vec::new()).unwrap();
        })
        .unwrap();
        served.join().unwrap();
    };
    told(&[], act, |messages| {
        let [request, response] = at_client(messages)[..] else { panic!("{messages:#?}") };
        assert_eq!((&request["l7"]["type"], &response["l7"]["type"]), (&json!("REQUEST"), &json!("RESPONSE")));
        assert_eq!(response["l7"]["http"]["code"], 204);
        assert_eq!(response["l7"]["http"]["method"], "GET");
        assert!(extra(response)["l7"]["partial"].is_null(), "{response}");
    });
}

#[test]
fn what_is_under_way_at_the_end_is_told_as_far_as_it_is_known() {
    // Both stay open until the run is over.
    let mut open = None;
    let act = |cart: &Pod, web: &Pod| {
        let listener = web.run(|| TcpListener::bind(at(web.ip4, 8080)).unwrap()).unwrap();
        let mut client = cart.run(|| TcpStream::connect(listener.local_addr().unwrap()).unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"GET /stream HTTP/1.1\r\nHost: web\r\n\r\n").unwrap();
        server.read_exact(&mut [0; 10]).unwrap();
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegin").unwrap();
        client.read_exact(&mut [0; 10]).unwrap();
        open = Some((client, server));
    };
    told(&[], act, |messages| {
        let [request, response] = at_client(messages)[..] else { panic!("{messages:#?}") };
        assert_eq!(request["l7"]["http"]["url"], "http://web/stream");
        assert_eq!(response["l7"]["http"]["code"], 200);
        assert!(extra(response)["l7"]["body_bytes"].is_null(), "{response}");
    });
    drop(open);
}

#[test]
fn dns_is_told_and_names_what_it_answers_with() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let _watch = Watch::start(lab, &[&cart, &web], Kit::best());
        let dump = start(lab, &["-j"]);
        let zone = [("web.example.org".to_owned(), web.ip4.into())];
        let server = web.run(|| dns::serve(at(web.ip4, 5353), &zone)).unwrap().unwrap();
        cart.run(|| dns::query(server.address(), "web.example.org", dns::Kind::A)).unwrap().unwrap();
        eventually("the answer is not told", || dump.running.stdout().contains("RESPONSE"));
        // What comes after the answer bears the name.
        let echo = web.run(|| tcp::echo(at(web.ip4, 7))).unwrap().unwrap();
        cart.run(|| tcp::say(echo.address(), b"hello")).unwrap().unwrap();
        let stdout = dump.interrupt().stdout;

        let messages = messages(&stdout);
        let [request, response] = at_client(&messages)[..] else { panic!("{messages:#?}") };
        assert_eq!(request["l7"]["dns"]["query"], "web.example.org.");
        assert_eq!(request["l7"]["dns"]["qtypes"], json!(["A"]));
        assert_eq!(response["l7"]["dns"]["rrtypes"], json!(["A"]));
        assert_eq!(response["l7"]["dns"]["ips"], json!([web.ip4.to_string()]));
        assert!(response["l7"]["latency_ns"].is_string());
        let to_echo: Vec<Value> = flows(&stdout)
            .into_iter()
            .filter(|flow| flow["l4"]["TCP"]["destination_port"] == 7 && flow["traffic_direction"] == "EGRESS")
            .collect();
        assert!(!to_echo.is_empty());
        for flow in to_echo {
            assert_eq!(flow["destination_names"], json!(["web.example.org"]), "{flow}");
            assert!(flow["source_names"].is_null());
        }
    });
}

#[test]
fn a_large_body_is_skipped_and_what_follows_it_is_read() {
    on_node(|lab| {
        const LENGTH: usize = 3 << 20;
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let _watch = Watch::start(lab, &[&cart, &web], Kit::best());
        let dump = start(lab, &["-j"]);
        let head = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: web\r\n\r\n").into_bytes();
        let requests = [head("/large"), head("/small")].concat();
        let mut respond = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n").into_bytes();
        respond.extend(std::iter::repeat_n(b'x', LENGTH));
        respond.extend(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        let whole = respond.len();

        let listener = web.run(|| TcpListener::bind(at(web.ip4, 8080)).unwrap()).unwrap();
        let (go, wait) = std::sync::mpsc::channel();
        let (address, length) = (listener.local_addr().unwrap(), requests.len());
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut vec![0; length]).unwrap();
            // By then it is known what is spoken, at both ends; before, the kernel copies 64 KiB.
            wait.recv().unwrap();
            stream.write_all(&respond).unwrap();
        });
        let asked = thread::scope(|scope| {
            let asked = scope.spawn(|| ask(&cart, address, &requests));
            eventually("the requests are not told", || dump.running.stdout().matches("/small").count() == 4);
            go.send(()).unwrap();
            asked.join().unwrap()
        });
        assert_eq!(asked.len(), whole);
        served.join().unwrap();
        let messages = messages(&dump.interrupt().stdout);
        let seen: Vec<(u64, &str)> = at_client(&messages)
            .into_iter()
            .filter(|flow| flow["l7"]["type"] == "RESPONSE")
            .map(|flow| (flow["l7"]["http"]["code"].as_u64().unwrap(), flow["l7"]["http"]["url"].as_str().unwrap()))
            .collect();
        assert_eq!(seen, [(200, "http://web/large"), (404, "http://web/small")]);
        assert!(messages.iter().all(|flow| extra(flow)["l7"]["partial"].is_null()), "{messages:#?}");
    });
}

#[test]
fn filters_choose_among_messages_and_the_decoder_sees_both_directions_all_the_same() {
    for (arguments, kind) in [(["--to-port", "8080"], "REQUEST"), (["--http-status", "200"], "RESPONSE")] {
        let act = |cart: &Pod, web: &Pod| {
            let server = web.run(|| http::serve(at(web.ip4, 8080), "hello")).unwrap().unwrap();
            cart.run(|| http::get(server.address(), "web.shop", "/")).unwrap().unwrap();
        };
        told(&arguments, act, |messages| {
            assert_eq!(messages.len(), 2, "{messages:#?}");
            assert!(messages.iter().all(|flow| flow["l7"]["type"] == kind), "{messages:#?}");
            assert!(messages.iter().all(|flow| flow["l7"]["http"]["url"] == "http://web.shop/"), "{messages:#?}");
        });
    }
}
