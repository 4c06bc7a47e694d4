"""Every Triton kernel, compiled for sm_90 as its cells launch it: no GPU runs it, but what it became can be read."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import fastembed_core as fc
from fastembed_core import scan_codes

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")

SHARED = 227 << 10  # bytes a block may have on sm_90
TYPES = {
    torch.float32: "fp32",
    torch.float64: "fp64",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.int8: "i8",
    torch.uint8: "u8",
    torch.int16: "i16",
    torch.int32: "i32",
    torch.int64: "i64",
    torch.bool: "i1",
}


@dataclass(frozen=True)
class Compiled:
    """A kernel as one launch asked for it."""

    name: str
    constants: dict[str, Any]
    ptx: str
    cubin: bytes
    shared: int

    def has(self, pattern: str) -> bool:
        return re.search(pattern, self.ptx) is not None


class Compiler:
    """Compiles what is launched, once, and launches nothing."""

    def __init__(self) -> None:
        self.known: dict[Any, Compiled] = {}
        self.launched: list[Compiled] = []

    def run(self, kernel: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        from triton.backends.compiler import GPUTarget

        options = {name: kwargs.pop(name) for name in ("num_warps", "num_stages", "enable_fp_fusion")}
        named = dict(zip(kernel.arg_names, args, strict=False)) | kwargs
        assert list(named) == kernel.arg_names
        signature, constants, attributes = {}, {}, {}
        for place, parameter in enumerate(kernel.params):
            value = named[parameter.name]
            if parameter.is_constexpr or value is None or (type(value) is int and value == 1 and not parameter.do_not_specialize):
                signature[parameter.name], constants[(place,)] = "constexpr", value
                continue
            signature[parameter.name] = type_of(value)
            aligned = isinstance(value, torch.Tensor) or (isinstance(value, int) and value % 16 == 0 and not parameter.do_not_specialize)
            if aligned:
                attributes[(place,)] = [["tt.divisibility", 16]]
        key = (kernel.fn.__name__, str(signature), str(constants), str(attributes), str(options))
        if key not in self.known:
            source = triton.compiler.ASTSource(kernel, signature, constants, attributes)
            made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
            names = {kernel.arg_names[place]: value for (place,), value in constants.items()}
            self.known[key] = Compiled(kernel.fn.__name__, names, made.asm["ptx"], made.asm["cubin"], made.metadata.shared)
        self.launched.append(self.known[key])


def type_of(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return "*" + TYPES[value.dtype]
    if isinstance(value, bool):
        return "i1"
    if isinstance(value, int):
        return "i32" if -(2**31) <= value < 2**31 else "i64"
    assert isinstance(value, float)
    return "fp32"


COMPILER = Compiler()


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Compiled]]:
    """Calls a function on host tensors as if they lay on a device; the kernels it would have launched, the first of each name."""
    from triton.runtime.jit import JITFunction

    from fastembed_core.backends import triton as package
    from fastembed_core.backends.triton import _launch
    from fastembed_core.backends.triton.topk import topk  # noqa: F401 - takes `interpreted` as it is

    monkeypatch.setattr(package, "interpreted", lambda: True)
    monkeypatch.setattr(_launch, "interpreted", lambda: True)
    monkeypatch.setattr(JITFunction, "run", lambda kernel, *args, **kwargs: COMPILER.run(kernel, *args, **kwargs))
    monkeypatch.setattr(torch, "empty", torch.zeros)
    monkeypatch.setattr("fastembed_core.backends.triton.topk.SMALL", 0)  # few queries are scanned for, too

    def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, Compiled]:
        COMPILER.launched.clear()
        function(*args, **kwargs, backend="triton")
        assert COMPILER.launched
        for kernel in COMPILER.launched:
            check(kernel)
        return {kernel.name: kernel for kernel in reversed(COMPILER.launched)}

    return call


def check(kernel: Compiled) -> None:
    """What holds of every kernel: it fits, spills nothing, and does the arithmetic that was written."""
    assert kernel.shared <= SHARED, f"{kernel.name}: {kernel.shared} bytes of shared memory"
    registers, stack = resources(kernel.cubin)
    assert stack == 0, f"{kernel.name} {kernel.constants}: {stack} bytes of stack, {registers} registers"
    assert registers <= 255
    assert not kernel.has(r"\bfma\.rn\.f(32|64)\b"), f"{kernel.name}: fused multiply-adds"
    assert not kernel.has(r"\.ftz\b"), f"{kernel.name}: subnormal numbers flushed"
    assert not kernel.has(r"\b(sqrt|div)\.(approx|full)\.f64"), f"{kernel.name}: approximate float64"


def resources(cubin: bytes) -> tuple[int, int]:
    """(registers of a thread, bytes of its stack), as the assembler reports them."""
    import tempfile
    from pathlib import Path

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        report = subprocess.run([tool, "-res-usage", file.name], text=True, capture_output=True, check=True)
    found = re.search(r"REG:(\d+) STACK:(\d+)", report.stdout + report.stderr)
    assert found is not None, report.stdout + report.stderr
    return int(found[1]), int(found[2])


def tensor(*shape: int, dtype: Any = torch.float32) -> Any:
    return torch.ones(shape, dtype=dtype)


FLOATS = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
WGMMA = {"f32": r"wgmma\S+\.f32\.tf32\.tf32", "f16": r"wgmma\S+\.f32\.f16\.f16", "bf16": r"wgmma\S+\.f32\.bf16\.bf16"}


@pytest.mark.parametrize("queries", [1, 64, 1024])
@pytest.mark.parametrize("kind", FLOATS)
def test_float_scans_multiply_on_tensor_cores(launched: Callable[..., dict[str, Compiled]], kind: str, queries: int) -> None:
    x = tensor(20000, 768, dtype=FLOATS[kind])
    kernels = launched(fc.topk, x[:queries], x, 10, metric="l2" if queries == 64 else "cosine")
    scan = kernels["_scan_kernel"]
    assert scan.has(WGMMA[kind]) and scan.has(r"cp\.async\.cg\.shared\.global")
    assert queries > 64 or not scan.has("ldmatrix")  # rows are multiplied where the copy put them; of more queries, keys pass that way
    assert {"_queries_kernel", "_select_kernel", "_members_kernel", "_keys_kernel", "_certify_kernel", "_exact_kernel"} <= set(kernels)
    assert ("_squares_kernel" in kernels) == (queries > 64)


@pytest.mark.parametrize(("kind", "bytes_"), [("f32", 16), ("f16", 8)])
def test_rows_of_300_elements_are_read_by_their_alignment(launched: Callable[..., dict[str, Compiled]], kind: str, bytes_: int) -> None:
    """Word vectors: no multiple of 16 elements, which is all that Triton itself looks for."""
    x = tensor(20000, 300, dtype=FLOATS[kind])
    scan = launched(fc.topk, x[:1], x, 10)["_scan_kernel"]
    assert scan.has(rf"cp\.async\.c[ag]\.shared\.global \[[^\]]*\], \[[^\]]*\], (0x)?{bytes_:x}")
    assert not scan.has(r"ld\.global\S*\.b16") and not scan.has(r"cp\.async\.ca\S* \[[^\]]*\], \[[^\]]*\], (0x)?4,")


def codes(precision: str, n: int, dim: int) -> fc.Codes:
    width = {"ubinary": dim // 8, "int4_row": dim // 2}.get(precision, dim)
    data = tensor(n, width, dtype=torch.int8 if precision == "int8_row" else torch.uint8)
    return fc.Codes(data, precision, dim, tensor(n) if precision.endswith("_row") else None)


@pytest.mark.parametrize("queries", [5, 64, 1024])
@pytest.mark.parametrize(("precision", "metric"), [("int8_row", "cosine"), ("int4_row", "ip"), ("ubinary", "hamming")])
def test_integer_scans_multiply_on_tensor_cores(
    launched: Callable[..., dict[str, Compiled]], precision: str, metric: str, queries: int
) -> None:
    x = codes(precision, 20000, 1024)
    kernels = launched(fc.topk, x[:queries], x, 10, metric=metric)
    assert kernels["_scan_kernel"].has(r"wgmma\S+\.s32\.s8\.s8")
    assert ("_certify_kernel" in kernels) == (metric != "hamming")


@pytest.mark.parametrize("metric", ["hamming", "jaccard"])
def test_bits_of_few_queries_are_counted(launched: Callable[..., dict[str, Compiled]], metric: str) -> None:
    x = codes("ubinary", 20000, 1024)
    for queries in (1, 3):
        kernel = launched(fc.topk, x[:queries], x, 10, metric=metric)["_popcount_kernel"]
        assert kernel.has(r"\bpopc\.b32") and kernel.has(r"ld\.global\S*\.v4\.b32")


@pytest.mark.parametrize(("precision", "metric"), [("int8_row", "ip"), ("int4_row", "l2"), ("ubinary", "cosine")])
def test_float_queries_of_codes(launched: Callable[..., dict[str, Compiled]], precision: str, metric: str) -> None:
    kernels = launched(fc.topk, tensor(64, 1024), codes(precision, 20000, 1024), 10, metric=metric)
    assert kernels["_scan_kernel"].has(WGMMA["f16"])


def test_no_compilation_for_another_number_of_rows(launched: Callable[..., dict[str, Compiled]]) -> None:
    x = tensor(30001, 768)
    first = launched(fc.topk, x[:1000], x[:20000], 10)
    assert launched(fc.topk, x[:1003], x[:20003], 10) == first


@pytest.mark.parametrize(("n", "kernels"), [(900, ["exact", "rank"]), (9000, ["exact", "select", "rank"])])
def test_few_scores_take_few_launches(
    launched: Callable[..., dict[str, Compiled]], monkeypatch: pytest.MonkeyPatch, n: int, kernels: list[str]
) -> None:
    monkeypatch.setattr("fastembed_core.backends.triton.topk.SMALL", 1 << 26)
    launched(fc.topk, tensor(1, 384), tensor(n, 384), 10)
    assert [kernel.name for kernel in COMPILER.launched] == [f"_{name}_kernel" for name in kernels]


def test_scans_of_codes_beside_the_rows(launched: Callable[..., dict[str, Compiled]]) -> None:
    """As half floats, which hold them exactly, with the rows' own scan and the centered one behind them."""
    if not scan_codes.available():
        pytest.skip("needs the compiled extension, which makes codes")
    x = np.random.default_rng(0).standard_normal((9000, 768)).astype(np.float32)
    for metric in ("cosine", "l2"):
        corpus = fc.Corpus(x, scan="int8", metric=metric, copy=False)
        for queries in (1, 128):
            launched(corpus.search, x[:queries], 10)
            scans = [kernel for kernel in COMPILER.launched if kernel.name == "_scan_kernel"]
            centered = metric == "l2"
            assert [re.search(r"wgmma\S+\.(f16|tf32)\.", kernel.ptx)[1] for kernel in scans] == ["f16", "tf32", *["tf32"] * centered]


