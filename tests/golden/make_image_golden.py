#!/usr/bin/env python3
"""Writes image_golden.json: small JPEG and PNG files (base64) with the pixels Pillow decodes them to.

Usage: make_image_golden.py > image_golden.json   (Pillow on libjpeg-turbo)
crc32 are those of convert("RGB"), of convert("L"), and of ImageOps.exif_transpose(...).convert("RGB").
"""
import base64
import io
import json
import zlib

from PIL import Image, ImageOps

W, H = 37, 29


def picture(w=W, h=H):
    """A smooth gradient with an edge, in RGB."""
    image = Image.new("RGB", (w, h))
    image.putdata([((7 * x) % 256, (9 * y) % 256, 200 if (x - w // 2) ** 2 + (y - h // 2) ** 2 < 80 else 30)
                   for y in range(h) for x in range(w)])
    return image


def encode(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def without_adobe(jpeg):
    """The file without its APP14 segment: CMYK that Pillow still takes as inverted."""
    at = jpeg.index(b"\xff\xee")
    return jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2:at + 4], "big"):]


def as_ycck(jpeg):
    """The file with Adobe's transform flag set to YCCK."""
    at = jpeg.index(b"Adobe") + 11
    return jpeg[:at] + b"\x02" + jpeg[at + 1:]


def oriented(n):
    exif = Image.Exif()
    exif[0x0112] = n
    return exif


def files():
    rgb, grey, cmyk = picture(), picture().convert("L"), picture().convert("CMYK")
    rgba = rgb.copy()
    rgba.putalpha(grey)
    yield "baseline_420.jpg", encode(rgb, format="JPEG", quality=85, subsampling=2)
    yield "baseline_422.jpg", encode(rgb, format="JPEG", quality=90, subsampling=1)
    yield "baseline_444.jpg", encode(rgb, format="JPEG", quality=95, subsampling=0)
    yield "progressive.jpg", encode(rgb, format="JPEG", quality=80, progressive=True)
    yield "grey.jpg", encode(grey, format="JPEG", quality=80)
    yield "rgb_coded.jpg", encode(rgb, format="JPEG", quality=80, keep_rgb=True)
    yield "cmyk_adobe.jpg", encode(cmyk, format="JPEG", quality=80)
    yield "cmyk_plain.jpg", without_adobe(encode(cmyk, format="JPEG", quality=80))
    yield "ycck.jpg", as_ycck(encode(cmyk, format="JPEG", quality=80))
    yield "rgb.png", encode(rgb, format="PNG")
    yield "grey.png", encode(grey, format="PNG")
    yield "rgba.png", encode(rgba, format="PNG")
    yield "grey_alpha.png", encode(rgba.convert("LA"), format="PNG")
    yield "palette.png", encode(rgb.quantize(64), format="PNG")
    yield "palette_4.png", encode(rgb.quantize(4), format="PNG", bits=2)
    yield "palette_transparent.png", encode(rgb.quantize(16), format="PNG", transparency=3)
    yield "bilevel.png", encode(grey.convert("1"), format="PNG")
    for n in range(1, 9):
        yield f"oriented_{n}.jpg", encode(picture(16, 8), format="JPEG", quality=80, exif=oriented(n))
    yield "oriented_6.png", encode(picture(16, 8), format="PNG", exif=oriented(6))


def main():
    rows = []
    for name, data in files():
        image = Image.open(io.BytesIO(data))
        turned = ImageOps.exif_transpose(image).convert("RGB")
        rows.append({"name": name, "size": [image.height, image.width], "rgb": zlib.crc32(image.convert("RGB").tobytes()),
                     "grey": zlib.crc32(image.convert("L").tobytes()), "turned_size": [turned.height, turned.width],
                     "turned": zlib.crc32(turned.tobytes()), "file": base64.b64encode(data).decode()})
    print("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]")


main()
