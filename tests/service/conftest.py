"""Services on loopback, with tiny models of phantoms."""

import pytest

from tests.service.running import Service, left_in_spool


@pytest.fixture(scope="session")
def made(tmp_path_factory, tiny):
    """A folder with phantoms ph2, ph3 and models of them, flat and deep."""
    from anatomark import make_phantoms, train

    folder = tmp_path_factory.getbasetemp() / "served"
    if folder.exists():  # tests of Slicer's module have this fixture, too
        return folder
    for ndim, name in ((2, "flat"), (3, "deep")):
        dataset = make_phantoms(folder / f"ph{ndim}", ndim=ndim, cases=10, landmarks=5, seed=4)
        train(dataset, out=folder / name, device="cpu", settings=tiny)
    return folder


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """Starts services and stops them at the end."""
    running = []

    def started(*arguments, **options):
        place = tmp_path_factory.mktemp("running")
        environment = options.pop("environment", {}) | {"TMPDIR": str(place)}
        service = Service(*arguments, log=place / "log.txt", environment=environment, **options)
        service.place = place
        running.append(service)
        return service

    yield started
    for service in running:
        service.stop()


@pytest.fixture(scope="session")
def both(made, start):
    """A service of both models, with a root and a folder for corrections."""
    roots = ("--root", made / "ph3" / "images", "--root", made / "ph2" / "images")
    limits = ("--max-upload-mib", 8, "--max-voxels", 2_000_000, "--queue", 20)
    return start(made / "flat", made / "deep", *roots, "--corrections", made / "corrections", *limits)


@pytest.fixture
def service(both):
    """`both`, which must be well again after each test and keep nothing of it."""
    yield both
    assert both.process.poll() is None, both.said()
    both.until_ready()
    both.until(lambda: left_in_spool(both) == [], 10)  # a client that has left is noticed in a moment
    assert "Traceback" not in both.said()
