# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_flowdump_global_optspecs
    string join \n attach= r/read= f/follow pods= api kubeconfig= context= per-packet buffer= node-name= root= first= last= since= until= duration= pod= from-pod= to-pod= n/namespace= from-namespace= to-namespace= l/label= from-label= to-label= ip= from-ip= to-ip= port= from-port= to-port= protocol= verdict= traffic-direction= tcp-flags= ip-version= A/all-namespaces 4 6 not o/output= j print-node-name strict fail-on-loss log= h/help V/version
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
complete -c flowdump -n "__fish_flowdump_needs_command" -l buffer -d 'Size of the ring buffer between kernel and this program' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l node-name -d 'Name of this node; without it $NODE_NAME, else the host name' -r
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
complete -c flowdump -n "__fish_flowdump_needs_command" -s l -l label -d 'Flows of pods that a label selector means, such as app=web,tier!=db' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l from-label -d 'Flows that come from such pods' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l to-label -d 'Flows that go to such pods' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l ip -d 'Flows of an IP address or CIDR' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l from-ip -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l to-ip -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l port -d 'Flows of a port, or of a range such as 8000-8100' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l from-port -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l to-port -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l protocol -d 'Flows of tcp, udp, sctp, icmp, icmpv4 or icmpv6' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l verdict -d 'Flows that were FORWARDED or DROPPED, or are dropped but for AUDIT mode' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l traffic-direction -d 'Flows of connections opened to a pod (ingress) or by it (egress)' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l tcp-flags -d 'Packets with all of these TCP flags, such as syn,ack' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -l ip-version -d 'Flows of IP version 4 or 6' -r
complete -c flowdump -n "__fish_flowdump_needs_command" -s o -l output -d 'Form of the output; json and jsonl are the same on a stream' -r -f -a "compact\t'A line a flow'
dict\t'A few lines a flow'
table\t'Columns'
json\t'The same as jsonl'
jsonl\t'A JSON object a line'"
complete -c flowdump -n "__fish_flowdump_needs_command" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c flowdump -n "__fish_flowdump_needs_command" -s f -l follow -d 'Go on as flows come; live that is so anyway, with -r it follows a growing file'
complete -c flowdump -n "__fish_flowdump_needs_command" -l api -d 'Ask the API server: the kubeconfig\'s, or in a pod the cluster\'s own'
complete -c flowdump -n "__fish_flowdump_needs_command" -l per-packet -d 'Tell every packet, not only the first ones and what changes'
complete -c flowdump -n "__fish_flowdump_needs_command" -s A -l all-namespaces -d 'Take a pod without namespace for one of any, not of default'
complete -c flowdump -n "__fish_flowdump_needs_command" -s 4 -d 'The same as --ip-version 4'
complete -c flowdump -n "__fish_flowdump_needs_command" -s 6 -d 'The same as --ip-version 6'
complete -c flowdump -n "__fish_flowdump_needs_command" -l not -d 'Leave out what the next filter means'
complete -c flowdump -n "__fish_flowdump_needs_command" -s j -d 'The same as -o jsonl'
complete -c flowdump -n "__fish_flowdump_needs_command" -l print-node-name -d 'Print the name of the node with each flow'
complete -c flowdump -n "__fish_flowdump_needs_command" -l strict -d 'With -r, end at the first bad line with exit code 2'
complete -c flowdump -n "__fish_flowdump_needs_command" -l fail-on-loss -d 'End with exit code 1 if events were lost'
complete -c flowdump -n "__fish_flowdump_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c flowdump -n "__fish_flowdump_needs_command" -s V -l version -d 'Print version'
complete -c flowdump -n "__fish_flowdump_needs_command" -f -a "map" -d 'Who talks to whom, as a map'
complete -c flowdump -n "__fish_flowdump_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
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
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l edges -d 'The most edges; what is beyond is one edge that says so' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l externals -d 'The most external peers, by name or address; what is beyond is one node' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l attach -d 'Attach the datapath while this runs, where nothing else has: to a pod (NS/POD), a host-side interface, or all' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -s r -l read -d 'Read saved lines from this file, or from stdin (-)' -r -F
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l pods -d 'Take names from this file, folder or FIFO, or from stdin (-): what kubectl get pods,services,nodes,namespaces -A -o json prints, or a watch. May be given again' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l kubeconfig -d 'The kubeconfig, instead of $KUBECONFIG and ~/.kube/config' -r -F
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l context -d 'The context of the kubeconfig, instead of its current one' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l buffer -d 'Size of the ring buffer between kernel and this program' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l node-name -d 'Name of this node; without it $NODE_NAME, else the host name' -r
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
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -s l -l label -d 'Flows of pods that a label selector means, such as app=web,tier!=db' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l from-label -d 'Flows that come from such pods' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l to-label -d 'Flows that go to such pods' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l ip -d 'Flows of an IP address or CIDR' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l from-ip -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l to-ip -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l port -d 'Flows of a port, or of a range such as 8000-8100' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l from-port -d 'Flows that come from it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l to-port -d 'Flows that go to it' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l protocol -d 'Flows of tcp, udp, sctp, icmp, icmpv4 or icmpv6' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l verdict -d 'Flows that were FORWARDED or DROPPED, or are dropped but for AUDIT mode' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l traffic-direction -d 'Flows of connections opened to a pod (ingress) or by it (egress)' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l tcp-flags -d 'Packets with all of these TCP flags, such as syn,ack' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l ip-version -d 'Flows of IP version 4 or 6' -r
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -s j -d 'The same as -o jsonl'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -s w -l watch -d 'Show the map again each second, as flows come; a file of -r is followed'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l strict -d 'With -r, end at the first bad line with exit code 2'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l fail-on-loss -d 'End with exit code 1 if events were lost'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -s f -l follow -d 'Go on as flows come; live that is so anyway, with -r it follows a growing file'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l api -d 'Ask the API server: the kubeconfig\'s, or in a pod the cluster\'s own'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l per-packet -d 'Tell every packet, not only the first ones and what changes'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -s A -l all-namespaces -d 'Take a pod without namespace for one of any, not of default'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -s 4 -d 'The same as --ip-version 4'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -s 6 -d 'The same as --ip-version 6'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -l not -d 'Leave out what the next filter means'
complete -c flowdump -n "__fish_flowdump_using_subcommand map" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c flowdump -n "__fish_flowdump_using_subcommand help; and not __fish_seen_subcommand_from map help" -f -a "map" -d 'Who talks to whom, as a map'
complete -c flowdump -n "__fish_flowdump_using_subcommand help; and not __fish_seen_subcommand_from map help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
