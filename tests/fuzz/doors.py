"""All doors by name."""

from __future__ import annotations

from tests.fuzz import data_doors, image_doors, landmark_doors, model_doors, service_doors
from tests.fuzz.door import Door

DOORS: dict[str, Door] = {
    door.name.replace(" ", "_"): door
    for door in (
        *image_doors.DOORS,
        *landmark_doors.doors(),
        *data_doors.DOORS,
        *model_doors.DOORS,
        *service_doors.DOORS,
    )
}
