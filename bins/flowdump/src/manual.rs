//! The man page beyond the flags.

mod aggregate;
mod drops;
mod health;
mod layer7;
mod map;
mod metrics;
mod top;

use chainkit_cli::Section;

/// Examples at the end of `--help`.
pub(crate) const EXAMPLES_IN_SHORT: &str = "\
Examples:
  flowdump                                          flows of this node's pods, as they come
  flowdump --pods pods.json --namespace shop        with names, of one namespace
  flowdump --verdict DROPPED --verdict AUDIT -j     what is or would be dropped, as JSON
  flowdump --l7 --http-status 5+                    responses of HTTP that tell of an error, as they come
  flowdump --attach all --duration 10s              attach for ten seconds where nothing is attached
  flowdump -r flows.jsonl --to-port 53 -o table     from saved lines
  kubectl get pods -A -o json | flowdump --pods -   names straight from the cluster
  flowdump map -r flows.jsonl                       who talks to whom, as a map: see flowdump map --help
  flowdump metrics                                  flows as metrics for Prometheus: see flowdump metrics --help
  flowdump top                                      who sends and receives most now: see flowdump top --help";

pub(crate) use health::EXAMPLES as HEALTH_EXAMPLES;
pub(crate) use top::EXAMPLES as TOP_EXAMPLES;

/// Examples at the end of `map --help`.
pub(crate) const MAP_EXAMPLES: &str = "\
Examples:
  flowdump map --pods pods.json --duration 1m        who talks to whom in a minute, by workload
  flowdump map -r flows.jsonl --by namespace         of saved lines, by namespace
  flowdump map -r flows.jsonl --verdict DROPPED -j   what was denied between whom, as JSON
  flowdump map -r flows.jsonl -o dot | dot -Tsvg     a drawing
  flowdump map -r flows.jsonl -o html > map.html     a page to look at in a browser
  flowdump map --watch                               a screen that is drawn anew each second
  flowdump map --watch -o html                       a page that follows the flows, for a browser of this host";

/// Examples at the end of `metrics --help`.
pub(crate) const METRICS_EXAMPLES: &str = "\
Examples:
  flowdump metrics --pods pods.json                  all metrics, at http://127.0.0.1:9965/metrics
  flowdump metrics --api --listen 0.0.0.0:9965       for scrapers of other hosts, with names that follow the cluster
  flowdump metrics --once -r flows.jsonl             of saved lines, printed
  flowdump metrics --once --duration 1m --metrics drop:sourceContext=workload
                                                     what is dropped in a minute, by the workload that sent it";

