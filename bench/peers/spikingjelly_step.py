"""Times training steps of the network of a spiked spec in SpikingJelly 0.0.0.0.14.

usage: spikingjelly_step.py SPEC.json [--threads N] [--steps N] [--warmup N]
       spikingjelly_step.py --write-data FOLDER

Time-steps, batch, loss, learning rate and neuron are the spec's, so that both sides do one thing.
The checkout is found through SPIKINGJELLY_DIR. Prints one JSON object. --write-data makes small
NumPy folders with the shapes of CIFAR, which `spiked-worker bench` wants beside --random-data.
"""
import argparse
import json
import os
import resource
import statistics
import sys
import time

import numpy as np

# Shape of a time-step of each data set that a spec of bench/ may name; True: T differing frames.
SHAPES = {"fashion-mnist": ((1, 28, 28), False), "bench-colour": ((3, 32, 32), False),
          "bench-columns": ((3, 1, 32), True)}
CLASSES = 10


def write_data(folder, samples=256, frames=32):
    for name, (shape, moving) in SHAPES.items():
        if not name.startswith("bench-"):
            continue
        os.makedirs(os.path.join(folder, name), exist_ok=True)
        for part in "train", "test":
            x = np.zeros((samples, frames, *shape) if moving else (samples, *shape), np.uint8)
            np.save(os.path.join(folder, name, part + "-x.npy"), x)
            np.save(os.path.join(folder, name, part + "-y.npy"), np.arange(samples) % CLASSES)


# ---- networks ------------------------------------------------------------------------------------
def load_peer():
    global torch, nn, F, functional, layer, neuron, surrogate, sew_resnet, PSN
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import spikingjelly_psn as own
    torch, nn, F = own.torch, own.torch.nn, own.torch.nn.functional
    functional, layer, neuron, surrogate = own.functional, own.layer, own.neuron, own.surrogate
    PSN = own.PSN
    from spikingjelly.activation_based.model import sew_resnet


def neuron_maker(network, time_steps, default):
    """Makes one layer of neurons a call: SpikingJelly's, with a detached reset as spiked has it."""
    model = network.get("neuron", {}).get("model", default)
    if model == "psn":
        return lambda **ignored: PSN(time_steps)
    kinds = {"if": neuron.IFNode, "lif": neuron.LIFNode, "plif": neuron.ParametricLIFNode}
    return lambda **ignored: kinds[model](surrogate_function=surrogate.ATan(), detach_reset=True)


def from_layers(layers, spikes, shape):
    """The list of a spec; shape [C, H, W] is followed for sizes that PyTorch wants to be told."""
    c, h, w = shape
    parts = []
    for row in layers:
        kind, size = row["type"], row.get("kernel_size")
        if kind == "conv2d":  # those of these specs keep the size of the image
            parts.append(layer.Conv2d(c, row["out_channels"], size, padding=row["padding"],
                                      bias=row["bias"]))
            c = row["out_channels"]
        elif kind == "batch_norm":
            parts.append(layer.BatchNorm2d(c))
        elif kind == "neuron":
            parts.append(spikes())
        elif kind == "max_pool2d":
            parts.append(layer.MaxPool2d(size, size))
            h, w = h // size, w // size
        elif kind == "flatten":
            parts.append(layer.Flatten())
            c, h, w = c * h * w, 1, 1
        elif kind == "linear":
            parts.append(layer.Linear(c, row["out_features"], bias=row.get("bias", True)))
            c = row["out_features"]
        else:
            sys.exit("no such layer here: " + kind)
    return nn.Sequential(*parts)


def psn_paper(network, spikes, shape):
    """The network of the PSN paper, on images or (height 1) on columns of them."""
    flat, c = shape[1] == 1, shape[0]
    width = network.get("width", 128 if flat else 256)
    conv, norm = (layer.Conv1d, layer.BatchNorm1d) if flat else (layer.Conv2d, layer.BatchNorm2d)
    pool = layer.AvgPool1d if flat else layer.AvgPool2d
    parts = []
    for _ in range(2):
        for _ in range(3):
            parts += [conv(c, width, 3, padding=1, bias=False), norm(width), spikes()]
            c = width
        parts.append(pool(2, 2))
    features = width * (8 if flat else 64)
    return nn.Sequential(*parts, layer.Flatten(), layer.Linear(features, features // 4), spikes(),
                         layer.Linear(features // 4, CLASSES))


def sew(spikes):
    """The zoo's, with the stem for small images: 3 x 3, stride 1, no pooling."""
    net = sew_resnet.sew_resnet18(num_classes=CLASSES, cnf="ADD", spiking_neuron=spikes)
    net.conv1 = layer.Conv2d(3, 64, 3, padding=1, bias=False)
    net.maxpool = nn.Identity()
    return net


def build(spec, shape):
    network, time_steps = spec["network"], spec["time_steps"]
    preset = network.get("preset", "")
    spikes = neuron_maker(network, time_steps, "psn" if preset.startswith("psn") else "if")
    if preset == "":
        net = from_layers(network["layers"], spikes, shape)
    elif preset == "sew_resnet":
        net = sew(spikes)
    elif preset in ("psn_cifar10", "psn_sequential_cifar"):
        net = psn_paper(network, spikes, shape)
    else:
        sys.exit("no such preset here: " + preset)
    functional.set_step_mode(net, "m")
    return net.train()


# ---- steps ---------------------------------------------------------------------------------------
def firing_rate(net, x):
    """Mean over all layers of neurons."""
    rates, hooks = [], []
    for part in net.modules():
        if isinstance(part, (neuron.BaseNode, PSN)):
            hooks.append(part.register_forward_hook(lambda m, i, o: rates.append(float(o.mean()))))
    with torch.no_grad():
        net(x)
    functional.reset_net(net)
    for hook in hooks:
        hook.remove()
    return sum(rates) / len(rates)


def measure(spec, args):
    shape, moving = SHAPES[spec["dataset"]["name"]]
    time_steps, train = spec["time_steps"], spec["train"]
    net, batch = build(spec, shape), train["batch_size"]
    adam = torch.optim.Adam(net.parameters(), lr=train["optimizer"]["lr"])
    images = torch.rand((time_steps, batch, *shape) if moving else (batch, *shape))
    images = images.squeeze(-2)  # Conv1d's, where images are columns
    labels = torch.randint(0, CLASSES, (batch,))
    repeats = (time_steps,) + (1,) * images.dim()
    inputs = lambda: images if moving else images.unsqueeze(0).repeat(repeats)
    ms = []
    for _ in range(args.warmup + args.steps):
        begin = time.perf_counter()
        adam.zero_grad()
        out = net(inputs()).mean(0)
        if train["loss"]["type"] == "mse":
            loss = F.mse_loss(out, F.one_hot(labels, CLASSES).float())
        else:
            loss = F.cross_entropy(out, labels)
        loss.backward()
        adam.step()
        functional.reset_net(net)
        ms.append((time.perf_counter() - begin) * 1e3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"value": statistics.median(ms[args.warmup:]), "peak_rss_bytes": peak,
            "parameters": sum(p.numel() for p in net.parameters()),
            "firing_rate": firing_rate(net, inputs())}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("spec", nargs="?")
    parser.add_argument("--write-data")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=1)
    args = parser.parse_args()
    if args.write_data:
        write_data(args.write_data)
        return
    load_peer()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    with open(args.spec) as f:
        print(json.dumps(measure(json.load(f), args)))


main()
