"""Photon-counting detectors: one material a file, and what they share."""
