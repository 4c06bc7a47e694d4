"""torch.ops.fastembed_core.*: every operation as an operator of torch, made from its contract.

    import fastembed_core.torch_ops; scores, indices = torch.ops.fastembed_core.topk(queries, corpus, 10, "cosine")

Nobody needs these names: inside ``torch.compile`` and ``torch.export`` the public functions call them, so that a compiled region
goes through a pool, a normalize and a topk without a break, and without a gradient gives the bits that it gives uncompiled. So they do
wherever torch is to see the call: under ``torch.jit.trace``, ``make_fx`` and other modes, of fake, meta and distributed tensors, and
under ``torch.vmap``, which takes the elements of a batch one after the other.

An operator's schema is the signature of its contract, with `Codes` taken apart: ``corpus_scale``, ``corpus_ranges``,
``corpus_precision`` and ``corpus_dim`` stand at its end. Its kernel is the contract; its fake kernel is the contract too, whose
validation reads shapes and types alone, with the spec of its results in the place of a backend. Its derivative is that of the torch
composition, computed again from the inputs; `quantize`, `dequantize` and `calibrate` have none and say so.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from . import dispatch
from .arrays import from_host, tensors_kept
from .codes import DIM_PRECISIONS, PRECISIONS, ROW_PRECISIONS, Codes
from .ops._spec import Spec

if not hasattr(torch.library, "register_autograd"):
    raise ImportError(f"torch: got {torch.__version__}, expected 2.4 or later for operators, which torch.compile needs")

NAMESPACE = "fastembed_core"
LIBRARY = torch.library.Library(NAMESPACE, "FRAGMENT")

RETURNS = {
    "pool": "Tensor[]",  # of Codes data, scale, ranges, as far as they have them
    "normalize": "Tensor",
    "quantize": "Tensor[]",
    "dequantize": "Tensor",
    "calibrate": "Tensor",
    "similarity": "Tensor",
    "similarity_paired": "Tensor",
    "topk": "(Tensor, Tensor)",
    "rescore": "(Tensor, Tensor)",
    "range_search": "(Tensor, Tensor, Tensor)",
    "merge_topk": "(Tensor, Tensor)",
    "maxsim": "Tensor[]",  # scores, with k also indices
    "embedding_bag": "Tensor[]",
}
CONSTANT = frozenset({"quantize", "dequantize", "calibrate"})  # have no derivative

# The type of a parameter by its name, which means the same in every contract; Tensor where nothing stands here.
TYPES = {
    **dict.fromkeys(("k", "truncate_dim", "padding_idx", "max_results"), "int"),
    **dict.fromkeys(("eps", "scale"), "float"),
    **dict.fromkeys(("normalize", "include_last_offset", "larger"), "bool"),
    **dict.fromkeys(("mode", "precision", "metric", "backend"), "str"),
    "parts": "Tensor[]",
    "merge_topk.offsets": "int[]",
}
VECTORS = ("queries", "corpus", "a", "b", "documents", "table", "codes")  # parameters that may be Codes
PARTS = {"scale": "Tensor", "ranges": "Tensor", "precision": "str", "dim": "int"}  # of Codes, beside their data


def contract_of(op: str) -> Callable[..., Any]:
    return inspect.unwrap(getattr(importlib.import_module(f"{__package__}.ops.{op}"), op))


CONTRACTS = {op: contract_of(op) for op in RETURNS}
PUBLIC = {op: tuple(inspect.signature(contract).parameters) for op, contract in CONTRACTS.items()}


def _declared(op: str, name: str) -> str:
    return TYPES.get(f"{op}.{name}") or TYPES.get(name, "Tensor")


def _parameters(op: str) -> dict[str, str]:
    """Every parameter of the operator and how the schema declares it."""
    declared = {}
    for name, parameter in inspect.signature(CONTRACTS[op]).parameters.items():
        kind = _declared(op, name)
        default = parameter.default
        if default is parameter.empty:
            declared[name] = f"{kind} {name}"
        else:
            said = f'"{default}"' if isinstance(default, str) else default
            declared[name] = f"{kind}{'?' if default is None else ''} {name}={said}"
    declared.pop("out", None)
    for name in [name for name in VECTORS if name in declared]:
        declared |= {f"{name}_{part}": f"{kind}? {name}_{part}=None" for part, kind in PARTS.items()}
    return declared


PARAMETERS = {op: _parameters(op) for op in RETURNS}


# --- What torch traces in the place of a public call ----------------------------------------------------------------


def call_operator(op: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The public call `op` as a call of the operator."""
    how = dict(zip(PUBLIC[op], args, strict=False)) | kwargs
    out = how.pop("out", None)
    if not torch.compiler.is_compiling():  # which sees host arrays as tensors already
        how = {name: _tensor_of(value) if _declared(op, name) == "Tensor" else value for name, value in how.items()}
    for name in VECTORS:
        codes = how.get(name)
        if isinstance(codes, Codes):
            how[name] = codes.data
            for part in PARTS:
                how[f"{name}_{part}"] = getattr(codes, part)
    if isinstance(how.get("candidates"), tuple):
        raise TypeError("candidates: got a tuple inside torch.compile, whose longest list is not known there, expected (Q, C)")
    if isinstance(how.get("exclude"), str):
        how["exclude"] = _own_rows(how["queries"], how["corpus"], how["exclude"])
    if isinstance(how.get("threshold"), int | float):
        how["threshold"] = torch.full((), how["threshold"], dtype=torch.float64)
    if op == "merge_topk":
        how["parts"] = [side for part in how["parts"] for side in part]
    result = getattr(torch.ops.fastembed_core, op)(**how)
    if isinstance(result, list):
        precision = how.get("precision")
        result = _codes(result, precision, op, how) if precision in PRECISIONS else result[0] if len(result) == 1 else tuple(result)
    return result if out is None else _written(result, out)


