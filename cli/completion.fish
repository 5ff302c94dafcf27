# Completion of routewatch for fish, made by: routewatch completion fish
function __routewatch_complete
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    set -l lines ($words[1] __complete $words[2..-1] "$typed" 2>/dev/null)
    if test "$lines[-1]" = :0
        set -l flag (string match -r -- '^--[^=]*=' "$typed")
        for path in (__fish_complete_path (string replace -- "$flag" '' "$typed"))
            echo "$flag$path"
        end
        return
    end
    string match -v -- ':*' $lines
end
complete -c routewatch -f -a '(__routewatch_complete)'
