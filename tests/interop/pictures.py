# SPDX-License-Identifier: Apache-2.0
"""Moving test pictures that carry their number, and how alike two of them are."""
import struct
import zlib

import numpy as np

WIDTH, HEIGHT, RATE = 640, 360, 25
BITS, BLOCK = 16, 40  # the number in black and white blocks along the top, most significant first
Y, X = np.ogrid[0:HEIGHT, 0:WIDTH]  # a column and a row: what depends on one of them alone is computed once for each of it
Y, X = Y.astype(np.float32), X.astype(np.float32)

# Which of the seven bars of a digit are lit: top, upper left, upper right, middle, lower left, lower right, bottom.
SEGMENTS = ["1110111", "0010010", "1011101", "1011011", "0111010", "1101011", "1101111", "1010010", "1111111", "1111011"]


def draw_digit(luma, digit, top, left, size=40):
    bars = [(0, 0, 6, size), (0, 0, size, 6), (0, size - 6, size, 6), (size - 3, 0, 6, size), (size, 0, size, 6),
            (size, size - 6, size, 6), (2 * size - 6, 0, 6, size)]
    for lit, (y, x, high, wide) in zip(SEGMENTS[digit], bars):
        if lit == "1":
            luma[top + y:top + y + high, left + x:left + x + wide] = 235


def luma(n):
    """A field of slow waves with a disc that goes round, and the number in blocks and in digits."""
    field = 110 + 40 * np.sin(X / 37 + n / 9) + 30 * np.cos(Y / 29 - n / 13)
    cx, cy = WIDTH * 0.7 + 110 * np.cos(n / 15), HEIGHT * 0.6 + 70 * np.sin(n / 15)
    field[(X - cx) ** 2 + (Y - cy) ** 2 < 35 ** 2] = 210
    out = np.clip(field, 16, 235).astype(np.uint8)
    out[HEIGHT - 120:HEIGHT - 20, 20:260] = 40
    for i, digit in enumerate(f"{n:05d}"):
        draw_digit(out, int(digit), HEIGHT - 110, 30 + i * 46)
    for bit in range(BITS):
        out[:BLOCK, bit * BLOCK:(bit + 1) * BLOCK] = 235 if n >> (BITS - 1 - bit) & 1 else 16
    return out


def i420(n, scale=1):
    """The picture of that number, so many times as large; colour drifts over it."""
    half = (HEIGHT // 2, WIDTH // 2)
    u = np.broadcast_to((128 + 30 * np.sin(X[:, :half[1]] / 60 + n / 20)).astype(np.uint8), half)
    v = np.broadcast_to((128 + 30 * np.cos(Y[:half[0]] / 50 + n / 25)).astype(np.uint8), half)
    return b"".join(np.repeat(np.repeat(plane, scale, 0), scale, 1).tobytes() for plane in (luma(n), u, v))


def number(picture):
    """The number in the luma of a picture, None when a block is neither black nor white."""
    n = 0
    for bit in range(BITS):
        level = picture[BLOCK // 4:3 * BLOCK // 4, bit * BLOCK + BLOCK // 4:(bit + 1) * BLOCK - BLOCK // 4].mean()
        if 80 < level < 170:
            return None
        n = n * 2 + int(level > 125)
    return n


def best_share(numbers, span):
    """The part that was seen of so many pictures on end, where it is largest: a halt of either side falls beside it, a picture that
    stands still or stutters all the time has no such place."""
    n = np.array(sorted(numbers), dtype=int)
    return float((np.searchsorted(n, n + span) - np.arange(len(n))).max(initial=0) / span)


def psnr(a, b):
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return 99.0 if error == 0 else float(10 * np.log10(255 ** 2 / error))


def split(data, width, height):
    """The planes of an I420 picture."""
    whole = np.frombuffer(bytes(data), np.uint8)
    half = ((height + 1) // 2, (width + 1) // 2)
    size, quarter = width * height, half[0] * half[1]
    return (whole[:size].reshape(height, width), whole[size:size + quarter].reshape(half),
            whole[size + quarter:size + 2 * quarter].reshape(half))


def write_png(path, data, width, height):
    """An I420 picture as PNG (BT.601, limited range)."""
    y, u, v = (plane.astype(np.float32) for plane in split(data, width, height))
    u, v = (np.repeat(np.repeat(p, 2, 0), 2, 1)[:height, :width] - 128 for p in (u, v))
    y = (y - 16) * 1.164
    rgb = np.clip(np.stack([y + 1.596 * v, y - 0.392 * u - 0.813 * v, y + 2.017 * u], axis=2), 0, 255).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in rgb)

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    with open(path, "wb") as out:
        out.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
                  + chunk(b"IDAT", zlib.compress(rows, 6)) + chunk(b"IEND", b""))
