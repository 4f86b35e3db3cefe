"""Slow solvers for comparison: without derivatives, and differentiated through their iterations."""
