"""`i2i completion`: what a shell needs to complete the names of commands, options and files."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from i2i.errors import UserError

__all__ = ["completion"]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash:  i2i completion bash >> ~/.bashrc
    zsh:   i2i completion zsh  >> ~/.zshrc
    fish:  i2i completion fish > ~/.config/fish/completions/i2i.fish
    """
    from i2i.cli import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise UserError(f"click offers no completion for {shell}; use bash, zsh or fish")
    click.echo(kind(cli, {}, "i2i", "_I2I_COMPLETE").source())
