//! The man page beyond the flags.

use chainkit_cli::Section;

pub(crate) const EXAMPLES_IN_SHORT: &str = "\
Examples:
  polload matrix manifests/
  polload explain manifests/ --from shop/web --to shop/db --port 5432/tcp
  polload diff before/ after/
  kubectl get pods,namespaces,networkpolicies -A -o yaml | polload lint -";

pub(crate) const SECTIONS: &[Section] = &[
    Section {
        title: "INPUT",
        text: "\
Each IN is a file, a folder (every .yaml, .yml and .json in it, at any depth; names that begin with a dot are passed over and links are not followed out of it), a FIFO, or - for standard input. YAML may have any number of documents; JSON is what kubectl get -o json prints; lists may be typed or not.

A file, FIFO or standard input may be a watch: what kubectl get KIND -A --watch --output-watch-events -o json prints, one stream for each kind. ADDED and MODIFIED say what an object is, DELETED that it is gone, and of an object the last word counts. A watch that goes on is read until it has been quiet for a second; FIFOs are read all at once. A document that is torn or foreign is told, and the next line that begins with a brace begins the next one.

With --api all this is listed once from the API server that the kubeconfig names ($KUBECONFIG, ~/.kube/config, or --kubeconfig FILE, and --context NAME), or in a pod from the cluster's own; IN, if any, comes on top of it. That takes the verb list on pods, nodes, namespaces, services, endpointslices.discovery.k8s.io, networkpolicies.networking.k8s.io and, where the cluster has them, adminnetworkpolicies, baselineadminnetworkpolicies and clusternetworkpolicies of policy.networking.k8s.io, in all namespaces. Only pods come from there, and not the templates they are made from. With diff --api the cluster is OLD, and only NEW is given.

Read are pods and pod templates (Deployment, ReplicaSet, StatefulSet, DaemonSet, Job, CronJob, ReplicationController), namespaces, nodes, services, endpoint slices, NetworkPolicy, AdminNetworkPolicy and BaselineAdminNetworkPolicy (v1alpha1), and ClusterNetworkPolicy (v1alpha2). Objects of other kinds are counted and passed over.

What cannot be used is told on stderr with file, line, document and field, and stops nothing else; with --strict it ends the program with 2. A policy that an API server would refuse is not used.",
    },
    Section {
        title: "RECORDS",
        text: "\
Reach
  matrix, one for each pair that is allowed anything: kind; src and dst, a workload as \"namespace/name[Kind]\" or addresses outside as \"first-last\"; allow, an object with TCP, UDP and SCTP, each a list of [first, last] port ranges. Pods are folded into the outermost owner that the input tells; a port counts if any pod of the one may open it to any pod of the other. Pairs of a workload with itself are left out. Pods are taken by their labels: ipBlock and networks match addresses outside alone, and pods on the network of their node are shown as policies select them, though nothing keeps to it.

ReachDiff
  diff, one for each pair that differs: kind; src and dst, as Reach has them; gained, what NEW allows and OLD does not, and lost, what OLD allows and NEW does not, each an object as allow is. Ranges of addresses outside are cut where either side tells addresses apart, and are as long as gained and lost stay the same. Workloads are the same if their titles are; one that is on one side alone gains or loses all that it is allowed there.

Verdict
  explain: kind; verdict, ALLOWED or DENIED; egress and ingress, each with verdict; isolated, whether a NetworkPolicy isolates that end in that direction; tier (Admin, NetworkPolicy or Baseline), policy (kind, namespace, name), rule (its number from 0), file and line of what decided, null where nothing of that sort did; reason. A pod that has an address is judged under it, as packets are.

Lint
  lint, one for each finding: kind; id; severity, error, warning or info; file; line; object, as Kind/namespace/name; message; remedy.",
    },
    Section {
        title: "EXIT STATUS",
        text: "\
0
  It was done; explain: allowed; lint: no error and no warning; diff: nothing differs.

1
  explain: denied; lint: errors or warnings were found; diff: something differs.

2
  Wrong usage or bad input.

3
  The API server does not take the credentials, or they do not allow what is needed.

4
  It failed; the API server cannot be reached or gives no objects.",
    },
    Section {
        title: "EXAMPLES",
        text: "\
Who may reach whom, as a picture:

    polload matrix manifests/ -o dot | dot -Tsvg > reach.svg

Whether the web may talk to the database, and which rule says so:

    polload explain manifests/ --from shop/web --to shop/db --port 5432/tcp

What a change of the manifests opens and closes in a running cluster:

    kubectl get pods,namespaces,networkpolicies -A -o yaml | polload diff - manifests/

The same, asking the cluster itself:

    polload diff --api manifests/

What is wrong with the policies of a running cluster:

    kubectl get pods,services,namespaces,networkpolicies -A -o yaml | polload lint -

Who may reach whom, from streams that other programs read, too:

    mkfifo pods policies
    kubectl get pods -A --watch --output-watch-events -o json > pods &
    kubectl get networkpolicies -A --watch --output-watch-events -o json > policies &
    polload matrix pods policies",
    },
    Section { title: "SEE ALSO", text: "cni-chain(1), flowdump(1), mapstat(1), netcheck(1)" },
];
