"""torch.ops.fastembed_core.*: what torch's own checks say of each, and compiled regions that give the bits of uncompiled ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cases
import numpy as np
import pytest

import fastembed_core as fc

torch = pytest.importorskip("torch")

from fastembed_core import nn, torch_ops  # noqa: E402

OPS = torch.ops.fastembed_core
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def tensor(*shape: int, dtype: Any = torch.float32, grad: bool = False) -> Any:
    values = cases.rng_of("torch ops", *shape).standard_normal(shape).astype(np.float32)
    return torch.from_numpy(values).to(dtype).requires_grad_(grad)


def integers(high: int, *shape: int, low: int = 0) -> Any:
    return torch.from_numpy(cases.rng_of("integers", *shape).integers(low, high, shape))


def mask(*shape: int) -> Any:
    return torch.from_numpy(cases.rng_of("mask", *shape).random(shape) < 0.7)


def coded(precision: str, n: int, dim: int) -> fc.Codes:
    return fc.quantize(tensor(n, dim), precision)


def parts(q: int, *sizes: int) -> list[tuple[Any, Any]]:
    return [(tensor(q, k).sort(1, descending=True).values, integers(99, q, k).sort(1).values) for k in sizes]


Case = tuple[str, tuple[Any, ...], dict[str, Any]]


def calls(dtype: Any, q: int, n: int, d: int) -> list[Case]:
    """Public calls on tensors, every operation among them."""
    a, x, b = tensor(q, d, dtype=dtype), tensor(n, d, dtype=dtype), tensor(q, d)
    tokens, valid, ends = tensor(q, 6, d, dtype=dtype), mask(q, 6), torch.tensor([0, n // 2, n // 2, n])
    codes, bits, ranged = coded("int8_row", n, d), coded("ubinary", n, d), coded("uint8", n, d)
    ids, places = integers(n, q, 4), integers(n, q, 5, low=-1)
    return [
        ("normalize", (a,), {"truncate_dim": d - 1}),
        ("pool", (tokens, valid), {"mode": "weightedmean", "normalize": True, "truncate_dim": d - 1}),
        ("pool", (x,), {"mode": "attention", "cu_seqlens": ends, "query": b[:2]}),
        ("pool", (tokens, valid), {"precision": "int4_row"}),
        ("pool", (tokens,), {"precision": "uint8", "ranges": ranged.ranges, "mode": "max"}),
        ("quantize", (x, "int8_row"), {}),
        ("quantize", (x, "int8"), {}),
        ("quantize", (x, "uint8"), {"ranges": ranged.ranges}),
        ("quantize", (x, "binary"), {}),
        ("dequantize", (codes,), {}),
        ("dequantize", (ranged,), {}),
        ("calibrate", (x,), {}),
        ("similarity", (a, x), {"metric": "l2"}),
        ("similarity", (bits, bits), {"metric": "hamming"}),
        ("similarity_paired", (a, b), {}),
        ("topk", (a, x, 3), {"metric": "ip", "mask": mask(n), "exclude": "self"}),
        ("topk", (a, ranged, 3), {"metric": "cosine", "exclude": places[:, :2]}),
        ("topk", (codes, codes, 3), {"metric": "ip"}),
        ("rescore", (a, codes, places), {"k": 2, "metric": "cosine"}),
        ("range_search", (a, x, 0.1), {"mask": mask(n)}),
        ("range_search", (a, x, torch.linspace(-1, 1, q)), {"max_results": 4}),
        ("merge_topk", (parts(q, 3, 4), 5), {"metric": "ip", "offsets": [0, 100]}),
        ("maxsim", (tokens, tensor(n, 4, d)), {"query_mask": valid, "document_mask": mask(n, 4)}),
        ("maxsim", (x, x), {"query_offsets": ends, "document_offsets": ends, "k": 2, "mask": mask(3, 3)}),
        ("maxsim", (b, codes), {"document_offsets": ends, "metric": "cosine"}),
        ("embedding_bag", (x, ids), {"mode": "max", "padding_idx": 1}),
        ("embedding_bag", (codes, ids.flatten()), {"offsets": torch.tensor([0, 3]), "include_last_offset": False, "mode": "sum"}),
        ("embedding_bag", (x, ids), {"weights": tensor(q, 4), "precision": "int8_row", "normalize": True, "truncate_dim": d - 1}),
    ]


def operands_of(case: Case) -> tuple[Any, dict[str, Any]]:
    """A public call as the operator and its arguments."""
    seen: list[tuple[Any, dict[str, Any]]] = []

    class Watched:
        def __getattr__(self, name: str) -> Callable[..., Any]:
            return lambda **how: seen.append((getattr(OPS, name), how))

    op, args, kwargs = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.ops, "fastembed_core", Watched())
        torch_ops.call_operator(op, args, kwargs)
    return seen[0]


def flat(result: Any) -> tuple[Any, ...]:
    """Every array of a result."""
    if isinstance(result, fc.Codes):
        return tuple(part for part in (result.data.float(), result.scale, result.ranges) if part is not None)
    return result if isinstance(result, tuple) else (result,)


def assert_same(actual: Any, expected: Any, what: str) -> None:
    for a, e in zip(flat(actual), flat(expected), strict=True):
        assert a.dtype == e.dtype
        cases.assert_same(a.float() if a.dtype in DTYPES[1:] else a, e.float() if e.dtype in DTYPES[1:] else e, what)


def test_every_operation_has_an_operator() -> None:
    assert {op for op, _, _ in calls(torch.float32, 2, 9, 8)} == set(torch_ops.RETURNS)
    from fastembed_core.backends.reference import BACKEND

    assert set(torch_ops.RETURNS) == BACKEND.ops


@pytest.mark.parametrize(("dtype", "q", "n", "d"), [(torch.float32, 3, 20, 8), (torch.bfloat16, 1, 5, 9)], ids=str)
def test_torch_s_own_checks(dtype: Any, q: int, n: int, d: int) -> None:
    for case in calls(dtype, q, n, d):
        operator, how = operands_of(case)
        utils = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
        if case[0] == "range_search" or dtype != torch.float32:  # its sizes are those of the data; and symbols have no type
            utils = utils[:3]
        torch.library.opcheck(operator, (), how, test_utils=utils)


@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
def test_a_compiled_region_gives_the_same_bits(dtype: Any) -> None:
    """Every operation in one graph without a break, traced from its public name."""
    given = [case for case in calls(dtype, 4, 19, 8) if case[0] != "range_search"]

    def region(inputs: list[Case]) -> list[Any]:
        return [flat(getattr(fc, op)(*args, **kwargs)) for op, args, kwargs in inputs]

    torch._dynamo.reset()
    compiled = torch.compile(region, fullgraph=True, backend="aot_eager")(given)
    for (op, args, kwargs), result in zip(given, compiled, strict=True):
        assert_same(result, getattr(fc, op)(*args, **kwargs), op)


def chain(tokens: Any, valid: Any, corpus: Any) -> tuple[Any, Any]:
    return fc.topk(fc.normalize(fc.pool(tokens, valid), truncate_dim=7), corpus, 5, metric="cosine")


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # inductor's own
@pytest.mark.parametrize("compiler", ["inductor", "aot_eager"])
def test_pool_normalize_topk(compiler: str) -> None:
    """A second shape compiles once more, with sizes as symbols; no other shape does."""
    from torch._dynamo.testing import CompileCounterWithBackend

    torch._dynamo.reset()
    counter = CompileCounterWithBackend(compiler)
    compiled = torch.compile(chain, fullgraph=True, backend=counter)
    for q, t, n in ((3, 6, 40), (5, 9, 30), (7, 4, 61), (2, 11, 25)):
        given = tensor(q, t, 8), mask(q, t), tensor(n, 7)
        cases.assert_same(compiled(*given), chain(*given), f"{q} {t} {n}")
    assert counter.frame_count == 2


def test_sizes_that_only_the_data_know() -> None:
    queries, corpus = tensor(4, 8), tensor(30, 8)

    def region(a: Any, x: Any) -> Any:
        ends, scores, rows = fc.range_search(a, x, 0.2)
        return ends.diff(), scores + 1, rows

    torch._dynamo.reset()
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(region, fullgraph=True, backend="aot_eager")
        cases.assert_same(compiled(queries, corpus), region(queries, corpus))
        cases.assert_same(compiled(queries, -corpus), region(queries, -corpus))


def test_out_and_modules() -> None:
    x, table, ids = tensor(5, 6, 8), tensor(9, 8), integers(9, 3, 2)
    out = torch.empty(5, 8), torch.empty(4, 3), torch.empty(4, 3, dtype=torch.int64)
    module, bags = nn.Pooling("mean", normalize=True), nn.EmbeddingBag.from_pretrained(table, mode="max").coded()

    def region(x: Any, table: Any, ids: Any, out: Any) -> Any:
        fc.pool(x, out=out[0])
        fc.topk(table[:4], table, 3, out=out[1:])
        return fc.assign(table, table[:2]), module(x), bags(ids)

    torch._dynamo.reset()
    assigned, pooled, reduced = torch.compile(region, fullgraph=True, backend="aot_eager")(x, table, ids, out)
    cases.assert_same(out, (fc.pool(x), *fc.topk(table[:4], table, 3)))
    cases.assert_same(assigned, fc.assign(table, table[:2]))
    cases.assert_same((pooled, reduced), (module(x), bags(ids)))


def test_export() -> None:
    class Module(torch.nn.Module):  # type: ignore[misc]
        def forward(self, tokens: Any, valid: Any, corpus: Any) -> Any:
            return chain(tokens, valid, corpus)

    given = tensor(3, 6, 8), mask(3, 6), tensor(40, 7)
    program = torch.export.export(Module(), given)
    assert sum(str(node.target).startswith("fastembed_core.") for node in program.graph.nodes) == 3
    cases.assert_same(program.module()(*given), chain(*given))


# --- what else torch does with a call than run it -------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:`torch.jit.trace`:DeprecationWarning")
def test_a_trace_computes_anew() -> None:
    """The operation is in the program, and not what it gave for the example."""
    from torch.fx.experimental.proxy_tensor import make_fx

    x, other = tensor(3, 8), tensor(5, 8)

    def program(x: Any) -> Any:
        return fc.topk(fc.normalize(x), x, 2)

    cases.assert_same(torch.jit.trace(program, x)(other), program(other))
    for mode in ("real", "fake", "symbolic"):
        made = make_fx(program, tracing_mode=mode)(x)
        cases.assert_same(made(other[:3] if mode != "symbolic" else other), program(other[:3] if mode != "symbolic" else other))


def test_tensors_without_values_have_shapes() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode() as mode:
        x = mode.from_tensor(tensor(5, 8))
        scores, rows = fc.topk(x, fc.quantize(x, "int8_row"), 2, metric="ip", mask=torch.ones(5, dtype=torch.bool))
        merged = fc.merge_topk([(scores, rows), (scores, rows)], 3, metric="ip")
        assert fc.rescore(x, x, [[0, 4]] * 5, np.int64(1))[1].shape == (5, 1)
    assert [tuple(part.shape) for part in (scores, rows, *merged)] == [(5, 2), (5, 2), (5, 3), (5, 3)]
    x = tensor(5, 8).to("meta")
    assert fc.range_search(x, x, np.float32(0.5), max_results=2)[0].shape == (6,)
    assert fc.pool(x[None], np.ones((1, 5))).shape == (1, 8) and fc.topk(x, x, 2)[1].device.type == "meta"


def test_distributed_tensors_are_torch_s_to_refuse() -> None:
    class Sharded(torch.Tensor):  # type: ignore[misc]
        @staticmethod
        def __torch_dispatch__(func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            raise NotImplementedError(f"Operator {func} does not have a sharding strategy registered.")

    x = tensor(4, 8)
    sharded = torch.Tensor._make_subclass(Sharded, x)
    for call in (lambda: fc.normalize(sharded), lambda: fc.topk(x, sharded, 2), lambda: fc.topk(x, x, 2, mask=sharded[0] > 0)):
        with pytest.raises(NotImplementedError, match="does not have a sharding strategy"):
            call()


def test_vmap() -> None:
    """Each element of the batch as alone, also of gradients."""
    from torch.func import grad, vmap

    a, x, b = tensor(3, 4, 8), tensor(20, 8), tensor(8, 3, 20, 8)
    cases.assert_same(vmap(fc.normalize, in_dims=1, out_dims=1)(a), fc.normalize(a))
    for found, part in zip(zip(*vmap(lambda q: fc.topk(q, x, 2))(a), strict=True), a, strict=True):
        cases.assert_same(found, fc.topk(part, x, 2))
    cases.assert_same(vmap(vmap(lambda x: fc.pool(x)[0], 0), 1)(b[:, :, None]), fc.pool(b.transpose(0, 1).flatten(0, 1)).view(3, 8, 8))
    best = vmap(lambda s, i: fc.merge_topk([(s, i), (s - 1, i)], 2, metric="ip"))(a, integers(99, 3, 4, 8))
    assert [tuple(part.shape) for part in best] == [(3, 4, 2), (3, 4, 2)]

    def loss(v: Any) -> Any:
        return (fc.normalize(v) ** 3).sum()

    torch.testing.assert_close(vmap(grad(loss))(a), torch.stack([grad(loss)(part) for part in a]), rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # torch's own, at its first dual tensor
def test_forward_derivatives_are_refused() -> None:
    x, said = tensor(3, 8), "got a tensor with a tangent, expected a plain one"
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, x)
        for call in (fc.normalize, OPS.normalize, lambda v: fc.topk(x, v, 2), lambda v: fc.pool(v[None])):
            with pytest.raises(TypeError, match=said):
                call(dual)
        cases.assert_same(fc.normalize(x), fc.normalize(x.numpy()))
    with pytest.raises(TypeError, match=said):
        torch.func.jvp(fc.normalize, (x,), (x,))


# --- derivatives ----------------------------------------------------------------------------------------------------


def differentiable() -> list[tuple[str, Callable[..., Any], tuple[Any, ...]]]:
    a, b, x, tokens = tensor(3, 5, grad=True), tensor(3, 5, grad=True), tensor(9, 5, grad=True), tensor(3, 4, 5, grad=True)
    query, weights, valid, ids = tensor(2, 5, grad=True), tensor(3, 4, grad=True), mask(3, 4), integers(9, 3, 4)
    corpus, ends = coded("int8_row", 9, 5), torch.tensor([0, 2, 9])
    scores = [tensor(3, 2, grad=True), tensor(3, 4, grad=True)]
    rows = [integers(99, 3, 2), integers(99, 3, 4)]
    return [
        ("normalize", lambda a: fc.normalize(a, truncate_dim=4), (a,)),
        *(
            (f"pool {mode}", lambda x, mode=mode: fc.pool(x, valid, mode=mode, normalize=True), (tokens,))
            for mode in ("mean", "max", "cls")
        ),
        ("pool attention", lambda x, q: fc.pool(x, valid, mode="attention", query=q), (tokens, query)),
        ("pool weights", lambda x, w: fc.pool(x, valid, token_weights=w), (tokens, weights)),
        ("similarity", lambda a, x: fc.similarity(a, x, "l2"), (a, x)),
        ("similarity_paired", lambda a, b: fc.similarity_paired(a, b), (a, b)),
        ("topk", lambda a, x: fc.topk(a, x, 4, mask=torch.arange(9) < 3)[0].clamp(min=-9), (a, x)),
        ("topk of codes", lambda a: fc.topk(a, corpus, 2, metric="cosine")[0], (a,)),
        ("rescore", lambda a, x: fc.rescore(a, x, ids, 3, metric="ip")[0], (a, x)),
        ("maxsim", lambda t, x: fc.maxsim(t, x, document_offsets=ends, query_mask=valid), (tokens, x)),
        ("maxsim k", lambda t, x: fc.maxsim(t, x, document_offsets=ends, k=1)[0], (tokens, x)),
        ("embedding_bag", lambda x, w: fc.embedding_bag(x, ids, weights=w, mode="sum"), (x, weights)),
        ("merge_topk", lambda *s: fc.merge_topk(list(zip(s, rows, strict=True)), 3, larger=True)[0], tuple(scores)),
    ]


def test_derivatives_are_those_of_uncompiled_calls() -> None:
    """All in one graph; the values of searches to the bit."""
    given = differentiable()

    def region(inputs: list[tuple[Any, ...]]) -> list[Any]:
        return [call(*operands) for (_, call, _), operands in zip(given, inputs, strict=True)]

    torch._dynamo.reset()
    inputs = [operands for _, _, operands in given]
    compiled = torch.compile(region, fullgraph=True, backend="aot_eager")(inputs)
    for (name, call, operands), result in zip(given, compiled, strict=True):
        expected = call(*operands)
        if name.startswith(("topk", "rescore", "maxsim k", "merge_topk")):
            cases.assert_same(result, expected, name)
        else:
            torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-6)
        weight = tensor(*expected.shape)
        got = torch.autograd.grad((result * weight).sum(), operands, retain_graph=True)
        for g, e in zip(got, torch.autograd.grad((expected * weight).sum(), operands), strict=True):
            torch.testing.assert_close(g, e, rtol=0, atol=0, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize(
    ("operator", "shapes", "how"),
    [("normalize", [(4, 5)], {}), ("pool", [(2, 6, 5)], {"normalize": True}), ("similarity", [(3, 5), (4, 5)], {"metric": "ip"})],
)
def test_gradcheck(operator: str, shapes: list[tuple[int, ...]], how: dict[str, Any]) -> None:
    """Numeric derivatives: wide steps, for float64 operands are rounded to float32."""

    def call(*operands: Any) -> Any:
        result = getattr(OPS, operator)(*operands, **how)
        return result[0] if isinstance(result, list) else result

    operands = tuple(tensor(*shape, dtype=torch.float64, grad=True) for shape in shapes)
    assert torch.autograd.gradcheck(call, operands, eps=4e-3, atol=1e-2, rtol=1e-2, nondet_tol=0)


def test_torch_s_own_checks_of_derivatives() -> None:
    a, x = tensor(3, 8, grad=True), tensor(20, 8, grad=True)
    for operator, args in (
        (OPS.normalize, (a,)),
        (OPS.pool, (tensor(2, 6, 8, grad=True), mask(2, 6), "weightedmean")),
        (OPS.topk, (a, x, 3)),
        (OPS.maxsim, (tensor(2, 3, 8, grad=True), tensor(4, 3, 8, grad=True))),
        (OPS.merge_topk, ([tensor(2, 3, grad=True), integers(9, 2, 3)], 2, "ip")),
    ):
        torch.library.opcheck(operator, args)


def test_what_has_no_derivative_says_so() -> None:
    x = tensor(4, 8, grad=True)
    said = r"x: got a tensor that requires grad, expected a plain one"
    with pytest.raises(TypeError, match=said):
        OPS.quantize(x, "int8_row")
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: fc.quantize(x, "int8_row").data, fullgraph=True, backend="aot_eager")
    with pytest.raises(Exception, match=said):
        compiled(x)
    with torch.no_grad():
        assert torch.equal(compiled(x), fc.quantize(x, "int8_row").data)
    with pytest.raises(TypeError, match="precision: got 'int8_row' for an input that requires grad"):
        fc.pool(tensor(2, 3, 4, grad=True), precision="int8_row")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: fc.topk(x, x[:, :3], 2), r"corpus: got dimension 3, expected 8"),
        (lambda x: fc.topk(x, x, 2, metric="cosin"), r"metric: got 'cosin' \(did you mean 'cosine'\?\)"),
        (lambda x: fc.topk(x, x, 2, exclude="me"), r"exclude: got 'me', expected 'self'"),
        (lambda x: fc.pool(x), r"tokens: got shape"),
        (lambda x: fc.rescore(x, x, (x, x)), r"candidates: got a tuple inside torch.compile"),
    ],
)
def test_bad_input_is_refused_while_tracing(call: Callable[[Any], Any], said: str) -> None:
    torch._dynamo.reset()
    with pytest.raises(Exception, match=said):
        torch.compile(call, fullgraph=True, backend="aot_eager")(tensor(4, 8))


def test_bad_values_are_refused_when_they_come() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(lambda x, ids: fc.rescore(x, x, ids), fullgraph=True, backend="aot_eager")
    x = tensor(4, 8)
    cases.assert_same(compiled(x, integers(4, 4, 2)), fc.rescore(x, x, integers(4, 4, 2)))
    with pytest.raises(ValueError, match=r"candidates: got row 7, expected -1 to 3"):
        compiled(x, torch.full((4, 2), 7))


def test_shapes_on_a_device() -> None:
    """Of every operation on a device that has no memory: shapes, strides and types, and nothing looked at."""
    for case in calls(torch.float16, 3, 20, 8):
        if case[0] == "range_search":  # its sizes are those of the data
            continue
        operator, how = operands_of(case)
        made = listed(operator(**{name: absent(value) for name, value in how.items()}))
        for fake, part in zip(made, listed(operator(**how)), strict=True):
            assert (fake.device.type, fake.dtype, fake.shape, fake.stride()) == ("meta", part.dtype, part.shape, part.stride())
    queries, corpus = tensor(3, 8).to("meta"), tensor(20, 8).to("meta")
    found = OPS.range_search(queries, corpus, torch.zeros(()), max_results=4)
    assert [tuple(part.shape) for part in found] == [(4,), (12,), (12,)]


def absent(x: Any) -> Any:
    if isinstance(x, list):
        return [absent(part) for part in x]
    return x.to("meta") if isinstance(x, torch.Tensor) else x


def listed(result: Any) -> list[Any]:
    return [result] if isinstance(result, torch.Tensor) else list(result)
