//! Super-packets: what offloads hand over in one piece counts as the packets that will be on the wire.

use chainkit_abi::{
    state::{ESTABLISHED, REPLIED},
    tcp::{ACK, PSH},
};

use crate::{
    frame::{ETHERNET, TCP, UDP, patched, tcp, udp},
    node::{FROM_POD, TO_POD, observing},
    step::{Step, converse},
};

#[test]
fn a_super_packet_counts_as_its_segments_each_with_headers() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let s = ends.headers() as u32 + 20;
        let conn = ends.entry(TCP, 40000, 80).state(ESTABLISHED);
        // 2,400 bytes in segments of 500: four full ones and one of 400.
        let sent = 5 * s + 2400;
        // Two full ones.
        let got = 2 * s + 2800;
        vec![
            ends.sends(TCP, &tcp(40000, 80, ACK, 2400)).segments(5, 500, 5, sent).opens(conn.tx(5, sent.into())),
            ends.gets(TCP, &tcp(80, 40000, ACK, 2800))
                .segments(2, 1400, 2, got)
                .replies(conn.tx(5, sent.into()).rx(2, got.into())),
            ends.sends(TCP, &tcp(40000, 80, ACK, 2400))
                .segments(5, 500, 5, sent)
                .goes_on(conn.tx(10, (2 * sent).into()).rx(2, got.into())),
        ]
    });
}

#[test]
fn segments_that_nobody_counted_follow_from_the_payload() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let s = ends.headers() as u32 + 20;
        let conn = ends.entry(TCP, 80, 50000).state(ESTABLISHED);
        let told = 3 * s + 1001;
        vec![
            ends.gets(TCP, &tcp(50000, 80, ACK, 1001)).segments(0, 500, 3, told).opens(conn.rx(3, told.into())),
            // Less than one segment's worth is a packet like others.
            ends.gets(TCP, &tcp(50000, 80, ACK | PSH, 500))
                .segments(0, 500, 1, s + 500)
                .flags(conn.rx(4, (told + s + 500).into())),
        ]
    });
}

#[test]
fn one_segment_is_one_packet() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let s = ends.headers() as u32 + 20;
        let conn = ends.entry(TCP, 80, 50001).state(ESTABLISHED);
        vec![ends.gets(TCP, &tcp(50001, 80, ACK, 10)).segments(1, 1448, 1, s + 10).opens(conn.rx(1, (s + 10).into()))]
    });
}

#[test]
fn udp_in_segments_repeats_its_header_too() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let u = ends.headers() as u32 + 8;
        let conn = ends.entry(UDP, 40000, 443).by_pod();
        let (sent, got) = (3 * u + 3000, 2 * u + 1500);
        let replied = conn.state(REPLIED).tx(3, sent.into());
        vec![
            ends.sends(UDP, &udp(40000, 443, 3000)).segments(3, 1000, 3, sent).opens(conn.tx(3, sent.into())),
            ends.gets(UDP, &udp(443, 40000, 1500)).segments(0, 1000, 2, got).replies(replied.rx(2, got.into())),
            ends.gets(UDP, &udp(443, 40000, 1500)).segments(0, 1000, 2, got).goes_on(replied.rx(4, (2 * got).into())),
            ends.sends(UDP, &udp(40000, 443, 3000))
                .segments(3, 1000, 3, sent)
                .goes_on(replied.tx(6, (2 * sent).into()).rx(4, (2 * got).into())),
        ]
    });
}

#[test]
fn the_length_fields_of_a_super_packet_are_not_believed() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let s = ends.headers() as u32 + 20;
        let bytes = 2 * s + 2000;
        let conn = ends.entry(TCP, 40000, 80).state(ESTABLISHED);
        // Total length or payload length 0, as it is where 16 bits do not hold it.
        let field = if ends.family() == 4 { ETHERNET + 2 } else { ETHERNET + 4 };
        let frame = patched(ends.outgoing(TCP, &tcp(40000, 80, ACK, 2000)), field, &[0, 0]);
        let step = Step::new(FROM_POD, frame).segments(2, 1000, 2, bytes).opens(conn.tx(2, bytes.into()));
        let u = ends.headers() as u32 + 8;
        let bytes = 2 * u + 2000;
        let frame = patched(ends.incoming(UDP, &udp(443, 40000, 2000)), ends.headers() as usize + 4, &[0, 0]);
        let conn = ends.entry(UDP, 40000, 443).by_peer();
        vec![step, Step::new(TO_POD, frame).segments(2, 1000, 2, bytes).opens(conn.rx(2, bytes.into()))]
    });
}
