#compdef routewatch
# Completion of routewatch for zsh, made by: routewatch completion zsh
_routewatch() {
	local -a lines found
	local line word files=
	lines=("${(@f)$("${words[1]/#\~/$HOME}" __complete "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
	for line in "${lines[@]}"; do
		word=${line%%$'\t'*}
		case $line in
			(:0) files=yes ;;
			(:*) ;;
			(*$'\t'*) found+=("${word//:/\\:}:${line#*$'\t'}") ;;
			(?*) found+=("${word//:/\\:}") ;;
		esac
	done
	if [[ -n $files ]]; then
		compset -P '--*='
		_files
		return
	fi
	_describe -t words routewatch found
}
if [[ ${funcstack[1]} == _routewatch ]]; then
	_routewatch "$@"
else
	compdef _routewatch routewatch
fi
