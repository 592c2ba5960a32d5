//! nginx, asked by curl, nghttp and by hand, over HTTP/1.1 and HTTP/2. What was asked and answered nginx says itself, in its log.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use chainkit_lab::Running;

use super::{Stage, are_the_same, lines, on_stage, run, serve};
use crate::stage::eventually;

const PROGRAMS: &[&str] = &["nginx", "curl", "nghttp", "tcpdump"];
/// Bytes of the file that nginx is asked for.
const LARGE: usize = 3_000_000;

/// nginx with HTTP/1.1 at port 80 and HTTP/2 without TLS at 81.
struct Nginx<'a> {
    stage: &'a Stage<'a>,
    running: Running,
}

impl<'a> Nginx<'a> {
    fn start(stage: &'a Stage<'a>) -> Self {
        let (folder, ip) = (stage.folder.path().display(), stage.web.ip4);
        std::fs::write(stage.folder.path().join("large"), vec![b'x'; LARGE]).unwrap();
        let configuration = format!(
            r#"daemon off; master_process off; pid {folder}/pid; error_log stderr; events {{}}
            http {{
              log_format told '$request_method $scheme://$http_host$uri $status $body_bytes_sent';
              access_log {folder}/access.log told;
              client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
              uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
              client_max_body_size 10m;
              gzip on; gzip_min_length 1; gzip_types text/plain;
              server {{ listen {ip}:80; listen {ip}:81 http2; root {folder};
                location /hello {{ default_type text/plain; return 200 "hello, hello, hello, hello\n"; }}
                location /gone {{ return 410; }}
                location /broken {{ return 503 "not now"; }}
                location /taken {{ proxy_pass http://{ip}:82; }}
                location /elsewhere {{ return 302 /hello; }}
              }}
              server {{ listen {ip}:82; access_log off; return 200 taken; }}
            }}"#
        );
        let path = stage.write("nginx.conf", &configuration);
        let mut command = stage.web.command("nginx");
        command.args(["-c", &path, "-p", &folder.to_string()]);
        Self { stage, running: serve(&stage.web, command, 80) }
    }

    /// Responses as nginx has logged them, once there are so many.
    fn log(&self, count: usize) -> Vec<String> {
        let path = self.stage.path("access.log");
        let read = || std::fs::read_to_string(&path).unwrap_or_default();
        eventually("nginx does not log what it answered", || {
            // The connection by which it was found to listen asks for nothing.
            read().lines().count() >= count
        });
        assert_eq!(read().lines().count(), count, "{}{}", read(), self.running.stderr());
        let line = |line: &str| {
            let [method, url, status, bytes] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            format!("{status} {method} {url} {bytes}")
        };
        read().lines().map(line).collect()
    }
}

/// Responses as they are told, worded as [`Nginx::log`] does.
fn responses(lines: &[String], protocol: &str) -> Vec<String> {
    let begin = format!("< {protocol} ");
    lines.iter().filter_map(|line| line.strip_prefix(&begin)).map(str::to_owned).collect()
}

#[test]
fn what_nginx_answers_over_kept_connections_is_told_as_its_log_has_it() {
    on_stage(PROGRAMS, |stage| {
        let nginx = Nginx::start(stage);
        let base = format!("http://{}", stage.web.ip4);
        let (told, captured) = stage.told(&[], || {
            let urls: Vec<String> = ["hello", "gone", "broken", "large", "nothing", "elsewhere"]
                .map(|path| format!("{base}/{path}"))
                .into();
            let mut arguments = vec!["-s", "-o", "/dev/null"];
            for url in &urls {
                arguments.extend([url.as_str(), "-o", "/dev/null"]);
            }
            run(&stage.cart, "curl", &arguments[..arguments.len() - 2]);
            run(&stage.cart, "curl", &["-s", "-I", &urls[3]]);
            let large = format!("@{}", stage.path("large"));
            let sent = format!("{base}/taken");
            run(&stage.cart, "curl", &["-s", "-H", "Expect:", "--data-binary", &large, &sent]);
        });
        let lines = lines(&told);
        assert_eq!(responses(&lines, "http1"), nginx.log(8), "{lines:#?}");
        assert_eq!(lines.iter().filter(|line| line.starts_with("> http1 0 ")).count(), 8, "{lines:#?}");
        assert!(lines.contains(&format!("> http1 0 POST {base}/taken {LARGE}")), "{lines:#?}");
        are_the_same(&captured.lines(), &lines, "captured");
        for length in [7, 100, 1448] {
            are_the_same(&captured.lines_disturbed(length), &lines, &format!("in pieces of {length}"));
        }
    });
}

#[test]
fn a_body_in_chunks_that_nginx_packs_is_counted_without_its_framing() {
    on_stage(PROGRAMS, |stage| {
        let _nginx = Nginx::start(stage);
        let url = format!("http://{}/hello", stage.web.ip4);
        let packed = stage.path("packed");
        let (told, _) = stage.told(&[], || {
            run(&stage.cart, "curl", &["-s", "-H", "Accept-Encoding: gzip", "-o", &packed, &url]);
        });
        let length = std::fs::metadata(&packed).unwrap().len();
        assert!(length > 0);
        assert_eq!(lines(&told), [format!("> http1 0 GET {url} 0"), format!("< http1 200 GET {url} {length}")]);
    });
}

#[test]
fn requests_that_did_not_wait_for_answers_are_joined_with_theirs() {
    on_stage(PROGRAMS, |stage| {
        let nginx = Nginx::start(stage);
        let (told, captured) = stage.told(&[], || {
            let paths = ["hello", "gone", "broken", "hello", "nothing"];
            let asked: String = paths.map(|path| format!("GET /{path} HTTP/1.1\r\nHost: web\r\n\r\n")).concat();
            stage
                .cart
                .run(|| {
                    let mut stream = TcpStream::connect((stage.web.ip4, 80)).unwrap();
                    stream.write_all(asked.as_bytes()).unwrap();
                    stream.shutdown(Shutdown::Write).unwrap();
                    stream.read_to_end(&mut Vec::new()).unwrap();
                })
                .unwrap();
        });
        let lines = lines(&told);
        assert_eq!(responses(&lines, "http1"), nginx.log(5), "{lines:#?}");
        are_the_same(&captured.lines_disturbed(11), &lines, "disturbed");
    });
}

#[test]
fn what_nginx_answers_over_http2_is_told_as_its_log_has_it() {
    on_stage(PROGRAMS, |stage| {
        let nginx = Nginx::start(stage);
        let base = format!("http://{}:81", stage.web.ip4);
        let (told, captured) = stage.told(&[], || {
            let urls =
                ["hello", "gone", "broken", "large", "nothing", "elsewhere"].map(|path| format!("{base}/{path}"));
            // All at once on one connection.
            let arguments: Vec<&str> = ["-n", "-v"].into_iter().chain(urls.iter().map(String::as_str)).collect();
            run(&stage.cart, "nghttp", &arguments);
        });
        let lines = lines(&told);
        are_the_same(&responses(&lines, "http2"), &nginx.log(6), "told");
        are_the_same(&captured.lines(), &lines, "captured");
        are_the_same(&captured.lines_disturbed(100), &lines, "disturbed");
    });
}
