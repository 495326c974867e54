#!/usr/bin/env python3
"""Golden results of PyTorch for tests/models/torch_parity_test.cpp: logits, loss, gradients and a short training run.

Weights and inputs come from a counter-based generator (fnv1a-64 of a name, then splitmix64 of a counter) that
tests/support/golden_data.cpp repeats bit for bit, so that only results are stored. Everything is computed in float64; the same
run in float32 gives "float32_deviation", how far PyTorch itself is from the exact result, which sizes the tolerances.

    make_golden.py                     writes NET.json beside this file, for every net
    make_golden.py --check NET...      recomputes and compares with the committed files; exit 77 (skip) without torch
    make_golden.py --check-start NET...  the same for what comes before training and the losses of its first steps
"""
import json
import math
import pathlib
import sys

try:
    import numpy as np
    import torch
    import torch.nn.functional as F
    import torchvision
except ImportError as missing:
    print(f"SKIPPED: PyTorch is not installed ({missing})")
    sys.exit(77)

HERE = pathlib.Path(__file__).resolve().parent


def f32(value):
    """The float32 nearest to a hyperparameter, as the engine stores it."""
    return float(np.float32(value))


FIRST_STEPS = 3  # of --check-start
BATCHES, MOMENTUM, WEIGHT_DECAY = 4, f32(0.9), f32(1e-4)
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CIFAR = ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616])


