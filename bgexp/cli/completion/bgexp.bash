# bgexp completion bash > ~/.local/share/bash-completion/completions/bgexp
_bgexp() {
    local line=${COMP_LINE:0:COMP_POINT}
    local word=${line##* }
    local IFS=$'\n'
    COMPREPLY=($(bgexp completion words "$line" 2>/dev/null))
    # Bash takes what stands after = or : as a word of its own.
    if [[ $word == *=* && $COMP_WORDBREAKS == *=* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${word%%=*}="}")
    fi
    if [[ ${COMPREPLY[0]} == *[=.,] ]]; then compopt -o nospace; fi
}
complete -o default -F _bgexp bgexp
