// An enumerator by its name in Python.
#pragma once
#include <pybind11/pybind11.h>

#include <cstddef>
#include <string>

namespace fec_bind {

template <class Enum, size_t N>
Enum named(const char* what, const std::string& name, const char* const (&names)[N]) {
    for (size_t i = 0; i < N; ++i)
        if (name == names[i]) return static_cast<Enum>(i);
    throw pybind11::value_error(std::string(what) + ": got '" + name + "'");
}

}  // namespace fec_bind
