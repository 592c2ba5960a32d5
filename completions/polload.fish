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
complete -c polload -n "__fish_polload_using_subcommand help; and not __fish_seen_subcommand_from matrix explain diff equivalent contains redundant lint help" -f -a "matrix" -d 'Who may reach whom'
complete -c polload -n "__fish_polload_using_subcommand help; and not __fish_seen_subcommand_from matrix explain diff equivalent contains redundant lint help" -f -a "explain" -d 'Why one may reach the other, or not, and what would change it'
complete -c polload -n "__fish_polload_using_subcommand help; and not __fish_seen_subcommand_from matrix explain diff equivalent contains redundant lint help" -f -a "diff" -d 'Who may reach whom no longer, or as of now'
complete -c polload -n "__fish_polload_using_subcommand help; and not __fish_seen_subcommand_from matrix explain diff equivalent contains redundant lint help" -f -a "equivalent" -d 'Whether two sets of policies allow the same'
complete -c polload -n "__fish_polload_using_subcommand help; and not __fish_seen_subcommand_from matrix explain diff equivalent contains redundant lint help" -f -a "contains" -d 'Whether one set of policies allows everything that another allows'
complete -c polload -n "__fish_polload_using_subcommand help; and not __fish_seen_subcommand_from matrix explain diff equivalent contains redundant lint help" -f -a "redundant" -d 'Rules and policies whose removal changes nothing'
complete -c polload -n "__fish_polload_using_subcommand help; and not __fish_seen_subcommand_from matrix explain diff equivalent contains redundant lint help" -f -a "lint" -d 'Mistakes that change what policies mean'
complete -c polload -n "__fish_polload_using_subcommand help; and not __fish_seen_subcommand_from matrix explain diff equivalent contains redundant lint help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
