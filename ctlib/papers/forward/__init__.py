"""The first chapter's own experiments: bodies, scans of them, a comparison under equal constraints, an inexact pair."""
