//! One pod's flood of connections against another's connections.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};

use chainkit_abi::{CONNECTIONS, Counter};
use chainkit_bpf::{Connection, Kit};
use chainkit_lab::peer::{tcp, udp};
use chainkit_lab::{INTERNET, Pod};

use crate::stage::{Watch, at, on_node};

const FLOOD: u64 = 1_000_000;

/// Sends a datagram each to new addresses and ports, until the datapath has met `FLOOD` new connections.
fn flood(pod: &Pod, met: impl Fn() -> u64 + Send + Sync) {
    pod.run(|| {
        let socket = UdpSocket::bind(at(pod.ip4, 0)).unwrap();
        // A benchmark's addresses (RFC 2544), which the node swallows.
        for host in 1..=1000u32 {
            let address = Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + host);
            for port in 1..=2000 {
                socket.send_to(b"x", at(address, port)).unwrap();
            }
            if met() >= FLOOD {
                return;
            }
        }
        panic!("of two million datagrams the datapath met {}", met());
    })
    .unwrap();
}

/// What must not change of a connection that nothing happens to.
fn identity(connection: &Connection) -> (u8, u16, u16, u64, u64, u64) {
    let Connection { protocol, local_port, remote_port, conn, .. } = *connection;
    (protocol, local_port, remote_port, conn.first_seen, conn.tx_packets, conn.rx_packets)
}

#[test]
fn a_million_new_connections_of_one_pod_evict_none_of_another() {
    on_node(|lab| {
        let (noisy, quiet) = (lab.pod("shop", "noisy").unwrap(), lab.pod("shop", "quiet").unwrap());
        lab.node().ip(["route add blackhole 198.18.0.0/15 table 2"]).unwrap();
        let watch = Watch::start(lab, &[&noisy, &quiet], Kit::best());
        let tcp_server = lab.world().run(|| tcp::echo(at(INTERNET, 0))).unwrap().unwrap();
        let udp_server = lab.world().run(|| udp::echo(at(INTERNET, 0))).unwrap().unwrap();

        let mut streams: Vec<TcpStream> =
            quiet.run(|| (0..50).map(|_| TcpStream::connect(tcp_server.address()).unwrap()).collect()).unwrap();
        let sockets: Vec<UdpSocket> =
            quiet.run(|| (0..50).map(|_| UdpSocket::bind(at(quiet.ip4, 0)).unwrap()).collect()).unwrap();
        let mut talk = || {
            let mut answer = [0; 5];
            for stream in &mut streams {
                stream.write_all(b"hello").unwrap();
                stream.read_exact(&mut answer).unwrap();
            }
            for socket in &sockets {
                socket.send_to(b"hello", udp_server.address()).unwrap();
                assert_eq!(socket.recv(&mut answer).unwrap(), 5);
            }
        };
        talk();
        // The last acknowledgements are delayed; from then on all is idle.
        let mut before: Vec<_> = Vec::new();
        crate::stage::eventually("the pod does not fall silent", || {
            let last = std::mem::replace(&mut before, watch.connections(&quiet).iter().map(identity).collect());
            std::thread::sleep(std::time::Duration::from_millis(200));
            before == last
        });
        assert_eq!(before.len(), 100);

        let new = watch.counter(Counter::NewConnections);
        flood(&noisy, || watch.counter(Counter::NewConnections) - new);

        let mut after: Vec<_> = watch.connections(&quiet).iter().map(identity).collect();
        before.sort_unstable();
        after.sort_unstable();
        assert_eq!(before, after);
        assert_eq!(watch.datapath.table_state(watch.slot(&quiet)).unwrap().evicted, 0);
        // The flood is remembered as far as its own table reaches, and all else of it had to make room.
        let flooded = watch.datapath.table_state(watch.slot(&noisy)).unwrap();
        assert_eq!(watch.connections(&noisy).len(), CONNECTIONS as usize);
        assert!(flooded.evicted >= FLOOD - u64::from(CONNECTIONS), "{flooded:?}");
        assert_eq!((flooded.failed, watch.counter(Counter::InsertFailed)), (0, 0));
        // They are live, too: what comes now is counted where it was.
        talk();
        for connection in watch.connections(&quiet) {
            let (_, _, _, _, tx_packets, rx_packets) = *before
                .iter()
                .find(|(protocol, local_port, _, first_seen, ..)| {
                    (*protocol, *local_port, *first_seen)
                        == (connection.protocol, connection.local_port, connection.conn.first_seen)
                })
                .unwrap();
            assert!(connection.conn.tx_packets > tx_packets && connection.conn.rx_packets > rx_packets);
        }
        watch.all_was_readable();
    });
}
