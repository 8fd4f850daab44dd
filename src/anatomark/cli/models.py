"""anatomark models: list the ready-made models, show the card of one, or verify their files."""

from __future__ import annotations

from typing import Annotated

import typer

from anatomark.errors import SettingsError

VERIFY = "verify"


def models(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME|verify]", help="Name of a model, to show its card; or verify.")
    ] = None,
    verified: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL ...]", help="After verify: names or folders of models.", show_default="all"),
    ] = None,
) -> None:
    """List the ready-made models, which predict without training, or show the card of one.

    `anatomark models verify` compares their files with the checksums in their cards; exit code 1 where one differs.
    """
    from anatomark.ensemble import methods_of, read_cards
    from anatomark.ready_made import CARD, described, ready_made

    if name == VERIFY:
        _verify(verified or list(ready_made()))
        return
    if verified:
        raise SettingsError(f"{name} and {verified[0]} are both models; give one, or begin with {VERIFY}")
    if name is not None:
        _, folder = described(name)
        print((folder / CARD).read_text(encoding="utf-8").strip())
        return
    names = list(ready_made())
    if not names:
        print("this installation has no ready-made model")
        return
    for each in names:
        known, folder = described(each)
        cards = read_cards(folder)
        card, size = cards[0], sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
        print(f"{each}  {known.title}")
        print(f"    {len(card.landmarks)} landmarks, {card.ndim}D, {methods_of(cards)}, {size:.1f} MB")
        print(f"    for {known.images}")
        print(f"    {known.terms}")
    print(f"anatomark models {names[0]} shows its card; anatomark predict {names[0]} IMAGE --out FOLDER uses it")


def _verify(models: list[str]) -> None:
    """Print whether the files of each are those of its card; exit code 1 where one is not."""
    from anatomark.ready_made import changed_files, run_folder

    whole = True
    for model in models:
        faults = changed_files(run_folder(model))
        whole = whole and not faults
        print(f"{model}: {'as its card says' if not faults else 'changed'}")
        for fault in faults:
            print(f"    {fault}")
    if not whole:
        raise typer.Exit(1)
