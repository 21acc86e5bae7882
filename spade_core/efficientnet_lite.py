"""EfficientNet-Lite0 as a feature pyramid: the network of the default backbone, without its classifier. Used by
``backbone`` alone.

Modules bear the names of the checkpoint's keys (``_conv_stem.weight``, ``_blocks.3._depthwise_conv.weight``), so that
it loads as it is. Lite0 is EfficientNet-B0 without squeeze-and-excitation and with ReLU6 in place of swish
(Tan & Le 2019; the Lite variants: Google 2020).
"""

from __future__ import annotations

from typing import Final

import torch.nn.functional as F
from torch import Tensor, nn

from spade_core.pyramid import PyramidNetwork

# (blocks, kernel, stride of the first block, expansion, output channels) of each stage
_STAGES: Final = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM_CHANNELS: Final = 32
HEAD_CHANNELS: Final = 1280

LEVEL_BLOCKS: Final = (2, 4, 10)
"""Blocks whose outputs are the pyramid: the last one at each of the strides 4, 8 and 16."""

_BN_EPS: Final = 1e-3  # TensorFlow's value; torch's own default (1e-5) gives other features


class EfficientNetLite0(PyramidNetwork):
    """The convolutional part of EfficientNet-Lite0."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, _STEM_CHANNELS, 3, stride=2)
        self._bn0 = _batch_norm(_STEM_CHANNELS)
        self._blocks = nn.ModuleList(_blocks())
        self._conv_head = SameConv2d(_STAGES[-1][-1], HEAD_CHANNELS, 1)
        self._bn1 = _batch_norm(HEAD_CHANNELS)

    def levels(self, images: Tensor) -> tuple[Tensor, ...]:
        """The pyramid, finest first: (B, 24, S/4, S/4), (B, 40, S/8, S/8) and (B, 112, S/16, S/16), of ``images``
        (B, 3, S, S) float32, normalised.
        """
        x = _activate(self._bn0(self._conv_stem(images)))
        levels = []
        for index, block in enumerate(self._blocks[: LEVEL_BLOCKS[-1] + 1]):
            x = block(x)
            if index in LEVEL_BLOCKS:
                levels.append(x)
        return tuple(levels)

    def pooled(self, deepest: Tensor) -> Tensor:
        """Pooled features (B, 1280) of the coarsest level."""
        x = deepest
        for block in self._blocks[LEVEL_BLOCKS[-1] + 1 :]:
            x = block(x)
        return _activate(self._bn1(self._conv_head(x))).mean(dim=(2, 3))


class _Block(nn.Module):
    """Inverted residual: expand (1x1), filter each channel (depthwise), project (1x1, no activation)."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.expands = expansion != 1
        self.is_residual = stride == 1 and in_channels == out_channels
        if self.expands:
            self._expand_conv = SameConv2d(in_channels, hidden, 1)
            self._bn0 = _batch_norm(hidden)
        self._depthwise_conv = SameConv2d(hidden, hidden, kernel, stride=stride, groups=hidden)
        self._bn1 = _batch_norm(hidden)
        self._project_conv = SameConv2d(hidden, out_channels, 1)
        self._bn2 = _batch_norm(out_channels)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = _activate(self._bn0(self._expand_conv(inputs))) if self.expands else inputs
        hidden = _activate(self._bn1(self._depthwise_conv(hidden)))
        outputs: Tensor = self._bn2(self._project_conv(hidden))
        return outputs + inputs if self.is_residual else outputs


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "SAME" padding: ceil(size / stride) outputs, and where the padding is odd, the
    spare row and column go to the bottom and the right.

    At stride 1 that is ordinary padding. At stride 2 it is not: an even side needs one-sided padding, which
    ``nn.Conv2d`` cannot express, and symmetric padding would shift every map by a pixel.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        if self.stride[0] > 1:
            top, bottom = _same_padding(input.shape[-2], self.kernel_size[0], self.stride[0])
            left, right = _same_padding(input.shape[-1], self.kernel_size[1], self.stride[1])
            input = F.pad(input, (left, right, top, bottom))
        return super().forward(input)


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _blocks() -> list[_Block]:
    blocks = []
    in_channels = _STEM_CHANNELS
    for count, kernel, first_stride, expansion, out_channels in _STAGES:
        for index in range(count):
            stride = first_stride if index == 0 else 1
            blocks.append(_Block(in_channels, out_channels, kernel=kernel, stride=stride, expansion=expansion))
            in_channels = out_channels
    return blocks


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_BN_EPS, momentum=0.01)


def _activate(x: Tensor) -> Tensor:
    # In place: x is always the fresh output of a batch norm, which nobody else holds.
    return F.relu6(x, inplace=True)