def _tensor_of(x: Any) -> Any:
    return from_host(np.asarray(x)) if isinstance(x, np.ndarray | np.generic | list) else x


def _own_rows(queries: Any, corpus: Any, exclude: str) -> Any:
    if exclude != "self":
        raise ValueError(f"exclude: got {exclude!r}, expected 'self' or row numbers")
    rows = torch.arange(queries.shape[0], device=queries.device)
    return torch.where(rows < corpus.shape[0], rows, -1)


def _codes(parts: list[Any], precision: str, op: str, how: dict[str, Any]) -> Codes:
    dim = how.get("truncate_dim")
    if dim is None and op == "embedding_bag":
        dim = how["table_dim"] if "table_dim" in how else how["table"].shape[1]
    elif dim is None:
        query = how.get("query")
        dim = how["x" if op == "quantize" else "tokens"].shape[-1] if query is None else query.numel()
    scale = parts[1] if precision in ROW_PRECISIONS else None
    ranges = parts[1] if precision in DIM_PRECISIONS and len(parts) > 1 else None
    return Codes(parts[0], precision, dim, scale, ranges)


def _written(result: Any, out: Any) -> Any:
    if isinstance(result, Codes):
        return Codes(out.copy_(result.data), result.precision, result.dim, result.scale, result.ranges)
    if isinstance(result, tuple):
        return tuple(target.copy_(part) for target, part in zip(out, result, strict=True))
    return out.copy_(result)


# --- The kernels ----------------------------------------------------------------------------------------------------


