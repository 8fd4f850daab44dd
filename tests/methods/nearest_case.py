"""The method of `examples/nearest_case`, known in this process without being installed."""

from anatomark.methods import register
from examples.nearest_case.nearest_case import NearestCase as NearestCase

register(NearestCase)
