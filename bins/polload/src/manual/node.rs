//! What the man page says of policy in force on a node.

/// What the commands do.
pub(crate) const IN_FORCE: &str = "\
plan, apply, confirm, clear, restore, watch, status and verify are about the kernel of the node they run on. They need root, in the network namespace of the node. The pods that policy judges are those that cni-chain has attached or adopted, as cni-chain status lists them; the rest of the node's traffic is nobody's business here.

apply compiles the objects for this node and puts the result in force: tables are made beside those in force, files are written below /var/lib/chainkit/policy, and one write to the kernel puts all of it in force. Until then nothing has changed; if anything fails (no memory, more classes or rules than there can be, a disk that is full, a policy that cannot be read as what it is meant to be) what was in force still is, and the message says which policy and limit. After it every new connection is judged by the new policy, and every live one is judged once more, in the direction it was opened in: a tightened policy ends what it denies. With --dry-run it does what plan does. A policy is invalid if it cannot be read, is of a version or kind that is not read, has a field that there is not, or is what an API server would refuse (see INPUT); so is one that an input gives twice, and whatever does not tell what it is, which may be a policy. apply and plan refuse everything then, since what the policy forbids would be allowed without it, and name file, line, policy and field. --skip-invalid leaves such policies out instead, and of one that is given twice takes the last; --strict refuses also where anything else cannot be used. A policy that two inputs give is taken from the one that is named later, and told: plan cluster.json new-policy.yaml is about the policy in new-policy.yaml. One without a namespace is taken for the namespace default, and told. Pods that policy selects and nothing is attached to are told.

Objects are those of the whole cluster, since rules about pods elsewhere need their labels and addresses: pods, namespaces, nodes, services, endpoint slices and policies. Which node this is, is told by --node, or found out: the node that has an address of this host, or that runs the pods which the records here name by UID, or that is called as the host is. The addresses that the host has in fact count as its own, beside those of its object. Where the objects have every pod that is attached here and that they know on one and the same other node, policy is refused, since it would isolate all of them as pods that nobody knows; where they have only some elsewhere, that is told.

