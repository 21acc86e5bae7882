"""Networks of torchvision without its weights, for tests of what only needs some weights."""

from __future__ import annotations

import torch
import torchvision.models
from torch import Tensor


def random_state(name: str) -> dict[str, Tensor]:
    """State dict of a torchvision network with random weights and random, but sane, batch-norm statistics."""
    generator = torch.Generator().manual_seed(7)
    state = torchvision.models.get_model(name, weights=None).state_dict()
    for key, value in state.items():
        if key.endswith("running_mean"):
            value.normal_(0, 0.1, generator=generator)
        elif key.endswith("running_var"):
            value.uniform_(0.5, 2, generator=generator)
    return state
