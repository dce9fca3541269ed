# bgexp completion fish > ~/.config/fish/completions/bgexp.fish
function __bgexp_words
    set -l candidates (bgexp completion words (commandline -cp | string collect) 2>/dev/null)
    if test (count $candidates) -gt 0
        printf '%s\n' $candidates
    else
        set -l word (commandline -ct)
        set -l key (string match -r '^[^=]*=' -- $word)
        __fish_complete_path (string replace -r '^[^=]*=' '' -- $word) | string replace -r '^' "$key"
    end
end
complete -c bgexp -f -a '(__bgexp_words)'
