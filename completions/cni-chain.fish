# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_cni_chain_global_optspecs
    string join \n root= log= h/help V/version
end

function __fish_cni_chain_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_cni_chain_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_cni_chain_using_subcommand
    set -l cmd (__fish_cni_chain_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c cni-chain -n "__fish_cni_chain_needs_command" -l root -d 'Put this directory in front of all paths of the host' -r -F
complete -c cni-chain -n "__fish_cni_chain_needs_command" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c cni-chain -n "__fish_cni_chain_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cni-chain -n "__fish_cni_chain_needs_command" -s V -l version -d 'Print version'
complete -c cni-chain -n "__fish_cni_chain_needs_command" -f -a "endpoints" -d 'List what is attached: each endpoint, its interfaces, mode, programs and counters'
complete -c cni-chain -n "__fish_cni_chain_needs_command" -f -a "adopt" -d 'Attach to pods that already run'
complete -c cni-chain -n "__fish_cni_chain_needs_command" -f -a "release" -d 'Take the datapath off pods: the reverse of adopt'
complete -c cni-chain -n "__fish_cni_chain_needs_command" -f -a "status" -d 'Tell whether the datapath is there and all is as it should be; exit code 1 if not'
complete -c cni-chain -n "__fish_cni_chain_needs_command" -f -a "upgrade" -d 'Swap the programs of a running node for this binary\'s'
complete -c cni-chain -n "__fish_cni_chain_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c cni-chain -n "__fish_cni_chain_using_subcommand endpoints" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for people'
json\t'One JSON array'
jsonl\t'A JSON object a line'"
complete -c cni-chain -n "__fish_cni_chain_using_subcommand endpoints" -l root -d 'Put this directory in front of all paths of the host' -r -F
complete -c cni-chain -n "__fish_cni_chain_using_subcommand endpoints" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c cni-chain -n "__fish_cni_chain_using_subcommand endpoints" -s j -d 'The same as -o jsonl'
complete -c cni-chain -n "__fish_cni_chain_using_subcommand endpoints" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cni-chain -n "__fish_cni_chain_using_subcommand adopt" -l pod -d 'The pod of this namespace and name; may be repeated' -r
complete -c cni-chain -n "__fish_cni_chain_using_subcommand adopt" -l ifname -d 'The pod behind this interface of the node; may be repeated' -r
complete -c cni-chain -n "__fish_cni_chain_using_subcommand adopt" -l netns -d 'The pod in this network namespace; may be repeated' -r -F
complete -c cni-chain -n "__fish_cni_chain_using_subcommand adopt" -l mode -d 'How verdicts are used once the connections that exist are known; without it a pod that is attached already keeps its mode, and others observe' -r -f -a "observe\t'Packets are counted and reported'
audit\t'Packets are judged, nothing is dropped'
enforce\t'Packets are judged, and dropped where policy denies them'"
complete -c cni-chain -n "__fish_cni_chain_using_subcommand adopt" -l attach -d 'How to attach; what is attached already stays as it is' -r -f -a "auto\t'As the kernel allows: tcx from 6.6 on, clsact below'
tcx\t'By tcx links'
clsact\t'By clsact filters'"
complete -c cni-chain -n "__fish_cni_chain_using_subcommand adopt" -l connections -d 'Connections remembered for each interface and address family; what is attached already stays as it is' -r
complete -c cni-chain -n "__fish_cni_chain_using_subcommand adopt" -l runtime-endpoint -d 'The runtime\'s CRI socket; without it the usual places are tried' -r -F
complete -c cni-chain -n "__fish_cni_chain_using_subcommand adopt" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for people'
json\t'One JSON array'
jsonl\t'A JSON object a line'"
complete -c cni-chain -n "__fish_cni_chain_using_subcommand adopt" -l root -d 'Put this directory in front of all paths of the host' -r -F
complete -c cni-chain -n "__fish_cni_chain_using_subcommand adopt" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c cni-chain -n "__fish_cni_chain_using_subcommand adopt" -l all -d 'Every pod of this node'
complete -c cni-chain -n "__fish_cni_chain_using_subcommand adopt" -l dry-run -d 'Tell what would be adopted, and change nothing'
complete -c cni-chain -n "__fish_cni_chain_using_subcommand adopt" -s j -d 'The same as -o jsonl'
complete -c cni-chain -n "__fish_cni_chain_using_subcommand adopt" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cni-chain -n "__fish_cni_chain_using_subcommand release" -l pod -d 'The pod of this namespace and name; may be repeated' -r
complete -c cni-chain -n "__fish_cni_chain_using_subcommand release" -l ifname -d 'The pod behind this interface of the node; may be repeated' -r
complete -c cni-chain -n "__fish_cni_chain_using_subcommand release" -l netns -d 'The pod in this network namespace; may be repeated' -r -F
complete -c cni-chain -n "__fish_cni_chain_using_subcommand release" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for people'
json\t'One JSON array'
jsonl\t'A JSON object a line'"
complete -c cni-chain -n "__fish_cni_chain_using_subcommand release" -l root -d 'Put this directory in front of all paths of the host' -r -F
complete -c cni-chain -n "__fish_cni_chain_using_subcommand release" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c cni-chain -n "__fish_cni_chain_using_subcommand release" -l all -d 'Every pod of this node'
complete -c cni-chain -n "__fish_cni_chain_using_subcommand release" -l purge -d 'Remove the datapath itself too, with all its tables and files; only with --all'
complete -c cni-chain -n "__fish_cni_chain_using_subcommand release" -l dry-run -d 'Tell what would be released, and change nothing'
complete -c cni-chain -n "__fish_cni_chain_using_subcommand release" -s j -d 'The same as -o jsonl'
complete -c cni-chain -n "__fish_cni_chain_using_subcommand release" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cni-chain -n "__fish_cni_chain_using_subcommand status" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for people'
json\t'One JSON array'
jsonl\t'A JSON object a line'"
complete -c cni-chain -n "__fish_cni_chain_using_subcommand status" -l root -d 'Put this directory in front of all paths of the host' -r -F
complete -c cni-chain -n "__fish_cni_chain_using_subcommand status" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c cni-chain -n "__fish_cni_chain_using_subcommand status" -s j -d 'The same as -o jsonl'
complete -c cni-chain -n "__fish_cni_chain_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cni-chain -n "__fish_cni_chain_using_subcommand upgrade" -s o -l output -d 'Form of the output' -r -f -a "table\t'Columns for people'
json\t'One JSON array'
jsonl\t'A JSON object a line'"
complete -c cni-chain -n "__fish_cni_chain_using_subcommand upgrade" -l root -d 'Put this directory in front of all paths of the host' -r -F
complete -c cni-chain -n "__fish_cni_chain_using_subcommand upgrade" -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c cni-chain -n "__fish_cni_chain_using_subcommand upgrade" -l migrate -d 'Move over from a datapath of another ABI version, which no swap can'
complete -c cni-chain -n "__fish_cni_chain_using_subcommand upgrade" -l dry-run -d 'Load and check, and change nothing'
complete -c cni-chain -n "__fish_cni_chain_using_subcommand upgrade" -s j -d 'The same as -o jsonl'
complete -c cni-chain -n "__fish_cni_chain_using_subcommand upgrade" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cni-chain -n "__fish_cni_chain_using_subcommand help; and not __fish_seen_subcommand_from endpoints adopt release status upgrade help" -f -a "endpoints" -d 'List what is attached: each endpoint, its interfaces, mode, programs and counters'
complete -c cni-chain -n "__fish_cni_chain_using_subcommand help; and not __fish_seen_subcommand_from endpoints adopt release status upgrade help" -f -a "adopt" -d 'Attach to pods that already run'
complete -c cni-chain -n "__fish_cni_chain_using_subcommand help; and not __fish_seen_subcommand_from endpoints adopt release status upgrade help" -f -a "release" -d 'Take the datapath off pods: the reverse of adopt'
complete -c cni-chain -n "__fish_cni_chain_using_subcommand help; and not __fish_seen_subcommand_from endpoints adopt release status upgrade help" -f -a "status" -d 'Tell whether the datapath is there and all is as it should be; exit code 1 if not'
complete -c cni-chain -n "__fish_cni_chain_using_subcommand help; and not __fish_seen_subcommand_from endpoints adopt release status upgrade help" -f -a "upgrade" -d 'Swap the programs of a running node for this binary\'s'
complete -c cni-chain -n "__fish_cni_chain_using_subcommand help; and not __fish_seen_subcommand_from endpoints adopt release status upgrade help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
