"""Write docs/drawings/*.svg."""

from pathlib import Path

from website.drawings.concepts import bounds, frames, suitability
from website.drawings.methods import global_to_local, two_stage, unet_votes, votes

DRAWINGS = {
    drawing.__name__: drawing
    for drawing in (frames, votes, global_to_local, two_stage, unet_votes, bounds, suitability)
}
FOLDER = Path(__file__).parents[2] / "docs" / "drawings"

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, drawing in DRAWINGS.items():
        (FOLDER / f"{name}.svg").write_text(drawing(), encoding="utf-8")
