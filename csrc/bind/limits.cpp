#include "../cpu/limits.h"

#include <tuple>
#include <vector>

#include "../cpu/dispatch.h"
#include "bind.h"

namespace fec_bind {
namespace {

struct NamedRecipe {
    const char* isa;
    const fec::Recipe* recipe;
};

// Every recipe this machine runs, whatever instruction set is in use.
std::vector<NamedRecipe> all_recipes() {
    std::vector<NamedRecipe> all;
    const auto append = [&all](const char* isa, const fec::LimitKernels& kernels) {
        for (int i = 0; i < kernels.count; ++i) all.push_back({isa, kernels.recipes + i});
    };
    append("any", fec::plain_recipes());
    for (int i = 0; i < fec::isa_count; ++i)
        if (const fec::Kernels* kernels = fec::kernels_of(static_cast<fec::Isa>(i))) append(fec::isa_names[i], kernels->limits);
    return all;
}

const char* const resource_names[] = {"fma", "int8", "int4", "popcount", "read", "copy"};

double run_recipe(size_t index, const py::object& source, const py::object& target, int64_t n, int threads) {
    const std::vector<NamedRecipe> all = all_recipes();
    if (index >= all.size()) throw py::value_error("recipe: expected an index into recipes()");
    const fec::Recipe& recipe = *all[index].recipe;
    const bool copies = recipe.resource == fec::Resource::copy, walks = copies || recipe.resource == fec::Resource::read;
    py::array from = walks ? py::array(source) : py::array(), to = copies ? py::array(target) : py::array();
    if ((walks && from.nbytes() < n) || (copies && to.nbytes() < n)) throw py::value_error("n: expected at most the bytes of the arrays");
    char* const out = copies ? static_cast<char*>(to.mutable_data()) : nullptr;
    if (reinterpret_cast<uintptr_t>(out) % 64) throw py::value_error("target: expected memory aligned to 64 bytes");
    const char* const in = static_cast<const char*>(from.data());
    double work = 0;
    released([&](fec::Poll poll) { return fec::run_recipe(recipe, in, out, n, threads, poll, &work); });
    return work;
}

}  // namespace

void bind_limits(py::module_& m) {
    m.def(
        "recipes",
        [] {
            std::vector<std::tuple<std::string, std::string, std::string>> names;
            for (const NamedRecipe& one : all_recipes())
                names.emplace_back(one.isa, resource_names[static_cast<int>(one.recipe->resource)], one.recipe->name);
            return names;
        },
        "(instruction set, resource, name) of every recipe that measures a limit of this machine.");
    m.def("run_recipe", &run_recipe, py::arg("recipe"), py::arg("source"), py::arg("target"), py::arg("n"), py::arg("threads"),
          "Run recipes()[recipe] for n steps, or over n bytes (read, copy); returns the work done.");
}

}  // namespace fec_bind
