//! What the manual says of how TCP fares.

/// The section.
pub(crate) const TEXT: &str = "\
With --tcp-health the kernel follows each TCP connection that the filter lets through, at the pod's interface, both ways: for as long
as someone asks, 65,536 connections at a time and reader (24 MiB), of which the quietest is forgotten for another. The flows of a
connection then tell what it has come to in extensions, value.connection.tcp: tx of what the pod sends, rx of what it receives. Numbers
that are 0 are left out; counters only grow and begin when it was asked for, or when the connection did.

segments, retransmits
  Segments on the wire with payload or a FIN; of these, those sent again.

lost_before, out_of_order
  Of those sent again, those that had not come by before: they were lost on their way here. Segments that others had overtaken: they
  came within 3 ms, or half the round trip, of the one that overtook them; what comes later counts as sent again.

duplicate_acks, zero_windows, syns, resets, refused
  Acknowledgements repeated while data is under way; how often the sender closed its window; packets with SYN, and with RST; of the
  latter those that answer a SYN.

srtt_ns, jitter_ns, rtt_min_ns, rtt_max_ns, rtt_samples
  From a segment to its acknowledgement, without those sent again: smoothed, and its variation, as in RFC 6298; nanoseconds. tx is the
  way to the other side and back, rx that into the pod and back. What the receiver waits before it acknowledges is in it.

handshake, beside tx and rx, is refused, timeout or unanswered (sent again, and waiting) where it has failed.

flowdump health gathers this by edge, with what is known of any connection, and tells the worst, each with its reasons: as flows come those
of the last minute (--window), with -r of all there are. Counters, connections too, are of that while; round trips are of now. In JSON a
line is {\"kind\":\"Health\",\"time\",\"seconds\",\"edges\":[{\"src\",\"dst\",\"port\",\"protocol\",\"severity\",\"connections\",\"findings\":[{\"id\",\"severity\",
\"message\",\"count\",\"of\"}],\"tcp\"}],\"more\",\"healthy\",\"lost\"}; tcp is as in the edges of flowdump map --tcp-health. Edges are
ordered by the worst severity of their findings, then by the sum of count/of.

timeouts, refused
  Handshakes not answered (given up, or sent again and waiting), and answered by a reset; an error from one in five connections.

retransmits
  From 1 % of 20 segments or more a warning, from 5 % an error.

resets
  After the handshake, by one side: three or more, and one in ten connections; a warning.

zero_windows, denied, kernel_drops, errors
  Windows closed, packets that policy denied, and that the kernel dropped (--drops): a warning. Requests that failed (--l7): from
  1 % a warning, from 10 % an error.

out_of_order, jitter
  From 1 % of segments; a variation of 5 ms and half the round trip or more: worth knowing.

Of saved lines those count that were saved with --tcp-health; without it failed handshakes and resets are all that is known.";

/// Shown below the help of `flowdump health`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  flowdump health                             the worst edges of this node, drawn anew every 5 s
  flowdump health --by pod --namespace shop --duration 30s -o table
  flowdump --tcp-health -j > flows.jsonl; flowdump health -r flows.jsonl";
