"""JPEG Lossless streams of one gray component, to read back: fixed codes, every predictor, restarts."""

import struct

import numpy as np

from ctlib.data.jpeg_lossless import PREDICTORS


def encode(image: np.ndarray, predictor: int = 1, bits: int = 16, restart_lines: int = 0) -> bytes:
    """`image` (rows, columns) of unsigned numbers below 2^bits."""
    rows, cols = image.shape
    lines, parts = restart_lines or rows, []
    for top in range(0, rows, lines):
        parts.append(_entropy(image[top : top + lines].astype(int).tolist(), predictor, bits))
    data = b"".join(p + (b"\xff" + bytes([0xD0 + k % 8]) if k < len(parts) - 1 else b"") for k, p in enumerate(parts))
    counts = [0, 0, 0, 0, 17] + [0] * 11  # all 17 symbols with codes of five bits
    table = b"\x00" + bytes(counts) + bytes(range(17))
    frame = struct.pack(">BHHBBBB", bits, rows, cols, 1, 1, 0x11, 0)
    segments = [(0xC4, table), (0xC3, frame)]
    segments += [(0xDD, struct.pack(">H", cols * restart_lines))] * bool(restart_lines)
    segments += [(0xDA, bytes([1, 1, 0, predictor, 0, 0]))]
    head = b"".join(b"\xff" + bytes([m]) + struct.pack(">H", len(body) + 2) + body for m, body in segments)
    return b"\xff\xd8" + head + data + b"\xff\xd9"


def _entropy(lines: list[list[int]], predictor: int, bits: int) -> bytes:
    out = ""
    for y, line in enumerate(lines):
        for x, value in enumerate(line):
            if not y:
                guess = line[x - 1] if x else 1 << (bits - 1)
            else:
                above = lines[y - 1]
                guess = PREDICTORS[predictor](line[x - 1], above[x], above[x - 1]) if x else above[0]
            step = (value - guess) & 0xFFFF
            step = step - 65536 if step > 32768 else step
            size = abs(step).bit_length()
            out += format(size, "05b")
            if 0 < size < 16:
                out += format(step if step > 0 else step + (1 << size) - 1, f"0{size}b")
    out += "1" * (-len(out) % 8)
    return bytes(int(out[k : k + 8], 2) for k in range(0, len(out), 8)).replace(b"\xff", b"\xff\x00")
