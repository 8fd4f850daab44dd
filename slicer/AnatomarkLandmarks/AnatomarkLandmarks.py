"""Anatomark Landmarks: predicted landmarks for a volume, and corrected ones back, over an anatomark service."""

from __future__ import annotations

import os
import tempfile

import qt
from AnatomarkLandmarksLib.client import Client, ServiceError, case_of, default_token, plain_name
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)

import slicer

SETTINGS = "AnatomarkLandmarks/"


class AnatomarkLandmarks(ScriptedLoadableModule):
    """What Slicer lists."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "Anatomark Landmarks"
        parent.categories = ["Quantification"]
        parent.dependencies = []
        parent.contributors = ["The anatomark authors"]
        parent.helpText = (
            "Finds anatomical landmarks with a trained model. Start a service with <tt>anatomark serve RUN "
            "--corrections FOLDER</tt>, connect, choose a model and a volume, and press Predict. Correct "
            "landmarks and press Send: the service saves every version for the next training. For research; not a "
            "medical device."
        )
        parent.acknowledgementText = ""


class AnatomarkLandmarksWidget(ScriptedLoadableModuleWidget):
    """The panel."""

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/AnatomarkLandmarks.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = AnatomarkLandmarksLogic()
        settings = qt.QSettings()
        self.ui.urlEdit.text = settings.value(SETTINGS + "url", "http://127.0.0.1:8000")
        self.ui.reviewerEdit.text = settings.value(SETTINGS + "reviewer", "")
        self.ui.tokenEdit.text = default_token()  # never saved
        self.ui.connectButton.connect("clicked(bool)", self.onConnect)
        self.ui.predictButton.connect("clicked(bool)", self.onPredict)
        self.ui.sendButton.connect("clicked(bool)", self.onSend)
        self.ui.volumeSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onVolume)
        self.ui.markupsSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onChange)
        self.ui.reviewerEdit.connect("textChanged(QString)", self.onChange)
        self.onVolume()

    def onConnect(self):
        with self.reporting():
            models = self.logic.connectTo(self.ui.urlEdit.text, self.ui.tokenEdit.text)
            self.ui.modelBox.clear()
            for model in models:
                count = len(model["landmarks"])
                self.ui.modelBox.addItem(f"{model['name']} ({model['dimension']}D, {count} landmarks)", model["name"])
            qt.QSettings().setValue(SETTINGS + "url", self.ui.urlEdit.text)
            self.show_status(f"{len(models)} models")
        self.onChange()

    def onVolume(self, node=None):
        volume = self.ui.volumeSelector.currentNode()
        if volume is not None:
            with self.reporting():
                self.ui.caseEdit.text = case_of(volume.GetName())
        self.onChange()

    def onChange(self, _=None):
        connected = self.ui.modelBox.count > 0
        self.ui.predictButton.enabled = connected and self.ui.volumeSelector.currentNode() is not None
        placed = self.ui.markupsSelector.currentNode() is not None
        self.ui.sendButton.enabled = connected and placed and bool(self.ui.reviewerEdit.text.strip())

    def onPredict(self):
        with self.reporting():
            node = self.logic.predict(
                self.ui.volumeSelector.currentNode(),
                self.ui.modelBox.currentData,
                coverage=self.ui.coverageSpin.value / 100,
                spacing=self.ui.spacingEdit.text,
            )
            self.ui.markupsSelector.setCurrentNode(node)
            missing = node.GetNumberOfControlPoints() - node.GetNumberOfDefinedControlPoints()
            self.show_status(f"{node.GetNumberOfControlPoints()} landmarks, {missing} of them predicted as missing")

    def onSend(self):
        with self.reporting():
            saved = self.logic.send(
                self.ui.markupsSelector.currentNode(),
                self.ui.modelBox.currentData,
                case=self.ui.caseEdit.text,
                reviewer=self.ui.reviewerEdit.text,
            )
            qt.QSettings().setValue(SETTINGS + "reviewer", self.ui.reviewerEdit.text)
            self.show_status(f"saved as {saved['newest']}: {saved['present']} present, {saved['absent']} absent")

    def show_status(self, text):
        self.ui.statusLabel.text = text

    def reporting(self):
        """A context that shows an error of the service as a line in the panel, and any other as a message of Slicer."""
        return _Reporting(self)


class _Reporting:
    def __init__(self, widget):
        self.widget = widget

    def __enter__(self):
        self.widget.show_status("")
        slicer.app.setOverrideCursor(qt.Qt.WaitCursor)
        slicer.app.processEvents()

    def __exit__(self, kind, error, trace):
        slicer.app.restoreOverrideCursor()
        if isinstance(error, ServiceError):
            self.widget.show_status(str(error))
            return True
        if error is not None:
            slicer.util.errorDisplay(f"Anatomark: {error}")
        return False


class AnatomarkLandmarksLogic(ScriptedLoadableModuleLogic):
    """Nodes to files and back; AnatomarkLandmarksLib.client sends the requests to the service."""

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self.client = None

    def connectTo(self, url, token=""):
        """The models of the service at `url`."""
        client = Client(url, token)
        models = client.models()
        self.client = client
        return models

    def predict(self, volume, model, *, coverage=0.9, spacing=""):
        """A new markups node with the landmarks of a volume node; missing ones have no position."""
        with tempfile.TemporaryDirectory() as folder:
            image = os.path.join(folder, f"{case_of(volume.GetName())}.nrrd")
            _export(volume, image)
            content = self._client().predict(image, model=model, coverage=coverage, spacing=spacing)
            markups = os.path.join(folder, f"{case_of(volume.GetName())}_{plain_name(model)}.mrk.json")
            with open(markups, "wb") as file:
                file.write(content)
            node = slicer.util.loadMarkups(markups)
            if node.GetStorageNode() is not None:  # the folder is deleted; the user chooses where to save the node
                slicer.mrmlScene.RemoveNode(node.GetStorageNode())
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())  # the points move with a transformed volume
        return node

    def send(self, markups, model, *, case, reviewer):
        """Send a markups node as the correction of `case`; the result says where it is saved."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "correction.mrk.json")
            _export(markups, path)
            return self._client().correct(path, case=plain_name(case), reviewer=plain_name(reviewer), model=model)

    def _client(self):
        if self.client is None:
            raise ServiceError("connect to a service first")
        return self.client


def _export(node, path):
    """Write a node without its transforms; its place in the saved scene stays the same."""
    slicer.util.exportNode(node, path, {}, world=False)
    if not os.path.isfile(path):  # versions of Slicer report a failure in different ways
        raise ServiceError(f"{node.GetName()} cannot be saved as {os.path.basename(path)}")
