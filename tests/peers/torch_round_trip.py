#!/usr/bin/env python3
"""Weights go to PyTorch and back by name: the same network there and here gives the same outputs.

usage: torch_round_trip.py WORKER

Each case is a spec and the same network in PyTorch: written out below, and, when SPIKINGJELLY_DIR
names a checkout of SpikingJelly 0.0.0.0.14, that of its model zoo. Two ways each:
  to torch    a few updates by WORKER, weights.safetensors loaded with strict=True
  from torch  PyTorch's own first weights, some batches in train mode, saved for WORKER eval
Compared on random images, in evaluation mode: the output of every sample, and how often each layer
of neurons fired. Sums are in another order there, so a potential that all but equals its threshold
may fall on the other side, and some of what follows in that image with it: IMAGES_OFF may differ.

A line for each: ok, FAIL or SKIPPED, its name, what was seen. Ends with 1 on a FAIL."""
import json
import os
import struct
import subprocess
import sys
import tempfile

import numpy as np
import torch
from torch import nn

STEPS, IMAGES, CLASSES = 4, 8, 10
IMAGES_OFF, SPIKES_OFF = 2, 1e-3  # images; share of the spikes
OUTPUT_OFF = 1e-5  # of the largest output
# Low thresholds, so that spikes reach the last layers of nets that have learned little.
SEW_THRESHOLD, PLIF_THRESHOLD = 0.25, 0.1


# ---- files ---------------------------------------------------------------------------------------
TYPES = {"F32": np.float32, "I64": np.int64}


def read_safetensors(path):
    with open(path, "rb") as f:
        (length,) = struct.unpack("<Q", f.read(8))
        header, data = json.loads(f.read(length)), f.read()
    header.pop("__metadata__", None)
    out = {}
    for name, t in header.items():
        begin, end = t["data_offsets"]
        values = np.frombuffer(data[begin:end], TYPES[t["dtype"]]).reshape(t["shape"])
        out[name] = torch.from_numpy(values.copy())
    return out


