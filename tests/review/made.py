"""Studies to review: phantoms, with predictions that lie off the truth by known lengths."""

import asyncio
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np

from anatomark.data.description import load_dataset
from anatomark.data.phantoms import make_phantoms
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.table import read_table, write_table


def made_set(folder, ndim, *, cases=4, landmarks=6, seed=3, **given):
    """(dataset.yaml, predictions.csv): every prediction is off by up to 6 mm, with a bound, some said to be absent."""
    described = make_phantoms(Path(folder) / "set", ndim=ndim, cases=cases, landmarks=landmarks, seed=seed, **given)
    return described, made_predictions(described, Path(folder) / "predictions.csv")


def made_predictions(described, path):
    dataset, rng = load_dataset(described), np.random.default_rng(5)
    count = len(dataset.cases) * len(dataset.names)
    points = np.concatenate([np.nan_to_num(case.reference.points, nan=20.0) for case in dataset.cases])
    off = rng.uniform(-3.5, 3.5, points.shape)
    table = LandmarkTable(
        image=np.repeat([case.id for case in dataset.cases], len(dataset.names)),
        landmark=np.tile(dataset.names, len(dataset.cases)),
        coordinates=points + off,
        states=np.full(count, 2, dtype=np.uint8),
        observer=np.full(count, ""),
        frame="LPS",
        unit=dataset.unit,
        presence=np.round(rng.choice([0.2, 0.8, 0.99], count, p=[0.1, 0.3, 0.6]), 3),
        spread=np.full(count, 1.0),
        bound=np.round(np.linalg.norm(off, axis=1) * rng.uniform(0.9, 2, count), 2),
    )
    write_table(table, path)
    return path


def without_annotations(described):
    """The description without its annotations, so that there is no reference."""
    text = described.read_text()
    described.write_text(text[: text.index("annotations:")])
    return described


def without_bounds(predictions, case):
    """Predictions that call the image of `case` unsuitable."""
    table = read_table(predictions)
    write_table(replace(table, bound=np.where(table.image == case, np.inf, table.bound)), predictions)


class Client:
    """Asks an ASGI app without a network; with a token, as one who may. Cookies are kept."""

    def __init__(self, app, token=None):
        import httpx

        self.app, self.cookies = app, httpx.Cookies()
        self.headers = {} if token is None else {"authorization": f"Bearer {token}"}

    def get(self, path, **given):
        return self.ask("GET", path, **given)

    def post(self, path, **given):
        return self.ask("POST", path, **given)

    def ask(self, method, path, headers=None, **given):
        import httpx

        async def asked():
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(self.app),
                base_url="http://127.0.0.1:8770",
                headers=self.headers,
                cookies=self.cookies,
                follow_redirects=True,
            ) as client:
                answer = await client.request(method, path, headers=headers, **given)
                self.cookies.update(client.cookies)
                return answer

        return asyncio.run(asked())


class Served:
    """A review in a process of its own."""

    def __init__(self, *given, reviewer="anna"):
        program = "import sys; from anatomark.cli.main import run; sys.exit(run(sys.argv[1:]))"
        call = [sys.executable, "-u", "-c", program, "review", *map(str, given)]
        self.process = subprocess.Popen(
            [*call, "--reviewer", reviewer, "--no-browser", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.rstrip())
            if line.startswith("open http"):
                self.address = line.split()[1]
                break
        else:
            raise AssertionError(f"the review did not start: {self.said}")
        self.root = self.address.split("?")[0]
        self.token = self.address.split("token=")[1]
        self._wait()

    def _wait(self):
        for _ in range(200):
            try:
                self.get("api/study")
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("the review does not answer")

    def get(self, path):
        asked = urllib.request.Request(self.root + path, headers={"authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(asked) as answer:
            return answer.read()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        self.process.stdout.close()
