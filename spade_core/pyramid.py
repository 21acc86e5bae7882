"""What a backbone's network is: a feature pyramid, and what goes on from its coarsest level to the pooled features.

In two parts, because every frame needs the first and only some the second: a third of the default network's work.
"""

from __future__ import annotations

from torch import Tensor, nn


class PyramidNetwork(nn.Module):
    """Base of the backbones' networks."""

    def levels(self, images: Tensor) -> tuple[Tensor, ...]:
        """The pyramid (B, C_l, ceil(S / stride), ceil(S / stride)), finest first.

        Args:
            images: (B, 3, S, S), ImageNet-normalised.
        """
        raise NotImplementedError

    def pooled(self, deepest: Tensor) -> Tensor:
        """Pooled features (B, D) of the coarsest level (B, C, h, w)."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Pooled features and the pyramid, in one."""
        levels = self.levels(images)
        return self.pooled(levels[-1]), levels
