"""To be run inside Slicer, which the project's own tests are not:

    Slicer --additional-module-paths AnatomarkLandmarks --no-splash --python-script test_in_slicer.py URL IMAGE MODEL

Predicts IMAGE with MODEL of the service at URL, moves a point, sends it back, and leaves with 0 if that went well.
"""

import sys

from AnatomarkLandmarks import AnatomarkLandmarksLogic

import slicer

url, image, model = sys.argv[1:4]
logic = AnatomarkLandmarksLogic()
names = next(held["landmarks"] for held in logic.connectTo(url) if held["name"] == model)
node = logic.predict(slicer.util.loadVolume(image), model)
labels = [node.GetNthControlPointLabel(k) for k in range(node.GetNumberOfControlPoints())]
assert labels == names, labels
assert "presence" in node.GetNthControlPointDescription(0)
position = [0.0, 0.0, 0.0]
node.GetNthControlPointPosition(0, position)
node.SetNthControlPointPosition(0, position[0] + 1.0, position[1], position[2])
kept = logic.send(node, model, case="in_slicer", reviewer="test")
assert kept["present"] + kept["absent"] == len(names), kept
slicer.util.exit(0)
