"""`machinable completion`: the script that makes a shell complete our commands."""

from __future__ import annotations

import sys

import click

__all__ = ["SCRIPTS", "command"]

BASH = """\
# machinable completion bash: for this session `source <(machinable completion bash)`, for good the same in ~/.bashrc
_machinable() {
    local reply
    COMPREPLY=()
    while IFS= read -r reply; do
        if [[ $reply == '<files>' ]]; then
            compopt -o default 2>/dev/null
            return
        fi
        [[ $reply == *= ]] && compopt -o nospace 2>/dev/null
        COMPREPLY+=("$reply")
    done < <(_MACHINABLE_COMPLETE=bash _MACHINABLE_BREAKS="$COMP_WORDBREAKS" \\
        machinable "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
}
complete -F _machinable machinable
"""

ZSH = """\
#compdef machinable
# machinable completion zsh: `source <(machinable completion zsh)` behind `compinit` in ~/.zshrc
_machinable() {
    local reply
    local -a replies
    replies=("${(@f)$(_MACHINABLE_COMPLETE=zsh machinable "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    for reply in $replies; do
        if [[ $reply == '<files>' ]]; then
            _files
        elif [[ $reply == *= ]]; then
            compadd -S '' -- $reply
        else
            compadd -- $reply
        fi
    done
}
compdef _machinable machinable
"""

FISH = """\
# machinable completion fish: `machinable completion fish > ~/.config/fish/completions/machinable.fish`
function __machinable_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for reply in (env _MACHINABLE_COMPLETE=fish machinable $words[2..-1] "$current" 2>/dev/null)
        if test "$reply" = '<files>'
            __fish_complete_path "$current"
        else
            echo $reply
        end
    end
end
complete -c machinable -f -a '(__machinable_complete)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


@click.command("completion")
@click.argument("shell", type=click.Choice(list(SCRIPTS)))
def command(shell: str) -> None:
    """Print the script that makes SHELL complete commands, components, versions and keys."""
    sys.stdout.write(SCRIPTS[shell])
