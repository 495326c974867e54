"""Reads the event files of a directory with TensorBoard's own reader and prints "TAG STEP VALUE" lines, sorted.

Usage: tensorboard_check.py DIRECTORY. Exit status 77 when the Python package tensorboard is absent.
"""
import sys

try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError:
    print("python3 package tensorboard is not installed", file=sys.stderr)
    sys.exit(77)

accumulator = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "tensors": 0})
accumulator.Reload()
tags = accumulator.Tags()
for tag in sorted(tags["scalars"]):
    for event in accumulator.Scalars(tag):
        print(tag, event.step, f"{event.value:g}")
for tag in sorted(tags["tensors"]):
    for event in accumulator.Tensors(tag):
        print(tag, event.step, f"{event.tensor_proto.float_val[0]:g}")
