#!/usr/bin/env python3
"""Writes resize_golden.json: what PIL.Image.resize(..., BILINEAR, box) makes of generated images.

Usage: make_resize_golden.py > resize_golden.json   (Pillow 9 to 12; 13 exchanges the two passes where that is cheaper)
An input pixel is byte i of the sequence x = (1664525 x + 1013904223) mod 2^32 from x = seed, taken as x >> 24.
"""
import json
import zlib

from PIL import Image

# height, width, channels, new height, new width, box (left, top, right, bottom) or None
CASES = [
    (5, 7, 3, 3, 4, None),
    (5, 7, 1, 3, 4, None),
    (1, 1, 3, 4, 5, None),
    (4, 4, 3, 1, 1, None),
    (32, 32, 3, 32, 32, None),
    (32, 32, 3, 32, 20, None),
    (32, 32, 3, 20, 32, None),
    (32, 32, 3, 40, 32, None),
    (28, 28, 1, 224, 224, None),
    (375, 500, 3, 256, 341, None),
    (500, 375, 3, 341, 256, None),
    (333, 500, 1, 224, 224, None),
    (97, 61, 3, 13, 200, None),
    (64, 64, 3, 32, 32, (8, 8, 40, 40)),
    (64, 64, 3, 32, 32, (7.5, 3.25, 60.75, 59.125)),
    (64, 80, 1, 17, 23, (0.1, 0.2, 79.9, 63.8)),
    (64, 80, 3, 100, 90, (10.5, 20.5, 30.25, 21.75)),
    (40, 50, 3, 40, 30, (10, 0, 40, 40)),
    (40, 50, 3, 40, 30, (10, 0, 41, 40)),
    (20, 50, 3, 20, 50, (0, 0, 49.5, 20)),
    (1000, 3, 3, 50, 5, None),
    (1000, 3, 3, 50, 5, (0.5, 100.25, 2.5, 900.5)),
    (303, 3, 1, 400, 2, None),
    (2, 900, 3, 4, 30, None),
]


def generate(seed, count):
    x, out = seed, bytearray()
    for _ in range(count):
        x = (1664525 * x + 1013904223) % 2**32
        out.append(x >> 24)
    return bytes(out)


def main():
    rows = []
    for seed, (h, w, c, new_h, new_w, box) in enumerate(CASES, start=1):
        image = Image.frombytes("RGB" if c == 3 else "L", (w, h), generate(seed, h * w * c))
        pixels = image.resize((new_w, new_h), Image.Resampling.BILINEAR, box).tobytes()
        rows.append({"seed": seed, "from": [h, w, c], "to": [new_h, new_w], "box": box, "first": list(pixels[:6]),
                     "crc32": zlib.crc32(pixels)})
    print("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]")


main()