def test_canonical_scores_are_float64(launched: Callable[..., dict[str, Compiled]]) -> None:
    kernel = launched(fc.rescore, tensor(2, 768), tensor(50, 768), np.zeros((2, 40), np.int64), metric="cosine")["_keys_kernel"]
    assert kernel.has(r"sqrt\.rn\.f64") and kernel.has(r"div\.rn\.f64") and kernel.has(r"cvt\.rn\.f32\.f64")


@pytest.mark.parametrize("kind", FLOATS)
def test_maxsim(launched: Callable[..., dict[str, Compiled]], kind: str) -> None:
    queries, documents = tensor(2, 32, 128, dtype=FLOATS[kind]), tensor(200, 180, 128, dtype=FLOATS[kind])
    kernels = launched(fc.maxsim, queries, documents, k=10)
    assert kernels["_late_scan_kernel"].has(WGMMA[kind])
    assert {"_late_keys_kernel", "_certify_kernel", "_select_kernel"} <= set(kernels)

    assert set(launched(fc.maxsim, queries, documents)) == {"_late_keys_kernel"}


@pytest.mark.parametrize(("metric", "kind"), [("cosine", "uint8"), ("cosine", "f32"), ("sqeuclidean", "bf16"), ("ip", "int4_row")])
def test_similarity(launched: Callable[..., dict[str, Compiled]], metric: str, kind: str) -> None:
    a, b = tensor(20, 768), tensor(20, 768, dtype=FLOATS[kind]) if kind in FLOATS else codes(kind, 20, 768)
    for op, name in ((fc.similarity, "_scores_kernel"), (fc.similarity_paired, "_paired_kernel")):
        kernel = launched(op, a, b, metric)[name]
        assert kernel.has(r"cvt\.rn\.f32\.f64") and kernel.has(r"mul\.rn\.f64|mul\.f64")


