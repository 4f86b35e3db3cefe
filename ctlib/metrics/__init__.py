"""Image quality and the statistics of comparisons; plain numerics that every room may use."""

from ctlib.metrics.image import mutual_information, nmse, psnr, rmse, ssim, ssim_map

__all__ = ["mutual_information", "nmse", "psnr", "rmse", "ssim", "ssim_map"]
