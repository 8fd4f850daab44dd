"""The page in Chromium: images as they are, points where they were put, nothing lost, conflicts shown."""

import json

import numpy as np
import pytest
from scipy import ndimage

from anatomark.core.grid import Grid
from anatomark.core.image import Image
from anatomark.core.landmarks import State
from anatomark.data.description import load_dataset
from anatomark.formats.images import write_image
from anatomark.formats.table import read_table
from tests.chromium import launched
from tests.review.browser import ARGUMENTS, Page
from tests.review.made import Served, made_set, without_annotations, without_bounds

SHAPES = {2: {"shape": (90, 120), "spacing": (1.1, 1.6)}, 3: {"shape": (30, 44, 40), "spacing": (3.0, 2.6, 4.4)}}


@pytest.fixture(scope="module")
def chromium():
    with launched(ARGUMENTS) as browser:
        yield browser


class Reviewed:
    """A set under review: its description, dataset and the page."""

    def __init__(self, chromium, folder, ndim, *given, cases=3, bare=False, unsuitable=None):
        self.described, predictions = made_set(folder, ndim, cases=cases, absent=False, **SHAPES[ndim])
        self.dataset = load_dataset(self.described)
        if bare:
            without_annotations(self.described)
        if unsuitable is not None:
            without_bounds(predictions, unsuitable)
        extra = given or ("--predictions", predictions)
        self.served = Served(self.described, *extra)
        self.chromium = chromium
        self.page = Page(chromium, self.served)

    @property
    def table(self):
        return self.described.parent / "annotations" / "anna.csv"

    def row(self, case, landmark):
        """(point, state) in the file, None where there is no row."""
        table = read_table(self.table, frame="LPS")
        found = np.flatnonzero((table.image == case) & (table.landmark == landmark))
        return None if not len(found) else (table.coordinates[found[0]], State(int(table.states[found[0]])))

    def image(self, case):
        return self.dataset.case(case).read_image()

    def oblique(self):
        """The case whose axes are turned farthest from the world's."""
        turned = {case.id: np.abs(case.read_grid().direction).max(axis=0).min() for case in self.dataset.cases}
        return min(turned, key=lambda case: turned[case])

    def end(self):
        self.page.close()
        self.served.end()


@pytest.fixture(params=[2, 3], ids=["2D", "3D"])
def reviewed(request, chromium, tmp_path):
    made = Reviewed(chromium, tmp_path, request.param)
    yield made
    made.end()


def in_slice(grid, point, rng, tile):
    """A world point in the same slice of a tile, some elements beside `point`; axes of the array by what they show."""
    d = grid.ndim
    across = 2 - {0: 2, 1: 1, 2: 0}[tile] if d == 3 else None  # the world axis (S, A, R as z, y, x) that is fixed
    (order, _) = grid.canonical_axes()
    fixed = None if across is None else order[across]
    index = grid.world_to_index(point)
    while True:
        moved = index + rng.uniform(-6, 6, d)
        if fixed is not None:
            moved[fixed] = index[fixed]
        if np.all(moved > 1) and np.all(moved < np.array(grid.shape) - 2):
            return grid.index_to_world(moved)


