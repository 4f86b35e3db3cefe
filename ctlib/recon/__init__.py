"""Reconstruction: one algorithm a file, `recon(A, y, ...)`; solvers see an operator, never a geometry (but for FBP)."""

from ctlib.recon.cgls import cgls
from ctlib.recon.fbp import fbp
from ctlib.recon.sirt import sirt
from ctlib.recon.tv import tv_reconstruct

__all__ = ["cgls", "fbp", "sirt", "tv_reconstruct"]
