# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_polload_global_optspecs
    string join \n log= h/help V/version
end

function __fish_polload_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_polload_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_polload_using_subcommand
    set -l cmd (__fish_polload_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c polload -n "__fish_polload_needs_command" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c polload -n "__fish_polload_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c polload -n "__fish_polload_needs_command" -s V -l version -d 'Print version'
complete -c polload -n "__fish_polload_needs_command" -f -a "matrix" -d 'Who may reach whom'
complete -c polload -n "__fish_polload_needs_command" -f -a "explain" -d 'Why one may reach the other, or not, and what would change it'
complete -c polload -n "__fish_polload_needs_command" -f -a "diff" -d 'Who may reach whom no longer, or as of now'
complete -c polload -n "__fish_polload_needs_command" -f -a "equivalent" -d 'Whether two sets of policies allow the same'
complete -c polload -n "__fish_polload_needs_command" -f -a "contains" -d 'Whether one set of policies allows everything that another allows'
complete -c polload -n "__fish_polload_needs_command" -f -a "redundant" -d 'Rules and policies whose removal changes nothing'
complete -c polload -n "__fish_polload_needs_command" -f -a "lint" -d 'Mistakes that change what policies mean'
complete -c polload -n "__fish_polload_needs_command" -f -a "plan" -d 'What putting policy in force on this node would change'
complete -c polload -n "__fish_polload_needs_command" -f -a "apply" -d 'Put policy in force on this node'
complete -c polload -n "__fish_polload_needs_command" -f -a "confirm" -d 'Have what was applied with --confirm stay'
complete -c polload -n "__fish_polload_needs_command" -f -a "clear" -d 'Take all policy off this node'
complete -c polload -n "__fish_polload_needs_command" -f -a "restore" -d 'Put back what was in force before a boot'
complete -c polload -n "__fish_polload_needs_command" -f -a "watch" -d 'Follow a cluster, and have each change in force at once'
complete -c polload -n "__fish_polload_needs_command" -f -a "status" -d 'Which policy is in force, for whom, what its rules have decided, and what is not as it should be'
complete -c polload -n "__fish_polload_needs_command" -f -a "verify" -d 'Whether the kernel has what the policies in force say'
complete -c polload -n "__fish_polload_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c polload -n "__fish_polload_using_subcommand matrix" -l kubeconfig -d 'The kubeconfig, instead of $KUBECONFIG and ~/.kube/config' -r -F
complete -c polload -n "__fish_polload_using_subcommand matrix" -l context -d 'The context of the kubeconfig, instead of its current one' -r
complete -c polload -n "__fish_polload_using_subcommand matrix" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for people'
jsonl\t'A JSON object a line'
dot\t'A graph for Graphviz'
html\t'One page that needs nothing else'"
complete -c polload -n "__fish_polload_using_subcommand matrix" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c polload -n "__fish_polload_using_subcommand matrix" -l api -d 'Ask the API server: the kubeconfig\'s, or in a pod the cluster\'s own'
complete -c polload -n "__fish_polload_using_subcommand matrix" -l strict -d 'Refuse everything if anything of it cannot be used'
complete -c polload -n "__fish_polload_using_subcommand matrix" -s j -d 'The same as -o jsonl'
complete -c polload -n "__fish_polload_using_subcommand matrix" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c polload -n "__fish_polload_using_subcommand explain" -l kubeconfig -d 'The kubeconfig, instead of $KUBECONFIG and ~/.kube/config' -r -F
complete -c polload -n "__fish_polload_using_subcommand explain" -l context -d 'The context of the kubeconfig, instead of its current one' -r
complete -c polload -n "__fish_polload_using_subcommand explain" -l from -d 'Who opens the connection: NS/NAME (a pod or workload; NS/NAME[KIND] is the workload), pod:NS/NAME, or an address' -r
complete -c polload -n "__fish_polload_using_subcommand explain" -l to -d 'To whom: NS/NAME, NS/NAME[KIND], pod:NS/NAME, svc:NS/NAME, or an address' -r
complete -c polload -n "__fish_polload_using_subcommand explain" -l port -d 'The destination port and protocol, such as 80/tcp; of a service, the service\'s port' -r
complete -c polload -n "__fish_polload_using_subcommand explain" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for people'
json\t'One JSON array'
jsonl\t'A JSON object a line'"
complete -c polload -n "__fish_polload_using_subcommand explain" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c polload -n "__fish_polload_using_subcommand explain" -l api -d 'Ask the API server: the kubeconfig\'s, or in a pod the cluster\'s own'
complete -c polload -n "__fish_polload_using_subcommand explain" -l strict -d 'Refuse everything if anything of it cannot be used'
complete -c polload -n "__fish_polload_using_subcommand explain" -s j -d 'The same as -o jsonl'
complete -c polload -n "__fish_polload_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c polload -n "__fish_polload_using_subcommand diff" -l kubeconfig -d 'The kubeconfig, instead of $KUBECONFIG and ~/.kube/config' -r -F
complete -c polload -n "__fish_polload_using_subcommand diff" -l context -d 'The context of the kubeconfig, instead of its current one' -r
complete -c polload -n "__fish_polload_using_subcommand diff" -l with -d 'Objects that belong to both sides, such as the pods and namespaces of a cluster: a file, a folder, or - for stdin. What a side says of an object counts there' -r
complete -c polload -n "__fish_polload_using_subcommand diff" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for people'
json\t'One JSON array'
jsonl\t'A JSON object a line'"
complete -c polload -n "__fish_polload_using_subcommand diff" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c polload -n "__fish_polload_using_subcommand diff" -l api -d 'Ask the API server: the kubeconfig\'s, or in a pod the cluster\'s own'
complete -c polload -n "__fish_polload_using_subcommand diff" -l strict -d 'Refuse everything if anything of it cannot be used'
complete -c polload -n "__fish_polload_using_subcommand diff" -s j -d 'The same as -o jsonl'
complete -c polload -n "__fish_polload_using_subcommand diff" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c polload -n "__fish_polload_using_subcommand equivalent" -l with -d 'Objects that belong to both sides, such as the pods and namespaces of a cluster: a file, a folder, or - for stdin. What a side says of an object counts there' -r
complete -c polload -n "__fish_polload_using_subcommand equivalent" -l kubeconfig -d 'The kubeconfig, instead of $KUBECONFIG and ~/.kube/config' -r -F
complete -c polload -n "__fish_polload_using_subcommand equivalent" -l context -d 'The context of the kubeconfig, instead of its current one' -r
complete -c polload -n "__fish_polload_using_subcommand equivalent" -l limit -d 'Show at most so many differences' -r
complete -c polload -n "__fish_polload_using_subcommand equivalent" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for people'
json\t'One JSON array'
jsonl\t'A JSON object a line'"
complete -c polload -n "__fish_polload_using_subcommand equivalent" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c polload -n "__fish_polload_using_subcommand equivalent" -l strict -d 'Refuse everything if anything of it cannot be used'
complete -c polload -n "__fish_polload_using_subcommand equivalent" -l api -d 'Ask the API server: the kubeconfig\'s, or in a pod the cluster\'s own'
complete -c polload -n "__fish_polload_using_subcommand equivalent" -s j -d 'The same as -o jsonl'
complete -c polload -n "__fish_polload_using_subcommand equivalent" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c polload -n "__fish_polload_using_subcommand contains" -l with -d 'Objects that belong to both sides, such as the pods and namespaces of a cluster: a file, a folder, or - for stdin. What a side says of an object counts there' -r
complete -c polload -n "__fish_polload_using_subcommand contains" -l kubeconfig -d 'The kubeconfig, instead of $KUBECONFIG and ~/.kube/config' -r -F
complete -c polload -n "__fish_polload_using_subcommand contains" -l context -d 'The context of the kubeconfig, instead of its current one' -r
complete -c polload -n "__fish_polload_using_subcommand contains" -l limit -d 'Show at most so many differences' -r
complete -c polload -n "__fish_polload_using_subcommand contains" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for people'
json\t'One JSON array'
jsonl\t'A JSON object a line'"
complete -c polload -n "__fish_polload_using_subcommand contains" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c polload -n "__fish_polload_using_subcommand contains" -l strict -d 'Refuse everything if anything of it cannot be used'
complete -c polload -n "__fish_polload_using_subcommand contains" -l api -d 'Ask the API server: the kubeconfig\'s, or in a pod the cluster\'s own'
complete -c polload -n "__fish_polload_using_subcommand contains" -s j -d 'The same as -o jsonl'
complete -c polload -n "__fish_polload_using_subcommand contains" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c polload -n "__fish_polload_using_subcommand redundant" -l kubeconfig -d 'The kubeconfig, instead of $KUBECONFIG and ~/.kube/config' -r -F
complete -c polload -n "__fish_polload_using_subcommand redundant" -l context -d 'The context of the kubeconfig, instead of its current one' -r
complete -c polload -n "__fish_polload_using_subcommand redundant" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for people'
json\t'One JSON array'
jsonl\t'A JSON object a line'"
complete -c polload -n "__fish_polload_using_subcommand redundant" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c polload -n "__fish_polload_using_subcommand redundant" -l api -d 'Ask the API server: the kubeconfig\'s, or in a pod the cluster\'s own'
complete -c polload -n "__fish_polload_using_subcommand redundant" -l strict -d 'Refuse everything if anything of it cannot be used'
complete -c polload -n "__fish_polload_using_subcommand redundant" -s j -d 'The same as -o jsonl'
complete -c polload -n "__fish_polload_using_subcommand redundant" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c polload -n "__fish_polload_using_subcommand lint" -l kubeconfig -d 'The kubeconfig, instead of $KUBECONFIG and ~/.kube/config' -r -F
complete -c polload -n "__fish_polload_using_subcommand lint" -l context -d 'The context of the kubeconfig, instead of its current one' -r
complete -c polload -n "__fish_polload_using_subcommand lint" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for people'
json\t'One JSON array'
jsonl\t'A JSON object a line'"
complete -c polload -n "__fish_polload_using_subcommand lint" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c polload -n "__fish_polload_using_subcommand lint" -l api -d 'Ask the API server: the kubeconfig\'s, or in a pod the cluster\'s own'
complete -c polload -n "__fish_polload_using_subcommand lint" -l strict -d 'Refuse everything if anything of it cannot be used'
complete -c polload -n "__fish_polload_using_subcommand lint" -s j -d 'The same as -o jsonl'
complete -c polload -n "__fish_polload_using_subcommand lint" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c polload -n "__fish_polload_using_subcommand plan" -l kubeconfig -d 'The kubeconfig, instead of $KUBECONFIG and ~/.kube/config' -r -F
complete -c polload -n "__fish_polload_using_subcommand plan" -l context -d 'The context of the kubeconfig, instead of its current one' -r
complete -c polload -n "__fish_polload_using_subcommand plan" -l root -d 'Put this directory in front of all paths of the host' -r -F
complete -c polload -n "__fish_polload_using_subcommand plan" -l node -d 'The name of this node in Kubernetes [default: the node that has an address of this host, or runs its pods, or is called as the host is]' -r
complete -c polload -n "__fish_polload_using_subcommand plan" -l mode -d 'How verdicts are used on this node' -r -f -a "observe\t'Nothing is judged'
audit\t'What would be denied is reported, and passes'
enforce\t'What is denied is dropped'"
complete -c polload -n "__fish_polload_using_subcommand plan" -l namespace-mode -d 'How they are used in a namespace, whatever its annotation chainkit.dev/mode says (repeatable)' -r
complete -c polload -n "__fish_polload_using_subcommand plan" -l exclude-namespace -d 'A namespace whose pods are not judged at all (repeatable)' -r
complete -c polload -n "__fish_polload_using_subcommand plan" -l unknown-pods -d 'What becomes of a pod that is not among the objects [default: isolate where a policy could select it by its namespace]' -r -f -a "isolate\t'It is isolated until its object arrives'
observe\t'It is not judged until its object arrives'"
complete -c polload -n "__fish_polload_using_subcommand plan" -l for -d 'End --shadow after this time, such as 10m' -r
complete -c polload -n "__fish_polload_using_subcommand plan" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for people'
json\t'One JSON array'
jsonl\t'A JSON object a line'"
complete -c polload -n "__fish_polload_using_subcommand plan" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c polload -n "__fish_polload_using_subcommand plan" -l api -d 'Ask the API server: the kubeconfig\'s, or in a pod the cluster\'s own'
complete -c polload -n "__fish_polload_using_subcommand plan" -l strict -d 'Refuse everything if anything of it cannot be used'
complete -c polload -n "__fish_polload_using_subcommand plan" -l shadow -d 'Load it beside what is in force, and report on live traffic what it would decide otherwise, until interrupted'
complete -c polload -n "__fish_polload_using_subcommand plan" -l skip-invalid -d 'Leave out policies that cannot be used, instead of refusing everything'
complete -c polload -n "__fish_polload_using_subcommand plan" -s j -d 'The same as -o jsonl'
complete -c polload -n "__fish_polload_using_subcommand plan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c polload -n "__fish_polload_using_subcommand apply" -l kubeconfig -d 'The kubeconfig, instead of $KUBECONFIG and ~/.kube/config' -r -F
complete -c polload -n "__fish_polload_using_subcommand apply" -l context -d 'The context of the kubeconfig, instead of its current one' -r
complete -c polload -n "__fish_polload_using_subcommand apply" -l root -d 'Put this directory in front of all paths of the host' -r -F
complete -c polload -n "__fish_polload_using_subcommand apply" -l node -d 'The name of this node in Kubernetes [default: the node that has an address of this host, or runs its pods, or is called as the host is]' -r
complete -c polload -n "__fish_polload_using_subcommand apply" -l mode -d 'How verdicts are used on this node' -r -f -a "observe\t'Nothing is judged'
audit\t'What would be denied is reported, and passes'
enforce\t'What is denied is dropped'"
complete -c polload -n "__fish_polload_using_subcommand apply" -l namespace-mode -d 'How they are used in a namespace, whatever its annotation chainkit.dev/mode says (repeatable)' -r
complete -c polload -n "__fish_polload_using_subcommand apply" -l exclude-namespace -d 'A namespace whose pods are not judged at all (repeatable)' -r
complete -c polload -n "__fish_polload_using_subcommand apply" -l unknown-pods -d 'What becomes of a pod that is not among the objects [default: isolate where a policy could select it by its namespace]' -r -f -a "isolate\t'It is isolated until its object arrives'
observe\t'It is not judged until its object arrives'"
complete -c polload -n "__fish_polload_using_subcommand apply" -l confirm -d 'Go back by itself to what was in force before, unless `polload confirm` comes within this time, such as 10m' -r
complete -c polload -n "__fish_polload_using_subcommand apply" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for people'
json\t'One JSON array'
jsonl\t'A JSON object a line'"
complete -c polload -n "__fish_polload_using_subcommand apply" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c polload -n "__fish_polload_using_subcommand apply" -l api -d 'Ask the API server: the kubeconfig\'s, or in a pod the cluster\'s own'
complete -c polload -n "__fish_polload_using_subcommand apply" -l strict -d 'Refuse everything if anything of it cannot be used'
complete -c polload -n "__fish_polload_using_subcommand apply" -l skip-invalid -d 'Leave out policies that cannot be used, instead of refusing everything'
complete -c polload -n "__fish_polload_using_subcommand apply" -l dry-run -d 'Only say what would change'
complete -c polload -n "__fish_polload_using_subcommand apply" -s j -d 'The same as -o jsonl'
complete -c polload -n "__fish_polload_using_subcommand apply" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c polload -n "__fish_polload_using_subcommand confirm" -l root -d 'Put this directory in front of all paths of the host' -r -F
complete -c polload -n "__fish_polload_using_subcommand confirm" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for people'
json\t'One JSON array'
jsonl\t'A JSON object a line'"
complete -c polload -n "__fish_polload_using_subcommand confirm" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c polload -n "__fish_polload_using_subcommand confirm" -s j -d 'The same as -o jsonl'
complete -c polload -n "__fish_polload_using_subcommand confirm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c polload -n "__fish_polload_using_subcommand clear" -l root -d 'Put this directory in front of all paths of the host' -r -F
complete -c polload -n "__fish_polload_using_subcommand clear" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for people'
json\t'One JSON array'
jsonl\t'A JSON object a line'"
complete -c polload -n "__fish_polload_using_subcommand clear" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c polload -n "__fish_polload_using_subcommand clear" -l now -d 'At once, whoever holds the lock: one write to the kernel, and the rest when it can be had'
complete -c polload -n "__fish_polload_using_subcommand clear" -s j -d 'The same as -o jsonl'
complete -c polload -n "__fish_polload_using_subcommand clear" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c polload -n "__fish_polload_using_subcommand restore" -l root -d 'Put this directory in front of all paths of the host' -r -F
complete -c polload -n "__fish_polload_using_subcommand restore" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for people'
json\t'One JSON array'
jsonl\t'A JSON object a line'"
complete -c polload -n "__fish_polload_using_subcommand restore" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c polload -n "__fish_polload_using_subcommand restore" -s j -d 'The same as -o jsonl'
complete -c polload -n "__fish_polload_using_subcommand restore" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c polload -n "__fish_polload_using_subcommand watch" -l kubeconfig -d 'The kubeconfig, instead of $KUBECONFIG and ~/.kube/config' -r -F
complete -c polload -n "__fish_polload_using_subcommand watch" -l context -d 'The context of the kubeconfig, instead of its current one' -r
complete -c polload -n "__fish_polload_using_subcommand watch" -l root -d 'Put this directory in front of all paths of the host' -r -F
complete -c polload -n "__fish_polload_using_subcommand watch" -l node -d 'The name of this node in Kubernetes [default: the node that has an address of this host, or runs its pods, or is called as the host is]' -r
complete -c polload -n "__fish_polload_using_subcommand watch" -l mode -d 'How verdicts are used on this node' -r -f -a "observe\t'Nothing is judged'
audit\t'What would be denied is reported, and passes'
enforce\t'What is denied is dropped'"
complete -c polload -n "__fish_polload_using_subcommand watch" -l namespace-mode -d 'How they are used in a namespace, whatever its annotation chainkit.dev/mode says (repeatable)' -r
complete -c polload -n "__fish_polload_using_subcommand watch" -l exclude-namespace -d 'A namespace whose pods are not judged at all (repeatable)' -r
complete -c polload -n "__fish_polload_using_subcommand watch" -l unknown-pods -d 'What becomes of a pod that is not among the objects [default: isolate where a policy could select it by its namespace]' -r -f -a "isolate\t'It is isolated until its object arrives'
observe\t'It is not judged until its object arrives'"
complete -c polload -n "__fish_polload_using_subcommand watch" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c polload -n "__fish_polload_using_subcommand watch" -l api -d 'Ask the API server: the kubeconfig\'s, or in a pod the cluster\'s own'
complete -c polload -n "__fish_polload_using_subcommand watch" -l reopen -d 'Open a FIFO again for the next writer when one is gone, instead of ending when all are'
complete -c polload -n "__fish_polload_using_subcommand watch" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c polload -n "__fish_polload_using_subcommand status" -l root -d 'Put this directory in front of all paths of the host' -r -F
complete -c polload -n "__fish_polload_using_subcommand status" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for people'
json\t'One JSON array'
jsonl\t'A JSON object a line'"
complete -c polload -n "__fish_polload_using_subcommand status" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c polload -n "__fish_polload_using_subcommand status" -s j -d 'The same as -o jsonl'
complete -c polload -n "__fish_polload_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c polload -n "__fish_polload_using_subcommand verify" -l root -d 'Put this directory in front of all paths of the host' -r -F
complete -c polload -n "__fish_polload_using_subcommand verify" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for people'
json\t'One JSON array'
jsonl\t'A JSON object a line'"
complete -c polload -n "__fish_polload_using_subcommand verify" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c polload -n "__fish_polload_using_subcommand verify" -l no-packets -d 'Send no sample packets through the programs: nothing is counted, and no connection is entered'
complete -c polload -n "__fish_polload_using_subcommand verify" -s j -d 'The same as -o jsonl'
complete -c polload -n "__fish_polload_using_subcommand verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c polload -n "__fish_polload_using_subcommand help; and not __fish_seen_subcommand_from matrix explain diff equivalent contains redundant lint plan apply confirm clear restore watch status verify help" -f -a "matrix" -d 'Who may reach whom'
complete -c polload -n "__fish_polload_using_subcommand help; and not __fish_seen_subcommand_from matrix explain diff equivalent contains redundant lint plan apply confirm clear restore watch status verify help" -f -a "explain" -d 'Why one may reach the other, or not, and what would change it'
complete -c polload -n "__fish_polload_using_subcommand help; and not __fish_seen_subcommand_from matrix explain diff equivalent contains redundant lint plan apply confirm clear restore watch status verify help" -f -a "diff" -d 'Who may reach whom no longer, or as of now'
complete -c polload -n "__fish_polload_using_subcommand help; and not __fish_seen_subcommand_from matrix explain diff equivalent contains redundant lint plan apply confirm clear restore watch status verify help" -f -a "equivalent" -d 'Whether two sets of policies allow the same'
complete -c polload -n "__fish_polload_using_subcommand help; and not __fish_seen_subcommand_from matrix explain diff equivalent contains redundant lint plan apply confirm clear restore watch status verify help" -f -a "contains" -d 'Whether one set of policies allows everything that another allows'
complete -c polload -n "__fish_polload_using_subcommand help; and not __fish_seen_subcommand_from matrix explain diff equivalent contains redundant lint plan apply confirm clear restore watch status verify help" -f -a "redundant" -d 'Rules and policies whose removal changes nothing'
complete -c polload -n "__fish_polload_using_subcommand help; and not __fish_seen_subcommand_from matrix explain diff equivalent contains redundant lint plan apply confirm clear restore watch status verify help" -f -a "lint" -d 'Mistakes that change what policies mean'
complete -c polload -n "__fish_polload_using_subcommand help; and not __fish_seen_subcommand_from matrix explain diff equivalent contains redundant lint plan apply confirm clear restore watch status verify help" -f -a "plan" -d 'What putting policy in force on this node would change'
complete -c polload -n "__fish_polload_using_subcommand help; and not __fish_seen_subcommand_from matrix explain diff equivalent contains redundant lint plan apply confirm clear restore watch status verify help" -f -a "apply" -d 'Put policy in force on this node'
complete -c polload -n "__fish_polload_using_subcommand help; and not __fish_seen_subcommand_from matrix explain diff equivalent contains redundant lint plan apply confirm clear restore watch status verify help" -f -a "confirm" -d 'Have what was applied with --confirm stay'
complete -c polload -n "__fish_polload_using_subcommand help; and not __fish_seen_subcommand_from matrix explain diff equivalent contains redundant lint plan apply confirm clear restore watch status verify help" -f -a "clear" -d 'Take all policy off this node'
complete -c polload -n "__fish_polload_using_subcommand help; and not __fish_seen_subcommand_from matrix explain diff equivalent contains redundant lint plan apply confirm clear restore watch status verify help" -f -a "restore" -d 'Put back what was in force before a boot'
complete -c polload -n "__fish_polload_using_subcommand help; and not __fish_seen_subcommand_from matrix explain diff equivalent contains redundant lint plan apply confirm clear restore watch status verify help" -f -a "watch" -d 'Follow a cluster, and have each change in force at once'
complete -c polload -n "__fish_polload_using_subcommand help; and not __fish_seen_subcommand_from matrix explain diff equivalent contains redundant lint plan apply confirm clear restore watch status verify help" -f -a "status" -d 'Which policy is in force, for whom, what its rules have decided, and what is not as it should be'
complete -c polload -n "__fish_polload_using_subcommand help; and not __fish_seen_subcommand_from matrix explain diff equivalent contains redundant lint plan apply confirm clear restore watch status verify help" -f -a "verify" -d 'Whether the kernel has what the policies in force say'
complete -c polload -n "__fish_polload_using_subcommand help; and not __fish_seen_subcommand_from matrix explain diff equivalent contains redundant lint plan apply confirm clear restore watch status verify help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