@pytest.mark.parametrize("fineness", [1.0, 1.5])
def test_it_opens_clean_and_shows_the_image(reviewed, fineness):
    """Pixels of the window against voxels of the file, at places that the page says are theirs."""
    page = reviewed.page if fineness == 1 else Page(reviewed.chromium, reviewed.served, fineness=fineness)
    case = reviewed.oblique() if reviewed.dataset.ndim == 3 else reviewed.dataset.cases[1].id
    page.go_to(case)
    image = reviewed.image(case)
    low, high = page.window()
    tiles = page.tiles()
    assert tiles == ([0] if image.grid.ndim == 2 else [0, 1, 2, 4])
    cross = page.js("review.viewer.world(review.viewer.cross)")
    bare = "Object.assign(review.viewer.nv.opts, {isOrientationTextVisible: false})"
    page.js(f"({bare}, review.viewer.draw())")
    shot, rng = page.pixels(), np.random.default_rng(2)
    for tile, kind in enumerate(tiles[:3]):
        points = np.array([in_slice(image.grid, cross, rng, kind) for _ in range(80)])
        places = [page.place(point, tile) for point in points]
        if image.grid.ndim == 3:
            assert max(abs(depth) for _, depth in places) < 1e-2
        index = image.grid.world_to_index(points)
        values = ndimage.map_coordinates(image.array.astype(float), index.T, order=1)
        wanted = np.clip((values - low) / (high - low), 0, 1) * 255
        x, y = np.array([place for place, _ in places]).T
        seen = ndimage.map_coordinates(shot, [y * fineness - 0.5, x * fineness - 0.5], order=1)
        inside = (wanted > 3) & (wanted < 252)
        assert inside.sum() > 15
        assert np.corrcoef(wanted[inside], seen[inside])[0, 1] > 0.995  # a pixel beside, it is less
        assert np.abs(wanted - seen).mean() < 2
    page.require_clean()
    page.close()


@pytest.mark.parametrize("factor", [1, 26], ids=["small", "larger than a texture of volumes"])
def test_a_picture_is_upright(chromium, tmp_path, factor):
    """The whole pane against the array, without a word from the page on where things are."""
    reviewed = Reviewed(chromium, tmp_path, 2)
    case = reviewed.dataset.cases[1]
    page, image = reviewed.page, case.read_image()
    if factor > 1:
        array = image.array.repeat(factor, 0).repeat(factor, 1)
        large = Image(array, Grid.from_geometry(array.shape, spacing=(1, 1)))
        write_image(large, case.image_path)
        assert max(large.array.shape) > 2048
    page.go_to(case.id)
    box = page.page.locator("#stage").bounding_box()
    shot = page.pixels()
    height, width = image.grid.extent
    scale = min(box["width"] / width, box["height"] / height)  # the picture fills the pane, in its middle
    rows, columns = np.meshgrid(np.arange(image.array.shape[0]), np.arange(image.array.shape[1]), indexing="ij")
    y = box["y"] + box["height"] / 2 + scale * ((rows + 0.5) * image.grid.spacing[0] - height / 2) - 0.5
    x = box["x"] + box["width"] / 2 + scale * ((columns + 0.5) * image.grid.spacing[1] - width / 2) - 0.5
    seen = ndimage.map_coordinates(shot, [y, x], order=1)
    low, high = page.window()
    wanted = np.clip((image.array.astype(float) - low) / (high - low), 0, 1) * 255
    assert np.abs(seen - wanted).mean() < 1
    for other in (wanted[::-1], wanted[:, ::-1], wanted[::-1, ::-1]):
        assert np.abs(seen - other).mean() > 15
    reviewed.end()


def test_a_dragged_landmark_is_in_the_file_where_it_was_put(reviewed):
    page, dataset, rng = reviewed.page, reviewed.dataset, np.random.default_rng(4)
    case = reviewed.oblique() if dataset.ndim == 3 else dataset.cases[2].id
    grid = dataset.case(case).read_grid()
    if dataset.ndim == 3:
        assert np.abs(grid.direction).max() < 0.9999  # truly oblique
    page.go_to(case)
    tiles = [kind for kind in page.tiles() if kind < 4]
    reference = dataset.case(case).reference
    landmarks = [name for name in dataset.names if grid.contains(reference[name])][: len(tiles)]
    for tile, (kind, name) in enumerate(zip(tiles, landmarks, strict=True)):
        page.choose(name)
        target = in_slice(grid, reference[name], rng, kind)
        start, depth = page.place(reference[name], tile)
        assert abs(depth) < 0.05  # choosing it brought the slices there
        page.drag(start, page.place(target, tile)[0])
        point, state = reviewed.row(case, name)
        assert state == State.PRESENT
        off = np.abs(grid.world_to_index(point) - grid.world_to_index(target))
        assert off.max() < 0.5, f"{off} elements off in tile {kind}"
        assert np.linalg.norm(point - reference[name]) > 1  # it did move
    page.require_clean()


