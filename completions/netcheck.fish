complete -c netcheck -l log -d 'Form of messages on stderr' -r -f -a "text\t'NAME: message'
json\t'A JSON object a line, of level, message and, where one is known, remedy'"
complete -c netcheck -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netcheck -s V -l version -d 'Print version'
