//! A lab node at a shell's hand, and the peers that talk in it: what `tests/demo` is made of.

#![forbid(unsafe_code)]

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use chainkit_lab::cni::Chain;
use chainkit_lab::peer::{Server, dns, grpc, http, tcp, udp};
use chainkit_lab::{Lab, NODE, PodSpec, ServiceSpec, cni};
use clap::{Parser, Subcommand};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// A Kubernetes node out of network namespaces, and peers that talk in it.
#[derive(Debug, Parser)]
#[command(name = "chainkit-lab", version)]
struct Cli {
    #[command(subcommand)]
    work: Work,
}

#[derive(Debug, Subcommand)]
enum Work {
    /// Make a node with pods and keep it until a signal or the end of the parent; needs root.
    ///
    /// One line each on stdout, fields parted by a space: "root FOLDER", "pods-file FILE", "node ADDRESS NETNS", "pod NAMESPACE/NAME
    /// ADDRESS INTERFACE NETNS" for each pod, and "ready". NETNS is for nsenter --net=.
    Up {
        /// A pod; may be repeated.
        #[arg(long = "pod", value_name = "NAMESPACE/NAME", value_parser = pod_name)]
        pods: Vec<(String, String)>,
        /// A Service in front of the pods whose label `app` is NAME; an object only, nothing forwards. May be repeated.
        #[arg(long = "service", value_name = "NAMESPACE/NAME=ADDRESS:PORT/PROTOCOL", value_parser = service)]
        services: Vec<ServiceSpec>,
        /// Give the pods IPv6 addresses, too.
        #[arg(long)]
        ipv6: bool,
        /// Have the pods attached by a chain alone, called as container runtimes call plugins: the lab's primary, then cni-chain, which
        /// has to be built.
        #[arg(long)]
        chain: bool,
    },
    /// Serve every path over HTTP; /status/NNN answers with that status.
    HttpServer {
        /// Where to listen.
        address: SocketAddr,
        /// What to serve.
        #[arg(long, default_value = "hello\n")]
        body: String,
    },
    /// Get a path over HTTP and print its body; a status of 400 or more fails.
    HttpGet {
        /// The server.
        address: SocketAddr,
        /// The path.
        #[arg(default_value = "/")]
        path: String,
        /// Name of the host in the request.
        #[arg(long, default_value = "lab")]
        host: String,
    },
    /// Answer gRPC calls over HTTP/2 without TLS; those of methods not named with status 12, unimplemented.
    GrpcServer {
        /// Where to listen.
        address: SocketAddr,
        /// A method and the status it answers with, as "/shop.Items/Get=0"; may be repeated.
        #[arg(value_name = "METHOD=STATUS", value_parser = method)]
        methods: Vec<(String, u32)>,
        /// The message of answers whose status is 0.
        #[arg(long, default_value = "hello")]
        message: String,
    },
    /// Call a gRPC method and print the status of the answer, and its message.
    GrpcCall {
        /// The server.
        address: SocketAddr,
        /// The method, as "/shop.Items/Get".
        method: String,
    },
    /// Answer DNS over UDP.
    DnsServer {
        /// Where to listen.
        address: SocketAddr,
        /// A name and an address of it; may be repeated. Other names do not exist.
        #[arg(value_name = "NAME=ADDRESS", value_parser = record)]
        zone: Vec<(String, IpAddr)>,
    },
    /// Ask for the addresses of a name over DNS and print them; none fails.
    DnsQuery {
        /// The server.
        address: SocketAddr,
        /// The name.
        name: String,
        /// Ask for IPv6 addresses.
        #[arg(long)]
        aaaa: bool,
    },
    /// Send each datagram back.
    UdpEcho {
        /// Where to listen.
        address: SocketAddr,
    },
    /// Send datagrams, exactly as many as asked for, from one port.
    UdpSend {
        /// To whom.
        address: SocketAddr,
        /// How many.
        #[arg(long)]
        count: u64,
        /// Bytes of payload.
        #[arg(long, default_value_t = 64)]
        length: u16,
        /// Time from one to the next.
        #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
        interval: Duration,
    },
    /// Send back what comes over TCP.
    TcpEcho {
        /// Where to listen.
        address: SocketAddr,
    },
    /// Swallow what comes over TCP.
    TcpSink {
        /// Where to listen.
        address: SocketAddr,
    },
    /// Send bytes over one TCP connection, exactly as many as asked for.
    TcpSource {
        /// To whom.
        address: SocketAddr,
        /// How many.
        #[arg(long)]
        bytes: u64,
    },
    /// Accept TCP connections and close them at once.
    TcpAccept {
        /// Where to listen.
        address: SocketAddr,
    },
    /// Open and close TCP connections one after another, exactly as many as asked for.
    TcpConnect {
        /// To whom.
        address: SocketAddr,
        /// How many.
        #[arg(long)]
        count: u64,
    },
}

fn main() -> ExitCode {
    if cni::is_called() {
        return cni::run_plugin(std::env::args_os().next().unwrap_or_default().as_ref());
    }
    match work(Cli::parse().work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is there to be told that stderr is closed.
            drop(writeln!(std::io::stderr(), "chainkit-lab: {error:#}"));
            ExitCode::from(4)
        }
    }
}

