"""Where and how a network is computed: device, number type and memory format in one place."""

from typing import Literal

import torch
from torch import nn

from spaces.values import Value


class DevicePlan(Value):
    """How to compute: one value, written into the job so that every worker does the same."""

    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = True

    @property
    def torch_device(self) -> torch.device:
        """The device as torch names it."""
        return torch.device(self.device)

    @property
    def on_gpu(self) -> bool:
        """Whether it computes on an NVIDIA GPU."""
        return self.torch_device.type == "cuda"

    @property
    def available(self) -> bool:
        """Whether this machine has the device."""
        return not self.on_gpu or torch.cuda.is_available()

    @property
    def torch_dtype(self) -> torch.dtype:
        """The number type of activations; weights stay float32."""
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype

    def autocast(self) -> torch.autocast:
        """Return a context in which convolutions and products use `dtype`."""
        return torch.autocast(
            self.torch_device.type, dtype=self.torch_dtype, enabled=self.dtype != "float32"
        )

    def wait(self) -> None:
        """Wait until the device has done what was asked of it."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def laid_out(self, images: torch.Tensor) -> torch.Tensor:
        """Return images (n, channels, height, width), given channels-last, in the plan's format.

        Convolutions compute in the format of their input, whatever that of their weights is.
        """
        # of one channel a tensor's strides may fit both formats: the views make them plain
        if self.channels_last:
            pixels = images.permute(0, 2, 3, 1).contiguous()
            return pixels.view(-1).view(pixels.shape).permute(0, 3, 1, 2)
        return images.contiguous().view(-1).view(images.shape)

    def place(self, network: nn.Module) -> nn.Module:
        """Move a network to the device and into the memory format."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return network.to(self.torch_device, memory_format=layout)  # type: ignore[call-overload,no-any-return]
