"""Adapters in a block's forward and backward: inner activations, and gradients as they come."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

import torch

from plugins.fused.backend import Activation, AdapterBackward, Backend
from plugins.fused.products import Product
from plugins.fused.projection import WIDEST, Group

Key = TypeVar("Key", bound=Hashable)


def inner_activation(
    x: torch.Tensor,
    group: Group,
    seed: torch.Tensor,
    backend: Backend,
    activation: Activation = Activation.NONE,
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """The adapters' inner activations [T, r], scaled, and the input [T, in] that they read.

    Args:
        x: [T, in], or the activation's input.
        group: whose adapters.
        seed: of their dropout, one mask for all of a group.
        backend: that computes.
        activation: which x goes through first.
    """
    if not group.rank:
        return None, backend.activate(x, activation)
    a = group.a(x.dtype)
    if group.rank <= WIDEST:
        return backend.lora_down(x, a, group.scale, group.dropout, seed, activation)
    x = backend.activate(x, activation)
    parts = [
        backend.lora_down(x, part, group.scale, group.dropout, seed)[0]
        for part in a.split(group.ranks)
    ]
    return torch.cat(parts, 1), x


def project(
    x: torch.Tensor, group: Group, seed: torch.Tensor, product: Product, backend: Backend
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A group's output [T, out], and the adapters' inner activations [T, r].

    Args:
        x: [T, in]; where joined with room to the right, [T, in + r or more], which is written.
        group: of projections.
        seed: of their dropout.
        product: of the group.
        backend: that computes.
    """
    u, _ = inner_activation(x[:, : group.width], group, seed, backend)
    bias = group.bias(x.dtype)
    if group.joined:
        assert u is not None
        x = x[:, : group.width + group.rank]
        x[:, group.width :] = u
        return product.forward(x, bias), u
    x = x[:, : group.width]
    if u is None:
        return product.forward(x, bias), u
    return product.with_adapters(x, u, group.b(x.dtype), bias), u


def add_adapters(x: torch.Tensor, adapted: list[tuple[Group, torch.Tensor | None]]) -> torch.Tensor:
    """A copy of x [T, out] plus the output of adapters whose inner activations are given."""
    pairs = [(u, group.b(x.dtype)) for group, u in adapted if u is not None]
    if not pairs:
        return x.clone()
    us, bs = zip(*pairs, strict=True)
    return torch.addmm(x, _beside(us), _beside(bs).T)


def _beside(parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Matrices of as many rows as one; itself where it is alone."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), 1)


class AdapterGradients(Generic[Key]):
    """The gradients of a block's adapters, found while its backward runs down.

    Args:
        groups: of the block, in the order in which autograd wants their gradients.
        us: inner activations [T, r] of the adapters, None where there are none.
        seeds: of their dropout.
        backend: that computes.
        dtype: of the activations.
    """

    def __init__(
        self,
        groups: Mapping[Key, Group],
        us: Mapping[Key, torch.Tensor | None],
        seeds: Mapping[Key, torch.Tensor],
        backend: Backend,
        dtype: torch.dtype,
    ) -> None:
        self.groups, self.us, self.seeds = groups, us, seeds
        self.backend, self.dtype = backend, dtype
        self.a: dict[Key, torch.Tensor] = {}
        self.b: dict[Key, torch.Tensor] = {}
        self.du: dict[Key, torch.Tensor] = {}

    def from_output(self, dout: torch.Tensor, *which: Key) -> None:
        """Gradients of b, and where not joined of the inner activations, of groups of one output.

        Args:
            dout: [T, out], the output's gradient.
            which: groups whose outputs were added up to it.
        """
        found = [(key, u) for key in which if (u := self.us[key]) is not None]
        if not found:
            return
        ranks = [self.groups[key].rank for key, _ in found]
        of_b = (dout.T @ _beside(tuple(u for _, u in found))).split(ranks, 1)
        self.b |= {key: grad for (key, _), grad in zip(found, of_b, strict=True)}
        through = [key for key, _ in found if not self._beside_input(key)]
        if not through:
            return
        b = _beside(tuple(self.groups[key].b(self.dtype) for key in through))
        of_u = (dout @ b).split([self.groups[key].rank for key in through], 1)
        self.du |= {
            key: part * self.groups[key].scale for key, part in zip(through, of_u, strict=True)
        }

    def from_product(self, dx: torch.Tensor, key: Key) -> torch.Tensor:
        """Of a joined group, take the inner activations' gradient from beside that of the input.

        Args:
            dx: [T, in + r], the output's gradient back through the product; zeros are left beside.
                [T, in] where the backend's products don't give the rest.
            key: the group.

        Returns:
            The gradient of the input, [T, in].
        """
        group = self.groups[key]
        if not self._beside_input(key):
            return dx
        beside = dx[:, group.width :]
        self.du[key] = beside * group.scale
        beside.zero_()
        return dx[:, : group.width]

    def _beside_input(self, key: Key) -> bool:
        return self.groups[key].joined and self.backend.joins_back

    def from_input(
        self,
        dx: torch.Tensor,
        x: torch.Tensor,
        *which: Key,
        activation: Activation = Activation.NONE,
    ) -> torch.Tensor:
        """Gradients of a, of adapters that read one input; their part goes into dx.

        Args:
            dx: [T, in], the gradient of that input so far; overwritten.
            x: [T, in], the input, or the activation's.
            which: groups that read it.
            activation: which x went through first; dx then goes back through it.

        Returns:
            The gradient of x, in the memory of dx or of x.
        """
        found = [key for key in which if key in self.du]
        alike = len({(self.groups[key].rank, self.groups[key].dropout) for key in found}) <= 1
        together = alike and all(self.groups[key].rank <= WIDEST for key in found)
        for keys in [found] if together else [[key] for key in found]:
            dx = self._back(dx, x, keys, activation)
        return dx

    def _back(
        self, dx: torch.Tensor, x: torch.Tensor, keys: list[Key], activation: Activation
    ) -> torch.Tensor:
        dropout = self.groups[keys[0]].dropout if keys else 0.0
        adapters, wide = [], bool(keys) and self.groups[keys[0]].rank > WIDEST
        for key in keys:
            group, du = self.groups[key], self.du[key]
            a, sizes = group.a(self.dtype), list(group.ranks) if wide else [group.rank]
            adapters += [
                AdapterBackward(part.contiguous(), rows, self.seeds[key])
                for part, rows in zip(du.split(sizes, 1), a.split(sizes), strict=True)
            ]
        if not wide:
            dx, grads = self.backend.lora_backward_(dx, x, adapters, dropout, activation)
            self.a |= dict(zip(keys, grads, strict=True))
            return dx
        rows = []
        for one in adapters:
            dx, grads = self.backend.lora_backward_(dx, x, [one], dropout)
            rows += grads
        self.a[keys[0]] = torch.cat(rows)
        return dx

    def in_order(self) -> list[torch.Tensor | None]:
        """Gradients of `Group.tensors` of all groups, each in its weight's dtype."""
        found: list[torch.Tensor | None] = []
        for key, group in self.groups.items():
            places = {id(part): (rows, columns) for part, rows, columns in group.blocks}
            for part in group.parts:
                if part.a is None or part.b is None or key not in self.a:
                    found += [None, None]
                    continue
                rows, columns = places[id(part)]
                found += [
                    self.a[key][columns].to(part.a.dtype),
                    self.b[key][rows, columns].to(part.b.dtype),
                ]
        return found
