complete -c flowdump -l attach -d 'Attach the datapath while this runs, where nothing else has: to a pod (NS/POD), a host-side interface, or all' -r
complete -c flowdump -s r -l read -d 'Read saved lines from this file, or from stdin (-)' -r -F
complete -c flowdump -l pods -d 'Take names from this file, folder or FIFO, or from stdin (-): what kubectl get pods,services,nodes,namespaces -A -o json prints, or a watch. May be given again' -r
complete -c flowdump -l kubeconfig -d 'The kubeconfig, instead of $KUBECONFIG and ~/.kube/config' -r -F
complete -c flowdump -l context -d 'The context of the kubeconfig, instead of its current one' -r
complete -c flowdump -l buffer -d 'Size of the ring buffer between kernel and this program' -r
complete -c flowdump -l own-node -d 'Name of this node; without it $NODE_NAME, else the host name' -r
complete -c flowdump -l root -d 'Put this directory in front of all paths of the host' -r -F
complete -c flowdump -l first -d 'End after this many flows' -r
complete -c flowdump -l last -d 'The last N flows; live, of the connection tables' -r
complete -c flowdump -l since -d 'Flows since this time (RFC 3339), or since so long ago (5m); live, of the connection tables' -r
complete -c flowdump -l until -d 'Flows until this time, or until so long ago' -r
complete -c flowdump -l duration -d 'End after this time' -r
complete -c flowdump -l pod -d 'Flows of pods whose name begins so; NS/ is every pod of a namespace, /POD any' -r
complete -c flowdump -l from-pod -d 'Flows that come from such pods' -r
complete -c flowdump -l to-pod -d 'Flows that go to such pods' -r
complete -c flowdump -s n -l namespace -d 'Flows of a namespace' -r
complete -c flowdump -l from-namespace -d 'Flows that come from a namespace' -r
complete -c flowdump -l to-namespace -d 'Flows that go to a namespace' -r
complete -c flowdump -l service -d 'Flows of virtual addresses of services whose name begins so' -r
complete -c flowdump -l from-service -d 'Flows that come from such addresses' -r
complete -c flowdump -l to-service -d 'Flows that go to such addresses' -r
complete -c flowdump -l workload -d 'Flows of pods of a workload, such as Deployment/web; KIND/ is any of a kind' -r
complete -c flowdump -l from-workload -d 'Flows that come from such pods' -r
complete -c flowdump -l to-workload -d 'Flows that go to such pods' -r
complete -c flowdump -s l -l label -d 'Flows of pods that a label selector means, such as app=web,tier!=db' -r
complete -c flowdump -l from-label -d 'Flows that come from such pods' -r
complete -c flowdump -l to-label -d 'Flows that go to such pods' -r
complete -c flowdump -l identity -d 'Flows of a security identity: a number, or one of host, world, remote-node, ...' -r
complete -c flowdump -l from-identity -d 'Flows that come from it' -r
complete -c flowdump -l to-identity -d 'Flows that go to it' -r
complete -c flowdump -l cluster -d 'Flows of pods of a cluster; * is any text' -r
complete -c flowdump -l from-cluster -d 'Flows that come from it' -r
complete -c flowdump -l to-cluster -d 'Flows that go to it' -r
complete -c flowdump -l ip -d 'Flows of an IP address or CIDR' -r
complete -c flowdump -l from-ip -d 'Flows that come from it' -r
complete -c flowdump -l to-ip -d 'Flows that go to it' -r
complete -c flowdump -l snat-ip -d 'Flows whose source address was translated to it' -r
complete -c flowdump -l fqdn -d 'Flows of a DNS name; * is any text, as in *.example.com' -r
complete -c flowdump -l from-fqdn -d 'Flows that come from it' -r
complete -c flowdump -l to-fqdn -d 'Flows that go to it' -r
complete -c flowdump -l port -d 'Flows of a port, or of a range such as 8000-8100' -r
complete -c flowdump -l from-port -d 'Flows that come from it' -r
complete -c flowdump -l to-port -d 'Flows that go to it' -r
complete -c flowdump -l protocol -d 'Flows of tcp, udp, sctp, icmp, icmpv4, icmpv6, dns, http, grpc, tls, quic or kafka' -r
complete -c flowdump -l tcp-flags -d 'Packets with all of these TCP flags, such as syn,ack' -r
complete -c flowdump -l ip-version -d 'Flows of IP version 4 or 6, or of none' -r
complete -c flowdump -s t -l type -d 'Flows of drop, trace, l7, policy-verdict, capture or trace-sock, such as trace:to-endpoint' -r
complete -c flowdump -l verdict -d 'Flows that were FORWARDED or DROPPED, or are dropped but for AUDIT mode' -r
complete -c flowdump -l drop-reason-desc -d 'Flows that were dropped for this, such as POLICY_DENIED' -r
complete -c flowdump -l policy -d 'Flows that this policy allowed or denied; /NAME is one of the cluster, NAME any' -r
complete -c flowdump -l traffic-direction -d 'Flows of connections opened to a pod (ingress) or by it (egress)' -r
complete -c flowdump -l interface -d 'Flows that were seen at this interface' -r
complete -c flowdump -l node-name -d 'Flows that were seen by this node; * is any text' -r
complete -c flowdump -l node-label -d 'Flows that were seen by nodes that a label selector means' -r
complete -c flowdump -l uuid -d 'The flow with this identifier' -r
complete -c flowdump -l trace-id -d 'Flows of requests of this trace' -r
complete -c flowdump -l ip-trace-id -d 'Flows whose IP option bears this trace' -r
complete -c flowdump -l http-status -d 'HTTP responses of a status such as 404, or of all that begin so: 5+' -r
complete -c flowdump -l http-method -d 'HTTP of this method' -r
complete -c flowdump -l http-path -d 'HTTP whose path matches' -r
complete -c flowdump -l http-url -d 'HTTP whose URL matches' -r
complete -c flowdump -l http-header -d 'HTTP with this header; without name or value any is meant' -r
complete -c flowdump -l dns-query -d 'DNS that asks for a name that matches' -r
complete -c flowdump -l sni -d 'TLS and QUIC whose client says this server name; * is any text' -r
complete -c flowdump -l latency -d 'Responses that took so long: 10ms or more, \'>10ms\', \'<=1s\', \'>1ms,<5ms\'' -r
complete -c flowdump -l min-bytes -d 'Flows of connections that carry as many bytes so far, such as 10MiB' -r
complete -c flowdump -l cel-expression -d 'Flows for which a CEL expression holds, such as \'_flow.l4.TCP.destination_port > 1024u\'' -r
complete -c flowdump -l reply -d 'Replies; --reply=false: what is none' -r
complete -c flowdump -l allowlist -d 'Flows that a FlowFilter of Hubble\'s means, besides those of the filters above' -r
complete -c flowdump -l denylist -d 'Leave out flows that a FlowFilter means' -r
complete -c flowdump -s o -l output -d 'Form of the output; json and jsonl are the same on a stream' -r -f -a "compact\t'A line a flow'
dict\t'A few lines a flow'
table\t'Columns'
json\t'The same as jsonl'
jsonpb\t'The same as jsonl, by its name in Hubble'
jsonl\t'A JSON object a line'"
complete -c flowdump -l time-format -d 'How to print times, which are in UTC; in JSON they are RFC 3339' -r -f -a "StampMilli\t''
YearMonthDay\t''
YearMonthDayHour\t''
YearMonthDayHourMinute\t''
RFC3339\t''
RFC3339Milli\t''
RFC3339Micro\t''
RFC3339Nano\t''
RFC1123Z\t''"
complete -c flowdump -l color -d 'Whether to colour' -r -f -a "auto\t'On a terminal, where NO_COLOR is not set'
always\t'Always, but in tables and JSON'
never\t'Never'"
complete -c flowdump -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c flowdump -s f -l follow -d 'Go on as flows come; live that is so anyway, with -r it follows a growing file'
complete -c flowdump -l api -d 'Ask the API server: the kubeconfig\'s, or in a pod the cluster\'s own'
complete -c flowdump -l per-packet -d 'Tell every packet, not only the first ones and what changes'
complete -c flowdump -s A -l all-namespaces -d 'Take a pod or service without namespace for one of any, not of default'
complete -c flowdump -l from-all-namespaces -d 'The same for where flows come from'
complete -c flowdump -l to-all-namespaces -d 'The same for where flows go to'
complete -c flowdump -s 4 -l ipv4 -d 'The same as --ip-version 4'
complete -c flowdump -s 6 -l ipv6 -d 'The same as --ip-version 6'
complete -c flowdump -l encrypted -d 'Flows that were encrypted between nodes'
complete -c flowdump -l unencrypted -d 'Flows that were not'
complete -c flowdump -l not -d 'Leave out what the next filter means'
complete -c flowdump -s j -d 'The same as -o jsonl'
complete -c flowdump -l print-node-name -d 'Print the name of the node with each flow'
complete -c flowdump -l print-policy-names -d 'Print the policies that allowed or denied with each flow; who denied is told anyway'
complete -c flowdump -l numeric -d 'Print addresses, without names of pods, services and DNS'
complete -c flowdump -l print-raw-filters -d 'Print the allow and the deny list that the filters make, as Hubble does, and end'
complete -c flowdump -l strict -d 'With -r, end at the first bad line with exit code 2'
complete -c flowdump -l fail-on-loss -d 'End with exit code 1 if events were lost'
complete -c flowdump -s h -l help -d 'Print help (see more with \'--help\')'
complete -c flowdump -s V -l version -d 'Print version'
