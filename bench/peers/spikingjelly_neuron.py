"""Times forward and backward of one layer of neurons in SpikingJelly 0.0.0.0.14.

usage: spikingjelly_neuron.py if|lif|plif|psn TIME_STEPS [THREADS [LOG2_ELEMENTS]]

2^LOG2_ELEMENTS inputs over all time-steps. Prints one JSON object; value is the median in
nanoseconds an input, `run` by bench_neurons with the same arguments.
"""
import json
import os
import resource
import statistics
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from spikingjelly_psn import PSN, functional, neuron, surrogate, torch

SERIAL = {"if": neuron.IFNode, "lif": neuron.LIFNode, "plif": neuron.ParametricLIFNode}
RUNS, WARM = 11, 2


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    model, steps = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(int(sys.argv[3]) if len(sys.argv) > 3 else 2)
    torch.manual_seed(0)
    elements = 1 << (int(sys.argv[4]) if len(sys.argv) > 4 else 22)
    if model == "psn":
        layer = PSN(steps)
    else:
        layer = SERIAL[model](surrogate_function=surrogate.ATan(), detach_reset=True,
                              step_mode="m")
    x = (torch.rand(steps, elements // steps) * 1.5).requires_grad_(True)
    gradient = torch.randn(steps, elements // steps)
    ns = []
    for _ in range(WARM + RUNS):
        begin = time.perf_counter()
        layer(x).backward(gradient)
        functional.reset_net(layer)
        ns.append((time.perf_counter() - begin) * 1e9 / elements)
        x.grad = None
        layer.zero_grad(set_to_none=True)
    print(json.dumps({"value": statistics.median(ns[WARM:]),
                      "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                      "parameters": sum(p.numel() for p in layer.parameters())}))


main()
