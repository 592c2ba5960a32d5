//! The man page beyond the flags.

use chainkit_cli::{EXIT_STATUS, Section};

/// Examples at the end of `--help`.
pub(crate) const EXAMPLES_IN_SHORT: &str = "\
Examples:
  cni-chain status                           is the datapath there, and all as it should be?
  cni-chain endpoints -o json                what is attached, with counters
  cni-chain adopt --all --dry-run            which running pods would be attached to
  cni-chain adopt --pod shop/web             attach to one that already runs
  cni-chain release --all --purge            take everything off this node
  cni-chain upgrade                          swap the programs for this binary's";

/// Sections after the options.
pub(crate) const SECTIONS: &[Section] = &[
    Section {
        title: "AS A PLUGIN",
        text: "\
In a chain, cni-chain stands behind the plugin that makes the pod's interface. At ADD it finds the host side of every
veth of the pod (also those that egress-cni and further NICs add), writes an endpoint record, gives each a slot and
connection tables in the datapath, and hangs two programs on it. The first ADD on a node loads the datapath and pins it.
The answer is the result of the plugins before, byte for byte if it is in the version that was asked in. Stdout holds
that, or an error of the CNI specification, and nothing else.

ADD makes no API call, takes no token, and waits for no daemon; for another process that changes endpoints it waits 20 s at
most (code 11). A repeated ADD changes nothing. DEL always succeeds: what it cannot take away it says in the log, and a later
call sweeps it once the interface is gone; cni-chain status names what has lost its record. CHECK compares record, namespace and kernel. GC takes
away the attachments of its network that the runtime does not list as valid, and nothing where there is no list. STATUS
says whether ADD would work. Versions 0.3.0, 0.3.1, 0.4.0, 1.0.0 and 1.1.0 of the specification are spoken; CHECK came with
0.4.0, GC and STATUS with 1.1.0.

Its keys in the configuration, all of them optional:

mode
  What becomes of verdicts: observe (default; nothing is judged), audit (would-be denials are reported), enforce (they
  are dropped). With no policy loaded nothing is denied in any of them.

attach
  auto (default): tcx from Linux 6.6 on, clsact below; or tcx, or clsact.

connections
  Connections remembered for each interface and address family: 64 to 1048576, default 4096.

onFailure
  fail (default): a pod that could not be attached does not start, and the runtime tries again. pass: it starts
  unattached, and the log says so; not with mode enforce.

logFile
  An absolute path that log lines are appended to, besides stderr; --root is not put in front of it. Its folder is made where
  it is missing. Never through a symbolic link; one of more than 16 MiB is moved to <logFile>.1 first.

logLevel
  error, warning, info (default) or debug.

Any other key that the specification does not know is an error of ADD, CHECK and STATUS (code 7) that names it, so that a slip in
\"mode\" is not a pod without policy. DEL and GC ignore it.

Error codes are those of the specification; of its own are 100, the datapath could not be put in place, and 101, CHECK found
something changed. Code 11 means that trying again may help.",
    },
    Section {
        title: "BEHIND THE VPC CNI",
        text: "\
The VPC CNI writes /etc/cni/net.d/10-aws.conflist on every start of aws-node and so undoes a change of that file. Which way
holds depends on the runtime's libcni.

From libcni 1.3 on a runtime also reads drop-ins: files in a folder named after the network are appended to its chain. The
VPC CNI's network is called aws-cni, as is the one that Cilium copies from it, so one file survives both:

    install -m 0755 cni-chain /opt/cni/bin/cni-chain
    mkdir -p /etc/cni/net.d/aws-cni
    cat > /etc/cni/net.d/aws-cni/50-cni-chain.conf <<'END'
    {\"type\": \"cni-chain\", \"mode\": \"observe\", \"logFile\": \"/var/log/chainkit/cni-chain.log\"}
    END

A runtime with an older libcni wants the entry in the list itself, last, after portmap. Write the new file beside the old one,
under a name that no runtime loads, and rename it over the old one; do this after aws-node has started, and again whenever
it has restarted (it writes the file anew):

    jq '.plugins += [{\"type\": \"cni-chain\"}]' 10-aws.conflist > 10-aws.conflist.new
    mv 10-aws.conflist.new 10-aws.conflist

Do not put a list of your own beside it: one whose name sorts before 10-aws.conflist takes its place entirely.

The VPC CNI's list is of version 0.4.0 and disables CHECK, and runtimes then call neither GC nor STATUS: cni-chain status
and the sweep in each ADD and DEL (once a minute at most) stand in for them. New pods are attached from then on; those that
run already are not, until they are adopted:

    cni-chain adopt --all
    cni-chain status && cni-chain endpoints

To take it out: first the entry or the drop-in; then wait until no pod that was started with it is left, which the
configurations that libcni has cached in base64 tell; then cni-chain release --all --purge, and the binary last. A runtime
that still names a plugin whose binary is gone can delete no pod.

    for f in /var/lib/cni/results/*; do jq -r .config \"$f\" | base64 -d | grep -q cni-chain && echo \"$f\"; done",
    },
    Section {
        title: "ADOPTING",
        text: "\
adopt finds the pods that run, and says of each who told: the runtime's CRI (cri), results that libcni has cached under
/var/lib/cni (cached-result), the VPC CNI's /var/run/aws-node/ipam.json with the name it gives to a pod's veth (ipam); or
nobody, where an interface or a namespace was named (interface, netns). Pods of the host network have no interface of
their own and are passed over.

Each is taken in three steps: the programs are attached and observe; the connections that exist are entered, from the
connection tracking of the node and of the pod, which know who opened them, and then from the pod's sockets for what those
lack; and only then is the mode put in force. No packet is held up or lost. A connection that only a socket tells of, and
whose listener is gone, is entered as opened by nobody known: it passes if either direction allows it.

A pod that is attached already keeps its mode unless --mode is given, and its tables and kind of attachment in any case;
what hangs of it no more is hung there again.

release takes the programs off again, then slot, tables and record. Connections go on. With --all --purge the datapath, its
pins and our files go too, but for /run/chainkit with its lock, which another process may be waiting for.",
    },
    Section {
        title: "UPGRADING",
        text: "\
upgrade loads this binary's programs onto the tables that are there, and replaces each attached program in one step, so that each
packet meets the old one or the new one and both use the same tables. Connections, counters and readers go on. If it
is interrupted, some interfaces run the one and some the other, which is sound; run it again.

Tables of another ABI version cannot be taken over. upgrade refuses them and says so; upgrade --migrate installs this
version's datapath beside, attaches it to every interface of the other, enters the connections that exist as adopt does, and
takes the other away after that. Counters begin anew then.",
    },
    Section {
        title: "OUTPUT",
        text: "\
With -o json or jsonl each record is an object with the key kind. Fields are added in later versions, never renamed.

Endpoint
  namespace, pod_name, pod_uid, container_id, network, ifname (the attachment's CNI_IFNAME), netns (path), addresses,
  mode, source (cni, cri, cached-result, ipam, interface, netns), interfaces, problems (texts; empty is good). What nobody
  knows is empty. An endpoint that flowdump --attach has leased has no record, and all of these are empty but mode.

Endpoint.interfaces
  name and ifindex (in the pod), host_name and host_ifindex (on the node), mode (in force,
  policy's where there is one; null: none), attach (tcx, clsact,
  null), programs (hook: from_pod or to_pod; id; name; before: programs that run before it), counters (null: not known).

Endpoint.interfaces.counters
  connections (entries now, expired ones that were not swept yet included), evicted (live ones that made room), failed
  (could not be remembered), dropped (packets denied), from_pod and to_pod (packets, bytes: since the interface was attached;
  a super-packet counts as its segments, bytes are those of Ethernet frames without check sequence).

Adopted
  namespace, pod_name, container_id, source (as above), interfaces (host side), entered (host_conntrack, pod_conntrack, socket: how many
  connections were entered from each), mode, result (adopted, already, would-adopt, failed), reason.

Released
  namespace, pod_name, container_id, interfaces, result (released, would-release, failed), reason.

Status
  installed, abi, version (of the program that loaded it; null: not known), current (whether its programs are this
  binary's; null: not found out), program_version, program_abi, pins (path), attach (how auto attaches on this kernel: tcx
  or clsact), endpoints (number of records), problems (texts).

Upgraded
  from_abi, to_abi, links (interface ends swapped), unchanged, migrated (interfaces moved over), result (upgraded, unchanged,
  would-upgrade), version.",
    },
    Section {
        title: "PRIVILEGES",
        text: "\
CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON to attach, and CAP_SYS_ADMIN to enter pods' namespaces; root has them all, and runtimes
call plugins as root. What lacks is named, with exit code 3, or to a runtime with error code 100.",
    },
    Section {
        title: "FILES",
        text: "\
/sys/fs/bpf/chainkit/<ABI version>/
  Pins of the datapath: maps, programs, links.

/run/chainkit/endpoints/*.json
  A record for each endpoint (kind Endpoint), mode 0600. Written before anything is attached, removed after everything
  is taken off.

/run/chainkit/datapath.json
  Which version has loaded the datapath.

/run/chainkit/lock
  Held while endpoints are changed.

/run/chainkit/swept
  When it was last looked for what pods that are gone have left.",
    },
    Section {
        title: "ENVIRONMENT",
        text: "\
CNI_COMMAND, CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS
  As the CNI specification has them. With arguments on the command line they are ignored.

TRACEPARENT, TRACESTATE
  The trace that a call is part of (W3C Trace Context): trace_id, span_id, trace_flags and trace_state of each log line.

CHAINKIT_ROOT
  The same as --root, for the plugin, too; but for logFile.",
    },
    Section {
        title: "EXAMPLES",
        text: "\
What is attached, and which pods had packets dropped:

    cni-chain endpoints
    cni-chain endpoints -j | jq 'select(any(.interfaces[].counters; .dropped > 0)) | .pod_name'

In a runbook, before and after:

    cni-chain status -j | jq -r '.problems[]'

See what would be adopted, then do it, then watch:

    cni-chain adopt --all --dry-run
    cni-chain adopt --all
    flowdump",
    },
    EXIT_STATUS,
    Section { title: "SEE ALSO", text: "flowdump(1), mapstat(1), netcheck(1), polload(1)" },
];
