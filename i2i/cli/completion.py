"""`i2i completion`: what a shell needs to complete the names of commands, options, models, recipes and files."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem, get_completion_class

from i2i.errors import UserError

__all__ = ["completion", "data_sets", "folders", "models", "recipes"]


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


def models(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Models that begin so, and files."""
    from i2i.zoo import choice

    return beginning(choice(), begun)


def recipes(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Recipes that ship and begin so, and files."""
    from i2i.recipe import names

    return beginning(names(), begun)


def data_sets(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Data sets whose names begin so."""
    from i2i.data.cards import cards

    return [CompletionItem(name) for name in cards() if name.startswith(begun)]


def folders(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """What the shell completes itself."""
    return [CompletionItem(begun, type="dir")]


def beginning(names: list[str], begun: str) -> list[CompletionItem]:
    return [*(CompletionItem(name) for name in names if name.startswith(begun)), CompletionItem(begun, type="file")]
