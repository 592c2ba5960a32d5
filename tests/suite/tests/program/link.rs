//! What is below IP: VLAN tags, ARP, and what is neither.

use chainkit_abi::{Counter, state::REPLIED};

use crate::{
    frame::{IPV4, IPV6, SERVICE_VLAN, UDP, VLAN, ethernet, ip, tagged, udp},
    node::{Ends, FROM_POD, TO_POD, observing},
    step::{Step, converse},
};

fn ethertype(ends: Ends) -> u16 {
    if ends.family() == 4 { IPV4 } else { IPV6 }
}

#[test]
fn one_and_two_vlan_tags_are_read_past() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let request = ip(ends.pod, ends.peer, UDP, &udp(40000, 53, 0));
        let reply = ip(ends.peer, ends.pod, UDP, &udp(53, 40000, 0));
        let one = ethernet(VLAN, &tagged(100, ethertype(ends), &request));
        let two = ethernet(SERVICE_VLAN, &tagged(7, VLAN, &tagged(4095, ethertype(ends), &reply)));
        let same = ethernet(VLAN, &tagged(7, VLAN, &tagged(0, ethertype(ends), &request)));
        let conn = ends.entry(UDP, 40000, 53).by_pod();
        let h = ends.headers() + 8;
        vec![
            Step::new(FROM_POD, one).opens(conn.tx(1, h + 4)).vlan(100),
            Step::new(TO_POD, two).replies(conn.state(REPLIED).tx(1, h + 4).rx(1, h + 8)).vlan(4095),
            Step::new(FROM_POD, same).goes_on(conn.state(REPLIED).tx(2, 2 * h + 12).rx(1, h + 8)).vlan(0),
        ]
    });
}

#[test]
fn three_vlan_tags_are_too_many() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let packet = ip(ends.pod, ends.peer, UDP, &udp(40000, 53, 0));
        let three = tagged(1, VLAN, &tagged(2, VLAN, &tagged(3, ethertype(ends), &packet)));
        let tags = |kind| ethernet(kind, &three);
        vec![
            Step::new(FROM_POD, tags(VLAN)).malformed(Counter::BadVlan).vlan(2),
            Step::new(FROM_POD, tags(SERVICE_VLAN)).malformed(Counter::BadVlan).again().vlan(2),
            Step::new(TO_POD, tags(VLAN)).malformed(Counter::BadVlan).vlan(2),
        ]
    });
}

#[test]
fn arp_is_counted_and_no_more() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |_| {
        // Who has 169.254.1.1 (RFC 826); with a tag too; and one cut off, which still is none of ours.
        let request = [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 0x0b, 10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 169, 254, 1, 1];
        vec![
            Step::new(FROM_POD, ethernet(0x0806, &request)).only_counts(Counter::Arp),
            Step::new(TO_POD, ethernet(0x0806, &request)).only_counts(Counter::Arp),
            Step::new(TO_POD, ethernet(VLAN, &tagged(9, 0x0806, &request))).only_counts(Counter::Arp),
            Step::new(TO_POD, ethernet(0x0806, &[])).only_counts(Counter::Arp),
        ]
    });
}

#[test]
fn what_is_neither_ip_nor_arp_is_counted_as_unknown() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |_| {
        // LLDP, EAPOL, an IEEE 802.3 length (spanning tree), a local experiment behind a tag.
        let frames = [
            ethernet(0x88cc, &[2, 7, 4, 2, 0, 0, 0, 0, 0x0b]),
            ethernet(0x888e, &[1, 0, 0, 4]),
            ethernet(38, &[0x42, 0x42, 3]),
            ethernet(0x88b5, &[]),
        ];
        let mut steps: Vec<_> = frames
            .into_iter()
            .map(|frame| Step::new(FROM_POD, frame).malformed(Counter::UnknownEthertype).again())
            .collect();
        steps[0] = steps[0].clone().first();
        let last = Step::new(TO_POD, ethernet(VLAN, &tagged(30, 0x88b5, &[1])));
        steps.push(last.malformed(Counter::UnknownEthertype).vlan(30));
        steps
    });
}
