"""Runs of a user's classifier that watch its inside: one at a time, and nothing is left behind."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from threading import Lock, RLock, get_ident
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Hook = Callable[[nn.Module, Any, Any], Any]
    """A forward hook: of a module, what it was given, and what it gave."""


class _Guard:
    """The lock of one model, and how often the thread that holds it has taken it."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.depth = 0


_guards: WeakKeyDictionary[nn.Module, _Guard] = WeakKeyDictionary()
_making = Lock()


_NO_MEMORY = (
    "allocate",
    "ALLOC_FAILED",
    "could not create a primitive",
    "unable to find an engine",
)
"""What torch's allocators, cuBLAS, oneDNN and cuDNN say when memory is short."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is short, which says nothing of the network."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


@contextmanager
def without_autocast() -> Iterator[None]:
    """Compute in the precision that tensors have, whatever autocast is around."""
    with ExitStack() as stack:
        for kind in ("cpu", "cuda", "mps", "xpu"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def guarded(model: nn.Module) -> Iterator[None]:
    """Run a model alone, in evaluation mode, not compiled, and in the precision of its weights.

    Hooks are state of the model that all threads share, so whoever watches a run holds the model's
    lock; the same thread may take it again. When the context ends, every module has its own mode
    and its compiled form back.

    Args:
        model: The classifier.
    """
    with _making:
        guard = _guards.setdefault(model, _Guard())
    with guard.lock, without_autocast(), ExitStack() as stack:
        if guard.depth == 0:
            _set_aside(model, stack)
        guard.depth += 1
        try:
            yield
        finally:
            guard.depth -= 1


def _set_aside(model: nn.Module, stack: ExitStack) -> None:
    """Let a model evaluate, with all its modules in Python's hands; the stack undoes it."""
    for module in list(model.modules()):
        # The flag alone: `eval()` may be a user's own, and do more.
        if module.training:
            stack.callback(setattr, module, "training", True)
            module.training = False
        # Compiled code does not see hooks that came after it.
        if module._compiled_call_impl is not None:
            stack.callback(setattr, module, "_compiled_call_impl", module._compiled_call_impl)
            module._compiled_call_impl = None
        original = module._modules.get("_orig_mod")
        if original is not None:  # what torch.compile has wrapped
            stack.callback(setattr, module, "forward", module.forward)
            module.forward = original.__call__


@contextmanager
def hooked(hooks: Iterable[tuple[nn.Module, Hook]]) -> Iterator[None]:
    """Let functions see, and replace unless they return None, what modules give in this thread.

    Others may use the model meanwhile without asking for its lock; their runs are not touched.

    Args:
        hooks: Modules, each with its forward hook.
    """
    owner = get_ident()

    def mine(act: Hook) -> Hook:
        return lambda *call: act(*call) if get_ident() == owner else None

    with ExitStack() as stack:
        for module, act in hooks:
            stack.callback(module.register_forward_hook(mine(act)).remove)
        yield


@contextmanager
def noting(modules: Iterable[nn.Module], outputs: bool = False) -> Iterator[list[list[Tensor]]]:
    """Note what modules are given, or give, call after call, while the context lasts."""
    owner = get_ident()
    noted: list[list[Tensor]] = []

    def note(calls: list[Tensor]) -> Any:  # noqa: ANN401 - a hook
        # Before a module runs, and copied: it, and what follows, may work in place.
        return lambda _, given: calls.append(given[0].clone()) if get_ident() == owner else None

    def note_output(calls: list[Tensor]) -> Any:  # noqa: ANN401 - a hook
        return lambda _, __, value: calls.append(value.clone()) if get_ident() == owner else None

    with ExitStack() as stack:
        for module in modules:
            noted.append([])
            handle = (
                module.register_forward_hook(note_output(noted[-1]))
                if outputs
                else module.register_forward_pre_hook(note(noted[-1]))
            )
            stack.callback(handle.remove)
        yield noted


def copied(nested: Any) -> Any:  # noqa: ANN401 - whatever a network makes
    """Return a network's tensors as copies that nothing after them changes in place."""
    return tree_map_only(Tensor, torch.clone, nested)
