"""What the tests of the command line share: running the program, made-up data sets, reading its files.

Invariant: standard library only, and everything is written below a temporary folder.
"""
import gzip
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import tempfile
import unittest
import zlib

PROGRAM = os.environ["RESIDUUM_PROGRAM"]
SOURCE = pathlib.Path(os.environ["RESIDUUM_SOURCE"])

# One plain recipe for small runs: 4 steps an epoch with the data of write_idx, everything that costs time switched down.
SMALL_RECIPE = """
[model]
name = "cifar_resnet8"
[data]
augment = "pad_crop_flip"
pad = 2
[train]
epochs = 2
batch = 16
eval_batch = 16
log_every = 2
[optimizer]
lr = 0.05
ema_decay = 0
[checkpoint]
every = 1
"""


def run(*arguments, **options):
    """Runs the program to its end and returns the completed process with text output."""
    options.setdefault("timeout", 300)
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False, **options)


def start(*arguments, **options):
    """Starts the program with its output in a pipe."""
    return subprocess.Popen([PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            **options)


def children(process):
    """The ids of the processes that a launcher has started, by rank."""
    with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def idx_images(images, size):
    return struct.pack(">iiii", 0x803, len(images), size, size) + b"".join(images)


def idx_labels(labels):
    return struct.pack(">ii", 0x801, len(labels)) + bytes(labels)


def made_up_images(count, size, classes, seed):
    """Grey images whose brightness tells the class, with noise; returns (images, labels)."""
    noise = random.Random(seed)
    labels = [i % classes for i in range(count)]
    images = [bytes(min(255, label * 240 // classes + noise.randrange(16)) for _ in range(size * size))
              for label in labels]
    return images, labels


def write_idx(folder, train=64, test=40, size=8, classes=10):
    """Writes an IDX data set as MNIST's files are named."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count, seed in (("train", train, 1), ("t10k", test, 2)):
        images, labels = made_up_images(count, size, classes, seed)
        (folder / f"{split}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_images(images, size)))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(idx_labels(labels))
    return folder


def write_png(path, pixels, size):
    """Writes a grey 8-bit PNG."""
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    rows = b"".join(b"\0" + pixels[y * size:(y + 1) * size] for y in range(size))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)) +
                     chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def read_safetensors(path):
    """Name -> (dtype, shape, bytes)."""
    content = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8:8 + length])
    header.pop("__metadata__", None)
    data = content[8 + length:]
    return {name: (entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])])
            for name, entry in header.items()}


def metric_lines(out):
    """The lines of metrics.jsonl without what depends on the clock."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        for key in ("wall_time", "train/images_per_second", "train/data_share"):
            line.pop(key, None)
    return lines


class ProgramTest(unittest.TestCase):
    """A test with a temporary folder of its own."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="residuum-cli-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def assert_ok(self, process):
        self.assertEqual(process.returncode, 0, process.stderr)

    def assert_refused(self, process, code, *words):
        """Exit code, and one error line that holds every word."""
        self.assertEqual(process.returncode, code, process.stdout + process.stderr)
        errors = [line for line in process.stderr.splitlines() if line.startswith("residuum: error: ")]
        self.assertEqual(len(errors), 1, process.stderr)
        for word in words:
            self.assertIn(word, process.stderr)

    def wait_for(self, process, line_start):
        """Reads what a started program prints, up to a line that begins so."""
        for line in process.stdout:
            if line.startswith(line_start):
                return
        self.fail(f"no line '{line_start}': {process.stderr.read()}")

    def json_of(self, process):
        self.assert_ok(process)
        return json.loads(process.stdout)


class SmallRunTest(ProgramTest):
    """A test with made-up data and the small recipe."""

    def setUp(self):
        super().setUp()
        self.data = write_idx(self.folder / "data")
        self.recipe = self.folder / "small.toml"
        self.recipe.write_text(SMALL_RECIPE)
