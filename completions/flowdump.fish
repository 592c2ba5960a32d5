complete -c flowdump -l attach -d 'Attach the datapath while this runs, where nothing else has: to a pod (NS/POD), a host-side interface, or all' -r
complete -c flowdump -s r -l read -d 'Read saved lines from this file, or from stdin (-)' -r -F
complete -c flowdump -l pods -d 'Take names from this file, folder or FIFO, or from stdin (-): what kubectl get pods,services,nodes,namespaces -A -o json prints, or a watch. May be given again' -r
complete -c flowdump -l kubeconfig -d 'The kubeconfig, instead of $KUBECONFIG and ~/.kube/config' -r -F
complete -c flowdump -l context -d 'The context of the kubeconfig, instead of its current one' -r
complete -c flowdump -l buffer -d 'Size of the ring buffer between kernel and this program' -r
complete -c flowdump -l node-name -d 'Name of this node; without it $NODE_NAME, else the host name' -r
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
complete -c flowdump -s l -l label -d 'Flows of pods that a label selector means, such as app=web,tier!=db' -r
complete -c flowdump -l from-label -d 'Flows that come from such pods' -r
complete -c flowdump -l to-label -d 'Flows that go to such pods' -r
complete -c flowdump -l ip -d 'Flows of an IP address or CIDR' -r
complete -c flowdump -l from-ip -d 'Flows that come from it' -r
complete -c flowdump -l to-ip -d 'Flows that go to it' -r
complete -c flowdump -l port -d 'Flows of a port, or of a range such as 8000-8100' -r
complete -c flowdump -l from-port -d 'Flows that come from it' -r
complete -c flowdump -l to-port -d 'Flows that go to it' -r
complete -c flowdump -l protocol -d 'Flows of tcp, udp, sctp, icmp, icmpv4 or icmpv6' -r
complete -c flowdump -l verdict -d 'Flows that were FORWARDED or DROPPED, or are dropped but for AUDIT mode' -r
complete -c flowdump -l traffic-direction -d 'Flows of connections opened to a pod (ingress) or by it (egress)' -r
complete -c flowdump -l tcp-flags -d 'Packets with all of these TCP flags, such as syn,ack' -r
complete -c flowdump -l ip-version -d 'Flows of IP version 4 or 6' -r
complete -c flowdump -s o -l output -d 'Form of the output; json and jsonl are the same on a stream' -r -f -a "compact\t'A line a flow'
dict\t'A few lines a flow'
table\t'Columns'
json\t'The same as jsonl'
jsonl\t'A JSON object a line'"
complete -c flowdump -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c flowdump -s f -l follow -d 'Go on as flows come; live that is so anyway, with -r it follows a growing file'
complete -c flowdump -l api -d 'Ask the API server: the kubeconfig\'s, or in a pod the cluster\'s own'
complete -c flowdump -l per-packet -d 'Tell every packet, not only the first ones and what changes'
complete -c flowdump -s A -l all-namespaces -d 'Take a pod without namespace for one of any, not of default'
complete -c flowdump -s 4 -d 'The same as --ip-version 4'
complete -c flowdump -s 6 -d 'The same as --ip-version 6'
complete -c flowdump -l not -d 'Leave out what the next filter means'
complete -c flowdump -s j -d 'The same as -o jsonl'
complete -c flowdump -l print-node-name -d 'Print the name of the node with each flow'
complete -c flowdump -l strict -d 'With -r, end at the first bad line with exit code 2'
complete -c flowdump -l fail-on-loss -d 'End with exit code 1 if events were lost'
complete -c flowdump -s h -l help -d 'Print help (see more with \'--help\')'
complete -c flowdump -s V -l version -d 'Print version'
