"""`i2i help`: what its texts say is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import i2i.cli.help
from i2i.cli import COMMANDS, cli
from i2i.cli.help import help_, text, topics
from i2i.errors import UserError

SHIPPED = Path(i2i.cli.help.__file__).parent / "topics"


def said(*arguments: str) -> str:
    result = CliRunner().invoke(help_, list(arguments), catch_exceptions=False, standalone_mode=False)
    assert result.exception is None
    return result.stdout


def test_without_a_topic_it_lists_topics_and_commands() -> None:
    listed = said()
    for name, title in topics().items():
        assert re.search(rf"^  {name} +{re.escape(title)}$", listed, re.MULTILINE)
    for name in COMMANDS:
        assert re.search(rf"^  {name} ", listed, re.MULTILINE)


@pytest.mark.parametrize("topic", topics())
def test_a_topic_is_short_and_plain_in_a_pipe(topic: str) -> None:
    lines = text(topic).splitlines()
    assert lines[0].startswith("# ")
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 120
    assert said(topic).endswith(text(topic))


def commands(topic: str) -> list[str]:
    """The command lines of `i2i` in a topic."""
    indented = [line.strip() for line in text(topic).splitlines() if line.startswith("    ")]
    return [line for line in indented + re.findall("`([^`]+)`", text(topic)) if line.startswith("i2i ")]


@pytest.mark.parametrize("line", sorted({line for topic in topics() for line in commands(topic)}))
def test_the_commands_and_options_in_the_texts_are_there(line: str) -> None:
    words = shlex.split(re.split(r" [|<>] ", line)[0], comments=True)[1:]
    command: click.Command = cli
    context = click.Context(cli, info_name="i2i")
    while words and isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found, f"{words[0]} is no command of {command.name}"
        command, words = found, words[1:]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for word in words:
        if word.startswith("-") and word != "-":
            assert word.partition("=")[0] in known, f"{command.name} has no {word}"


def test_options_named_alone_are_those_of_some_command() -> None:
    known: set[str] = {"--json"}
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command
        every = [command, *(command.commands.values() if isinstance(command, click.Group) else ())]
        known |= {option for one in every for parameter in one.params for option in parameter.opts}
    for topic in topics():
        rows = [line.split("|") for line in text(topic).splitlines() if line.startswith("|")]
        there = {cell[1] for cell in rows} if topic == "coming-from-cyclegan" else set()  # its left column is theirs
        ours = "\n".join(row[2] for row in rows) if there else text(topic)
        foreign = {"--eval", "--shm-size"}
        for option in set(re.findall(r"`(--[a-z-]+)", ours)) - foreign:
            assert option in known, f"{topic}: {option}"


def test_topics_that_are_named_exist() -> None:
    for topic in topics():
        for named in re.findall(r"\(?[Ss]ee(?: also:)? ([a-z, -]+)[.)]", text(topic)):
            for name in named.split(", "):
                assert name in topics() or name in COMMANDS, f"{topic} names {name}"


def test_a_topic_may_be_written_in_words() -> None:
    assert said("Exit", "codes") == text("exit-codes")


def test_a_command_shows_its_own_help_and_the_topic_of_its_name() -> None:
    assert said("translate").startswith("Usage: i2i translate ")
    assert said("data", "cache").startswith("Usage: i2i data cache ")
    shown = said("convert")
    assert shown.startswith("Usage: i2i convert ")
    assert text("convert") in shown


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (["privcy"], "there is no help on 'privcy': did you mean 'privacy'?"),
        (["exit", "code"], "did you mean 'exit-codes'?"),
        (["xyzzy"], "there is no help on 'xyzzy': `i2i help` lists them."),
        (["models", "nope"], "'i2i models' has no command 'nope'"),
        (["train", "more"], "'i2i train' has no command 'more'"),
    ],
)
def test_what_there_is_no_help_on(asked: list[str], answer: str) -> None:
    with pytest.raises(UserError) as caught:
        said(*asked)
    assert answer in str(caught.value)


def test_the_texts_travel_in_the_package() -> None:
    assert {path.stem for path in SHIPPED.glob("*.md")} == set(topics())
    wanted = {"models", "modes", "recipes", "data", "resume", "memory", "formats", "speed", "privacy", "exit-codes"}
    assert wanted | {"convert", "gallery", "coming-from-cyclegan"} <= set(topics())
