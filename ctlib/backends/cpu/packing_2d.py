"""Packed images and sinograms of the CPU engine in 2-D, in the order in which its products read them."""

from ctlib.compiled import njit
from ctlib.cpu.threads import claimed

PLANES = 16  # of an image that a work item packs
RAYS = 4096  # of a sinogram that a work item packs


@njit(nogil=True, cache=True)
def pack_images(claims, x, axis, packed):
    """packed[group, plane, image, 1 + pixel] = x[image, y, x], zeros around; planes are rows, or columns for axis 1."""
    _, num, images, _ = packed.shape
    tiles, size = -(-num // PLANES), x.shape[2 - axis]
    for item in claimed(claims):
        g, first = item // tiles, item % tiles * PLANES
        last = min(num, first + PLANES)
        for k in range(images):
            image = x[g * images + k]
            for q in range(first, last):
                packed[g, q, k, 0] = 0
                packed[g, q, k, size + 1 :] = 0
            if axis == 0:
                for q in range(first, last):
                    for i in range(size):
                        packed[g, q, k, 1 + i] = image[q, i]
            else:
                for i in range(size):
                    for q in range(first, last):
                        packed[g, q, k, 1 + i] = image[i, q]


@njit(nogil=True, cache=True)
def pack_sinogram(claims, sino, rays, length, stride, packed):
    """packed[image, ray] = length * sino, rays in the order of the runs, 0 beyond; packed (B * stride)."""
    parts = -(-stride // RAYS)
    for item in claimed(claims):
        b, part = item // parts, item % parts
        for r in range(part * RAYS, min(stride, (part + 1) * RAYS)):
            inside = r < rays.size and rays[r] >= 0
            packed[b * stride + r] = length[r] * sino[b, rays[r]] if inside else 0
