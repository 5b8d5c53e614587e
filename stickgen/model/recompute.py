"""Keeping what an activation was computed from in the place of the activation itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def recomputed(activation: Tensor, compute: Callable[[], Tensor]) -> Iterator[None]:
    """Let layers that read an activation keep a way to compute it again, for as long as the context lasts.

    Where a layer would save ``activation`` for its backward pass, it saves ``compute`` instead. That is worth it for
    results of a pass or two over memory, such as a norm, whose inputs are kept anyway.

    Args:
        activation: contiguous.
        compute: returns its values again; runs in the backward pass, without gradients.
    """
    if not torch.is_grad_enabled():  # nothing is saved, and a model being exported has no storage to look at
        yield
        return
    # The saved tensor keeps both hooks, so they must not hold the activation themselves.
    place, count = activation.untyped_storage().data_ptr(), activation.numel()

    def pack(saved: Tensor) -> Any:
        whole = saved.numel() == count and saved.is_contiguous()
        return saved.shape if whole and saved.untyped_storage().data_ptr() == place else saved

    def unpack(saved: Any) -> Tensor:
        if isinstance(saved, Tensor):
            return saved
        with torch.no_grad():
            return compute().view(saved)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield
