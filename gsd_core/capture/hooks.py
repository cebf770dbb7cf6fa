"""Hooks that watch a forward pass. They are removed afterwards, whatever happens.

hooked, hook_captured   contexts: hooks, or one on every captured module, stand while it lasts
FrozenModel   context: parameters frozen, evaluation mode, graph begins at the embedding's output; all undone on exit
ModuleTap     context: stores, for each call of a captured module, its projected input and its output's edge in the
graph
TappedCall    one module call: projected input (B, T, q) and the output's edge

    with FrozenModel(model), ModuleTap(selection, sketch) as tap:
        logits = model(ids).logits
        calls = tap.take()                  # the tap is then empty for the next forward pass
        deltas = torch.autograd.grad(loss, [c.edge for c in calls], allow_unused=True)
        with tap.watching(calls, lambda call, delta: ...):     # or one by one, during the backward pass
            loss.backward()

No dense weight gradient is ever formed: parameters do not require gradients, so autograd stops at activations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from gsd_core.capture.modules import ModuleSelection
from gsd_core.errors import UserError


@contextmanager
def hooked(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Keep hooks, which `handles` may register only now, while the context lasts."""
    kept: list[RemovableHandle] = []
    try:
        kept.extend(handles)
        yield
    finally:
        for handle in kept:
            handle.remove()


def hook_captured(selection: ModuleSelection, make: Callable[[int], Any]) -> AbstractContextManager[None]:
    """Context: the forward hook that `make` gives for its index on every captured module."""
    return hooked(each.module.register_forward_hook(make(index)) for index, each in enumerate(selection.captured))


class FrozenModel:
    """Freeze `model` for capture and restore it exactly.

    Inside, no parameter requires a gradient, dropout is off, and the token embedding's output requires one,
    so that the graph reaches every layer. Outside, each parameter's flag and each module's mode are as before.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self._flags: dict[str, bool] = {}
        self._modes: list[tuple[nn.Module, bool]] = []
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> FrozenModel:
        try:
            self._flags = {name: p.requires_grad for name, p in self._named_parameters()}
            self._modes = [(m, m.training) for m in self.model.modules()]
            for parameter in self.model.parameters():
                parameter.requires_grad_(False)
            self.model.eval()
            embedding = self.model.get_input_embeddings()
            self._handles.append(embedding.register_forward_hook(_root_the_graph))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *details: object) -> None:
        for handle in self._handles:
            handle.remove()
        # By name: where weights are on a disk, a forward pass replaces the parameters.
        for name, parameter in self._named_parameters() if self._flags else ():
            parameter.requires_grad_(self._flags[name])
        for module, mode in self._modes:
            module.training = mode
        self._handles, self._flags, self._modes = [], {}, []

    def _named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        # Shared ones under each of their names: a forward pass may separate them.
        return self.model.named_parameters(remove_duplicate=False)


def _root_the_graph(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
    if torch.is_grad_enabled():
        return output.detach().requires_grad_(True)
    return output


@dataclass(slots=True)
class TappedCall:
    """One call of one captured module. ``module`` indexes ``Sketch.modules``; ``inputs`` (B, T, q) float32.

    ``edge`` represents the output where its gradient is computed; the output itself is freed as soon as the model does
    not need it.
    """

    module: int
    inputs: torch.Tensor
    edge: GradientEdge


class ModuleTap:
    """Collect projected inputs and outputs of the captured modules while gradients are enabled.

    `sketch` is a ``Sketch``, or anything whose ``modules`` are the projections of the captured modules, in order.
    """

    def __init__(self, selection: ModuleSelection, sketch: Any) -> None:
        self._selection, self._sketch = selection, sketch
        self._calls: list[TappedCall] = []
        self._hooks: AbstractContextManager[None] = nullcontext()
        self._is_off = False

    def __enter__(self) -> ModuleTap:
        self._hooks = hook_captured(self._selection, self._make_hook)
        self._hooks.__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        self._hooks.__exit__(None, None, None)
        self._calls = []

    def take(self) -> list[TappedCall]:
        """Hand over the calls since the last ``take``."""
        calls, self._calls = self._calls, []
        return calls

    @contextmanager
    def watching(
        self, calls: Sequence[TappedCall], receive: Callable[[TappedCall, torch.Tensor], None]
    ) -> Iterator[None]:
        """Hand the gradient of every call's output to `receive` as soon as a backward pass has it, and keep none.

        What modules are called with meanwhile is no new call: a checkpointed layer is computed again.
        """

        def watch(call: TappedCall) -> RemovableHandle:
            def hook(gradients: Sequence[torch.Tensor | None]) -> None:
                delta = gradients[call.edge.output_nr]
                if delta is not None:
                    receive(call, delta)

            return call.edge.node.register_prehook(hook)

        self._is_off = True
        try:
            with hooked(map(watch, calls)):
                yield
        finally:
            self._is_off = False

    def _make_hook(self, index: int) -> Any:
        module_sketch = self._sketch.modules[index]
        name = self._selection.captured[index].name

        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if (
                self._is_off
                or not torch.is_grad_enabled()
                or not isinstance(output, torch.Tensor)
                or not output.requires_grad
            ):
                return
            activation = args[0].detach()
            if activation.ndim != 3:
                raise UserError(
                    f"it regroups tokens before a linear module (input shape {tuple(activation.shape)}), "
                    "so the samples' shares of the module's gradient cannot be told apart",
                    f"module {name}",
                    "use --tier hidden",
                )
            inputs = module_sketch.project_input(activation)
            self._calls.append(TappedCall(index, inputs, get_gradient_edge(output)))

        return hook