def write_safetensors(path, tensors):
    """Wide types first, as the format's own library does: then every tensor is aligned."""
    header, blobs, at = {}, [], 0
    for name, t in sorted(tensors.items(), key=lambda item: -item[1].element_size()):
        blob = t.detach().contiguous().numpy().tobytes()
        kind = "I64" if t.dtype == torch.int64 else "F32"
        header[name] = {"dtype": kind, "shape": list(t.shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


# ---- networks ------------------------------------------------------------------------------------
class Neurons(nn.Module):
    """Integrate and fire, or PLIF: leaks with a learned decay sigmoid(w). Hard reset to 0."""

    def __init__(self, threshold, plif=False):
        super().__init__()
        self.threshold = threshold
        self.w = nn.Parameter(torch.tensor(0.0)) if plif else None  # tau = 2

    def step(self, v, x):
        """Potential after the reset, and spikes."""
        h = v + x if self.w is None else v + (x - v) * torch.sigmoid(self.w)
        fires = (h >= self.threshold).to(h.dtype)
        return h * (1 - fires), fires

    def forward(self, x):  # [T, B, ...]
        v, out = torch.zeros_like(x[0]), []
        for now in x:
            v, fires = self.step(v, now)
            out.append(fires)
        return torch.stack(out)


def each_step(layer, x):
    """A layer without time on [T, B, ...]."""
    return layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class SewBlock(nn.Module):
    def __init__(self, c_in, c, stride, connect):
        super().__init__()
        self.connect = connect
        self.conv1, self.bn1 = nn.Conv2d(c_in, c, 3, stride, 1, bias=False), nn.BatchNorm2d(c)
        self.conv2, self.bn2 = nn.Conv2d(c, c, 3, 1, 1, bias=False), nn.BatchNorm2d(c)
        self.sn1, self.sn2 = Neurons(SEW_THRESHOLD), Neurons(SEW_THRESHOLD)
        self.downsample = None
        if stride != 1 or c_in != c:
            conv = nn.Conv2d(c_in, c, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(c))
            self.downsample_sn = Neurons(SEW_THRESHOLD)

    def forward(self, x):
        y = self.sn1(each_step(self.bn1, each_step(self.conv1, x)))
        y = self.sn2(each_step(self.bn2, each_step(self.conv2, y)))
        if self.downsample is not None:
            x = self.downsample_sn(each_step(self.downsample, x))
        return {"add": x + y, "and": x * y, "iand": x * (1 - y)}[self.connect]


class SewResNet18(nn.Module):
    def __init__(self, width, stem, connect):
        super().__init__()
        size, stride, pad = (7, 2, 3) if stem == "imagenet" else (3, 1, 1)
        self.conv1 = nn.Conv2d(3, width, size, stride, pad, bias=False)
        self.bn1, self.sn1 = nn.BatchNorm2d(width), Neurons(SEW_THRESHOLD)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if stem == "imagenet" else nn.Identity()
        c_in = width
        for stage in range(4):
            c, stride = width << stage, 2 if stage > 0 else 1
            blocks = SewBlock(c_in, c, stride, connect), SewBlock(c, c, 1, connect)
            setattr(self, "layer%d" % (stage + 1), nn.Sequential(*blocks))
            c_in = c
        self.fc = nn.Linear(c_in, CLASSES)

    def forward(self, x):
        x = self.sn1(each_step(self.bn1, each_step(self.conv1, x)))
        x = each_step(self.maxpool, x)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return self.fc(x.mean((3, 4)))


class PlifNet(nn.Module):
    """The PLIF paper's network for small images."""

    def __init__(self, width, size):
        super().__init__()
        hidden = width * (size // 4) ** 2
        plif = lambda: Neurons(PLIF_THRESHOLD, True)
        self.conv_fc = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
            plif(), nn.MaxPool2d(2),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
            plif(), nn.MaxPool2d(2), nn.Flatten(), nn.Identity(),
            nn.Linear(hidden, 2048), plif(), nn.Identity(), nn.Linear(2048, 10 * CLASSES), plif())

    def forward(self, x):
        for part in self.conv_fc:
            x = part(x) if isinstance(part, Neurons) else each_step(part, x)
        return x.unflatten(2, (CLASSES, 10)).mean(3)


class Recurrent(nn.Module):
    """Every neuron's spikes come back to every neuron."""

    def __init__(self, features):
        super().__init__()
        self.rc = nn.Linear(2 * features, features)
        self.sub_module = Neurons(PLIF_THRESHOLD, True)

    def forward(self, x):
        v, y, out = torch.zeros_like(x[0]), torch.zeros_like(x[0]), []
        for now in x:
            v, y = self.sub_module.step(v, self.rc(torch.cat((now, y), dim=1)))
            out.append(y)
        return torch.stack(out)


class RecurrentNet(nn.Sequential):
    def __init__(self, recurrent):
        super().__init__(nn.Flatten(), nn.Linear(36, 48), recurrent, nn.Linear(48, CLASSES))

    def forward(self, x):
        for part in self:
            x = part(x) if part is self[2] else each_step(part, x)
        return x


def from_spikingjelly(make):
    """The zoo's network in its multi-step mode; None without a checkout."""
    folder = os.environ.get("SPIKINGJELLY_DIR")
    if not folder:
        return None
    sys.path.insert(0, folder)
    from spikingjelly.activation_based import functional, model, neuron
    from spikingjelly.activation_based.model import parametric_lif_net, sew_resnet

    net = make(neuron, sew_resnet, parametric_lif_net)
    functional.set_step_mode(net, "m")
    for part in net.modules():  # a container steps through what it holds
        if hasattr(part, "sub_module"):
            functional.set_step_mode(part.sub_module, "s")
    net.register_forward_pre_hook(lambda m, x: functional.reset_net(m))
    return net


def zoo_sew(connect):
    return from_spikingjelly(lambda neuron, sew, plif: sew.sew_resnet18(
        cnf=connect, num_classes=CLASSES, spiking_neuron=neuron.IFNode,
        v_threshold=SEW_THRESHOLD))


def zoo_plif():
    return from_spikingjelly(lambda neuron, sew, plif: plif.MNISTNet(
        channels=16, spiking_neuron=neuron.ParametricLIFNode, v_threshold=PLIF_THRESHOLD))


def zoo_recurrent():
    def make(neuron, sew, plif):
        from spikingjelly.activation_based import layer
        cells = neuron.ParametricLIFNode(v_threshold=PLIF_THRESHOLD)
        return RecurrentNet(layer.LinearRecurrentContainer(cells, 48, 48))
    return from_spikingjelly(make)


def sew(width, stem, connect="add"):
    return {"preset": "sew_resnet", "depth": 18, "width": width, "stem": stem, "connect": connect,
            "neuron": {"v_threshold": SEW_THRESHOLD}}


PLIF = {"preset": "plif_mnist", "width": 16, "neuron": {"v_threshold": PLIF_THRESHOLD}}
RECURRENT = {"neuron": {"model": "plif", "v_threshold": PLIF_THRESHOLD},
             "layers": [{"type": "flatten"}, {"type": "linear", "out_features": 48},
                        {"type": "recurrent"}, {"type": "linear", "out_features": CLASSES}]}
# name, network of the spec, image [C, H, W], the same in PyTorch
CASES = [
    ("plain torch, SEW-ResNet-18, ImageNet stem, 64x64", sew(64, "imagenet"), (3, 64, 64),
     lambda: SewResNet18(64, "imagenet", "add")),
    ("plain torch, SEW-ResNet-18, CIFAR stem, IAND", sew(16, "cifar", "iand"), (3, 32, 32),
     lambda: SewResNet18(16, "cifar", "iand")),
    ("plain torch, PLIF network", PLIF, (1, 28, 28), lambda: PlifNet(16, 28)),
    ("plain torch, recurrent network", RECURRENT, (1, 6, 6), lambda: RecurrentNet(Recurrent(48))),
    ("SpikingJelly, sew_resnet18 ADD, 64x64", sew(64, "imagenet"), (3, 64, 64),
     lambda: zoo_sew("ADD")),
    ("SpikingJelly, sew_resnet18 IAND, 64x64", sew(64, "imagenet", "iand"), (3, 64, 64),
     lambda: zoo_sew("IAND")),
    ("SpikingJelly, MNISTNet of PLIF", PLIF, (1, 28, 28), zoo_plif),
    ("SpikingJelly, LinearRecurrentContainer", RECURRENT, (1, 6, 6), zoo_recurrent),
]


CONTAINERS = {"Recurrent", "LinearRecurrentContainer"}  # around their neurons, called step by step
SPIKES = {"Neurons", "IFNode", "ParametricLIFNode"} | CONTAINERS


# ---- both sides ----------------------------------------------------------------------------------
def run_torch(net, images, time_steps):
    """Mean output over time [IMAGES, CLASSES], and spikes of each layer of neurons by its path."""
    spikes, hooks = {}, []
    for name, part in net.named_modules():
        if type(part).__name__ in SPIKES and not name.endswith(".sub_module"):
            name += ".sub_module" if type(part).__name__ in CONTAINERS else ""
            hooks.append(part.register_forward_hook(
                lambda m, x, y, name=name: spikes.__setitem__(name, int(y.sum()))))
    with torch.no_grad():
        out = net(torch.from_numpy(images).unsqueeze(0).repeat(time_steps, 1, 1, 1, 1)).mean(0)
    for hook in hooks:
        hook.remove()
    return out.numpy(), spikes


def run_worker(worker, folder, spec, weights):
    """The same of `worker eval`."""
    out = os.path.join(folder, "out.npy")
    text = subprocess.run([worker, "eval", spec, "--weights", weights, "--data-dir", folder,
                           "--predictions", out], check=True, stdout=subprocess.PIPE).stdout
    steps = json.load(open(spec))["time_steps"]
    spikes = {layer["path"]: round(layer["firing_rate"] * np.prod(layer["shape"]) * steps * IMAGES)
              for layer in json.loads(text)["layers"] if "firing_rate" in layer}
    return np.load(out), spikes


def write_data(folder, image, numbers):
    os.makedirs(os.path.join(folder, "data"), exist_ok=True)
    for part in "train", "test":
        x = numbers.random((IMAGES, *image), dtype=np.float32)
        y = np.arange(IMAGES) % CLASSES
        y[-1] = CLASSES - 1
        np.save(os.path.join(folder, "data", part + "-x.npy"), x)
        np.save(os.path.join(folder, "data", part + "-y.npy"), y)
    return x


def judge(name, ours, theirs):
    worst = np.abs(ours[0] - theirs[0]).max(axis=1) / max(np.abs(theirs[0]).max(), 1e-30)
    alive = np.ptp(theirs[0], axis=0).max() > 0  # else nothing of the images reaches the output
    equal = int((worst <= OUTPUT_OFF).sum())
    pairs = [(path, ours[1].get(path), n) for path, n in theirs[1].items()]
    layers = [pair for pair in pairs if pair[1] != pair[2]]
    off = sum(abs((a or 0) - b) for _, a, b in layers)
    fine = alive and ours[1].keys() == theirs[1].keys() and equal >= IMAGES - IMAGES_OFF
    fine = fine and off <= SPIKES_OFF * sum(theirs[1].values())
    print("%s %s: %d of %d images within %.1e; %d of %d spikes of %d layers differ"
          % ("ok" if fine else "FAIL", name, equal, IMAGES, np.sort(worst)[max(equal - 1, 0)], off,
             sum(theirs[1].values()), len(theirs[1])))
    if not alive:
        print("     every image gives the same output")
    for path, a, b in layers if not fine else []:
        print("     %s: %s spikes here, %s there" % (path, a, b))
    return fine


def run_case(worker, folder, name, network, image, make):
    torch.manual_seed(3)
    net = make()
    if net is None:
        print("SKIPPED %s: SPIKINGJELLY_DIR is not set" % name)
        return True
    images = write_data(folder, image, np.random.default_rng(5))
    spec = {"version": 1, "time_steps": 4, "monitors": [],
            "dataset": {"name": "data", "validation": {"fraction": 0}},
            "network": {**network, **({"classes": CLASSES} if "preset" in network else {})},
            "train": {"batch_size": IMAGES, "optimizer": {"type": "sgd", "lr": 0.05}}}
    path, weights = os.path.join(folder, "spec.json"), os.path.join(folder, "torch.safetensors")
    with open(path, "w") as f:
        json.dump(spec, f)
    out = tempfile.mkdtemp(dir=folder)
    subprocess.run([worker, "train", path, "--out", out, "--data-dir", folder, "--max-steps",
                    str(STEPS)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    net.train()
    for _ in range(STEPS):
        run_torch(net, images, 4)
    net.eval()
    write_safetensors(weights, net.state_dict())
    fine = judge("from torch, " + name, run_worker(worker, folder, path, weights),
                 run_torch(net, images, 4))
    trained = os.path.join(out, "weights.safetensors")
    net.load_state_dict(read_safetensors(trained), strict=True)
    return judge("to torch, " + name, run_worker(worker, folder, path, trained),
                 run_torch(net, images, 4)) and fine


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    torch.set_num_threads(2)
    fine = True
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            fine = run_case(sys.argv[1], folder, *case) and fine
    sys.exit(0 if fine else 1)


main()