/// Sections after the options.
pub(crate) const SECTIONS: &[Section] = &[
    Section {
        title: "HOW FILTERS COMBINE",
        text: "\
A filter flag that is repeated takes any of its values; different flags must all hold. Bare flags such as --pod, --ip
and --port ask for one end of the flow, whichever it is, each for itself (but a namespace for that of the pod): --pod
shop/web --port 53 shows what the pod asks of port 53, and the answers. Hubble takes bare flags given together for the
same end. To ask something of a certain end, say --from-... or --to-...; a bare flag does not go together with its own
variants.

--not turns the one filter that follows it: what that one means is left out. Of several different negated flags all
must hold for a flow to be left out; of repeated ones any.

A pod is [NAMESPACE/]NAME, where NAME stands for all names that begin with it. Without NAMESPACE it is one of the
namespace default, or of those of --namespace; NAMESPACE/ is every pod of a namespace, /NAME any pod of that name.

A label selector is one of kubectl: key=value, key!=value, key in (a,b), key notin (a,b), key, !key, key>1, key<1, with
commas between those that must all hold. Labels of flows have a source, such as k8s:app=web or reserved:world; a key
may have it (k8s:app) or not (app).

Word of lost events passes all filters, since it is about what could not be shown.",
    },
    Section {
        title: "VALUES OF FILTERS",
        text: "\
Names, values and meanings are Hubble's where Hubble has the filter.

--service takes [NAMESPACE/]NAME as --pod does, for the service whose virtual address an end is. --workload takes NAME,
KIND/NAME or KIND/, each as it stands in flows. --identity takes a number or host, world, unmanaged, health, init,
remote-node, kube-apiserver, ingress, world-ipv4 or world-ipv6.

In names of --fqdn, --sni, --cluster and --node-name each * stands for any text, and the case of letters does not matter. A
node is [CLUSTER/]NODE; one whose name tells no cluster is of the cluster default.

--type takes a name or number, and after a colon a sub-type: of trace the place, such as trace:to-endpoint, of drop the
reason, such as drop:POLICY_DENIED, else a number.

--http-status takes 404, or the first digits of statuses, 5+ or 40+. --http-path, --http-url and --dns-query take a regular
expression of the syntax of RE2, which may match anywhere: ^ and $ stand for begin and end. The path is without escapes
and query. --http-header takes NAME:VALUE; the case of NAME does not matter, and NAME: or :VALUE leave the other open.

--reply means packets and messages that answer; --reply=false those that do not. Of neither are those of which it is
not known, unless they were dropped.

--latency takes a duration (10ms, 1.5s) as the least, or one with >, >=, < or <= before it; of several with commas between
them all must hold. Only responses whose request was seen have a latency.

--min-bytes takes a number of bytes, such as 1500, 10kB or 10MiB: of the connection so far, both ways; of a packet without
connection its own.

--policy takes NAMESPACE/NAME; NAMESPACE/ is any of a namespace, /NAME one of the cluster, NAME either. It means flows
that the policy allowed or denied at either end.

--protocol tls means flows of a ClientHello, also of QUIC.

--allowlist and --denylist take Hubble's FlowFilter as JSON, in snake_case or camelCase, or several one after the other: flows
that one of --allowlist means are shown besides those of the other filters, and flows that one of --denylist means are left
out. A field that is not known is an error. What Hubble has no field for is in a field chainkit, an object of lists policy,
sni, latency and min_bytes. --print-raw-filters prints what all filters together amount to, in YAML as Hubble does.

--cel-expression takes an expression of the Common Expression Language, as Hubble does: the flow is _flow, with the fields of
Hubble's flow.proto by their names there, and zero for what is not set; has(_flow.l7.http) asks whether it is. Enums are
numbers, with names such as Verdict.DROPPED. A wrong field or type is an error, with its place. One that fails on a flow, such
as by _flow.source.labels[0] where there are no labels, does not hold for it. What Hubble has no fields for is below
_flow.extensions.value, such as _flow.extensions.value.connection.rtt_ns > 1000000u. Time is not to be had: there are --since
and --until.
Expressions are of up to 4096 bytes, and at most two macros that go through a list lie within one another.",
    },
    Section {
        title: "ATTACHING",
        text: "\
Without --attach the datapath must hang on interfaces already. With it, it is put on the host side of the interfaces that
are meant: of a pod's (found by its endpoint record, by the way to an address that --pods gives, or by the name that the
AWS VPC CNI gives such interfaces), of the one that is named, or of every pod of this network namespace, also of those
that come later. Pods are not restarted, and no packet is lost or changed. Where something else has hung it there, it
is used and left.

Several flowdump may run at once and see the same; the last to end takes off what was put on for them. From Linux 6.6 on
the kernel sees to that even if it is killed; below, the filters of one that was killed stay until the next that attaches
ends. Programs of others on the same interfaces keep running. Where one of them runs before ours and may keep packets from
it, a warning names it.

With --per-packet a line is a packet, or a super-packet that stands for several (packets, in extensions); an end that no
packet makes, such as an expiry, is left out then.

Use nsenter --net=FILE, and not ip netns exec, to look into another network namespace: the latter hides pinned objects.",
    },
    Section {
        title: "POLICY",
        text: "\
Where polload apply has put policy in force, a flow that policy judged names the policies that decided, below --root from
/var/lib/chainkit/policy. Numbers that cannot be told by it (a file cannot be read, which a warning says once, or the rules
have changed since) stand as numbers: value.rule below. What polload apply --mode audit would drop passes as AUDIT and names
the same policies:

    flowdump --verdict DROPPED --verdict AUDIT",
    },
    Section { title: "REQUESTS AND RESPONSES", text: layer7::TEXT },
    Section { title: "WHAT THE KERNEL DROPS", text: drops::TEXT },
    Section { title: "FLOWS FOLDED INTO ONE", text: aggregate::TEXT },
    Section { title: "HOW TCP FARES", text: health::TEXT },
    Section { title: "THE MAP", text: map::TEXT },
    Section { title: "METRICS", text: metrics::TEXT },
    Section { title: "THE TOP", text: top::TEXT },
    Section {
        title: "PRIVILEGES",
        text: "\
Live flows take CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, and CAP_SYS_ADMIN too to find a datapath that another process has
attached; root has them all. What lacks is named, with exit code 3. -r takes none.",
    },
    Section {
        title: "EXAMPLES",
        text: "\
Flows of this node's pods as they come, where the datapath is attached:

    flowdump

Names of the whole cluster, and one namespace of it:

    kubectl get pods,services,nodes,namespaces -A -o json > cluster.json
    flowdump --pods cluster.json --namespace shop

Names that follow the cluster, one stream for each kind. A server ends a watch after some time, and kubectl with it: a
FIFO is read on when the next writer opens it, and what that one does not list is forgotten ten seconds after its list:

    mkfifo pods services
    while kubectl get pods -A --watch --output-watch-events -o json > pods; do :; done &
    while kubectl get services -A --watch --output-watch-events -o json > services; do :; done &
    flowdump --pods pods --pods services

The same from the API server, which takes the verbs list and watch on pods, services, nodes and namespaces in all
namespaces. Flows do not wait for a server that cannot be asked: names come once it answers:

    flowdump --api

Attach for as long as it takes to see who talks to a pod:

    flowdump --attach shop/web --pod shop/web --first 20

DNS queries that leave a pod, each packet of them:

    flowdump --per-packet --from-pod shop/web --to-port 53

Save everything, and look at it later, here or with hubble:

    flowdump -j > flows.jsonl
    flowdump -r flows.jsonl --verdict DROPPED -o table
    hubble observe --input-file flows.jsonl

Which edges fare worst now, and why; now, and from what was saved:

    flowdump health --by pod
    flowdump --tcp-health -j > fares.jsonl
    flowdump health -r fares.jsonl -o table

Responses of HTTP that failed or were slow:

    flowdump --l7 --http-status 5+
    flowdump --l7 --latency '>100ms' --print-node-name --time-format RFC3339Milli

Names that pods ask for outside of the cluster, and what fails:

    flowdump --l7 --dns-query '[.]com[.]$' --not --reply
    flowdump --l7 --cel-expression '_flow.l7.dns.rcode != 0u'

Big connections of one workload, and all that a policy decided:

    flowdump --workload Deployment/web --min-bytes 100MiB
    flowdump --policy shop/default-deny --print-policy-names

What policy denied, and which policies:

    flowdump -j --verdict DROPPED | jq -c '.flow | [.source.pod_name, .destination.pod_name, ((.egress_denied_by // []) + (.ingress_denied_by // []) | map(.namespace + \"/\" + .name))]'

Bytes that each pod sent, from the ends of connections:

    flowdump -j | jq -r 'select(.flow.extensions.value.event == \"close\") | [(if .flow.trace_observation_point == \"FROM_ENDPOINT\" then .flow.source else .flow.destination end).pod_name, .flow.extensions.value.connection.tx_bytes] | @tsv'

Fail a check when events were lost:

    flowdump --duration 1m --fail-on-loss -j > flows.jsonl || echo incomplete",
    },
    Section {
        title: "FORMS OF OUTPUT",
        text: "\
compact
  A line a flow: time (UTC), source with its identity, arrow, destination with its identity, kind, verdict, summary. The
  arrow points the way that the connection was opened: -> for a packet that goes so, <- for a reply, of which source and
  destination change places, <> where who opened it is not known.

  A request or response has the type http-request, dns-response and the like, and a summary such as HTTP/1.1 200 3ms (GET
  http://cart/items). With --numeric hosts are addresses. Of --time-format the names are Hubble's; the default is
  StampMilli.

  After DROPPED or AUDIT it says who denied: DROPPED BY NetworkPolicy shop/default-deny (ingress, isolated). In brackets are
  the direction, the tier where the kind of the policy does not tell it, and the place of the rule from 0, or isolated where
  no rule allows. With --print-policy-names it also says who allowed: FORWARDED BY NetworkPolicy shop/web (egress, rule 0).

dict
  A line for each of these, a line of dashes between flows. Who allowed is told, too.

table
  Columns. Rows that come together are aligned together.

json, jsonl, jsonpb
  A JSON object a line, described below.

Control characters of names and labels are printed as escapes. No line is longer than 64 KiB; labels past 20 KiB of an
end are left out, and a label chainkit:labels-left-out=N says how many.

A flow is told for the first packet of a connection and the first of the other way, for each TCP flag that a side had
not sent before, for a change of verdict, for a denied packet (at first, then counted), for a packet that cannot be
parsed, for an ICMP error that belongs to a connection, every five seconds while a connection is active, and at its end.
With --per-packet each packet is told.",
    },
    Section {
        title: "JSON",
        text: "\
A line is Hubble's GetFlowsResponse in the form of protojson: an object of one of flow, lost_events and node_status, and
of node_name and time. Names are in snake_case, zero values left out, enums by name, 64-bit integers of Hubble's own
fields strings. What is read may also be in camelCase, with enums as numbers and integers as strings or numbers; fields
that are not known are passed over, and a line that passes the filters is printed as it was read.

node_name
  The node that saw it.

time
  When, RFC 3339 with up to nine digits of a second.

flow.time, flow.uuid, flow.node_name
  When; an identifier of this flow; the node.

flow.verdict
  FORWARDED, DROPPED, or AUDIT: let pass, and dropped were policy enforced. A packet that cannot be parsed and passes is
  FORWARDED. Hubble's others are read: ERROR, REDIRECTED, TRACED, TRANSLATED.

flow.drop_reason, flow.drop_reason_desc
  Why it was dropped, as a number and as Hubble's name for it: POLICY_DENIED (133: no rule allows it), POLICY_DENY (181: a
  rule denies it), INVALID_SOURCE_IP (132: it does not bear an address of the pod that sends it), INVALID_PACKET_DROPPED
  (134), CT_TRUNCATED_OR_INVALID_HEADER (135), UNSUPPORTED_L3_PROTOCOL (139), INVALID_IPV6_EXTENSION_HEADER (156),
  FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND (175).

flow.event_type
  type 1 is a drop, with the drop reason as sub_type; type 4 a packet that was seen, with sub_type 5 as it came from a
  pod, 0 (left out) as it went to one.

flow.trace_observation_point
  FROM_ENDPOINT: it was seen at the interface of the pod that sent it; TO_ENDPOINT: of the pod that it goes to. Left
  out for drops.

flow.Type
  L3_L4, or L7 of a request or response, whose event_type is 129.

flow.l7
  A request or response: type (REQUEST, RESPONSE), latency_ns (of a response, nanoseconds since its request, a string; left out where that
  was not seen), and one of http (code, method, url, protocol, headers: a list of key and value) and dns (query, qtypes, rcode, and of a
  response ips, ttl, cnames, rrtypes). Of a response, method and url are those of its request. Kafka, which others write, is read.

flow.source_names, flow.destination_names
  The name by which the pod at whose interface it was seen has asked DNS for its peer, with --l7.

flow.ethernet.source, flow.ethernet.destination
  Ethernet addresses of the packet.

flow.IP.source, flow.IP.destination, flow.IP.ipVersion
  IP addresses of the packet; IPv4 or IPv6. Left out where there is no IP header.

flow.l4
  One of TCP (source_port, destination_port, flags: an object of those that are set), UDP and SCTP (source_port,
  destination_port), ICMPv4 and ICMPv6 (type, code).

flow.source, flow.destination
  Who has the address: namespace, pod_name, labels and workloads (name, kind) of a pod; or identity and label of the
  host (1, reserved:host), of another node (6, reserved:remote-node), or of what lies outside of the cluster (2,
  reserved:world, where --pods says what lies inside).

flow.source_service, flow.destination_service
  name and namespace of the service whose virtual address it is.

flow.traffic_direction
  INGRESS or EGRESS: which way the connection was opened, seen from the pod at whose interface the packet was. A reply
  that a pod sends is INGRESS. Where it is not known who opened it, that of the rule that decided, or else the way of the
  packet.

flow.is_reply
  Whether the packet goes against the way the connection was opened; left out where that is not known.

flow.interface.index, flow.interface.name
  The host-side interface.

flow.egress_denied_by, flow.ingress_denied_by
  Of DROPPED and AUDIT: the policies that deny it to the pod that opens it, or to the pod that it is opened to. Lists of
  name, namespace and kind, such as NetworkPolicy. Where no rule allows it they are all policies that isolate the pod.

flow.egress_allowed_by, flow.ingress_allowed_by
  Of FORWARDED: the policy whose rule allows it, in the same form.

flow.Summary
  It in a few words.

lost_events.source, lost_events.num_events_lost
  PERF_EVENT_RING_BUFFER: the buffer between kernel and this program was full; how many events were lost, a string.

What Hubble has no field for is in flow.extensions, an object of @type, which is
type.googleapis.com/google.protobuf.Struct, and value, whose fields are below. Its numbers are JSON numbers.

value.event
  Why it is told: first, reply (the first packet of the other way), flags (a TCP flag not sent before by this side),
  verdict (it changed), denied, close, active (every five seconds), packet (any other, with --per-packet), malformed,
  related (an ICMP error that belongs to a connection), l7 (a request or response), kernel_drop (the kernel has dropped it, with
  --drops), or connection (an entry of a connection table, for --last and --since).

value.packets
  Packets on the wire that this one stands for: 1, or as many as the segments of a GSO super-packet.

value.bytes
  Bytes of their Ethernet frames, without check sequences.

value.count
  Of denied and kernel_drop: how many packets it was since it was last told, this one included.

value.reason
  Of denied: policy, split_service (policy denies some of the backends that the service may lead to), or invalid_source.
  Of close: fin (both sides have ended it), rst, expired (idle past its timeout), evicted (its table
  was full), removed (its endpoint went), reopened (another connection of the same addresses and ports took its place).
  Of malformed: truncated_ethernet, truncated_ipv4, bad_ipv4, truncated_ipv6, bad_ipv6, bad_ipv6_extension,
  truncated_transport, bad_transport, orphan_fragment, unknown_ethertype, bad_vlan, bad_icmp_error.

value.source_container_id, value.destination_container_id
  ID of the sandbox container of that end, where it is a pod of this node that cni-chain has recorded. It is all there is
  to go by where the runtime named no pod.

value.connection
  The connection after this packet, from the pod's side; left out where there is none. For a packet between two pods of
  this node each of them tells its own.

value.connection.opened
  Who opened it: pod, remote, or unknown where it was met in mid-stream.

value.connection.state
  unreplied, replied; of TCP syn_sent, syn_received, established, closing, closed.

value.connection.tx_packets, value.connection.tx_bytes
  Packets that the pod has sent on it, and bytes of their Ethernet frames.

value.connection.rx_packets, value.connection.rx_bytes
  Packets that the pod has received on it, and bytes of their Ethernet frames.

value.connection.first_seen
  When its first packet was seen, RFC 3339.

value.connection.rtt_ns
  Round-trip time to the other side in nanoseconds, from the TCP handshake; left out where it is not known.

value.connection.tx_flags, value.connection.rx_flags
  Lists of the TCP flags that the pod has sent and received on it.

value.vlan
  VLAN id of the packet, where it is tagged.

value.ethertype
  EtherType of the packet as a number, where it is not IP.

value.protocol
  IP protocol number, where flow.l4 has no form for it.

value.fragment
  true for a fragment other than the first; its ports are those of the first.

value.generation
  Number of the policy that judged it, where one was loaded.

value.rule
  Number of the rule that decided, where one did. From 16 on it is a rule of a policy.

value.decided_by
  What is known of that rule beside its policies: direction (ingress or egress, seen from the pod), action (allow, deny, or
  isolated: no rule allows, and policies isolate the pod), tier (such as Admin, NetworkPolicy or Baseline), rule (its place
  among the rules of its policy for that direction, from 0), and policies_left_out, where there are more policies than fit.
  Where no policy's rule decided it is because, in words: a pod and its own node, a pod and itself, a service without
  backends or with too many kinds of them, a pod of which nothing is known yet.

value.drop
  Of kernel_drop: reason (the kernel's name for it, without SKB_DROP_REASON_; unknown:N where a number has no name, unknown where the
  kernel tells none), subsystem (whose reason it is, where that is not the network core), location (the kernel's function that dropped
  it, where that may be known), netns (inode number of the network namespace it was in), length (bytes of the IP packet, of the last one).
  flow.interface is the device that had it, in that namespace.

value.l7
  Of a request or response: protocol (http1, http2, grpc, dns, tls, quic), partial (true where something of its connection was not seen, so
  that fields may be missing), stream (of HTTP/2 its identifier, of DNS that of the message), body_bytes (where it was counted to its
  end), headers_left_out (where there are more than fit; texts that are too long are cut and end with …), grpc (service, method, and of a response status, where there was one, and message), tls (sni, alpn, version, ech: it bears an
  encrypted ClientHello, so that the name may be another's).

Of ICMP a connection table keeps neither type nor code: connection and close of an ICMP exchange tell an echo request.",
    },
    Section {
        title: "EXIT STATUS",
        text: "\
0
  Flows were shown, perhaps none. Also when the reader of stdout went away, and after Ctrl-C.

1
  Events were lost, and --fail-on-loss was given.

2
  Wrong usage; a file of -r or --pods that cannot be read; a bad line, with --strict.

3
  A privilege or something in the kernel is lacking.

4
  It failed, and what was attached was detached again. Also where --listen cannot have its port.

5
  Lines of -r were bad and skipped, each told on stderr with its number; the others were shown. This outweighs 1.",
    },
    Section {
        title: "FILES",
        text: "\
/run/chainkit/endpoints/*.json
  Endpoints of this node: which pod is behind which interface.

/var/lib/chainkit/policy/
  The policy in force, with the names of its rules.

/run/chainkit/lock, observers-*.lock, leases-*.lock
  Empty files whose locks tell who is alive; the latter two go with the last that uses them.

/sys/fs/bpf/chainkit/
  The datapath's maps, where it is there for good.",
    },
    Section {
        title: "ENVIRONMENT",
        text: "\
CHAINKIT_ROOT
  As --root.

NODE_NAME
  As --own-node.

NO_COLOR
  Set to anything: nothing is coloured on a terminal, unless --color always says so.",
    },
    Section { title: "SEE ALSO", text: "cni-chain(1), mapstat(1), netcheck(1), polload(1), tcpdump(8)" },
];
