"""One prediction of landmarker's networks, with that package's Python and nothing of ours but the clock.

PYTHON -m benchmarks.peer SPEC, where SPEC is JSON as for benchmarks/measure.py: "shape", "landmarks", "repeats",
"device". The environment: `python -m venv ENV; ENV/bin/pip install torch monai scipy; ENV/bin/pip install --no-deps
landmarker==0.4.1`; its networks do without its other dependencies. They are the spatial configuration networks, 2D and
3D, with the package's default widths, and the point is the maximum of a heatmap, the cheapest of its readings. Images
are filled up to multiples of 16, which these networks need.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from typing import Any

from benchmarks.measure import operations, resident_bytes, timed


def main() -> None:
    print(json.dumps(one_prediction(json.loads(sys.argv[1]))))


def one_prediction(spec: dict[str, Any]) -> dict[str, Any]:
    """{"seconds": median, "all_seconds", "peak_bytes", "idle_bytes", "operations", "parameters"}."""
    import torch
    from landmarker.heatmap import coord_argmax
    from landmarker.models import OriginalSpatialConfigurationNet3d, SpatialConfigurationNet

    shape, device = spec["shape"], torch.device(spec["device"])
    ndim = len(shape)
    torch.manual_seed(0)
    if ndim == 2:
        network = SpatialConfigurationNet(spatial_dims=2, in_channels=1, out_channels=spec["landmarks"])
    else:
        network = OriginalSpatialConfigurationNet3d(in_channels=1, out_channels=spec["landmarks"])
    network = network.to(device).eval()
    values = torch.rand((1, 1, *(16 * math.ceil(n / 16) for n in shape)), device=device)
    idle = resident_bytes("self")

    def locate() -> None:
        with torch.inference_mode():
            coord_argmax(network(values), spatial_dims=ndim).cpu()

    counted = operations(locate)  # which warms up as well
    seconds = timed(locate, spec["repeats"], device, warm=True)
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else resident_bytes("self", "VmHWM")
    return {
        "seconds": statistics.median(seconds),
        "all_seconds": [round(s, 4) for s in seconds],
        "peak_bytes": peak,
        "idle_bytes": idle,
        "operations": counted,
        "parameters": sum(p.numel() for p in network.parameters()),
    }


if __name__ == "__main__":
    main()