def _given(op: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """An operator's arguments as those of its contract."""
    how = dict(zip(PARAMETERS[op], args, strict=False)) | kwargs
    for name in VECTORS:
        scale, ranges, precision, dim = (how.pop(f"{name}_{part}", None) for part in PARTS)
        if precision is not None:
            how[name] = Codes(how[name], precision, dim, scale, ranges)
    if "parts" in how:
        how["parts"] = list(zip(how["parts"][::2], how["parts"][1::2], strict=True))
    return how


def _tensors(result: Any) -> list[torch.Tensor]:
    if isinstance(result, Codes):
        result = tuple(part for part in (result.data, result.scale, result.ranges) if part is not None)
    return [part.contiguous() for part in (result if isinstance(result, tuple) else (result,))]


def _returned(op: str, result: Any) -> Any:
    parts = _tensors(result)
    return parts if RETURNS[op] == "Tensor[]" else parts[0] if len(parts) == 1 else tuple(parts)


def _kernel(op: str, *args: Any, **kwargs: Any) -> Any:
    return _returned(op, CONTRACTS[op](**_given(op, args, kwargs)))


def _fake(op: str, *args: Any, **kwargs: Any) -> Any:
    how = _given(op, args, kwargs)
    places = None
    if op == "range_search":  # how many rows there will be only the values say, but on a device where there is a limit
        most, queries = how.get("max_results"), how["queries"]
        if most is not None and (queries.data if isinstance(queries, Codes) else queries).device.type != "cpu":
            places = queries.shape[0] * min(most, how["corpus"].shape[0])
        how |= {"threshold": 0.0, "max_results": None}
    how["backend"] = None
    with tensors_kept(), dispatch.answered_by(functools.partial(_of_spec, places)):
        return _returned(op, CONTRACTS[op](**how))


def _of_spec(places: Any, op: str, *args: Any, device: str) -> Any:
    """What a cell returns, with nothing in it; `places` in the place of a size that is not known."""
    spec = getattr(importlib.import_module(f"{__package__}.ops.{op}"), f"{op}_spec")(*args)
    specs = (spec,) if isinstance(spec, Spec) else spec
    unknown = places
    if unknown is None and any(part and None in part.shape for part in specs):
        unknown = torch.library.get_ctx().new_dynamic_size()
    made = []
    for part in specs:
        shape = None if part is None else [unknown if size is None else size for size in part.shape]
        made.append(None if shape is None else torch.empty(shape, dtype=getattr(torch, part.dtype), device=device))
    return made[0] if isinstance(spec, Spec) else tuple(made)


# --- The derivatives ------------------------------------------------------------------------------------------------


@contextmanager
def _recorded() -> Iterator[None]:
    """Gradients recorded inside a kernel, which torch runs below the recording."""
    excluded = torch._C._dispatch_tls_local_exclude_set()
    for key in ("AutogradFunctionality", "AutogradOther", "AutogradNestedTensor", "ADInplaceOrView"):
        excluded = excluded - torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, key))
    with torch._C._ForceDispatchKeyGuard(torch._C._dispatch_tls_local_include_set(), excluded), torch.enable_grad():
        yield


def _apart(args: Any) -> tuple[list[torch.Tensor], list[Any]]:
    """The tensors of some arguments, those in lists too, and the arguments with ... in the places of tensors."""
    leaves: list[torch.Tensor] = []

    def one(x: Any) -> Any:
        if isinstance(x, torch.Tensor):
            leaves.append(x)
            return ...
        return [one(part) for part in x] if isinstance(x, list) else x

    return leaves, [one(x) for x in args]


def _together(template: Any, leaves: Iterator[Any]) -> Any:
    """The arguments that `_apart` took apart, with other tensors."""
    if template is ...:
        return next(leaves)
    return [_together(part, leaves) for part in template] if isinstance(template, list) else template


def _gradients(op: str, grads: list[Any], wrt: list[int], *args: Any, **kwargs: Any) -> list[torch.Tensor]:
    """The derivative of the torch composition by the tensors among the arguments that `wrt` numbers."""
    leaves, template = _apart(args)
    for i in wrt:
        leaves[i] = leaves[i].detach().requires_grad_()
    wanted = [leaves[i] for i in wrt]
    with _recorded():
        how = _given(op, _together(template, iter(leaves)), kwargs) | {"backend": "torch"}
        results = zip(_tensors(CONTRACTS[op](**how)), grads, strict=True)
        pairs = [(result, grad) for result, grad in results if result.requires_grad and grad is not None]
        got = torch.autograd.grad([p[0] for p in pairs], wanted, [p[1] for p in pairs], allow_unused=True) if pairs else [None] * len(wrt)
    return [torch.zeros_like(x) if grad is None else grad.contiguous() for x, grad in zip(wanted, got, strict=True)]


def _fake_gradients(op: str, grads: list[Any], wrt: list[int], *args: Any, **kwargs: Any) -> list[torch.Tensor]:
    leaves, _ = _apart(args)
    return [torch.empty_like(leaves[i], memory_format=torch.contiguous_format) for i in wrt]


