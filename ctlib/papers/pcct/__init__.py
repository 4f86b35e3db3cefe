"""Differentiable photon-counting CT, {cite}`wang2026`: calibration, scatter networks, their cohort."""