def test_undo_absent_clear_and_reload(reviewed):
    page, dataset = reviewed.page, reviewed.dataset
    case, name = dataset.cases[0].id, dataset.names[1]
    page.go_to(case)
    page.choose(name)
    page.page.keyboard.press("2")
    page.saved()
    assert reviewed.row(case, name)[1] == State.ABSENT
    page.page.keyboard.press("z")
    page.saved()
    assert reviewed.row(case, name) is None
    page.page.keyboard.press("Shift+Z")
    page.saved()
    assert reviewed.row(case, name)[1] == State.ABSENT
    page.page.keyboard.press("3")
    page.saved()
    assert reviewed.row(case, name)[1] == State.NOT_ANNOTATED
    page.page.keyboard.press("1")
    page.saved()
    point, state = reviewed.row(case, name)
    assert state == State.PRESENT
    np.testing.assert_allclose(point, dataset.case(case).reference[name], atol=1e-9)
    page.page.keyboard.press("m")
    page.saved()
    model = page.js("review.session.now.landmarks[1].model")
    point, state = reviewed.row(case, name)
    assert state == (State.PRESENT if model["state"] == "present" else State.ABSENT)
    page.page.keyboard.press("Backspace")
    page.saved()
    assert reviewed.row(case, name) is None
    page.page.keyboard.press("2")
    page.page.fill("#note", "tilted head")  # and the field is not left
    page.until("review.session.now.review.note === 'tilted head'")
    page.saved()
    page.open()
    page.go_to(case)
    assert page.js("review.session.now.landmarks[1].mine.state") == "absent"
    assert page.page.input_value("#note") == "tilted head"
    assert load_dataset(reviewed.described).case(case).reference.states[1] == State.ABSENT
    assert "saved" in page.page.inner_text("#saved") or "no changes" in page.page.inner_text("#saved")
    page.require_clean()


def test_accepting_takes_over_what_the_model_says_and_can_be_undone(chromium, tmp_path):
    reviewed = Reviewed(chromium, tmp_path, 3, bare=True)
    page = reviewed.page
    case = page.js("review.session.now.id")
    model = page.js("review.session.now.landmarks.map(m => m.model)")
    page.page.keyboard.press("a")
    page.saved()
    for name, said in zip(reviewed.dataset.names, model, strict=True):
        point, state = reviewed.row(case, name)
        assert state == (State.PRESENT if said["state"] == "present" else State.ABSENT)
        if state == State.PRESENT:
            np.testing.assert_allclose(point, said["point"], atol=1e-9)
    about = json.loads(reviewed.table.with_name("anna.cases.json").read_text())
    assert about["cases"][case]["accepted"]
    assert page.page.locator("#case-list button[aria-current] .tick").count() == 1
    page.page.keyboard.press("n")
    page.until(f"review.session.now.id !== '{case}'")
    page.page.keyboard.press("z")  # this case has nothing to undo, and the other one stays accepted
    page.saved()
    assert reviewed.row(case, reviewed.dataset.names[0]) is not None
    page.go_to(case)
    page.page.keyboard.press("z")
    page.saved()
    assert reviewed.row(case, reviewed.dataset.names[0]) is None
    about = json.loads(reviewed.table.with_name("anna.cases.json").read_text())
    assert about["cases"][case]["accepted"] is None
    page.require_clean()
    reviewed.end()