fn work(work: Work) -> Result<()> {
    match work {
        Work::Up { pods, services, ipv6, chain } => up(&pods, services, ipv6, chain),
        Work::HttpServer { address, body } => keep(http::serve(address, &body)?),
        Work::HttpGet { address, path, host } => {
            let answer = http::get(address, &host, &path)?;
            ensure!(answer.status < 400, "http://{address}{path} answered {}", answer.status);
            Ok(std::io::stdout().write_all(&answer.body)?)
        }
        Work::GrpcServer { address, methods, message } => keep(grpc::serve(address, &methods, &message)?),
        Work::GrpcCall { address, method } => {
            let answer = grpc::call(address, &method, b"")?;
            say(&format!("{} {}", answer.status, String::from_utf8_lossy(&answer.message)))
        }
        Work::DnsServer { address, zone } => keep(dns::serve(address, &zone)?),
        Work::DnsQuery { address, name, aaaa } => {
            let answer = dns::query(address, &name, if aaaa { dns::Kind::Aaaa } else { dns::Kind::A })?;
            ensure!(!answer.addresses.is_empty(), "{address} knows no address of {name} (rcode {})", answer.rcode);
            for address in answer.addresses {
                say(&address.to_string())?;
            }
            Ok(())
        }
        Work::UdpEcho { address } => keep(udp::echo(address)?),
        Work::UdpSend { address, count, length, interval } => Ok(udp::send(address, count, length, interval)?),
        Work::TcpEcho { address } => keep(tcp::echo(address)?),
        Work::TcpSink { address } => keep(tcp::sink(address)?),
        Work::TcpSource { address, bytes } => Ok(tcp::source(address, bytes)?),
        Work::TcpAccept { address } => keep(tcp::acceptor(address)?),
        Work::TcpConnect { address, count } => Ok(tcp::connects(address, count)?),
    }
}

fn up(pods: &[(String, String)], services: Vec<ServiceSpec>, ipv6: bool, chained: bool) -> Result<()> {
    let ended = until_told()?;
    let lab = Lab::new()?;
    let chain = if chained { Some(chain(&lab, ipv6)?) } else { None };
    say(&format!("root {}", lab.root().display()))?;
    say(&format!("node {NODE} {}", lab.node().path().display()))?;
    let mut attached = Vec::new();
    for (namespace, name) in pods {
        let spec = PodSpec::new(namespace, name);
        let pod = match &chain {
            Some(chain) => lab.pod_through(chain, &spec)?,
            None => lab.pod_of(&if ipv6 { spec.ipv6() } else { spec })?,
        };
        let (ip4, host_ifname, netns) = (pod.ip4, &pod.host_ifname, pod.netns_path().display());
        say(&format!("pod {namespace}/{name} {ip4} {host_ifname} {netns}"))?;
        attached.push(pod);
    }
    for spec in services {
        lab.service(spec);
    }
    say(&format!("pods-file {}", lab.pods_file()?.display()))?;
    say("ready")?;
    wait(ended);
    for pod in attached {
        if let Some(chain) = &chain {
            lab.delete_pod_through(chain, &pod)?;
        }
    }
    Ok(())
}

/// The VPC CNI's list of plugins with ours behind it.
fn chain(lab: &Lab, ipv6: bool) -> Result<Chain> {
    chainkit_lab::program("cni-chain")?;
    let primary = json!({"type": "aws-cni", "vethPrefix": "eni", "mtu": "9001", "ipv6": ipv6});
    let log = lab.root().join("var/log/cni-chain.log");
    let chain = Chain::new(lab, "aws-cni", "0.4.0")?.without_check();
    Ok(chain.plugin(primary).plugin(json!({"type": "cni-chain", "logFile": log})))
}

/// Says where the server listens, and lets it serve until told to end.
fn keep(server: Server) -> Result<()> {
    let ended = until_told()?;
    say(&format!("listening {}", server.address()))?;
    wait(ended);
    drop(server);
    Ok(())
}

/// Asks for a signal when whoever started this ends, however that happens, and takes signals from now on.
fn until_told() -> Result<Signals> {
    set_pdeathsig(Signal::SIGTERM).context("cannot ask to be told when the parent ends")?;
    Signals::new([SIGHUP, SIGINT, SIGTERM]).context("cannot take signals")
}

fn wait(mut signals: Signals) {
    signals.forever().next();
}

/// Prints a line at once, also into a pipe.
fn say(line: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).context("cannot write to stdout")
}

fn pod_name(text: &str) -> Result<(String, String)> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => bail!("{text:?} is not of the form NAMESPACE/NAME"),
    }
}

fn record(text: &str) -> Result<(String, IpAddr)> {
    let (name, address) = text.split_once('=').with_context(|| format!("{text:?} is not of the form NAME=ADDRESS"))?;
    Ok((name.to_owned(), address.parse().with_context(|| format!("{address:?} is no IP address"))?))
}

fn method(text: &str) -> Result<(String, u32)> {
    let (method, status) =
        text.split_once('=').with_context(|| format!("{text:?} is not of the form METHOD=STATUS"))?;
    Ok((method.to_owned(), status.parse().with_context(|| format!("{status:?} is no status"))?))
}

fn service(text: &str) -> Result<ServiceSpec> {
    let parts = || {
        let (pod, rest) = text.split_once('=')?;
        let (address, rest) = rest.split_once(':')?;
        let (port, protocol) = rest.split_once('/')?;
        Some((pod, address.parse::<Ipv4Addr>().ok()?, port.parse::<u16>().ok()?, protocol.to_uppercase()))
    };
    let (pod, cluster_ip, port, protocol) =
        parts().with_context(|| format!("{text:?} is not of the form NAMESPACE/NAME=ADDRESS:PORT/PROTOCOL"))?;
    let (namespace, name) = pod_name(pod)?;
    let port = (format!("port-{port}"), protocol, port, port);
    Ok(ServiceSpec { namespace, name, cluster_ip, ports: vec![port] })
}
