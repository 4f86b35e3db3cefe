"""JPEG Lossless (ITU-T T.81, process 14), the compression of most CT archives, for one gray component.

A damaged stream ends in ValueError: compiled decoders were tried with bytes exchanged and ended the process.
"""

from __future__ import annotations

import re

import numpy as np

PREDICTORS = {
    1: lambda a, b, c: a, 2: lambda a, b, c: b, 3: lambda a, b, c: c, 4: lambda a, b, c: a + b - c,
    5: lambda a, b, c: a + ((b - c) >> 1), 6: lambda a, b, c: b + ((a - c) >> 1), 7: lambda a, b, c: (a + b) >> 1,
}  # fmt: skip
"""From the pixels to the left (a), above (b) and above to the left (c)."""


def frame_shape(stream: bytes) -> tuple[int, int] | None:
    """(rows, columns) that a JPEG, JPEG-LS or JPEG 2000 stream states; None where it states none."""
    if stream[:4] == b"\xff\x4f\xff\x51":
        x, y, left, top = (int.from_bytes(stream[k : k + 4], "big") for k in (8, 12, 16, 20))
        return y - top, x - left
    frames = (body for marker, body in segments(stream) if marker in (*range(0xC0, 0xC4), 0xF7) and len(body) > 5)
    body = next(frames, None)
    return None if body is None else (int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big"))


def segments(stream: bytes):
    """(marker, body) of every segment up to the compressed data, whose body is all that follows its header."""
    at = 2
    while at + 4 <= len(stream):
        if stream[at] != 0xFF:
            raise ValueError("no marker where one must be")
        marker, length = stream[at + 1], int.from_bytes(stream[at + 2 : at + 4], "big")
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if length < 2:
            raise ValueError("a segment without length")
        yield marker, stream[at + 4 : at + 2 + length]
        at += 2 + length
        if marker == 0xDA:
            yield 0, stream[at:]
            return


def decode(stream: bytes, shape: tuple[int, int]) -> np.ndarray:
    """Pixels (rows, columns) uint16 of a stream that must have this shape."""
    tables, frame, scan, data, interval = {}, None, None, b"", 0
    for marker, body in segments(stream):
        if marker == 0xC4:
            tables |= _tables(body)
        elif marker == 0xC3:
            frame = body
        elif 0xC0 <= marker <= 0xCF:
            raise ValueError(f"is another process of JPEG (SOF{marker - 0xC0})")
        elif marker == 0xDD:
            interval = int.from_bytes(body[:2], "big")
        elif marker == 0xDA:
            scan = body
        elif marker == 0:
            data = body
    if frame is None or scan is None or len(frame) != 9 or len(scan) != 6:
        raise ValueError("needs one gray frame and one scan")
    bits, shift, predictor, table = frame[0], scan[5] & 15, PREDICTORS.get(scan[3]), tables.get(scan[2] >> 4)
    if frame_shape(stream) != shape or not 2 <= bits <= 16 or shift >= bits or predictor is None or table is None:
        raise ValueError(f"the frame of {frame_shape(stream)} pixels of {bits} bits is not the file's, {shape}")
    if interval % shape[1]:
        raise ValueError("restarts within a line")
    lines = interval // shape[1] or shape[0]
    parts = re.split(rb"\xff[\xd0-\xd7]", re.split(rb"\xff[^\x00\xd0-\xd7\xff]", data, maxsplit=1)[0])
    starts = range(0, shape[0], lines)
    if len(parts) < len(starts):
        raise ValueError("ends early")
    blocks = []
    for part, start in zip(parts, starts, strict=False):
        rows = min(lines, shape[0] - start)
        steps = _differences(part.replace(b"\xff\x00", b"\xff"), table, rows * shape[1])
        blocks.append(_predicted(np.reshape(steps, (rows, shape[1])), 1 << (bits - shift - 1), scan[3]))
    return np.concatenate(blocks) << shift


def _tables(body: bytes) -> dict[int, list[int]]:
    """Huffman tables by number: for each 16 bits, 32 x (length of the code that they begin with) + its symbol."""
    found = {}
    while len(body) >= 17:
        counts, symbols = body[1:17], body[17 : 17 + sum(body[1:17])]
        if len(symbols) != sum(counts) or any(s > 16 for s in symbols):
            raise ValueError("a broken Huffman table")
        table, values = [], iter(symbols)
        for length, count in enumerate(counts, 1):
            for _ in range(count):
                table += [32 * length + next(values)] * (1 << (16 - length))
                if len(table) > 65536:
                    raise ValueError("a Huffman table with too many codes")
        found[body[0] & 15] = table + [0] * (65536 - len(table))
        body = body[17 + len(symbols) :]
    return found


def _differences(data: bytes, table: list[int], count: int) -> list[int]:
    """The `count` differences of one stretch of compressed data."""
    steps, held, num, at, size = [], 0, 0, 0, len(data)
    for _ in range(count):
        while num < 32:
            held = ((held << 8) | (data[at] if at < size else 0)) & 0xFFFFFFFFFF
            num, at = num + 8, at + 1
        length, symbol = divmod(table[(held >> (num - 16)) & 0xFFFF], 32)
        num -= length
        if not length or 8 * (at - size) > num:
            raise ValueError("ends early, or holds a code of no table")
        if 0 < symbol < 16:
            num -= symbol
            step = (held >> num) & ((1 << symbol) - 1)
            steps.append(step if step >> (symbol - 1) else step - (1 << symbol) + 1)
        else:
            steps.append(32768 if symbol else 0)
    return steps


def _predicted(steps: np.ndarray, first: int, selection: int) -> np.ndarray:
    """Pixels (rows, columns) from their differences; the first line is predicted from the left, the first column from
    above."""
    if selection == 1:
        steps[0, 0] += first
        steps[:, 0] = np.cumsum(steps[:, 0])
        return (np.cumsum(steps, 1) & 0xFFFF).astype(np.uint16)
    predictor, above, out = PREDICTORS[selection], None, []
    for line in steps.tolist():
        left, row = (above[0] if above else first), []
        for k, step in enumerate(line):
            guess = left if above is None or not k else predictor(left, above[k], above[k - 1])
            left = (guess + step) & 0xFFFF
            row.append(left)
        above = row
        out.append(row)
    return np.array(out, np.uint16)