@pytest.mark.parametrize("ndim", [2, 3])
def test_landmarks_are_placed_from_nothing_in_a_folder_of_images(chromium, tmp_path, ndim):
    described, _ = made_set(tmp_path, ndim, cases=2, absent=False, **SHAPES[ndim])
    dataset = load_dataset(described)
    folder = described.parent / "images"
    spacing = ("--spacing", "1.6,1.1") if ndim == 2 else ()
    served = Served(folder, "--landmarks", "apex, base", *spacing)
    page = Page(chromium, served)
    case = page.js("review.session.now.id")
    grid = dataset.case(case).read_grid()
    assert "Click to set apex" in page.page.inner_text("#hint")
    target = grid.center + 0.1 * np.array(grid.extent[0])
    if ndim == 3:  # in the slice that is open, the axial one
        rng = np.random.default_rng(1)
        target = in_slice(grid, page.js("review.viewer.world(review.viewer.cross)"), rng, 0)
    place, _ = page.place(target)
    page.page.mouse.click(*place)
    page.saved()
    table = read_table(folder / "annotations" / "anna.csv")
    assert (table.image.tolist(), table.landmark.tolist()) == ([case], ["apex"])
    off = grid.world_to_index(table.coordinates[0]) - grid.world_to_index(target)
    assert np.abs(off).max() < 0.5
    if ndim == 2:  # the next one waits for its click
        assert "Click to set base" in page.page.inner_text("#hint")
    # a click sets nothing where the landmark has a point: it must be dragged, or placing be asked for
    page.choose("apex")
    page.page.mouse.click(place[0] + 40, place[1] + 30)
    page.saved()
    assert len(read_table(folder / "annotations" / "anna.csv")) == 1
    page.choose("apex")
    page.page.keyboard.press("p")
    page.page.mouse.click(place[0] + 30, place[1] + 20)
    page.saved()
    moved = read_table(folder / "annotations" / "anna.csv").coordinates[0]
    assert np.linalg.norm(moved - table.coordinates[0]) > 1
    page.require_clean()
    page.close()
    served.end()


@pytest.mark.parametrize("kept", ["mine", "theirs"])
def test_two_windows_on_one_landmark_ask_which_one_is_to_stand(chromium, tmp_path, kept):
    reviewed = Reviewed(chromium, tmp_path, 2)
    first, second = reviewed.page, Page(chromium, reviewed.served)
    case, name, other = reviewed.dataset.cases[0].id, *reviewed.dataset.names[:2]
    for page in (first, second):
        page.go_to(case)
        page.choose(name)
    first.page.keyboard.press("2")
    first.saved()
    second.page.keyboard.press("3")
    second.page.wait_for_selector("#conflict[open]")
    assert "absent" in second.page.inner_text("#conflict")
    assert "not annotated" in second.page.inner_text("#conflict")
    assert reviewed.row(case, name)[1] == State.ABSENT  # until somebody chooses, nothing is overwritten
    second.page.click(f"#keep-{kept}")
    second.saved()
    wanted = State.NOT_ANNOTATED if kept == "mine" else State.ABSENT
    assert reviewed.row(case, name)[1] == wanted
    word = "not annotated" if kept == "mine" else "absent"
    assert second.js("review.session.now.landmarks[0].mine.state") == word
    # another landmark of the same case is no conflict: both stand
    first.choose(other)
    first.page.keyboard.press("2")
    first.until("review.session.waiting === 0 || !!document.querySelector('#conflict[open]')")
    assert first.page.locator("#conflict[open]").count() == 0
    assert reviewed.row(case, other)[1] == State.ABSENT
    assert reviewed.row(case, name)[1] == wanted
    first.require_clean()
    second.require_clean()
    second.close()
    reviewed.end()


def test_a_killed_server_loses_nothing_and_the_page_says_what_is_not_saved(chromium, tmp_path):
    reviewed = Reviewed(chromium, tmp_path, 2)
    page, case, names = reviewed.page, reviewed.dataset.cases[0].id, reviewed.dataset.names
    page.go_to(case)
    page.choose(names[0])
    page.page.keyboard.press("2")
    page.saved()
    reviewed.served.kill()
    page.choose(names[1])
    page.page.keyboard.press("2")
    page.until("document.querySelector('#saved').textContent.startsWith('Not saved')")
    assert page.js("review.session.now.landmarks[1].mine.state") == "absent"  # still in the page
    reviewed.served = Served(reviewed.described)  # the lock went with the process
    again = Page(chromium, reviewed.served)
    again.go_to(case)
    assert again.js("review.session.now.landmarks[0].mine.state") == "absent"
    assert reviewed.row(case, names[0])[1] == State.ABSENT
    again.close()
    reviewed.end()


