# Completion of routewatch for bash, made by: routewatch completion bash
_routewatch() {
	local word about files=
	COMPREPLY=()
	while IFS=$'\t' read -r word about; do
		case $word in
			:0) files=yes ;;
			:*) ;;
			*) COMPREPLY+=("$word") ;;
		esac
	done < <("${COMP_WORDS[0]/#\~/$HOME}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
	if [[ -n $files ]] && type compopt >/dev/null 2>&1; then
		compopt -o default
	fi
}
complete -F _routewatch routewatch
