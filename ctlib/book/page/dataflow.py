"""What a network computes from what: its blocks as they run, with shapes, found by running it once."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

INPUT = -1  # in `Block.after`: the network's own input


@dataclass
class Block:
    """One call of a part of the network.

    kind   what it is, in words;  shape  of its output, without the batch axis
    after  numbers of the blocks whose outputs reach it without passing through another block; INPUT: the input
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    after: tuple[int, ...]
    count: int = 1


@dataclass(frozen=True)
class Flow:
    """The blocks of one run, shapes of the inputs and of the output, and the blocks that reach the output."""

    blocks: list[Block]
    inputs: list[tuple[int, ...]]
    output: tuple[int, ...]
    last: tuple[int, ...]
    weights: int


class _Follow(TorchFunctionMode):
    """Every tensor knows which blocks it was made of: what an operation returns inherits from what it was given."""

    def __init__(self):
        super().__init__()
        self.known: dict[int, tuple[Tensor, frozenset[int]]] = {}  # the tensor is held, so that its id stays its own

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        if tensors := _tensors(made):
            self.mark(tensors, self.sources(args, kwargs))
        return made

    def sources(self, *values) -> frozenset[int]:
        return frozenset().union(*(self.known[id(t)][1] for t in _tensors(values) if id(t) in self.known))

    def mark(self, tensors: Sequence[Tensor], sources: frozenset[int]) -> None:
        self.known.update({id(t): (t, sources) for t in tensors})


def _tensors(value: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def flow_of(net: nn.Module, inputs: Sequence[tuple[int, ...]], depth: int | None = None) -> Flow:
    """Run a copy of a network once and say how its blocks are connected; no memory for values where the network allows.

    inputs  shape of each argument, with the batch axis
    depth   1: the network's own parts; 2: their parts; None: 1, or deeper where that would be fewer than three blocks

    Blocks are parts with weights; lists of parts, and parts inside another of their own class, are opened.
    """
    depths = (1, 2, 3) if depth is None else (depth,)
    chosen = next((b for d in depths if len(b := dict(_parts(net, d))) > 2), dict(_parts(net, depths[-1])))
    try:
        flow = _run(net, inputs, chosen, "meta")
    except (RuntimeError, TypeError, ValueError):  # its forward pass reads values, which "meta" has none of
        flow = _run(net, inputs, chosen, next((p.device for p in net.parameters()), torch.device("cpu")))
    return _folded(flow)


def _parts(module: nn.Module, depth: int, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """(name, part) with weights; names of parts that lie in one of their own class are their last word."""
    for name, part in module.named_children():
        full = f"{prefix}{name}"
        is_list = isinstance(part, (nn.ModuleList, nn.ModuleDict))
        nested = type(part).__module__.split(".")[0] != "torch" and _recursive(part, module)
        if nested:
            yield from _parts(part, depth, f"{full}.")
        elif is_list or (depth > 1 and any(part.children())):
            yield from _parts(part, depth - (not is_list), f"{full}.")
        elif any(True for _ in part.parameters()):
            yield full, part


def _recursive(part: nn.Module, parent: nn.Module) -> bool:
    return type(part) is type(parent) or any(type(m) is type(part) for m in part.modules() if m is not part)


def _run(net: nn.Module, inputs: Sequence[tuple[int, ...]], chosen: dict[str, nn.Module], device) -> Flow:
    weights = sum(p.numel() for p in net.parameters())
    dtype = next((p.dtype for p in net.parameters()), torch.float32)
    twin = copy.deepcopy(net).to(device).eval().requires_grad_(False)
    follow, blocks = _Follow(), []
    for name in chosen:
        _watch(twin.get_submodule(name), name, follow, blocks)
    given = [torch.zeros(shape, device=device, dtype=dtype) for shape in inputs]
    follow.mark(given, frozenset({INPUT}))
    with warnings.catch_warnings(), torch.no_grad(), follow:
        warnings.simplefilter("ignore")  # about values and sizes that are no data
        out = twin(*given)
    last = follow.sources(out) or {len(blocks) - 1}
    return Flow(blocks, [s[1:] for s in inputs], tuple(_tensors(out)[0].shape[1:]), tuple(sorted(last)), weights)


def _watch(part: nn.Module, name: str, follow: _Follow, blocks: list[Block]) -> None:
    def before(module, args, kwargs):
        after = follow.sources(args, kwargs) or {len(blocks) - 1}  # made by what torch cannot follow
        blocks.append(Block(name, kind_of(module), (), tuple(sorted(after))))

    def after(module, args, made):
        blocks[-1].shape = tuple(_tensors(made)[0].shape[1:])
        follow.mark(_tensors(made), frozenset({len(blocks) - 1}))

    part.register_forward_pre_hook(before, with_kwargs=True)
    part.register_forward_hook(after)


def kind_of(part: nn.Module) -> str:
    """What a part is, in words: its class, or the convolutions that torch's own classes hold."""
    inside = list(part.children()) if type(part) is nn.Sequential else []
    own = [type(m).__name__ for m in inside if type(m).__module__.split(".")[0] != "torch"]
    if type(part).__module__.split(".")[0] != "torch":
        return type(part).__name__
    if own and len(set(own)) == 1 and len(own) == len(inside):
        return own[0] if len(own) == 1 else f"{len(own)} × {own[0]}"
    convs = [m for m in part.modules() if isinstance(m, nn.modules.conv._ConvNd)]
    if not convs:
        return "linear" if any(isinstance(m, nn.Linear) for m in part.modules()) else type(part).__name__
    sizes = {"×".join(map(str, m.kernel_size)) for m in convs}
    word = "convolution" if len(convs) == 1 else "convolutions"
    number = "" if len(convs) == 1 else f"{len(convs)} "
    return f"{number}{word} {sizes.pop()}" if len(sizes) == 1 else f"{number}{word}"


def _folded(flow: Flow) -> Flow:
    """The same with runs of equal blocks, each of which feeds the next alone, as one block with their number."""
    users = {i: [j for j, b in enumerate(flow.blocks) if i in b.after] for i in range(len(flow.blocks))}
    kept, number = [], {INPUT: INPUT}
    for i, block in enumerate(flow.blocks):
        before = flow.blocks[i - 1] if i else None
        alone = i and block.after == (i - 1,) and users[i - 1] == [i] and i - 1 not in flow.last
        if alone and kept and (before.kind, before.shape) == (block.kind, block.shape):
            kept[-1].count += 1
        else:
            kept.append(Block(block.name, block.kind, block.shape, tuple(number[a] for a in block.after)))
        number[i] = len(kept) - 1
    return Flow(kept, flow.inputs, flow.output, tuple(number[i] for i in flow.last), flow.weights)