With --confirm TIME (from a second to a week) the policy has to be confirmed: unless polload confirm comes in time, the kernel itself goes back to the policy that was in force before, whatever became of the session that applied it. What waits to be confirmed is not put back after a start of the node; what was there before is. A second apply in the meantime keeps what is gone back to. confirm writes down first that the policy stays, and then tells the kernel: where the disk cannot be written it fails, and the policy waits as before; one that is interrupted in between is finished by whoever comes next (confirm, apply, restore, the plugin's next ADD), and status tells of it until then.

clear takes all policy off: everything passes, and nothing comes back with the next start. With --now that is one write, whoever holds the lock. Where active.json cannot be removed policy is off all the same, would come back with the next start, and clear ends with 5. restore puts back what was in force before the node was started, from its files and without a look at any cluster; the plugin's next ADD does so too. It also takes note of a policy that the kernel went back from.

watch follows a cluster, by the API server (--api) or by watches on FIFOs, one for each kind, and has each change in force at once: for a pod elsewhere the entry of its address is written into the tables in force, for everything else a second set of tables is made what it is to be and put in force by one write. Connections are judged again with it, or half a second later where only addresses have changed. It begins once each source has given its list, or been quiet for a second after its first event. One that says nothing at all is waited for for a second; where policy is in force already, for 30 seconds, and as long as no source has told of any policy what is in force stays, which is told. An object that cannot be used stays as it was, and so does a policy that is invalid for apply: each is told, and of a policy status tells so until it is mended or gone, or other policy is put in force, also after watch has ended. When all sources have ended, or watch is ended, however that happens, what is in force stays; with --reopen a FIFO is opened again for its next writer, and what that one has not given again once it was quiet for ten seconds is gone. While it runs apply waits for it in vain; clear --now does not wait, and ends it, with 1; the systemd unit does not start it again then, so that what was taken off stays off until systemctl start polload-watch. It writes a record for each change. A systemd unit is in bins/polload/systemd of the sources.

plan changes nothing. It tells what apply would: policies that come, change and go, endpoints that would be judged otherwise, live connections that would end, and how much the tables would hold. With --shadow the policy is loaded beside the one in force and asked about each new connection, which it does not decide: what it would decide otherwise is told as it happens, until interrupted or for the time of --for. Only one shadow can be there at a time.

status tells what is in force, and ends with 1 if anything is not as it should be. verify proves it, in three steps: every entry of the kernel's tables is the one that was written, every endpoint has the rules that are its pod's, and every pod may send from its own addresses; what was read back answers as the objects say, on every boundary; and sample packets, at most 64 for each endpoint and sent with BPF_PROG_TEST_RUN, are passed or dropped as the objects say. Asked are, for one pod of each that have the same rules, the addresses of pods, nodes and services (all of up to 1024; of more, three of each class, and for each pod 64 services that others are not asked about) and the first and last address of each prefix that a policy says, with their neighbours; and the first and last of each run of ports, with theirs; for TCP, UDP, SCTP, and what has none of them; both ways. Other pods are asked about their named ports. A service with more than 1024 kinds of backends is denied where anything is, which objects do not say, and is left out.

The packets of verify go nowhere, and yet the programs take them for real. A connection that one enters is taken out again at once, so that plan, flowdump and cni-chain do not count it; each has a source port below 1024 that no connection of the pod has, and none is sent whose connection is there already, so that nothing of the pod's own is touched. A pod whose connection table is more than half full is sent none, since what lives might have to make room. What cannot be told apart from real traffic stays: each packet counts for its rule, with the time (status), a denied one among the packets dropped of its endpoint (cni-chain status, flowdump), and each is told to whoever looks at that moment (flowdump). --no-packets leaves them out. A finding is told once it was there at each of four looks: what is there only while somebody changes policy is none.

verify looks at the other sets of tables that are in use, too, each held against its own files, and tells by name which one is wrong: fallback, what the kernel goes back to unless what is in force is confirmed; shadow, what polload plan --shadow has loaded; and second, the set into which a polload watch that runs writes the next change. Of fallback and shadow the entries, whose rules each endpoint would have, and what they mean are looked at; of second the entries, and what is wrong with it has to be there, the same, for longer than it may lag behind the first. No packets are sent for them, since they do not judge.";

/// How verdicts are used.
pub(crate) const MODES: &str = "\
observe
  Nothing is judged.

audit
  What policy denies is reported as AUDIT, and passes.

enforce
  What policy denies is dropped, and what a pod sends under an address that is not its own.

--mode says which it is on this node, enforce where it is not given. --namespace-mode NS=MODE says so for the pods of a namespace; where it is not given, the annotation chainkit.dev/mode of the namespace does. The annotation chainkit.dev/mode of a pod may only tighten: of that and what its namespace has, the stricter counts, and a value that is none of the three counts as enforce. --exclude-namespace NS leaves the pods of a namespace out, whatever any annotation says: they are only observed. To loosen what a namespace has set for itself, name it with --namespace-mode. A namespace that is named and is not among the objects is told, and counts once there is one; what can be no name of a namespace is refused.

A pod that is not among the objects, since it was made after they were read, is judged by --unknown-pods: with isolate nothing is let in or out until its object arrives, but for what its own node sends it; with observe it is not judged. Where it is not given, such a pod is isolated in each direction in which some policy could select it by its namespace (where the namespace is not among the objects, by its name and whatever labels it may have; where nobody knows even its name: in which any policy isolates pods, in whatever namespace, as strictly as the strictest of those), so that no pod has its first moments without its rules.";

/// The records.
pub(crate) const RECORDS: &str = "\
Applied
  apply: kind; generation, the number of what is in force from now on; node; the size, which is policies (that select a pod of this node), selected_pods and pods (of this node), classes (kinds of addresses that rules tell apart), rules, and of the kernel's tables rows, addresses, prefixes, services and bytes; endpoints, the interfaces judged by it; confirm_before, when it goes back unless confirmed, or null; ms, how long it took once the objects were read.

Plan
  plan and apply --dry-run, the first record: kind; node; generation in force, 0 for none; the size, as Applied has it; policies_added, policies_changed, policies_removed, endpoints_changed and connections_ended, counts of what follows.

PolicyChange
  plan, a policy: kind; policy, its kind and name; change, added, changed or removed.

EndpointChange
  plan, an endpoint: kind; pod; interface, its end on the host; before and after, how it is judged, in words.

ConnectionEnd
  plan, a live connection that would end, and is not denied already by what is in force, told for each pod of this node that is an end of it: kind; pod; opened_by, pod, peer or unknown; peer, its address; port, of whoever did not open it; protocol, its IP number; denied_by, the policies, with the rule's number from 0; none where it would be isolated as a pod that nobody knows.

Shadow
  plan --shadow, a packet that would be judged otherwise: kind; pod; direction, ingress or egress, of who opened the connection; source, destination, source_port and destination_port of the packet; protocol, its IP number; verdict, what it was, and would, what it would be, ALLOWED or DENIED; by, the policies that would decide.

PolicyResult
  confirm, clear and restore: kind; generation in force from now on, 0 for none; result, confirmed, cleared, restored or unchanged.

Updated
  watch, a change that is in force: kind; time; generation that judges; changes, how many objects; entries of the kernel's tables that were written; in_place, whether into those in force; policies (that select a pod of this node) and pods (of this node); us, microseconds from the change read to the change in force.

PolicyStatus
  status, the first record: kind; generation in force, 0 for none; mode, what it was applied with, observe, audit or enforce, none without policy, unknown where no file says so; node; applied_at; objects_at, when its objects were seen last; objects_age, how many seconds ago that was; seconds_left, until the kernel goes back unless confirmed, and falls_back_to, to which generation, both null where it does not; went_back, whether the kernel did, and nobody has taken note; cleared, whether policy was taken off on purpose; faults, how many there are. applied_at and objects_at are of the policy that was applied last, also where it is not in force.

EndpointPolicy
  status, an interface that policy judges: kind; pod, empty where nobody knows; interface, its end on the host, and ifindex; mode; known, whether its pod is among the objects; isolated, the directions in which one that is not is isolated; policies that decide anything for it.

RuleHits
  status, a rule of the policy in force, or one of no policy's that has decided anything, such as the pod's own node: kind; number, as the kernel has it; direction, ingress or egress; action, allow, deny, or isolated for what no rule allows; tier; rule, the policies in words, with the rule's number from 0; allowed, connections; denied, packets; audited, connections that passed only since they are audited; last, when it decided last, or null. direction, action and tier are null for one of no policy's. A rule that stays goes on counting over an apply; one that is new, or was gone meanwhile, begins at 0, also after clear and restore.

Fault
  status, something that is not as it should be: kind; what; remedy. They are: no policy in force though one was applied; a policy that nobody confirmed in time, or whose confirmation was interrupted; tables that are not all there; an interface that has other rules than its pod's, whose taking over did not come to an end, or whose pod is not among the objects; a policy that a watch was told of and could not use, with the reason; files that are missing, damaged, or of another policy than the one in force; a pod whose name nobody knows, with what becomes of it; a datapath of another network namespace.

Verified
  verify: kind; generation; sets, the sets of tables that were looked at, of in-force, fallback, shadow and second; endpoints; entries, held against those that were written; boundaries, questions answered as the objects say; packets, passed or dropped as the objects say; ms, how long it took.

Counterexample
  verify, the first thing that is wrong: kind; generation that judges by the set, may come to, or would; set, in-force, fallback, shadow or second; what, entry (not what was written), verdict (the tables do not say what the objects say) or packet (the program does not do what the tables say); of an entry its table, as the kernel's maps are called, and entry, its key in words; of the others flow, with pod, direction, peer, protocol (TCP, UDP, SCTP or other) and port, 0 for other; expected; found; means, what comes of it; more, how many more entries are wrong. What does not apply is null.";

/// Examples.
pub(crate) const EXAMPLES: &str = "\
What a policy would change on this node, and which connections it would end:

    kubectl get pods,namespaces,nodes,services,endpointslices,networkpolicies -A -o json > cluster.json
    polload plan cluster.json new-policy.yaml

What it would decide otherwise on an hour's traffic:

    polload plan --shadow --for 1h cluster.json new-policy.yaml -j | jq -c 'select(.would == \"DENIED\")'

First only report, then enforce, with a way back should the session be cut off:

    polload apply cluster.json new-policy.yaml --mode audit
    flowdump --verdict AUDIT
    polload apply cluster.json new-policy.yaml --confirm 10m
    polload confirm

Enforce in one namespace alone, and leave the system's pods out of it:

    polload apply --api --mode observe --namespace-mode shop=enforce --exclude-namespace kube-system

What no connection has been allowed by since it was applied:

    polload status -j | jq -c 'select(.kind == \"RuleHits\" and .action == \"allow\" and .allowed == 0) | .rule'

Whether the kernel has what the policies say, for a monitor:

    polload status -j > /dev/null && polload verify --no-packets -j

All policy off, at once:

    polload clear --now";
