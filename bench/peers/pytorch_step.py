#!/usr/bin/env python3
"""Times whole training steps of PyTorch on synthetic images: the peer of residuum bench step.

The same nets, batch and optimizer; channels_last, static inputs that are already normalised, bf16 autocast, on a GPU the fused
SGD and times by CUDA events. Modes: eager, and torch.compile with its three settings. Prints one JSON object; with --on-request
"ready", then a line for each line it reads. Needs torch (1.13 or later) alone: the nets are written out here.
"""
import argparse
import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

COMPILE_MODES = {"compile": "default", "compile-reduce-overhead": "reduce-overhead", "compile-max-autotune": "max-autotune"}
CUDA_GRAPH_MODES = ("compile-reduce-overhead", "compile-max-autotune")
IMAGENET = {18: (False, (2, 2, 2, 2)), 34: (False, (3, 4, 6, 3)), 50: (True, (3, 4, 6, 3)), 101: (True, (3, 4, 23, 3)),
            152: (True, (3, 8, 36, 3))}


def conv(channels_in, channels, kernel, stride=1):
    return nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, bias=False)


class CifarBlock(nn.Module):
    """CIFAR basic block with the option-A shortcut, zeros on both sides."""

    def __init__(self, channels_in, channels, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(channels_in, channels, 3, stride), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = conv(channels, channels, 3), nn.BatchNorm2d(channels)
        self.stride, self.extra = stride, channels - channels_in

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.stride > 1 or self.extra:
            half = self.extra // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.extra - half))
        return F.relu(out + x)


class Block(nn.Module):
    """torchvision's basic block or bottleneck (stride on the 3x3)."""

    def __init__(self, channels_in, width, stride, bottleneck):
        super().__init__()
        channels = width * 4 if bottleneck else width
        shapes = [(channels_in, width, 1, 1), (width, width, 3, stride), (width, channels, 1, 1)] if bottleneck else [
            (channels_in, width, 3, stride), (width, channels, 3, 1)]
        self.convs = nn.ModuleList(conv(*shape) for shape in shapes)
        self.norms = nn.ModuleList(nn.BatchNorm2d(shape[1]) for shape in shapes)
        self.downsample = None
        if stride > 1 or channels_in != channels:
            self.downsample = nn.Sequential(conv(channels_in, channels, 1, stride), nn.BatchNorm2d(channels))

    def forward(self, x):
        out = x
        for i, (convolution, norm) in enumerate(zip(self.convs, self.norms)):
            out = norm(convolution(out))
            if i + 1 < len(self.convs):
                out = F.relu(out)
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class CifarResNet(nn.Module):
    def __init__(self, depth, classes=10):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 16, 3), nn.BatchNorm2d(16)
        layers, channels_in = [], 16
        for stage, channels in enumerate((16, 32, 64)):
            for block in range((depth - 2) // 6):
                layers.append(CifarBlock(channels_in, channels, 2 if stage and not block else 1))
                channels_in = channels
        self.layers, self.fc = nn.Sequential(*layers), nn.Linear(64, classes)

    def forward(self, x):
        x = self.layers(F.relu(self.bn1(self.conv1(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class ResNet(nn.Module):
    def __init__(self, depth, classes=1000):
        super().__init__()
        bottleneck, counts = IMAGENET[depth]
        self.conv1, self.bn1 = conv(3, 64, 7, 2), nn.BatchNorm2d(64)
        layers, channels_in = [], 64
        for stage, count in enumerate(counts):
            for block in range(count):
                layers.append(Block(channels_in, 64 << stage, 2 if stage and not block else 1, bottleneck))
                channels_in = (64 << stage) * (4 if bottleneck else 1)
        self.layers, self.fc = nn.Sequential(*layers), nn.Linear(channels_in, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.fc(F.adaptive_avg_pool2d(self.layers(x), 1).flatten(1))


def make_model(name):
    """The net, its image size and number of classes."""
    if name.startswith("cifar_resnet"):
        return CifarResNet(int(name[len("cifar_resnet"):])), 32, 10
    if name.startswith("resnet") and name[6:].isdigit() and int(name[6:]) in IMAGENET:
        return ResNet(int(name[6:])), 224, 1000
    raise SystemExit(f"pytorch_step.py: there is no net '{name}' here; there are cifar_resnetN and resnet18 to 152")


def modes():
    """Modes that this PyTorch has, and why it lacks others."""
    if hasattr(torch, "compile"):
        return ["eager", *COMPILE_MODES], []
    reason = f"PyTorch {torch.__version__} has no torch.compile"
    return ["eager"], [{"name": name, "reason": reason} for name in COMPILE_MODES]


def make_optimizer(model, device):
    settings = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}
    if device == "cuda":
        try:
            return torch.optim.SGD(model.parameters(), fused=True, **settings), "fused"
        except TypeError:
            return torch.optim.SGD(model.parameters(), foreach=True, **settings), "foreach"
    return torch.optim.SGD(model.parameters(), **settings), "plain"


class Step:
    def __init__(self, options):
        self.options, self.device = options, options.device
        if options.threads:
            torch.set_num_threads(options.threads)
        torch.manual_seed(1)
        torch.backends.cudnn.benchmark = True
        tf32 = options.precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        model, size, classes = make_model(options.model)
        self.parameters = sum(p.numel() for p in model.parameters())
        self.model = model.to(self.device).to(memory_format=torch.channels_last).train()
        self.optimizer, self.optimizer_kind = make_optimizer(self.model, self.device)
        shape = (options.batch, 3, size, size)
        self.images = torch.randn(shape, device=self.device).to(memory_format=torch.channels_last)
        self.labels = torch.randint(0, classes, (options.batch,), device=self.device)
        self.loss_of = self.forward
        if options.mode != "eager":
            self.loss_of = torch.compile(self.forward, mode=COMPILE_MODES[options.mode])
        self.loss = None

    def forward(self, images, labels):
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.options.precision == "bf16"):
            logits = self.model(images)
        return F.cross_entropy(logits.float(), labels)

    def run(self):
        self.optimizer.zero_grad(set_to_none=True)
        if self.options.mode in CUDA_GRAPH_MODES and hasattr(torch, "compiler"):
            torch.compiler.cudagraph_mark_step_begin()
        self.loss = self.loss_of(self.images, self.labels)
        self.loss.backward()
        self.optimizer.step()

    def mark(self):
        if self.device != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def measure(self, steps):
        """Seconds of each step."""
        marks = [self.mark()]
        for _ in range(steps):
            self.run()
            marks.append(self.mark())
        if self.device != "cuda":
            return [b - a for a, b in zip(marks, marks[1:])]
        torch.cuda.synchronize()
        return [a.elapsed_time(b) / 1000 for a, b in zip(marks, marks[1:])]

    def round(self):
        options, seconds = self.options, self.measure(self.options.steps)
        median = statistics.median(seconds)
        result = {"implementation": f"pytorch {torch.__version__}", "mode": options.mode, "optimizer": self.optimizer_kind,
                  "parameters": self.parameters, "threads": torch.get_num_threads(), "model": options.model,
                  "batch": options.batch, "precision": options.precision, "device": self.device, "seconds": seconds,
                  "median_seconds": median, "images_per_second": options.batch / median, "loss": self.loss.item()}
        if self.device == "cuda":
            result["peak_bytes"] = torch.cuda.max_memory_allocated()
            result["device_name"] = torch.cuda.get_device_name()
        return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="cifar_resnet20")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16"), default="fp32")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--mode", choices=("eager", *COMPILE_MODES), default="eager")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: PyTorch's own choice")
    parser.add_argument("--warmup", type=int, default=3, help="steps before measuring")
    parser.add_argument("--steps", type=int, default=10, help="steps measured")
    parser.add_argument("--modes", action="store_true", help="print the modes there are and those missing, as JSON")
    parser.add_argument("--on-request", action="store_true", help="a round for each line of the standard input")
    options = parser.parse_args()
    if options.device == "auto":
        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    if options.modes:
        there, missing = modes()
        print(json.dumps({"implementation": f"pytorch {torch.__version__}", "device": options.device, "modes": there,
                          "missing": missing}))
        return
    step = Step(options)
    for _ in range(max(options.warmup, 1)):
        step.run()
    step.measure(1)
    if not options.on_request:
        print(json.dumps(step.round(), indent=2))
        return
    print("ready", flush=True)
    for _ in sys.stdin:
        step.measure(1)
        print(json.dumps(step.round()), flush=True)


if __name__ == "__main__":
    main()
