//! The map.

pub(super) const TEXT: &str = "\
flowdump map gathers flows into edges: who asks (src), who is asked (dst), over what. It takes the flows that flowdump itself
would show, live or of saved lines, also those of several nodes after one another:

    cat node-1.jsonl node-2.jsonl | flowdump map -r -

Without --watch the map is shown once, when the flows end (-r, --duration, --first, Ctrl-C). With it, a table on a terminal
is drawn anew each second, and in a pipe the whole map is written each second, each line of JSON with its time. An edge
without a flow for ten minutes goes then; what speaks again later is counted from there.

A node is what pods belong to (NS/NAME), a pod (NS/NAME), a namespace, a service (svc:NS/NAME, where the backend is not known
or --by service), an external peer by the first of its DNS names or else by its address, one of Hubble's reserved entities
(such as reserved:host), or (others), which stands for what was beyond --edges and --externals.

A connection counts once, however often it is told and whether one or both of its ends are observed: its counters are
cumulative, so the largest counts, and of two ends the larger. One that goes to a service's address is put together with the
one that the backend's pod sees, where the two have the client's address and port in common and begin within two seconds of
each other. Lines may be cut or in any order. Lines of Hubble's own have no bytes: what is not known is null, a dash in
the table. Where it is not told who opened a connection, who has the ephemeral port asks.

-o dot and -o mermaid are drawings; what was denied or failed is red. Mermaid draws 500 edges unless its maxEdges is raised.
-o html is a page that needs no network: drag and wheel move and zoom, a click shows the numbers and the last flows, and
what is searched or picked is in its address. / goes to the search, Escape back, 0 fits the map, arrows and + - move it.

With --watch -o html a browser of this host gets the page, and what is new every two seconds, at the address that stderr
tells: http://127.0.0.1:PORT/. --listen takes another port, or another loopback address; any user of the host can look. Who
asks for it by a name other than localhost or a loopback address is refused, so that no page of somebody else's can read it.
It goes on until a signal, or until --duration is up, also when the lines of a pipe have ended.

With -o jsonl an edge is an object of these:

kind
  Edge.

time
  With --watch, when the map was like this.

src, dst, src_kind, dst_kind, src_namespace, dst_namespace
  The ends, what they are (workload, pod, namespace, service, name, reserved, address, others, unknown), and their
  namespaces, where they have one.

port, protocol, l7
  The port of dst (null without ports, or where there were more than 64 between two nodes); TCP, UDP, SCTP, ICMPv4, ICMPv6
  or a number; what is spoken: http, grpc, dns, kafka, quic, tls, or null.

flows, rate
  Flows, which are lines: several for each connection, and from each end that is observed. How many a second: of all the
  time from the first flow to the last, or with --watch since the map was shown last.

connections, bytes_to, bytes_from
  Connections, and bytes of Ethernet frames to dst and from it since they began; null where no line tells.

denied, would_deny, denied_by
  Packets that policy dropped, packets that would be were it enforced, and policies that say so, eight at most.

requests, errors
  Requests, and those that failed at dst: HTTP status from 500 on, a gRPC status other than 0, a DNS response code other
  than 0 and 3, a Kafka error code other than 0; and packets that the kernel dropped (--drops), which kernel_drops counts
  alone.

resets, unanswered
  TCP connections that were reset, and that ended without an answer (null where no line tells).

tcp
  How TCP fares, where a handshake failed or --tcp-health measured: measured (connections that were), segments_to and _from,
  retransmits_to and _from, out_of_order_to and _from, zero_windows_by_src and _by_dst, resets_by_src and _by_dst (after the
  handshake), refused, timeouts (handshakes not answered), rtt_p50_ms, rtt_p99_ms, jitter_p50_ms (of connections that are
  remembered; null where there is none). What they are of is said under HOW TCP FARES.

p50_ms, p99_ms, latencies, latency_of, latency_at
  Latency that half and 99 of 100 are below, in milliseconds, within 3.2 %; of how many; of what: of requests what l7 can
  be, else rtt, of TCP handshakes; measured at client or server.

verdicts
  Flows by verdict: forwarded, dropped, audit, other.

names
  DNS names of dst, eight at most.

first, last
  When the first and the last flow was.

overflow, partial
  true where it stands for edges that there was no room for; where bytes and connections may be more, since so many
  connections were told that some were let go of.";
