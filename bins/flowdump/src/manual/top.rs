//! The top.

/// Examples at the end of `top --help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  flowdump top --pods pods.json                      which pods send and receive most, drawn anew each second
  flowdump top --by policy --sort denied             which policies deny most
  flowdump top --l7 --by workload --sort latency     which workloads answer slowest
  flowdump top --by edge --to-port 443 -j            who talks to whom over HTTPS, as JSON, a line a second
  flowdump top -r flows.jsonl --by port -o table     of saved lines, once
  flowdump top -r flows.jsonl --interval 1m          of saved lines, for each minute of theirs";

pub(super) const TEXT: &str = "\
flowdump top shows who does most. On a terminal it is a screen that is drawn anew each second (--interval), in a pipe a line
of JSON each second; -o table and -o jsonl choose. Live it also reads the counters of all connections each time, so that
rates are of that second; where there are so many that this takes more than a tenth of the time, it is shown less often, and
seconds says over how long. What connections had sent before it began is not counted, unless --last or --since asks for them.

With -r it is shown once, when the lines end, over the time from the first flow to the last; with --interval once for each such
while of the flows' own time, beginning at the first flow, whiles without flows left out, and with -f by the clock. Lines are to be
in the order of their time then: one that comes late counts in the while under way. Without chainkit's fields in the
lines there are no bytes, packets and connections: what is not known is null, a dash in the table.

    flowdump top -r flows.jsonl --by port | jq -r '.rows[] | [.name, .total.flows] | @tsv'

--by pod and --by workload show the pods that are observed, each with what its own interface saw: what goes from pod to pod
is sent by the one and received by the other. --by port and --by edge are those of servers, sent to them and received from
them; what both ends see counts once. A connection to a service's address and the one that its backend sees are two here; flowdump
map puts them together. --by policy shows each policy that allowed or denied with the traffic of the pods it judged;
connections are those it allowed, denied the packets it denied, would_deny those it would, were it enforced.

10,000 rows are kept. Beyond them those that were quiet longest are only counted in others, which says overflow then. Of
131,072 connections it is remembered what was counted of them.

With -o jsonl each time is an object of these:

kind, time, by, sort, seconds, lost
  Top; when; what was asked for; what rates are over; events that were lost.

rows
  The first --limit rows. name, and what it is made of: what and namespace, protocol and port, src and dst, policy_kind and
  direction. rate, a second since the last time, and total, since it began: flows, bytes_sent, bytes_received, packets_sent,
  packets_received, denied, would_deny, requests, errors, and of total connections and resets. p50_ms, p99_ms and latency_at: of
  requests since the last time, in milliseconds, measured at client or server; they need --l7, or lines that have them.

others
  The same sums of all other rows, how many they are (rows), and whether there were more than were kept (overflow); null
  where there are none.";