def _save(op: str, ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    leaves, ctx.template = _apart(inputs)
    ctx.save_for_backward(*leaves, *(output[1:] if op == "topk" else ()))


def _backward(op: str, ctx: Any, *grads: Any) -> tuple[Any, ...]:
    template, saved = ctx.template, list(ctx.saved_tensors)
    needed = _needed(template, ctx.needs_input_grad)
    args = _together(template, iter(saved))
    flat = [part for grad in grads for part in (grad if isinstance(grad, list | tuple) else (grad,))]
    name = op
    if op == "topk":  # the rows are known: no second search
        how = dict(zip(PARAMETERS[op], args, strict=True)) | {"candidates": saved[-1], "k": None}
        name, args = "rescore", [how[parameter] for parameter in PARAMETERS["rescore"]]
    found = dict(zip(needed, getattr(torch.ops.fastembed_core, f"{name}_backward")(flat, needed, *args), strict=True))
    places = iter(range(len(saved)))
    return tuple(_gradient_of(x, found, places) for x in template)[: len(ctx.needs_input_grad)]


def _needed(template: list[Any], needs: Any) -> list[int]:
    """The numbers of the tensors of `template` that need a gradient, as autograd says of each argument that was given."""
    numbers, place = [], 0
    for x, need in zip(template, needs, strict=False):
        inside = isinstance(x, list) and ... in x
        for slot, flag in zip(x, need, strict=True) if inside else ((x, need),):
            if slot is ...:
                if flag:
                    numbers.append(place)
                place += 1
    return numbers


def _gradient_of(x: Any, found: dict[int, Any], places: Iterator[int]) -> Any:
    if x is ...:
        return found.get(next(places))
    return [_gradient_of(part, found, places) for part in x] if isinstance(x, list) and ... in x else None


# --- Batches --------------------------------------------------------------------------------------------------------


def _mapped(op: str, info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
    """The operator under vmap: of each element of the batch, one after the other."""
    leaves, template = _apart(args)
    dims = [dim for x, dim in zip(_flat(template), _flat(in_dims), strict=True) if x is ...]
    results = []
    for i in range(info.batch_size):
        own = (x if dim is None else x.select(dim, i) for x, dim in zip(leaves, dims, strict=True))
        result = getattr(torch.ops.fastembed_core, op)(*_together(template, own))
        results.append([result] if isinstance(result, torch.Tensor) else result)
    stacked = [torch.stack(list(parts)) for parts in zip(*results, strict=True)]
    if RETURNS[op] == "Tensor":
        return stacked[0], 0
    return (stacked, [0] * len(stacked)) if RETURNS[op] == "Tensor[]" else (tuple(stacked), (0,) * len(stacked))


def _flat(args: Any) -> Iterator[Any]:
    for x in args:
        yield from x if isinstance(x, list) else (x,)


def _register() -> None:
    for op, declared in PARAMETERS.items():
        parameters = ", ".join(declared.values())
        LIBRARY.define(f"{op}({parameters}) -> {RETURNS[op]}")
        _implement(op, functools.partial(_kernel, op), functools.partial(_fake, op))
        if hasattr(torch.library, "register_vmap"):
            torch.library.register_vmap(f"{NAMESPACE}::{op}", functools.partial(_mapped, op), lib=LIBRARY)
        if op not in CONSTANT:
            LIBRARY.define(f"{op}_backward(Tensor?[] grads, int[] wrt, {parameters}) -> Tensor[]")
            _implement(f"{op}_backward", functools.partial(_gradients, op), functools.partial(_fake_gradients, op))
            backward, save = functools.partial(_backward, op), functools.partial(_save, op)
            torch.library.register_autograd(f"{NAMESPACE}::{op}", backward, setup_context=save, lib=LIBRARY)


def _implement(op: str, kernel: Callable[..., Any], fake: Callable[..., Any]) -> None:
    for device in ("CPU", "CUDA"):
        LIBRARY.impl(op, kernel, device)
    torch.library.register_fake(f"{NAMESPACE}::{op}", fake, lib=LIBRARY)


_register()
