// An enumerator by its name in Python.
#pragma once
#include <pybind11/pybind11.h>

#include <initializer_list>
#include <string>

namespace fec_bind {

template <class Enum>
Enum named(const char* what, const std::string& name, std::initializer_list<const char*> names) {
    int i = 0;
    for (const char* each : names) {
        if (name == each) return static_cast<Enum>(i);
        ++i;
    }
    throw pybind11::value_error(std::string(what) + ": got '" + name + "'");
}

}  // namespace fec_bind
