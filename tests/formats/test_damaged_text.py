"""Landmark files of text with bytes lost, changed or put in between: read, or refused in one line."""

import logging
import random

import numpy as np
import pytest

from anatomark.core.grid import Grid
from anatomark.core.landmarks import State
from anatomark.errors import AnatomarkError
from anatomark.formats.landmark_files.amira import AMIRA
from anatomark.formats.landmark_files.deeplabcut import DEEPLABCUT
from anatomark.formats.landmark_files.elastix_points import ELASTIX
from anatomark.formats.landmark_files.landmark_editor import LANDMARK_EDITOR
from anatomark.formats.landmark_files.mitk import MITK
from anatomark.formats.landmark_files.tps import TPS
from anatomark.formats.landmark_files.wide_table import WIDE_TABLE
from anatomark.formats.recognise import head_of

GRID = Grid.from_geometry((80, 120), spacing=(0.1, 0.1))
SAMPLES = [
    (
        TPS,
        b"LM=3\r\n10.00 68.00\r\n-1 -1\r\nNA NA\r\nCURVES=1\r\nPOINTS=2\r\n1 2\r\n3 4\r\nIMAGE=p1.jpg\r\nID=0\r\n"
        b'COMMENT=anatomark {"landmarks": ["a", "b", "c"], "absent": ["b"]}\r\nSCALE=0.1\r\n',
    ),
    (TPS, b"LM3=2\n1 2 3\n4 5 6\nID=A\nLM3=2\n1 2 3\nNA NA NA\nID=B\nSCALE=1\n"),
    (LANDMARK_EDITOR, b"Version 1.0\n3\nS000 1.0 2.0 3.0\nS001 9999.0 9999.0 9999.0\nC000 1 2 3\n"),
    (ELASTIX, b'point\n2\n1.0 2.0 3.0\n4.0 5.0 6.0\nanatomark {"landmarks": ["a", "b"]}\n'),
    (ELASTIX, b"2\n1 2\n3 4\n"),
    (
        ELASTIX,
        b"Point\t0\t; InputPoint = [ 1.0 2.0 3.0 ]\t; OutputPoint = [ 1.5 2.5 3.5 ]\t; Deformation = [ 1 1 1 ]\n",
    ),
    (
        MITK,
        b'<?xml version="1.0"?><point_set_file><point_set><time_series><time_series_id>0</time_series_id><Geometry3D>'
        b'<IndexToWorld m_0_0="1" m_0_1="0" m_0_2="0" m_1_0="0" m_1_1="1" m_1_2="0" m_2_0="0" m_2_1="0" m_2_2="2"/>'
        b'<Offset x="0" y="0" z="1"/></Geometry3D><point><id>0</id><x>1</x><y>2</y><z>3</z></point></time_series>'
        b"</point_set></point_set_file>",
    ),
    (
        AMIRA,
        b'# Avizo 3D ASCII 2.0\ndefine Markers 2\nParameters {\n Units { Coordinates "um" } NumSets 2,\n'
        b' ContentType "LandmarkSet"\n}\nMarkers { float[3] Coordinates } @1\nMarkers { float[3] Coordinates2 } @2\n'
        b"@1\n1.0 2.0 3.0\n4.0 5.0 6.0\n@2\n1 2 3\n3 4 5\n",
    ),
    (DEEPLABCUT, b"scorer,,,me,me,me,me\nbodyparts,,,a,a,b,b\ncoords,,,x,y,x,y\nlabeled-data,v,p1.png,10,12,30,40\n"),
    (
        DEEPLABCUT,
        b"scorer,me,me,me,me,me,me,set\nindividuals,i,i,i,single,single,single,\nbodyparts,a,a,a,b,b,b,\n"
        b"coords,x,y,likelihood,x,y,likelihood,\n0,1,2,.5,1,2,.7,train\n1,1,2,.5,1,2,.7,test\n",
    ),
    (
        WIDE_TABLE,
        b"image,frame,unit,observer,sella_x,sella_y,n_x,n_y,sella_state\np1.png,pixel,px,a,1,2,3,4,\n"
        b"p2.png,pixel,px,a,,,3,4,absent\n",
    ),
    (WIDE_TABLE, b"sep=;\r\n;x1;y1;z1;X2;Y2;Z2\r\n0;1;2;3;4;5;6\r\n"),
]
PIECES = [
    b"\n",
    b"\r",
    b",",
    b";",
    b'"',
    b"=",
    b"1e400",
    b"nan",
    b"1_0",
    b"-1",
    b"\0",
    b"\xff",
    b"&x;",
    b"<",
    b"</point>",
]
PIECES += [
    b"9999999999",
    b"1e-999999999999999999999",
    b"\xc2\x85",
    b"_x",
    b"[",
    b"@1",
    b"}",
    b"\xef\xbb\xbf",
    b"LM=9\n",
]


def damaged(sample, draw):
    content = bytearray(sample)
    words = [*PIECES, *sample.split()]
    for _ in range(draw.choice([1, 1, 2, 5])):
        at = draw.randrange(len(content) + 1)
        until = min(len(content), at + draw.randrange(1, 12))
        change = draw.randrange(5)
        if change == 0:
            del content[at:until]
        elif change == 1:
            content[at:at] = draw.choice(words)
        elif change == 2:
            content[at:until] = draw.choice(words)
        elif change == 3:
            content[at:at] = content[at:until]
        else:
            content[at : at + 1] = bytes([draw.randrange(256)])
    return bytes(content[: draw.choice([len(content)] * 3 + [draw.randrange(len(content) + 1)])])


@pytest.mark.parametrize(("known", "sample"), SAMPLES, ids=[f"{f.name}-{k}" for k, (f, _) in enumerate(SAMPLES)])
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path, known, sample, caplog):
    caplog.set_level(logging.CRITICAL, logger="anatomark")
    draw = random.Random(len(sample))
    path = tmp_path / f"x{known.endings[0]}"
    path.write_bytes(sample)
    assert known.recognises(head_of(path))
    outcomes = set()
    lines = []
    for _ in range(150):
        path.write_bytes(damaged(sample, draw))
        known.recognises(head_of(path))
        for frame in (None, "LPS"):
            try:
                table = known.read(path, frame=frame, grid_of=lambda _: GRID)
            except AnatomarkError as error:
                lines.append(str(error))
                outcomes.add("refused")
            else:
                present = table.states == State.PRESENT
                assert np.isfinite(table.coordinates[present]).all()
                outcomes.add("read")
    assert outcomes == {"read", "refused"}
    assert [line for line in lines if "\n" in line or len(line) > 500] == []
