"""`i2i help [TOPIC]`: short texts on what a user wants to know, and the commands' own help."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from difflib import get_close_matches
from importlib.resources import files

import click
from click.shell_completion import CompletionItem

from i2i.errors import UserError

__all__ = ["help_", "text", "topics"]

TOPICS = files("i2i.cli") / "topics"
WIDTH = 100  # columns beyond which lines are hard to read


def complete(context: click.Context, parameter: click.Parameter, begun: str) -> Iterable[CompletionItem]:
    """Topics and commands that begin so."""
    from i2i.cli import COMMANDS

    return [CompletionItem(name) for name in topics() | COMMANDS if name.startswith(begun)]


@click.command("help")
@click.argument("topic", nargs=-1, metavar="[TOPIC]", shell_complete=complete)
def help_(topic: tuple[str, ...]) -> None:
    """Explain TOPIC, or a command; without one, list both."""
    from i2i.cli import COMMANDS

    if not topic:
        click.echo(contents())
    elif topic[0] in COMMANDS:
        click.echo(command_help(topic))
        if len(topic) == 1 and topic[0] in topics():
            click.echo()
            show(text(topic[0]))
    elif (asked := "-".join(topic).lower()) in topics():
        show(text(asked))
    else:
        near = get_close_matches(asked, [*topics(), *COMMANDS], 1)
        advice = f"did you mean '{near[0]}'?" if near else "`i2i help` lists them."
        raise UserError(f"there is no help on '{' '.join(topic)}': {advice}")


def topics() -> dict[str, str]:
    """Name of every topic -> its title."""
    names = sorted(entry.name for entry in TOPICS.iterdir() if entry.name.endswith(".md"))
    return {name.removesuffix(".md"): (TOPICS / name).read_text("utf-8").partition("\n")[0][2:] for name in names}


def text(topic: str) -> str:
    """The Markdown of a topic."""
    return (TOPICS / f"{topic}.md").read_text("utf-8")


def contents() -> str:
    """Topics and commands."""
    from i2i.cli import COMMANDS

    width = max(map(len, [*topics(), *COMMANDS]))
    lines = [f"  {name:{width}}  {title}" for name, title in topics().items()]
    commands = [f"  {name:{width}}  {line}" for name, (_, _, line) in COMMANDS.items()]
    return "\n".join(["i2i help TOPIC:", *lines, "", "i2i help COMMAND:", *commands])


def command_help(names: tuple[str, ...]) -> str:
    """What `i2i NAMES --help` prints. Raises UserError where there is no such command."""
    from i2i.cli import cli

    context = click.Context(cli, info_name="i2i", max_content_width=110)
    for name in names:
        group = context.command
        found = group.get_command(context, name) if isinstance(group, click.Group) else None
        if found is None:
            path = context.command_path
            raise UserError(f"'{path}' has no command '{name}'; `{path} --help` says more")
        context = click.Context(found, info_name=name, parent=context)
    return context.get_help()


def show(markdown: str) -> None:
    """Print Markdown: rendered on a terminal, as it is elsewhere."""
    if not sys.stdout.isatty():
        click.echo(markdown, nl=False)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    console.print(Markdown(markdown), width=min(WIDTH, console.width))
