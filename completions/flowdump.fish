# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_flowdump_global_optspecs
    string join \n attach= r/read= f/follow pods= api kubeconfig= context= per-packet drops= tcp-health l7 l7-memory= show-secrets buffer= own-node= root= first= last= since= until= duration= pod= from-pod= to-pod= n/namespace= from-namespace= to-namespace= service= from-service= to-service= workload= from-workload= to-workload= l/label= from-label= to-label= identity= from-identity= to-identity= cluster= from-cluster= to-cluster= ip= from-ip= to-ip= snat-ip= fqdn= from-fqdn= to-fqdn= port= from-port= to-port= protocol= tcp-flags= ip-version= t/type= verdict= drop-reason-desc= policy= traffic-direction= interface= node-name= node-label= uuid= trace-id= ip-trace-id= http-status= http-method= http-path= http-url= http-header= dns-query= sni= latency= min-bytes= cel-expression= A/all-namespaces from-all-namespaces to-all-namespaces 4/ipv4 6/ipv6 encrypted unencrypted reply= not allowlist= denylist= o/output= j print-node-name print-policy-names time-format= numeric color= print-raw-filters aggregate-by= interval= max-groups= strict fail-on-loss log= h/help V/version
end

function __fish_flowdump_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_flowdump_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_flowdump_using_subcommand
    set -l cmd (__fish_flowdump_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c flowdump -n "__fish_flowdump_needs_command" -l attach -d 'Attach the datapath while this runs, where nothing else has: to a pod (NS/POD), a host-side interface, or all' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -s r -l read -d 'Read saved lines from this file, or from stdin (-)' -r -F
complete -c flowdump -n "__fish_flowdump_needs_command" -l pods -d 'Take names from this file, folder or FIFO, or from stdin (-): what kubectl get pods,services,nodes,namespaces -A -o json prints, or a watch. May be given again' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l kubeconfig -d 'The kubeconfig, instead of $KUBECONFIG and ~/.kube/config' -r -F
complete -c flowdump -n "__fish_flowdump_needs_command" -l context -d 'The context of the kubeconfig, instead of its current one' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l drops -d 'Tell packets of pods that the kernel drops as well, wherever and for whatever reason; all adds those that are no fault' -r -f -a "fault\t'Those that are a fault, or may be'
all\t'Also those of which the kernel says that nobody misses them'"
complete -c flowdump -n "__fish_flowdump_needs_command" -l l7-memory -d 'Memory that decoding may take, over all connections' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l buffer -d 'Size of the ring buffer between kernel and this program' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l own-node -d 'Name of this node; without it $NODE_NAME, else the host name' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l root -d 'Put this directory in front of all paths of the host' -r -F
complete -c flowdump -n "__fish_flowdump_needs_command" -l first -d 'End after this many flows' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l last -d 'The last N flows; live, of the connection tables' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l since -d 'Flows since this time (RFC 3339), or since so long ago (5m); live, of the connection tables' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l until -d 'Flows until this time, or until so long ago' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l duration -d 'End after this time' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l pod -d 'Flows of pods whose name begins so; NS/ is every pod of a namespace, /POD any' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l from-pod -d 'Flows that come from such pods' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l to-pod -d 'Flows that go to such pods' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -s n -l namespace -d 'Flows of a namespace' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l from-namespace -d 'Flows that come from a namespace' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l to-namespace -d 'Flows that go to a namespace' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l service -d 'Flows of virtual addresses of services whose name begins so' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l from-service -d 'Flows that come from such addresses' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l to-service -d 'Flows that go to such addresses' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l workload -d 'Flows of pods of a workload, such as Deployment/web; KIND/ is any of a kind' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l from-workload -d 'Flows that come from such pods' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l to-workload -d 'Flows that go to such pods' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -s l -l label -d 'Flows of pods that a label selector means, such as app=web,tier!=db' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l from-label -d 'Flows that come from such pods' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l to-label -d 'Flows that go to such pods' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l identity -d 'Flows of a security identity: a number, or one of host, world, remote-node, ...' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l from-identity -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l to-identity -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l cluster -d 'Flows of pods of a cluster; * is any text' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l from-cluster -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l to-cluster -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l ip -d 'Flows of an IP address or CIDR' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l from-ip -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l to-ip -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l snat-ip -d 'Flows whose source address was translated to it' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l fqdn -d 'Flows of a DNS name; * is any text, as in *.example.com' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l from-fqdn -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l to-fqdn -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l port -d 'Flows of a port, or of a range such as 8000-8100' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l from-port -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l to-port -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l protocol -d 'Flows of tcp, udp, sctp, icmp, icmpv4, icmpv6, dns, http, grpc, tls, quic or kafka' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l tcp-flags -d 'Packets with all of these TCP flags, such as syn,ack' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l ip-version -d 'Flows of IP version 4 or 6, or of none' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -s t -l type -d 'Flows of drop, trace, l7, policy-verdict, capture or trace-sock, such as trace:to-endpoint' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l verdict -d 'Flows that were FORWARDED or DROPPED, or are dropped but for AUDIT mode' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l drop-reason-desc -d 'Flows that were dropped for this, such as POLICY_DENIED' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l policy -d 'Flows that this policy allowed or denied; /NAME is one of the cluster, NAME any' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l traffic-direction -d 'Flows of connections opened to a pod (ingress) or by it (egress)' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l interface -d 'Flows that were seen at this interface' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l node-name -d 'Flows that were seen by this node; * is any text' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l node-label -d 'Flows that were seen by nodes that a label selector means' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l uuid -d 'The flow with this identifier' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l trace-id -d 'Flows of requests of this trace' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l ip-trace-id -d 'Flows whose IP option bears this trace' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l http-status -d 'HTTP responses of a status such as 404, or of all that begin so: 5+' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l http-method -d 'HTTP of this method' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l http-path -d 'HTTP whose path matches' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l http-url -d 'HTTP whose URL matches' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l http-header -d 'HTTP with this header; without name or value any is meant' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l dns-query -d 'DNS that asks for a name that matches' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l sni -d 'TLS and QUIC whose client says this server name; * is any text' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l latency -d 'Responses that took so long: 10ms or more, \'>10ms\', \'<=1s\', \'>1ms,<5ms\'' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l min-bytes -d 'Flows of connections that carry as many bytes so far, such as 10MiB' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l cel-expression -d 'Flows for which a CEL expression holds, such as \'_flow.l4.TCP.destination_port > 1024u\'' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l reply -d 'Replies; --reply=false: what is none' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l allowlist -d 'Flows that a FlowFilter of Hubble\'s means, besides those of the filters above' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l denylist -d 'Leave out flows that a FlowFilter means' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -s o -l output -d 'Form of the output; json and jsonl are the same on a stream' -r -f -a "compact\t'A line a flow'
dict\t'A few lines a flow'
table\t'Columns'
json\t'The same as jsonl'
jsonpb\t'The same as jsonl, by its name in Hubble'
jsonl\t'A JSON object a line'"
complete -c flowdump -n "__fish_flowdump_needs_command" -l time-format -d 'How to print times, which are in UTC; in JSON they are RFC 3339' -r -f -a "StampMilli\t''
YearMonthDay\t''
YearMonthDayHour\t''
YearMonthDayHourMinute\t''
RFC3339\t''
RFC3339Milli\t''
RFC3339Micro\t''
RFC3339Nano\t''
RFC1123Z\t''"
complete -c flowdump -n "__fish_flowdump_needs_command" -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, where NO_COLOR is not set'
always\t'Always, but in tables and JSON'
never\t'Never'"
complete -c flowdump -n "__fish_flowdump_needs_command" -l aggregate-by -d 'Fold flows with equal values of these fields into one line each, at the end: source_pod,destination_pod,verdict. A name that there is not is answered with all there are' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l interval -d 'Fold each such while by itself: live as time goes on, with -r by the flows\' own time' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l max-groups -d 'The most lines that flows are folded into; what is beyond is one that says so' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c flowdump -n "__fish_flowdump_needs_command" -s f -l follow -d 'Go on as flows come; live that is so anyway, with -r it follows a growing file'
complete -c flowdump -n "__fish_flowdump_needs_command" -l api -d 'Ask the API server: the kubeconfig\'s, or in a pod the cluster\'s own'
complete -c flowdump -n "__fish_flowdump_needs_command" -l per-packet -d 'Tell every packet, not only the first ones and what changes'
complete -c flowdump -n "__fish_flowdump_needs_command" -l tcp-health -d 'Follow how TCP connections fare: what is sent again or out of order, closed windows, resets, round trips'
complete -c flowdump -n "__fish_flowdump_needs_command" -l l7 -d 'Decode what connections carry, on any port: HTTP, gRPC, DNS, and names that TLS and QUIC begin with'
complete -c flowdump -n "__fish_flowdump_needs_command" -l show-secrets -d 'Show credentials, cookies and values in queries, which are masked otherwise'
complete -c flowdump -n "__fish_flowdump_needs_command" -s A -l all-namespaces -d 'Take a pod or service without namespace for one of any, not of default'
complete -c flowdump -n "__fish_flowdump_needs_command" -l from-all-namespaces -d 'The same for where flows come from'
complete -c flowdump -n "__fish_flowdump_needs_command" -l to-all-namespaces -d 'The same for where flows go to'
complete -c flowdump -n "__fish_flowdump_needs_command" -s 4 -l ipv4 -d 'The same as --ip-version 4'
complete -c flowdump -n "__fish_flowdump_needs_command" -s 6 -l ipv6 -d 'The same as --ip-version 6'
complete -c flowdump -n "__fish_flowdump_needs_command" -l encrypted -d 'Flows that were encrypted between nodes'
complete -c flowdump -n "__fish_flowdump_needs_command" -l unencrypted -d 'Flows that were not'
complete -c flowdump -n "__fish_flowdump_needs_command" -l not -d 'Leave out what the next filter means'
complete -c flowdump -n "__fish_flowdump_needs_command" -s j -d 'The same as -o jsonl'
complete -c flowdump -n "__fish_flowdump_needs_command" -l print-node-name -d 'Print the name of the node with each flow'
complete -c flowdump -n "__fish_flowdump_needs_command" -l print-policy-names -d 'Print the policies that allowed or denied with each flow; who denied is told anyway'
complete -c flowdump -n "__fish_flowdump_needs_command" -l numeric -d 'Print addresses, without names of pods, services and DNS'
complete -c flowdump -n "__fish_flowdump_needs_command" -l print-raw-filters -d 'Print the allow and the deny list that the filters make, as Hubble does, and end'
complete -c flowdump -n "__fish_flowdump_needs_command" -l strict -d 'With -r, end at the first bad line with exit code 2'
complete -c flowdump -n "__fish_flowdump_needs_command" -l fail-on-loss -d 'End with exit code 1 if events were lost'
complete -c flowdump -n "__fish_flowdump_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c flowdump -n "__fish_flowdump_needs_command" -s V -l version -d 'Print version'
complete -c flowdump -n "__fish_flowdump_needs_command" -f -a "health" -d 'Which edges fare worst now, and why'
complete -c flowdump -n "__fish_flowdump_needs_command" -f -a "map" -d 'Who talks to whom, as a map'
complete -c flowdump -n "__fish_flowdump_needs_command" -f -a "metrics" -d 'Flows as metrics, for Prometheus'
complete -c flowdump -n "__fish_flowdump_needs_command" -f -a "top" -d 'Who does most now'
complete -c flowdump -n "__fish_flowdump_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l by -d 'What the ends of edges are' -r -f -a "workload\t'What pods belong to, such as a Deployment'
pod\t'Pods'
namespace\t'Namespaces'
service\t'Services where they are known, else workloads'"
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l top -d 'The most edges that are shown; others are counted' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l window -d 'How far back now reaches, as flows come, 1m without it: what was wrong before, and is no more, is not told' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l interval -d 'How often it is shown, as flows come, 5s without it; with -r alone it is once, of all there are' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -s o -l output -d 'Form of the output; without it table on a terminal, else jsonl' -r -f -a "table\t'A line for each finding; live on a terminal a screen that is drawn anew'
json\t'The same as jsonl'
jsonl\t'A JSON object each time, a line each'"
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l attach -d 'Attach the datapath while this runs, where nothing else has: to a pod (NS/POD), a host-side interface, or all' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -s r -l read -d 'Read saved lines from this file, or from stdin (-)' -r -F
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l pods -d 'Take names from this file, folder or FIFO, or from stdin (-): what kubectl get pods,services,nodes,namespaces -A -o json prints, or a watch. May be given again' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l kubeconfig -d 'The kubeconfig, instead of $KUBECONFIG and ~/.kube/config' -r -F
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l context -d 'The context of the kubeconfig, instead of its current one' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l drops -d 'Tell packets of pods that the kernel drops as well, wherever and for whatever reason; all adds those that are no fault' -r -f -a "fault\t'Those that are a fault, or may be'
all\t'Also those of which the kernel says that nobody misses them'"
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l l7-memory -d 'Memory that decoding may take, over all connections' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l buffer -d 'Size of the ring buffer between kernel and this program' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l own-node -d 'Name of this node; without it $NODE_NAME, else the host name' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l root -d 'Put this directory in front of all paths of the host' -r -F
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l first -d 'End after this many flows' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l last -d 'The last N flows; live, of the connection tables' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l since -d 'Flows since this time (RFC 3339), or since so long ago (5m); live, of the connection tables' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l until -d 'Flows until this time, or until so long ago' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l duration -d 'End after this time' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l pod -d 'Flows of pods whose name begins so; NS/ is every pod of a namespace, /POD any' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l from-pod -d 'Flows that come from such pods' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l to-pod -d 'Flows that go to such pods' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -s n -l namespace -d 'Flows of a namespace' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l from-namespace -d 'Flows that come from a namespace' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l to-namespace -d 'Flows that go to a namespace' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l service -d 'Flows of virtual addresses of services whose name begins so' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l from-service -d 'Flows that come from such addresses' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l to-service -d 'Flows that go to such addresses' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l workload -d 'Flows of pods of a workload, such as Deployment/web; KIND/ is any of a kind' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l from-workload -d 'Flows that come from such pods' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l to-workload -d 'Flows that go to such pods' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -s l -l label -d 'Flows of pods that a label selector means, such as app=web,tier!=db' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l from-label -d 'Flows that come from such pods' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l to-label -d 'Flows that go to such pods' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l identity -d 'Flows of a security identity: a number, or one of host, world, remote-node, ...' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l from-identity -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l to-identity -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l cluster -d 'Flows of pods of a cluster; * is any text' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l from-cluster -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l to-cluster -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l ip -d 'Flows of an IP address or CIDR' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l from-ip -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l to-ip -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l snat-ip -d 'Flows whose source address was translated to it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l fqdn -d 'Flows of a DNS name; * is any text, as in *.example.com' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l from-fqdn -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l to-fqdn -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l port -d 'Flows of a port, or of a range such as 8000-8100' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l from-port -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l to-port -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l protocol -d 'Flows of tcp, udp, sctp, icmp, icmpv4, icmpv6, dns, http, grpc, tls, quic or kafka' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l tcp-flags -d 'Packets with all of these TCP flags, such as syn,ack' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l ip-version -d 'Flows of IP version 4 or 6, or of none' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -s t -l type -d 'Flows of drop, trace, l7, policy-verdict, capture or trace-sock, such as trace:to-endpoint' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l verdict -d 'Flows that were FORWARDED or DROPPED, or are dropped but for AUDIT mode' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l drop-reason-desc -d 'Flows that were dropped for this, such as POLICY_DENIED' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l policy -d 'Flows that this policy allowed or denied; /NAME is one of the cluster, NAME any' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l traffic-direction -d 'Flows of connections opened to a pod (ingress) or by it (egress)' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l interface -d 'Flows that were seen at this interface' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l node-name -d 'Flows that were seen by this node; * is any text' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l node-label -d 'Flows that were seen by nodes that a label selector means' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l uuid -d 'The flow with this identifier' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l trace-id -d 'Flows of requests of this trace' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l ip-trace-id -d 'Flows whose IP option bears this trace' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l http-status -d 'HTTP responses of a status such as 404, or of all that begin so: 5+' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l http-method -d 'HTTP of this method' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l http-path -d 'HTTP whose path matches' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l http-url -d 'HTTP whose URL matches' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l http-header -d 'HTTP with this header; without name or value any is meant' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l dns-query -d 'DNS that asks for a name that matches' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l sni -d 'TLS and QUIC whose client says this server name; * is any text' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l latency -d 'Responses that took so long: 10ms or more, \'>10ms\', \'<=1s\', \'>1ms,<5ms\'' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l min-bytes -d 'Flows of connections that carry as many bytes so far, such as 10MiB' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l cel-expression -d 'Flows for which a CEL expression holds, such as \'_flow.l4.TCP.destination_port > 1024u\'' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l reply -d 'Replies; --reply=false: what is none' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l allowlist -d 'Flows that a FlowFilter of Hubble\'s means, besides those of the filters above' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l denylist -d 'Leave out flows that a FlowFilter means' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -s j -d 'The same as -o jsonl'
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l strict -d 'With -r, end at the first bad line with exit code 2'
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l fail-on-loss -d 'End with exit code 1 if events were lost'
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -s f -l follow -d 'Go on as flows come; live that is so anyway, with -r it follows a growing file'
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l api -d 'Ask the API server: the kubeconfig\'s, or in a pod the cluster\'s own'
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l per-packet -d 'Tell every packet, not only the first ones and what changes'
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l tcp-health -d 'Follow how TCP connections fare: what is sent again or out of order, closed windows, resets, round trips'
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l l7 -d 'Decode what connections carry, on any port: HTTP, gRPC, DNS, and names that TLS and QUIC begin with'
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l show-secrets -d 'Show credentials, cookies and values in queries, which are masked otherwise'
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -s A -l all-namespaces -d 'Take a pod or service without namespace for one of any, not of default'
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l from-all-namespaces -d 'The same for where flows come from'
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l to-all-namespaces -d 'The same for where flows go to'
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -s 4 -l ipv4 -d 'The same as --ip-version 4'
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -s 6 -l ipv6 -d 'The same as --ip-version 6'
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l encrypted -d 'Flows that were encrypted between nodes'
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l unencrypted -d 'Flows that were not'
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -l not -d 'Leave out what the next filter means'
complete -c flowdump -n "__fish_flowdump_using_subcommand health" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l by -d 'What the nodes of the map are' -r -f -a "workload\t'What pods belong to, such as a Deployment'
pod\t'Pods'
namespace\t'Namespaces'
service\t'Services where they are known, else workloads'"
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns'
json\t'The same as jsonl'
jsonl\t'A JSON object for each edge, a line each'
dot\t'A drawing for Graphviz'
mermaid\t'A drawing for Mermaid'
html\t'A page for a browser, which needs nothing else'"
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l listen -d 'With --watch -o html: where a browser of this host asks, a loopback address; without it a port that is free' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l edges -d 'The most edges; what is beyond is one edge that says so' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l externals -d 'The most external peers, by name or address; what is beyond is one node' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l attach -d 'Attach the datapath while this runs, where nothing else has: to a pod (NS/POD), a host-side interface, or all' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -s r -l read -d 'Read saved lines from this file, or from stdin (-)' -r -F
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l pods -d 'Take names from this file, folder or FIFO, or from stdin (-): what kubectl get pods,services,nodes,namespaces -A -o json prints, or a watch. May be given again' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l kubeconfig -d 'The kubeconfig, instead of $KUBECONFIG and ~/.kube/config' -r -F
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l context -d 'The context of the kubeconfig, instead of its current one' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l drops -d 'Tell packets of pods that the kernel drops as well, wherever and for whatever reason; all adds those that are no fault' -r -f -a "fault\t'Those that are a fault, or may be'
all\t'Also those of which the kernel says that nobody misses them'"
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l l7-memory -d 'Memory that decoding may take, over all connections' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l buffer -d 'Size of the ring buffer between kernel and this program' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l own-node -d 'Name of this node; without it $NODE_NAME, else the host name' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l root -d 'Put this directory in front of all paths of the host' -r -F
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l first -d 'End after this many flows' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l last -d 'The last N flows; live, of the connection tables' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l since -d 'Flows since this time (RFC 3339), or since so long ago (5m); live, of the connection tables' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l until -d 'Flows until this time, or until so long ago' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l duration -d 'End after this time' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l pod -d 'Flows of pods whose name begins so; NS/ is every pod of a namespace, /POD any' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l from-pod -d 'Flows that come from such pods' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l to-pod -d 'Flows that go to such pods' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -s n -l namespace -d 'Flows of a namespace' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l from-namespace -d 'Flows that come from a namespace' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l to-namespace -d 'Flows that go to a namespace' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l service -d 'Flows of virtual addresses of services whose name begins so' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l from-service -d 'Flows that come from such addresses' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l to-service -d 'Flows that go to such addresses' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l workload -d 'Flows of pods of a workload, such as Deployment/web; KIND/ is any of a kind' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l from-workload -d 'Flows that come from such pods' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l to-workload -d 'Flows that go to such pods' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -s l -l label -d 'Flows of pods that a label selector means, such as app=web,tier!=db' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l from-label -d 'Flows that come from such pods' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l to-label -d 'Flows that go to such pods' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l identity -d 'Flows of a security identity: a number, or one of host, world, remote-node, ...' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l from-identity -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l to-identity -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l cluster -d 'Flows of pods of a cluster; * is any text' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l from-cluster -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l to-cluster -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l ip -d 'Flows of an IP address or CIDR' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l from-ip -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l to-ip -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l snat-ip -d 'Flows whose source address was translated to it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l fqdn -d 'Flows of a DNS name; * is any text, as in *.example.com' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l from-fqdn -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l to-fqdn -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l port -d 'Flows of a port, or of a range such as 8000-8100' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l from-port -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l to-port -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l protocol -d 'Flows of tcp, udp, sctp, icmp, icmpv4, icmpv6, dns, http, grpc, tls, quic or kafka' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l tcp-flags -d 'Packets with all of these TCP flags, such as syn,ack' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l ip-version -d 'Flows of IP version 4 or 6, or of none' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -s t -l type -d 'Flows of drop, trace, l7, policy-verdict, capture or trace-sock, such as trace:to-endpoint' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l verdict -d 'Flows that were FORWARDED or DROPPED, or are dropped but for AUDIT mode' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l drop-reason-desc -d 'Flows that were dropped for this, such as POLICY_DENIED' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l policy -d 'Flows that this policy allowed or denied; /NAME is one of the cluster, NAME any' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l traffic-direction -d 'Flows of connections opened to a pod (ingress) or by it (egress)' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l interface -d 'Flows that were seen at this interface' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l node-name -d 'Flows that were seen by this node; * is any text' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l node-label -d 'Flows that were seen by nodes that a label selector means' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l uuid -d 'The flow with this identifier' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l trace-id -d 'Flows of requests of this trace' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l ip-trace-id -d 'Flows whose IP option bears this trace' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l http-status -d 'HTTP responses of a status such as 404, or of all that begin so: 5+' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l http-method -d 'HTTP of this method' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l http-path -d 'HTTP whose path matches' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l http-url -d 'HTTP whose URL matches' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l http-header -d 'HTTP with this header; without name or value any is meant' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l dns-query -d 'DNS that asks for a name that matches' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l sni -d 'TLS and QUIC whose client says this server name; * is any text' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l latency -d 'Responses that took so long: 10ms or more, \'>10ms\', \'<=1s\', \'>1ms,<5ms\'' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l min-bytes -d 'Flows of connections that carry as many bytes so far, such as 10MiB' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l cel-expression -d 'Flows for which a CEL expression holds, such as \'_flow.l4.TCP.destination_port > 1024u\'' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l reply -d 'Replies; --reply=false: what is none' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l allowlist -d 'Flows that a FlowFilter of Hubble\'s means, besides those of the filters above' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l denylist -d 'Leave out flows that a FlowFilter means' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -s j -d 'The same as -o jsonl'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -s w -l watch -d 'Show the map again each second, as flows come; a file of -r is followed'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l strict -d 'With -r, end at the first bad line with exit code 2'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l fail-on-loss -d 'End with exit code 1 if events were lost'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -s f -l follow -d 'Go on as flows come; live that is so anyway, with -r it follows a growing file'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l api -d 'Ask the API server: the kubeconfig\'s, or in a pod the cluster\'s own'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l per-packet -d 'Tell every packet, not only the first ones and what changes'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l tcp-health -d 'Follow how TCP connections fare: what is sent again or out of order, closed windows, resets, round trips'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l l7 -d 'Decode what connections carry, on any port: HTTP, gRPC, DNS, and names that TLS and QUIC begin with'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l show-secrets -d 'Show credentials, cookies and values in queries, which are masked otherwise'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -s A -l all-namespaces -d 'Take a pod or service without namespace for one of any, not of default'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l from-all-namespaces -d 'The same for where flows come from'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l to-all-namespaces -d 'The same for where flows go to'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -s 4 -l ipv4 -d 'The same as --ip-version 4'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -s 6 -l ipv6 -d 'The same as --ip-version 6'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l encrypted -d 'Flows that were encrypted between nodes'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l unencrypted -d 'Flows that were not'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l not -d 'Leave out what the next filter means'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l listen -d 'Where scrapers ask, under /metrics' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l metrics -d 'What to count, with Hubble\'s options: drop:sourceContext=pod. May be given again; without it all but http' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l max-samples -d 'The most samples; what finds no room is counted in a series of its metric that says so' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l attach -d 'Attach the datapath while this runs, where nothing else has: to a pod (NS/POD), a host-side interface, or all' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -s r -l read -d 'Read saved lines from this file, or from stdin (-)' -r -F
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l pods -d 'Take names from this file, folder or FIFO, or from stdin (-): what kubectl get pods,services,nodes,namespaces -A -o json prints, or a watch. May be given again' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l kubeconfig -d 'The kubeconfig, instead of $KUBECONFIG and ~/.kube/config' -r -F
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l context -d 'The context of the kubeconfig, instead of its current one' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l drops -d 'Tell packets of pods that the kernel drops as well, wherever and for whatever reason; all adds those that are no fault' -r -f -a "fault\t'Those that are a fault, or may be'
all\t'Also those of which the kernel says that nobody misses them'"
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l l7-memory -d 'Memory that decoding may take, over all connections' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l buffer -d 'Size of the ring buffer between kernel and this program' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l own-node -d 'Name of this node; without it $NODE_NAME, else the host name' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l root -d 'Put this directory in front of all paths of the host' -r -F
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l first -d 'End after this many flows' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l last -d 'The last N flows; live, of the connection tables' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l since -d 'Flows since this time (RFC 3339), or since so long ago (5m); live, of the connection tables' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l until -d 'Flows until this time, or until so long ago' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l duration -d 'End after this time' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l pod -d 'Flows of pods whose name begins so; NS/ is every pod of a namespace, /POD any' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l from-pod -d 'Flows that come from such pods' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l to-pod -d 'Flows that go to such pods' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -s n -l namespace -d 'Flows of a namespace' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l from-namespace -d 'Flows that come from a namespace' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l to-namespace -d 'Flows that go to a namespace' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l service -d 'Flows of virtual addresses of services whose name begins so' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l from-service -d 'Flows that come from such addresses' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l to-service -d 'Flows that go to such addresses' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l workload -d 'Flows of pods of a workload, such as Deployment/web; KIND/ is any of a kind' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l from-workload -d 'Flows that come from such pods' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l to-workload -d 'Flows that go to such pods' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -s l -l label -d 'Flows of pods that a label selector means, such as app=web,tier!=db' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l from-label -d 'Flows that come from such pods' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l to-label -d 'Flows that go to such pods' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l identity -d 'Flows of a security identity: a number, or one of host, world, remote-node, ...' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l from-identity -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l to-identity -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l cluster -d 'Flows of pods of a cluster; * is any text' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l from-cluster -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l to-cluster -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l ip -d 'Flows of an IP address or CIDR' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l from-ip -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l to-ip -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l snat-ip -d 'Flows whose source address was translated to it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l fqdn -d 'Flows of a DNS name; * is any text, as in *.example.com' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l from-fqdn -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l to-fqdn -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l port -d 'Flows of a port, or of a range such as 8000-8100' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l from-port -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l to-port -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l protocol -d 'Flows of tcp, udp, sctp, icmp, icmpv4, icmpv6, dns, http, grpc, tls, quic or kafka' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l tcp-flags -d 'Packets with all of these TCP flags, such as syn,ack' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l ip-version -d 'Flows of IP version 4 or 6, or of none' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -s t -l type -d 'Flows of drop, trace, l7, policy-verdict, capture or trace-sock, such as trace:to-endpoint' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l verdict -d 'Flows that were FORWARDED or DROPPED, or are dropped but for AUDIT mode' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l drop-reason-desc -d 'Flows that were dropped for this, such as POLICY_DENIED' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l policy -d 'Flows that this policy allowed or denied; /NAME is one of the cluster, NAME any' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l traffic-direction -d 'Flows of connections opened to a pod (ingress) or by it (egress)' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l interface -d 'Flows that were seen at this interface' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l node-name -d 'Flows that were seen by this node; * is any text' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l node-label -d 'Flows that were seen by nodes that a label selector means' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l uuid -d 'The flow with this identifier' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l trace-id -d 'Flows of requests of this trace' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l ip-trace-id -d 'Flows whose IP option bears this trace' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l http-status -d 'HTTP responses of a status such as 404, or of all that begin so: 5+' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l http-method -d 'HTTP of this method' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l http-path -d 'HTTP whose path matches' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l http-url -d 'HTTP whose URL matches' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l http-header -d 'HTTP with this header; without name or value any is meant' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l dns-query -d 'DNS that asks for a name that matches' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l sni -d 'TLS and QUIC whose client says this server name; * is any text' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l latency -d 'Responses that took so long: 10ms or more, \'>10ms\', \'<=1s\', \'>1ms,<5ms\'' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l min-bytes -d 'Flows of connections that carry as many bytes so far, such as 10MiB' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l cel-expression -d 'Flows for which a CEL expression holds, such as \'_flow.l4.TCP.destination_port > 1024u\'' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l reply -d 'Replies; --reply=false: what is none' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l allowlist -d 'Flows that a FlowFilter of Hubble\'s means, besides those of the filters above' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l denylist -d 'Leave out flows that a FlowFilter means' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l once -d 'Print them when the flows end; live after 5s, unless --duration or --first says otherwise'
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l strict -d 'With -r, end at the first bad line with exit code 2'
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l fail-on-loss -d 'End with exit code 1 if events were lost'
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -s f -l follow -d 'Go on as flows come; live that is so anyway, with -r it follows a growing file'
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l api -d 'Ask the API server: the kubeconfig\'s, or in a pod the cluster\'s own'
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l per-packet -d 'Tell every packet, not only the first ones and what changes'
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l tcp-health -d 'Follow how TCP connections fare: what is sent again or out of order, closed windows, resets, round trips'
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l l7 -d 'Decode what connections carry, on any port: HTTP, gRPC, DNS, and names that TLS and QUIC begin with'
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l show-secrets -d 'Show credentials, cookies and values in queries, which are masked otherwise'
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -s A -l all-namespaces -d 'Take a pod or service without namespace for one of any, not of default'
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l from-all-namespaces -d 'The same for where flows come from'
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l to-all-namespaces -d 'The same for where flows go to'
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -s 4 -l ipv4 -d 'The same as --ip-version 4'
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -s 6 -l ipv6 -d 'The same as --ip-version 6'
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l encrypted -d 'Flows that were encrypted between nodes'
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l unencrypted -d 'Flows that were not'
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -l not -d 'Leave out what the next filter means'
complete -c flowdump -n "__fish_flowdump_using_subcommand metrics" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l by -d 'What the rows are' -r -f -a "pod\t'Pods that are observed'
workload\t'What they belong to, such as a Deployment'
port\t'Ports of servers'
policy\t'Policies that allowed or denied'
edge\t'Client, server and port'"
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l sort -d 'What comes first' -r -f -a "bytes\t'Bytes both ways'
packets\t'Packets both ways'
flows\t'Flows'
denied\t'Packets that were denied, or would be'
errors\t'Requests that failed; --l7 tells them'
latency\t'Latency that 99 of 100 requests are below'"
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l limit -d 'The most rows; what is beyond is summed' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l interval -d 'How often it is shown. Live 1s; with -r once, unless this is given: then for each such while of the flows\' own time' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -s o -l output -d 'Form of the output; on a terminal table, else jsonl' -r -f -a "table\t'Columns; live on a terminal a screen that is drawn anew'
json\t'The same as jsonl'
jsonl\t'A JSON object each time, a line each'"
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l attach -d 'Attach the datapath while this runs, where nothing else has: to a pod (NS/POD), a host-side interface, or all' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -s r -l read -d 'Read saved lines from this file, or from stdin (-)' -r -F
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l pods -d 'Take names from this file, folder or FIFO, or from stdin (-): what kubectl get pods,services,nodes,namespaces -A -o json prints, or a watch. May be given again' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l kubeconfig -d 'The kubeconfig, instead of $KUBECONFIG and ~/.kube/config' -r -F
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l context -d 'The context of the kubeconfig, instead of its current one' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l drops -d 'Tell packets of pods that the kernel drops as well, wherever and for whatever reason; all adds those that are no fault' -r -f -a "fault\t'Those that are a fault, or may be'
all\t'Also those of which the kernel says that nobody misses them'"
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l l7-memory -d 'Memory that decoding may take, over all connections' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l buffer -d 'Size of the ring buffer between kernel and this program' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l own-node -d 'Name of this node; without it $NODE_NAME, else the host name' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l root -d 'Put this directory in front of all paths of the host' -r -F
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l first -d 'End after this many flows' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l last -d 'The last N flows; live, of the connection tables' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l since -d 'Flows since this time (RFC 3339), or since so long ago (5m); live, of the connection tables' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l until -d 'Flows until this time, or until so long ago' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l duration -d 'End after this time' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l pod -d 'Flows of pods whose name begins so; NS/ is every pod of a namespace, /POD any' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l from-pod -d 'Flows that come from such pods' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l to-pod -d 'Flows that go to such pods' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -s n -l namespace -d 'Flows of a namespace' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l from-namespace -d 'Flows that come from a namespace' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l to-namespace -d 'Flows that go to a namespace' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l service -d 'Flows of virtual addresses of services whose name begins so' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l from-service -d 'Flows that come from such addresses' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l to-service -d 'Flows that go to such addresses' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l workload -d 'Flows of pods of a workload, such as Deployment/web; KIND/ is any of a kind' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l from-workload -d 'Flows that come from such pods' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l to-workload -d 'Flows that go to such pods' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -s l -l label -d 'Flows of pods that a label selector means, such as app=web,tier!=db' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l from-label -d 'Flows that come from such pods' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l to-label -d 'Flows that go to such pods' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l identity -d 'Flows of a security identity: a number, or one of host, world, remote-node, ...' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l from-identity -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l to-identity -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l cluster -d 'Flows of pods of a cluster; * is any text' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l from-cluster -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l to-cluster -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l ip -d 'Flows of an IP address or CIDR' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l from-ip -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l to-ip -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l snat-ip -d 'Flows whose source address was translated to it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l fqdn -d 'Flows of a DNS name; * is any text, as in *.example.com' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l from-fqdn -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l to-fqdn -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l port -d 'Flows of a port, or of a range such as 8000-8100' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l from-port -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l to-port -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l protocol -d 'Flows of tcp, udp, sctp, icmp, icmpv4, icmpv6, dns, http, grpc, tls, quic or kafka' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l tcp-flags -d 'Packets with all of these TCP flags, such as syn,ack' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l ip-version -d 'Flows of IP version 4 or 6, or of none' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -s t -l type -d 'Flows of drop, trace, l7, policy-verdict, capture or trace-sock, such as trace:to-endpoint' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l verdict -d 'Flows that were FORWARDED or DROPPED, or are dropped but for AUDIT mode' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l drop-reason-desc -d 'Flows that were dropped for this, such as POLICY_DENIED' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l policy -d 'Flows that this policy allowed or denied; /NAME is one of the cluster, NAME any' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l traffic-direction -d 'Flows of connections opened to a pod (ingress) or by it (egress)' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l interface -d 'Flows that were seen at this interface' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l node-name -d 'Flows that were seen by this node; * is any text' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l node-label -d 'Flows that were seen by nodes that a label selector means' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l uuid -d 'The flow with this identifier' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l trace-id -d 'Flows of requests of this trace' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l ip-trace-id -d 'Flows whose IP option bears this trace' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l http-status -d 'HTTP responses of a status such as 404, or of all that begin so: 5+' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l http-method -d 'HTTP of this method' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l http-path -d 'HTTP whose path matches' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l http-url -d 'HTTP whose URL matches' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l http-header -d 'HTTP with this header; without name or value any is meant' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l dns-query -d 'DNS that asks for a name that matches' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l sni -d 'TLS and QUIC whose client says this server name; * is any text' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l latency -d 'Responses that took so long: 10ms or more, \'>10ms\', \'<=1s\', \'>1ms,<5ms\'' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l min-bytes -d 'Flows of connections that carry as many bytes so far, such as 10MiB' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l cel-expression -d 'Flows for which a CEL expression holds, such as \'_flow.l4.TCP.destination_port > 1024u\'' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l reply -d 'Replies; --reply=false: what is none' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l allowlist -d 'Flows that a FlowFilter of Hubble\'s means, besides those of the filters above' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l denylist -d 'Leave out flows that a FlowFilter means' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -s j -d 'The same as -o jsonl'
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l strict -d 'With -r, end at the first bad line with exit code 2'
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l fail-on-loss -d 'End with exit code 1 if events were lost'
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -s f -l follow -d 'Go on as flows come; live that is so anyway, with -r it follows a growing file'
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l api -d 'Ask the API server: the kubeconfig\'s, or in a pod the cluster\'s own'
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l per-packet -d 'Tell every packet, not only the first ones and what changes'
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l tcp-health -d 'Follow how TCP connections fare: what is sent again or out of order, closed windows, resets, round trips'
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l l7 -d 'Decode what connections carry, on any port: HTTP, gRPC, DNS, and names that TLS and QUIC begin with'
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l show-secrets -d 'Show credentials, cookies and values in queries, which are masked otherwise'
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -s A -l all-namespaces -d 'Take a pod or service without namespace for one of any, not of default'
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l from-all-namespaces -d 'The same for where flows come from'
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l to-all-namespaces -d 'The same for where flows go to'
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -s 4 -l ipv4 -d 'The same as --ip-version 4'
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -s 6 -l ipv6 -d 'The same as --ip-version 6'
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l encrypted -d 'Flows that were encrypted between nodes'
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l unencrypted -d 'Flows that were not'
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -l not -d 'Leave out what the next filter means'
complete -c flowdump -n "__fish_flowdump_using_subcommand top" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c flowdump -n "__fish_flowdump_using_subcommand help; and not __fish_seen_subcommand_from health map metrics top help" -f -a "health" -d 'Which edges fare worst now, and why'
complete -c flowdump -n "__fish_flowdump_using_subcommand help; and not __fish_seen_subcommand_from health map metrics top help" -f -a "map" -d 'Who talks to whom, as a map'
complete -c flowdump -n "__fish_flowdump_using_subcommand help; and not __fish_seen_subcommand_from health map metrics top help" -f -a "metrics" -d 'Flows as metrics, for Prometheus'
complete -c flowdump -n "__fish_flowdump_using_subcommand help; and not __fish_seen_subcommand_from health map metrics top help" -f -a "top" -d 'Who does most now'
complete -c flowdump -n "__fish_flowdump_using_subcommand help; and not __fish_seen_subcommand_from health map metrics top help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
