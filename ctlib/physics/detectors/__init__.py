"""Photon-counting detectors, one a file, and what they share; a new kind is a file and a line here."""

from ctlib.physics.detectors.czt import CZTDetector
from ctlib.physics.detectors.detector import Detector
from ctlib.physics.detectors.ideal import IdealDetector
from ctlib.physics.detectors.silicon import SiliconDetector
from ctlib.physics.detectors.tabulated import TabulatedDetector

__all__ = ["CZTDetector", "Detector", "IdealDetector", "SiliconDetector", "TabulatedDetector"]