def test_what_is_shown_of_the_bound_is_its_length(chromium, tmp_path):
    """The circle's radius on the screen, measured in coloured pixels, is the bound in mm."""
    reviewed = Reviewed(chromium, tmp_path, 2, bare=True)
    page = reviewed.page
    marks = page.js("review.session.now.landmarks.map(m => m.model)")
    k = max(range(len(marks)), key=lambda k: marks[k]["bound"] * (marks[k]["state"] == "present"))
    page.choose(reviewed.dataset.names[k])
    page.page.click("#layers [data-layer=labels]")
    place, _ = page.place(marks[k]["point"])
    scale = np.linalg.norm(page.place(np.add(marks[k]["point"], [1, 0]))[0] - place)
    shot = page.pixels(marks=True)
    amber = (shot[..., 0] > 150) & (shot[..., 2] < 0.6 * shot[..., 0])
    wanted = marks[k]["bound"] * scale
    angles = np.linspace(0, 2 * np.pi, 60)

    def on_circle(radius):
        x, y = place[:, None] + radius * np.array([np.cos(angles), np.sin(angles)])
        near = ndimage.maximum_filter(amber, 3)
        return near[np.round(y - 0.5).astype(int), np.round(x - 0.5).astype(int)].mean()

    assert wanted > 20
    assert on_circle(wanted) > 0.9
    assert on_circle(0.8 * wanted) < 0.5
    reviewed.end()


def test_unsuitable_images_come_first(chromium, tmp_path):
    reviewed = Reviewed(chromium, tmp_path, 2, unsuitable="case_002")
    page = reviewed.page
    assert page.js("review.cases.shown.map(n => review.session.lines[n].id)")[0] == "case_002"
    assert "unsuitable image" in page.page.locator("#case-list li").first.inner_text()
    reviewed.end()


def test_the_list_is_in_order_of_need_and_filters(reviewed):
    page = reviewed.page
    needs = page.js("review.cases.shown.map(n => review.session.lines[n].need ?? -1)")
    assert needs == sorted(needs, reverse=True)
    page.page.select_option("#by-split", reviewed.dataset.cases[0].split)
    split = [case.id for case in reviewed.dataset.cases if case.split == reviewed.dataset.cases[0].split]
    assert sorted(page.js("review.cases.shown.map(n => review.session.lines[n].id)")) == split
    page.page.select_option("#by-split", "")
    page.page.fill("#search", "002")
    assert page.js("review.cases.shown.map(n => review.session.lines[n].id)") == ["case_002"]
    page.page.fill("#search", "")
    page.page.locator("#search").blur()
    page.choose(reviewed.dataset.names[2])
    page.page.keyboard.press("2")
    page.saved()
    page.page.select_option("#by-landmark", "2")
    page.page.select_option("#by-state", "mine")
    assert page.js("review.cases.shown.length") == 1
    page.page.select_option("#by-landmark", "1")
    assert page.js("review.cases.shown.length") == 0
    assert "No case fits" in page.page.text_content("#case-list")


@pytest.mark.parametrize("size", [(1280, 800), (1920, 1080)])
def test_nothing_sticks_out_and_no_word_is_cut(reviewed, size):
    page = Page(reviewed.chromium, reviewed.served, size)
    wide = page.js("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    assert tuple(wide) == size
    cut = page.js(
        "[...document.querySelectorAll('button, .bar')].filter(e => e.offsetParent)"
        ".filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)"
    )
    assert cut == []
    outside = page.js(
        "[...document.querySelectorAll('main button, main select, main input')].filter(e => e.offsetParent)"
        ".filter(e => { const b = e.getBoundingClientRect(); const c = e.closest('aside, section')"
        ".getBoundingClientRect(); return b.left < c.left - 1 || b.right > c.right + 1 }).map(e => e.id || e.title)"
    )
    assert outside == []
    page.page.keyboard.press("?")
    assert page.page.locator("#keys[open]").count() == 1
    page.close()
