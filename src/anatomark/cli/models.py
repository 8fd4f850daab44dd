"""anatomark models: list the ready-made models, or show the card of one."""

from __future__ import annotations

from typing import Annotated

import typer


def models(
    name: Annotated[str | None, typer.Argument(help="Name of a model, to show its card.")] = None,
) -> None:
    """List the ready-made models, which predict without training, or show the card of one."""
    from anatomark.ensemble import methods_of, read_cards
    from anatomark.ready_made import CARD, described, ready_made

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
