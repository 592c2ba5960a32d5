//! The man page beyond the flags.

mod node;

use chainkit_cli::Section;

pub(crate) const EXAMPLES_IN_SHORT: &str = "\
Examples:
  polload matrix manifests/
  polload explain manifests/ --from shop/web --to shop/db --port 5432/tcp
  polload diff before/ after/
  kubectl get pods,namespaces,networkpolicies -A -o yaml | polload lint -
  polload plan cluster.json policies/           (what apply would change on this node)
  polload apply cluster.json policies/ --confirm 10m
  polload status";

pub(crate) const EQUIVALENT_EXAMPLES: &str = "\
Examples:
  polload equivalent before/ after/
  kubectl get pods,services,namespaces,nodes -A -o yaml | polload equivalent old.yaml new.yaml --with -";

pub(crate) const CONTAINS_EXAMPLES: &str = "\
Examples:
  polload contains baseline/ manifests/ --with cluster.yaml    (is manifests/ no looser than baseline/?)";

pub(crate) const REDUNDANT_EXAMPLES: &str = "\
Examples:
  polload redundant manifests/
  kubectl get pods,namespaces,nodes,networkpolicies -A -o yaml | polload redundant - -o jsonl";

pub(crate) const SECTIONS: &[Section] = &[
    Section {
        title: "INPUT",
        text: "\
Each IN is a file, a folder (every .yaml, .yml and .json in it, at any depth; names that begin with a dot are passed over and links are not followed out of it), a FIFO, or - for standard input. YAML may have any number of documents; JSON is what kubectl get -o json prints; lists may be typed or not.

A file, FIFO or standard input may be a watch: what kubectl get KIND -A --watch --output-watch-events -o json prints, one stream for each kind. ADDED and MODIFIED say what an object is, DELETED that it is gone, and of an object the last word counts. A watch that goes on is read until it has been quiet for a second after its first event, so a list that pauses longer is taken for whole; one that never says anything, as that of a kind without objects does, is waited for until its writer ends, or for 30 seconds after another watch has given its list, which is told. FIFOs are read all at once. A document that is torn or foreign is told, and the next line that begins with a brace begins the next one.

With --api all this is listed once from the API server that the kubeconfig names ($KUBECONFIG, ~/.kube/config, or --kubeconfig FILE, and --context NAME), or in a pod from the cluster's own; IN, if any, comes on top of it. That takes the verb list on pods, nodes, namespaces, services, endpointslices.discovery.k8s.io, networkpolicies.networking.k8s.io and, where the cluster has them, adminnetworkpolicies, baselineadminnetworkpolicies and clusternetworkpolicies of policy.networking.k8s.io, in all namespaces. Only pods come from there, and not the templates they are made from. A server that is busy is asked again for some seconds. With diff --api the cluster is OLD, and only NEW is given; with equivalent and contains all that the cluster has, its policies included, belongs to both sides.

Read are pods and pod templates (Deployment, ReplicaSet, StatefulSet, DaemonSet, Job, CronJob, ReplicationController), namespaces, nodes, services, endpoint slices, NetworkPolicy, AdminNetworkPolicy and BaselineAdminNetworkPolicy (v1alpha1), and ClusterNetworkPolicy (v1alpha2). Lists may lie in lists, four deep. Objects of other kinds are counted and passed over, NetworkPolicy of other vendors' groups among them; but a policy of a version that is not read, in a group of Kubernetes itself (extensions/v1beta1 NetworkPolicy, which API servers have not served since 1.16, or policy.networking.k8s.io/v1 ClusterNetworkPolicy), and a kind of networking.k8s.io or policy.networking.k8s.io that is not known, such as NetworkPolcy, are told as policies that cannot be used.

What cannot be used is told on stderr with file, line, document and field, and stops nothing else; with --strict it ends the program with 2. What --with and a side both have counts as the side says, and is told. Of an object that is given more than once the last counts, in the order in which inputs are named, and within a folder in that of its files' names; what --api gives comes before all. That is told; --strict takes it where the two are of different inputs, and refuses it where they are of one. A policy that cannot be read as what it is meant to be, such as one of a priority that there is not, is not used. One that a server would refuse and that can still be read is used as it stands by the commands that only tell, allows nothing where it does not say what, and is found by lint; it is refused by --strict, and by those that put policy in force. Such are a field that there is not, in its spec or beside it, which counts as if it were not there (form for from leaves a rule that is for everybody), an except that lies outside of its cidr or is all of it, and an endPort below its port. Each is told with file, line, policy and field, at most 20 of a policy and 100 in all. An ipBlock with leading zeros (10.1.064.0/24) or of IPv4 in IPv6 (::ffff:10.1.64.0/120), which servers have always taken, is taken for what it means, and told; labels are taken as they are.",
    },
    Section {
        title: "RECORDS",
        text: "\
Reach
  matrix, one for each pair that is allowed anything: kind; src and dst, a workload as \"namespace/name[Kind]\" or addresses outside as \"first-last\"; allow, an object with TCP, UDP and SCTP, each a list of [first, last] port ranges. Pods are folded into the outermost owner that the input tells; a port counts if any pod of the one may open it to any pod of the other. Pairs of a workload with itself are left out. Pods are taken by their labels: ipBlock and networks match addresses outside alone, and pods on the network of their node are shown as policies select them, though nothing keeps to it.

ReachDiff
  diff, one for each pair that differs: kind; src and dst, as Reach has them; gained, what NEW allows and OLD does not, and lost, what OLD allows and NEW does not, each an object as allow is. Ranges of addresses outside are cut where either side tells addresses apart, and are as long as gained and lost stay the same. Workloads are the same if their titles are; one that is on one side alone gains or loses all that it is allowed there.

Difference
  equivalent and contains, one for each pair and protocol that differs, at most --limit of them: kind; src and dst, a pod or template itself as \"namespace/name[Kind]\", or addresses as \"first-last\"; protocol, TCP, UDP, SCTP, or other for what has no ports; ports, a list of [first, last] ranges, empty for other; a and b, ALLOWED or DENIED, what A and B say. Of contains, those that B allows and A denies. Which side allows is of the connection as a whole, egress and ingress together.

Redundant
  redundant, one for each policy and rule whose removal changes nothing: kind; object, as Kind/namespace/name; rule, its number from 0, and direction, ingress or egress, both null for a policy as a whole; file and line; reason; covered_by, what decides in its place, each with kind, namespace, name, direction and rule (null where the policy isolates and so denies), at most 100; together, whether it is of a set that can be removed all at once, which is made in the order of files and lines: of two that cover each other, one stays.

Verdict
  explain: kind; verdict, ALLOWED or DENIED; egress and ingress, each with verdict; isolated, whether a NetworkPolicy isolates that end in that direction; tier (Admin, NetworkPolicy or Baseline), policy (kind, namespace, name), rule (its number from 0), file and line of what decided, null where nothing of that sort did; reason. A pod that has addresses is judged under the first of the family that it has in common with the other end, as packets are, and the reason says where the other family differs. NS/NAME is a pod of that name, or else a workload: all its pods, and denied if any two of them that are not the same are. NS/NAME[Kind] is what matrix shows. A service is judged by its backends: denied if one is; with internalTrafficPolicy: Local, at its cluster addresses, by those on the source's node where that is known. It opens no connection, so --from takes none. One without backend for the port is allowed, since no policy applies and the node itself rejects or drops. The address of a pod's own node, as --from, is judged as what the node forwards; what the node itself sends is always allowed. With -o json the record stands by itself.

Lint
  lint, one for each finding: kind; id; severity, error, warning or info; file; line; object, as Kind/namespace/name as far as that can be told; message; remedy. Of one id at most 100 are told of an object, and then how many more. Where no pod was given, whom policies select is not looked at (no-pods).",
    },
    Section { title: "POLICY IN FORCE", text: node::IN_FORCE },
    Section { title: "MODES", text: node::MODES },
    Section { title: "RECORDS OF POLICY IN FORCE", text: node::RECORDS },
    Section {
        title: "WHAT IS COMPARED",
        text: "\
equivalent and contains judge as packets are: each pod under each of its addresses, which ipBlock and networks match, to and from each other pod and template, every address outside of both families, and the addresses of nodes and services; every port from 1 on of TCP, UDP and SCTP, and protocols without ports. Pods and templates stand for themselves and are not folded into their owners. It matters what is allowed, not which rule says so.

Workloads are the same if namespace, kind and name are; their labels, addresses and nodes may differ, and do so only as far as verdicts do. One that has no address on a side is taken there as such, which no ipBlock contains. One that is on one side alone may do nothing on the other, and nothing may reach it there: whatever it is allowed differs. Nodes are the same by name, services by namespace and name. An address that a service has is judged by the backends behind each of its ports, and is allowed if all are; a cluster address of one with internalTrafficPolicy: Local by those on the source's node. An address of a node or service that the other side does not know is there what it would be to packets, mostly outside. Addresses outside are shown as ranges, in which single addresses of pods, nodes and services may lie; those are judged by themselves.

redundant looks at each policy and rule alone, and asks of every pod that it selects whether what is allowed to and from it would change, in each direction by itself, since that is what a node enforces: a rule that the other end forbids anyway is not redundant. Everybody counts who can be told from the objects; a range of addresses that a rule names counts also where pods have all of them today, and a pod may meet another that is like itself. Removing a whole NetworkPolicy may end an isolation, and so may removing the only egress rule where policyTypes is not given. A policy that selects no pod is told without its rules. Give the whole of the cluster: a rule about pods that were not given matches nobody.",
    },
    Section {
        title: "EXIT STATUS",
        text: "\
0
  It was done; explain: allowed; lint: no error and no warning; diff: nothing differs; equivalent: A and B allow the same; contains: A allows everything that B allows; redundant: nothing is; status: all is as it should be; verify: the kernel has what the policies say.

1
  explain: denied; lint: errors or warnings were found; diff: something differs; equivalent: something differs; contains: B allows something that A denies; redundant: something is; confirm: nothing waits to be confirmed, or it is too late; watch: another has taken policy off, or put other policy in force; status: something is not as it should be; verify: something is wrong, or no policy is in force.

2
  Wrong usage or bad input.

3
  The API server does not take the credentials, or they do not allow what is needed; for policy in force, privileges or what the kernel must have are lacking.

4
  It failed, and nothing has changed; the API server cannot be reached or gives no objects; what changes policy is held by another.

5
  It was done in the kernel, and not all that comes after it; the message says what is so from now on, what is not, and how to make up for it: policy is in force, is off, or is confirmed, and that could not be written down or told on stdout.",
    },
    Section {
        title: "EXAMPLES",
        text: "\
Who may reach whom, as a picture:

    polload matrix manifests/ -o dot | dot -Tsvg > reach.svg

Whether the web may talk to the database, and which rule says so:

    polload explain manifests/ --from shop/web --to shop/db --port 5432/tcp

What a change of the manifests opens and closes in a running cluster:

    kubectl get deployments,statefulsets,daemonsets,cronjobs,namespaces,networkpolicies -A -o yaml | polload diff - manifests/

Workloads are the same if their titles are, so both sides have to give the same kinds. What a change of policies alone opens and closes for the pods there are:

    kubectl get pods,namespaces -A -o yaml | polload diff policies-now/ policies-then/ --with -

Whether policies written anew allow the same to the pods of a running cluster:

    kubectl get pods,services,namespaces,nodes -A -o yaml | polload equivalent old/ new/ --with -

Whether a change opens nothing that the policies in force close:

    polload contains in-force/ proposed/ --with cluster.yaml

Which rules can go all at once:

    polload redundant manifests/ -j | jq -c 'select(.together) | [.object, .direction, .rule]'

What is wrong with the policies of a running cluster:

    kubectl get pods,services,namespaces,networkpolicies -A -o yaml | polload lint -

Who may reach whom, from streams that other programs read, too:

    mkfifo pods policies
    kubectl get pods -A --watch --output-watch-events -o json > pods &
    kubectl get networkpolicies -A --watch --output-watch-events -o json > policies &
    polload matrix pods policies",
    },
    Section { title: "EXAMPLES OF POLICY IN FORCE", text: node::EXAMPLES },
    Section { title: "SEE ALSO", text: "cni-chain(1), flowdump(1), mapstat(1), netcheck(1)" },
];
