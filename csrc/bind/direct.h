// A call's arguments as they come, without pybind11's conversions.
#pragma once
#include <array>

#include "operand.h"

namespace fec_bind {

// A function's parameters: the first `by_place` may come without their names, those behind the first `taken` only as None.
template <size_t N>
struct Signature {
    std::array<const char*, N> names;
    Py_ssize_t by_place;
    size_t taken;
};

// An argument for each parameter; null where there is none, or None.
template <size_t N>
using Given = std::array<PyObject*, N>;

// Whether the arguments fit; a name that no parameter has, or one argument twice, does not.
template <size_t N>
bool read(const Signature<N>& signature, PyObject* const* args, Py_ssize_t n, PyObject* names, Given<N>& given) {
    if (n > signature.by_place) return false;
    std::array<bool, N> seen{};
    const auto put = [&](size_t place, PyObject* value) {
        if (seen[place] || (place >= signature.taken && value != Py_None)) return false;
        seen[place] = true;
        given[place] = value == Py_None ? nullptr : value;
        return true;
    };
    for (Py_ssize_t i = 0; i < n; ++i)
        if (!put(static_cast<size_t>(i), args[i])) return false;
    for (Py_ssize_t i = 0; i < (names ? PyTuple_GET_SIZE(names) : 0); ++i) {
        size_t place = 0;
        while (place < N && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, i), signature.names[place]) != 0) ++place;
        if (place == N || !put(place, args[n + i])) return false;
    }
    return true;
}

// A Python function that gives a call's arguments to `answer`; None where they do not fit.
template <size_t N, const Signature<N>& signature, py::object (*answer)(const Given<N>&)>
PyMethodDef method(const char* name, const char* doc) {
    constexpr auto call = +[](PyObject*, PyObject* const* args, Py_ssize_t n, PyObject* names) -> PyObject* {
        Given<N> given{};
        try {
            return (read(signature, args, n, names, given) ? answer(given) : py::none()).release().ptr();
        } catch (py::error_already_set& error) {
            error.restore();
        } catch (const std::bad_alloc&) {
            PyErr_NoMemory();
        }
        return nullptr;
    };
    return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(call)), METH_FASTCALL | METH_KEYWORDS, doc};
}

}  // namespace fec_bind
