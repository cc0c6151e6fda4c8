"""Finds SpikingJelly through SPIKINGJELLY_DIR, and adds what its release 0.0.0.0.14 lacks: PSN.

The paper (Fang et al., 2023) defines h = W x + b over all time-steps and a spike where h >= 0; the
surrogate is SpikingJelly's. One product over time in PyTorch, as the authors' own code has it.
"""
import os
import sys

sys.path.insert(0, os.environ["SPIKINGJELLY_DIR"])
import torch
from spikingjelly.activation_based import base, functional, layer, neuron, surrogate


class PSN(torch.nn.Module, base.MultiStepModule):
    def __init__(self, time_steps):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(time_steps, time_steps))
        self.bias = torch.nn.Parameter(torch.full((time_steps, 1), -1.0))
        torch.nn.init.kaiming_uniform_(self.weight, a=5 ** 0.5)
        self.fires = surrogate.ATan()
        self.step_mode = "m"

    def forward(self, x):  # [T, B, ...]
        h = torch.addmm(self.bias, self.weight, x.flatten(1))
        return self.fires(h).view(x.shape)
