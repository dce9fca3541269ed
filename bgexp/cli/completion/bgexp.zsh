#compdef bgexp
# bgexp completion zsh > "${fpath[1]}/_bgexp"
_bgexp() {
    local -a candidates open
    candidates=(${(f)"$(bgexp completion words "$LBUFFER" 2>/dev/null)"})
    open=(${(M)candidates:#*[=.,]})
    candidates=(${candidates:#*[=.,]})
    if (( $#candidates + $#open )); then
        compadd -Q -- $candidates
        compadd -Q -S '' -- $open
    else
        compset -P '*='
        _files
    fi
}
if [[ $funcstack[1] == _bgexp ]]; then _bgexp "$@"; else compdef _bgexp bgexp; fi
