"""Chapters executed: one run, recorded runs, sweeps, references, JupyterLab."""
