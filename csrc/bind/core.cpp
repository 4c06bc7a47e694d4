// The compiled extension.
#include <vector>

#include "../cpu/dispatch.h"
#include "bind.h"

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
    m.doc() = "C++ kernels of fastembed_core. Private: call fastembed_core's own functions.";

    m.def("isa", [] { return fec::isa_names[static_cast<int>(fec::current_isa())]; }, "The instruction set in use.");
    m.def(
        "isas",
        [] {
            std::vector<std::string> names;
            for (int i = 0; i < fec::isa_count; ++i)
                if (fec::isa_built(static_cast<fec::Isa>(i)) && fec::isa_available(static_cast<fec::Isa>(i)))
                    names.push_back(fec::isa_names[i]);
            return names;
        },
        "The instruction sets this build holds and this machine runs, ascending.");
    m.def(
        "select_isa",
        [](const std::string& name) {
            for (int i = 0; i < fec::isa_count; ++i)
                if (name == fec::isa_names[i] && fec::select_isa(static_cast<fec::Isa>(i))) return;
            throw py::value_error("isa: got '" + name + "', expected one that this machine runs");
        },
        py::arg("name"), "Use one instruction set from now on (for tests).");

    fec_bind::bind_search(m);
    fec_bind::bind_pool(m);
    fec_bind::bind_quantize(m);
    fec_bind::bind_bag(m);
    fec_bind::bind_limits(m);
    fec_bind::bind_maxsim(m);
    fec_bind::bind_range(m);
    fec_bind::bind_direct(m);
}
