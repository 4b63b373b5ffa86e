"""``mgflows completion``: completion of commands, options and names in a shell."""

from __future__ import annotations

import click

_ZSH = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }\n"
"""Loads the completion system of zsh, unless the start-up file has done so."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes mgflows commands in SHELL.

    It completes commands, options, choices, files, and the names of campaigns, datasets and
    potentials. To install it, add one line to the shell's start-up file:

    \b
    bash  ~/.bashrc:  eval "$(mgflows completion bash)"
    zsh   ~/.zshrc:   eval "$(mgflows completion zsh)"
    fish  ~/.config/fish/config.fish:  mgflows completion fish | source
    """  # noqa: D301 - click needs the character itself
    from click.shell_completion import get_completion_class

    from mgflows.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None
    # Unlike `source()`, the template does not start the shell to find its version.
    script = kind(cli, {}, "mgflows", "_MGFLOWS_COMPLETE")
    text = script.source_template % script.source_vars()
    click.echo(f"{_ZSH}{text}" if shell == "zsh" else text)