def test_range_search(launched: Callable[..., dict[str, Compiled]]) -> None:
    x = tensor(20000, 768, dtype=torch.bfloat16)
    kernels = launched(fc.range_search, x[:64], x, 0.5)
    assert kernels["_scan_kernel"].has(WGMMA["bf16"])


@pytest.mark.parametrize("mode", ["mean", "max", "cls", "weightedmean", "attention"])
@pytest.mark.parametrize("kind", FLOATS)
def test_pool(launched: Callable[..., dict[str, Compiled]], kind: str, mode: str) -> None:
    """16-byte loads of tokens, and codes written by the kernel that divides and normalizes."""
    query = {"query": tensor(1, 1024)} if mode == "attention" else {}
    x, mask = tensor(4, 512, 1024, dtype=FLOATS[kind]), torch.ones(4, 512, dtype=torch.bool)
    kernels = launched(fc.pool, x, mask, mode=mode, normalize=True, precision="int8_row", **query)
    assert set(kernels) == {"_list_kernel", "_piece_kernel", "_finish_kernel"}
    assert kernels["_piece_kernel"].has(r"ld\.global\S*\.v4\.b32")


@pytest.mark.parametrize("precision", ["int8_row", "int4_row", "float16"])
def test_embedding_bag(launched: Callable[..., dict[str, Compiled]], precision: str) -> None:
    table = tensor(100, 256, dtype=torch.float16) if precision == "float16" else codes(precision, 100, 256)
    kernels = launched(fc.embedding_bag, table, np.zeros((4, 32), np.int64))
    assert set(kernels) == {"_piece_kernel", "_finish_kernel"}


@pytest.mark.parametrize("precision", ["int8_row", "int4_row", "binary", "ubinary", "uint8"])
def test_quantize_and_normalize(launched: Callable[..., dict[str, Compiled]], precision: str) -> None:
    x = tensor(64, 1024)
    ranges = fc.calibrate(x, backend="reference") if precision == "uint8" else None
    assert launched(fc.quantize, x, precision, ranges=ranges)["_map_kernel"].has(r"ld\.global\S*\.v4\.b32")
    assert launched(fc.normalize, x)["_map_kernel"].has(r"sqrt\.rn\.f64")