# ---- the portable generator -----------------------------------------------------------------------------------------
def random_words(name, count):
    """`count` 64-bit words for a name."""
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = (state ^ byte) * 0x100000001B3 % 2**64
    z = np.uint64(state) + (np.arange(count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniform(name, count):
    """Multiples of 2^-23 in [-1, 1)."""
    return (random_words(name, count) >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1.0


def parameter(name, shape):
    """A float32 value for every element, torch's layout."""
    u = uniform(name, math.prod(shape))
    if name.endswith("running_var"):
        value = 1 + 0.5 * u
    elif len(shape) == 1 and name.endswith("weight"):
        value = (0.25 if name.endswith("bn3.weight") else 0.5) * (1 + 0.25 * u)  # < 1: rounding errors grow less
    elif len(shape) == 1:
        value = 0.125 * u
    else:
        value = math.sqrt(3.0 / math.prod(shape[1:])) * u
    return value.astype(np.float32).reshape(shape)


def images(step, batch, size):
    """u8 images N,H,W,C: 4x4 coloured patches under noise, so that images differ in more than their noise."""
    def bytes_of(name, extent):
        words = random_words(f"{name}.{step}", batch * extent * extent * 3)
        return (words >> np.uint64(56)).reshape(batch, extent, extent, 3)

    patches = bytes_of("patches", 4).repeat(size // 4, axis=1).repeat(size // 4, axis=2)
    return ((np.uint64(3) * patches + bytes_of("noise", size)) // np.uint64(4)).astype(np.uint8)


def labels(step, batch, classes):
    return (random_words(f"labels.{step}", batch) % np.uint64(classes)).astype(np.int64)


# ---- nets -----------------------------------------------------------------------------------------------------------
class CifarBlock(torch.nn.Module):
    def __init__(self, c, k, stride):
        super().__init__()
        self.stride, self.zeros = stride, (k - c) // 2
        self.conv1 = torch.nn.Conv2d(c, k, 3, stride, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(k)
        self.conv2 = torch.nn.Conv2d(k, k, 3, 1, 1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(k)

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:  # option A, zeros on both sides
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.zeros, self.zeros))
        return F.relu(y + x)


class CifarResNet20(torch.nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(16)
        c = 16
        for stage, k in enumerate((16, 32, 64)):
            blocks = [CifarBlock(c if b == 0 else k, k, 2 if b == 0 and stage else 1) for b in range(3)]
            setattr(self, f"layer{stage + 1}", torch.nn.Sequential(*blocks))
            c = k
        self.fc = torch.nn.Linear(64, num_classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


NETS = {
    "cifar_resnet20": dict(
        make=CifarResNet20, batch=8, size=32, classes=10, norm=CIFAR, lr=f32(0.002), steps=20
    ),
    "resnet18": dict(
        make=torchvision.models.resnet18, batch=4, size=64, classes=16, norm=IMAGENET, lr=f32(0.0005), steps=20
    ),
    "resnet50": dict(
        make=torchvision.models.resnet50, batch=4, size=64, classes=16, norm=IMAGENET, lr=f32(0.00002), steps=20
    ),
}


# ---- results --------------------------------------------------------------------------------------------------------
def digest(name, tensor):
    """{L2 norm, sum, four samples at generated positions} of a tensor in torch's layout."""
    flat = tensor.detach().double().flatten()
    at = random_words(f"sample.{name}", 4) % np.uint64(flat.numel())
    return [flat.norm().item(), flat.sum().item()] + [flat[int(i)].item() for i in at]


def digest_deviation(found, expected, count):
    """How far a digest is off: norm and sum relative to the norm, samples relative to the RMS."""
    norm = expected[0]
    off = [abs(f - e) for f, e in zip(found, expected)]
    return max(off[0] / norm, off[1] / norm, max(off[2:]) / (norm / math.sqrt(count)))


class Run:
    """One net in one floating-point type."""

    def __init__(self, net, dtype):
        self.config, self.dtype = NETS[net], dtype
        self.model = self.config["make"](num_classes=self.config["classes"]).to(dtype)
        for module in self.model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eps, module.momentum = f32(module.eps), f32(module.momentum)
        state = self.model.state_dict()
        self.counts = {name: value.numel() for name, value in state.items()}
        for name, value in state.items():
            if value.is_floating_point():
                value.copy_(torch.from_numpy(parameter(name, tuple(value.shape))))

    def batch(self, step):
        c = self.config
        mean, std = (torch.from_numpy(np.array(v, np.float32)).to(self.dtype) for v in c["norm"])
        x = (torch.from_numpy(images(step, c["batch"], c["size"])).to(self.dtype) / 255 - mean) / std
        return x.permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels(step, c["batch"], c["classes"]))

    def gradients(self, step):
        x, y = self.batch(step)
        self.model.zero_grad()
        logits = self.model(x)
        loss = F.cross_entropy(logits, y)
        loss.backward()
        return logits, loss

    def results(self, steps):
        model, result = self.model, {}
        model.eval()
        with torch.no_grad():
            result["eval_logits"] = model(self.batch(0)[0]).double().flatten().tolist()
        model.train()
        optimizer = torch.optim.SGD(model.parameters(), self.config["lr"], MOMENTUM, weight_decay=WEIGHT_DECAY)
        result["losses"] = []
        for step in range(steps):
            logits, loss = self.gradients(step % BATCHES)
            result["losses"].append(loss.item())
            if step == 0:
                result["train_logits"] = logits.double().flatten().tolist()
                result["gradients"] = {n: digest(n, p.grad) for n, p in model.named_parameters()}
            optimizer.step()
        state = {n: v for n, v in model.state_dict().items() if v.is_floating_point()}
        result["final_weights"] = {n: digest(n, v) for n, v in state.items()}
        return result


def vector_deviation(found, expected):
    found, expected = np.array(found), np.array(expected)
    return float(np.abs(found - expected).max() / np.sqrt(np.mean(expected**2)))


def deviations(found, expected, counts):
    """The named metrics of the parity test: how far `found` is from `expected`."""
    result = {key: vector_deviation(found[key], expected[key]) for key in ("eval_logits", "train_logits")}
    result["losses"] = [abs(f - e) / e for f, e in zip(found["losses"], expected["losses"])]
    for key in ("gradients", "final_weights") if len(found["losses"]) == len(expected["losses"]) else ("gradients",):
        result[key] = max(digest_deviation(found[key][n], expected[key][n], counts[n]) for n in expected[key])
    return result


def rounded(value, digits):
    """JSON data with every float cut to that many significant digits."""
    if isinstance(value, dict):
        return {k: rounded(v, digits) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v, digits) for v in value]
    return float(f"%.{digits}g" % value) if isinstance(value, float) else value


def golden(net, steps):
    """The exact results of a net in so many steps of training, and how many elements each of its tensors has."""
    run = Run(net, torch.float64)
    config = {k: v for k, v in NETS[net].items() if k not in ("make", "norm")}
    config |= dict(batches=BATCHES, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    return {"config": config} | rounded(run.results(steps), 12), run.counts


def check(net, steps):
    """True when a new run of so many steps agrees with the committed file: to 1e-8 before training, 1e-5 after it."""
    committed = json.loads((HERE / f"{net}.json").read_text())
    current, counts = golden(net, steps)
    off = deviations(current, committed, counts)
    off["losses"] = max(off["losses"])
    limits = dict(eval_logits=1e-8, train_logits=1e-8, gradients=1e-7, losses=1e-5, final_weights=1e-5)
    good = committed["config"] == current["config"] and all(off[k] <= limits[k] for k in off)
    print(f"{net}: {'agrees' if good else 'DIFFERS'} {off}, allowed {limits}")
    return good


def main():
    torch.use_deterministic_algorithms(True)
    if sys.argv[1:2] in (["--check"], ["--check-start"]):
        start = sys.argv[1] == "--check-start"
        checks = [check(net, FIRST_STEPS if start else NETS[net]["steps"]) for net in sys.argv[2:]]
        sys.exit(0 if all(checks) else 1)
    for net in NETS:
        steps = NETS[net]["steps"]
        result, counts = golden(net, steps)
        single = deviations(Run(net, torch.float32).results(steps), result, counts)
        result["float32_deviation"] = rounded(single, 3)
        (HERE / f"{net}.json").write_text(json.dumps(result, indent=None, separators=(",", ":")) + "\n")
        print(net, "losses", [round(v, 4) for v in result["losses"]])
        print(net, "float32_deviation", result["float32_deviation"])


if __name__ == "__main__":
    main()
