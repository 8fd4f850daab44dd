import errno
import os
import signal
import subprocess
import sys
from types import ModuleType

import pytest

from anatomark import __version__
from anatomark.cli import main as cli
from anatomark.errors import ImageError
from tests.evaluation.made import made_metrics, made_rows


@pytest.fixture
def verb(monkeypatch):
    """A verb `train` that raises what it is told to; gives the function that sets it."""
    module = ModuleType("anatomark.cli.train")
    raised: list[BaseException] = []

    def train(dataset: str, steps: int = 3) -> None:
        """Teach it."""
        print("called with", dataset, steps)
        if raised:
            raise raised[0]

    module.train = train
    monkeypatch.setitem(sys.modules, "anatomark.cli.train", module)
    return raised.append


def test_a_verb_gets_its_arguments(verb, capsys):
    assert cli.run(["train", "a.yaml", "--steps", "5"]) == 0
    assert capsys.readouterr().out == "called with a.yaml 5\n"


def test_a_verb_has_its_own_help(verb, capsys):
    assert cli.run(["train", "--help"]) == 0
    out = capsys.readouterr().out
    assert "Teach it." in out
    assert "--steps" in out
    assert "anatomark train" in out


def test_an_error_for_the_user_is_one_line(verb, capsys):
    verb(ImageError("a.nii.gz is empty;\nwanted an image; export it again"))
    assert cli.run(["train", "a.yaml"]) == 2
    assert capsys.readouterr().err == "error: a.nii.gz is empty; wanted an image; export it again\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ENOENT, errno.EISDIR])
def test_a_disk_error_is_one_line(verb, capsys, number):
    verb(OSError(number, "went wrong", "out/file.csv"))
    assert cli.run(["train", "a.yaml"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: out/file.csv: went wrong; ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("bug", [ZeroDivisionError("no"), OSError("no number"), AssertionError()])
def test_a_bug_keeps_its_traceback(verb, bug):
    verb(bug)
    with pytest.raises(type(bug)) as caught:
        cli.run(["train", "a.yaml"])
    assert caught.value is bug


def test_interrupted(verb):
    verb(KeyboardInterrupt())
    assert cli.run(["train", "a.yaml"]) == 130


def test_an_interrupted_training_says_how_to_go_on(monkeypatch, capsys):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("anatomark.training.train.train", stopped)
    assert cli.run(["train", "a.yaml", "--out", "run"]) == 130
    assert capsys.readouterr().err == "interrupted; the same command resumes from the last checkpoint in run\n"


def test_wrong_calls(verb, capsys):
    assert cli.run(["trian"]) == 2
    assert "train" in capsys.readouterr().err
    assert cli.run(["train"]) == 2
    assert cli.run(["train", "a.yaml", "--steps", "many"]) == 2


def test_version(capsys):
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == f"anatomark {__version__}\n"


def test_help_lists_every_verb(capsys):
    assert cli.run(["--help"]) == 0
    out = capsys.readouterr().out
    for verb, line in cli.VERBS.items():
        assert f" {verb} " in out
        assert line.split()[0] in out


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_loads_and_shows_its_help(verb, capsys):
    assert cli.run([verb, "--help"]) == 0
    assert f"anatomark {verb}" in capsys.readouterr().out


def test_help_imports_nothing_heavy():
    heavy = ("torch", "SimpleITK", "pydantic", "scipy", "numpy", "yaml", "PIL", "plotly", "jinja2")
    program = (
        "import sys; from anatomark.cli.main import run; code = run(['--help']);"
        f"print('loaded:', *[m for m in {heavy!r} if m in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("loaded:")


def test_a_landmark_name_in_brackets_is_shown_whole(monkeypatch, capsys):
    rows, _ = made_rows(cases=2, names=["tip [x]"], absent=False, misses=False)
    metrics = made_metrics(rows)
    monkeypatch.setattr("anatomark.evaluation.evaluate.evaluate", lambda *_, **__: metrics)
    assert cli.run(["evaluate", "a.yaml", "--predictions", "p.csv", "--out", "out"]) == 0
    assert "worst: tip [x]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "held"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "5"}, "5"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_threads_that_wait_soon_sleep_unless_told_otherwise(monkeypatch, given, held):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, given.get(name, ""))
        if name not in given:
            monkeypatch.delenv(name)
    monkeypatch.setattr(cli, "run", lambda arguments: 0)
    with pytest.raises(SystemExit):
        cli.main()
    assert os.environ.get("GOMP_SPINCOUNT") == held


@pytest.mark.skipif(os.name != "posix", reason="signals are of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_command_that_says_how_to_go_on(number, code):
    """Also where something does not let go."""
    program = """
import signal, sys, threading, time
import anatomark.cli.init as init
signal.signal(signal.SIGINT, signal.default_int_handler)
def busy(folder, out=None, seed=0):
    threading.Thread(target=time.sleep, args=(60,)).start()
    print("busy", flush=True)
    time.sleep(60)
init.init.__code__ = busy.__code__
init.threading, init.time = threading, time
from anatomark.cli.main import main
main()
"""
    call = [sys.executable, "-c", program, "init", "folder"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "busy\n"
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert said == "interrupted; the same command begins again\n"
    assert process.returncode == code


@pytest.mark.skipif(os.name != "posix", reason="signals are of POSIX")
def test_a_signal_before_the_verb_has_begun():
    """While its modules are loaded, where typer would make Ctrl-C of it, without a word."""
    program = """
import os, signal
import anatomark.cli.main as main
main._load = lambda verb: os.kill(os.getpid(), signal.SIGTERM)
main.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program, "init", "folder"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (143, "interrupted; the same command begins again\n")
