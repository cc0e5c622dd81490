"""`i2i recipe check | show | schema`: look at recipes without training."""

from __future__ import annotations

from pathlib import Path

import click

from i2i.errors import UserError

__all__ = ["recipe"]


@click.group()
def recipe() -> None:
    """Check recipes; export their JSON Schema for editors."""


@recipe.command()
@click.argument("recipes", nargs=-1, required=True, metavar="RECIPE...")
def check(recipes: tuple[str, ...]) -> None:
    """Say whether recipes are sound.

    RECIPE is a file, or the name of one that ships.
    Looks at every key, value and address; reads no image and trains nothing. Exit code 2 when one is wrong.
    """
    from i2i.recipe import load

    wrong: list[str] = []
    for one in recipes:
        try:
            loaded = load(one)
        except UserError as error:
            wrong.append(str(error))
        else:
            game = loaded.game.of.rpartition(":")[2]
            click.echo(f"{one}: sound; {game}, {loaded.training.images:,} images, {loaded.digest()[:12]}")
    if wrong:
        raise UserError("\n".join(wrong))


@recipe.command()
@click.argument("name", metavar="RECIPE")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def show(name: str, overrides: tuple[str, ...]) -> None:
    """Print a recipe, defaults written out.

    That is RECIPE, a file or the name of one that ships, with KEY=VALUE over it, as `i2i train` would run it.
    """
    from i2i.recipe import load

    click.echo(load(name, overrides).text(), nl=False)


@recipe.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write it there.")
def schema(output: Path | None) -> None:
    """Print the JSON Schema of recipes.

    Editors use it for completion and errors while typing: with the YAML language server, begin a recipe with the line
    "# yaml-language-server: $schema=recipe.schema.json".
    """
    import json

    from i2i import recipe_schema

    text = json.dumps(recipe_schema.schema(), indent=2, ensure_ascii=False) + "\n"
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}") from None
    click.echo(str(output))
