#include "bench/kernel_case.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "engine/core/random.h"

namespace residuum::bench {
namespace {

/// What is read of a result: at most so many pieces of so many elements, evenly spread, both ends included.
constexpr int64_t kPieces = 64, kPieceElements = 4096;
/// Elements computed by the definition: as many as cost this many terms in all, within the bounds.
constexpr int64_t kTerms = 20'000'000, kFewest = 16, kMost = 2048;
constexpr std::byte kFill{0xFF};  ///< NaN in every float type

struct Piece {
  int64_t first = 0, count = 0;
};
std::vector<Piece> pieces_of(int64_t elements) {
  const int64_t length = std::min(elements, kPieceElements);
  const int64_t pieces = std::clamp<int64_t>(elements / kPieceElements, 1, kPieces);
  std::vector<Piece> list;
  for (int64_t i = 0; i < pieces; ++i) {
    list.push_back({pieces == 1 ? 0 : (elements - length) / (pieces - 1) * i, length});
  }
  list.back().first = elements - length;
  return list;
}

/// Where in a piece elements are compared: both ends and some at random between.
std::vector<int64_t> places_in(const Piece& piece, int64_t count, RandomStream& random) {
  std::vector<int64_t> places = {0, piece.count - 1};
  while (static_cast<int64_t>(places.size()) < count) {
    places.push_back(random.uniform_below(static_cast<uint32_t>(piece.count)));
  }
  return places;
}

/// Positions in a max pool's window are all that a byte may be.
uint32_t byte_bound(const Problem& problem) {
  return static_cast<uint32_t>(problem.shape.r * problem.shape.s);
}

/// The error allowed: one rounding to the type of the result, and the sum of `terms` numbers in f32 or, on
/// CUDA, of products of f32 factors in parts (kernels::F32Math). `products`: the result is such a sum.
double allowed_error(const std::string& device, DType activation, DType result, int64_t terms, bool products,
                     bool tf32) {
  if (!is_float(result)) return 0;
  const double rounding = result == DType::kBF16 ? 0x1p-8 : result == DType::kF16 ? 0x1p-11 : 0x1p-20;
  const bool parts = device == "cuda" && products && activation == DType::kF32;
  const double step = parts ? 0x1p-23 : 0x1p-24;
  const double factors = parts && tf32 ? 0x1p-10 + 8 * 0x1p-11 : parts ? 0x1p-19 : 0;
  return rounding + factors + 8 * step * std::sqrt(static_cast<double>(terms));
}

}  // namespace

KernelCase::KernelCase(Backend& backend, const Problem& problem, std::string operation, DType activation,
                       size_t sets)
    : backend_(backend),
      problem_(problem),
      operation_(std::move(operation)),
      graph_(graph_of(problem_, operation_, activation,
                      backend.wants_weight_copies() ? activation : DType::kF32)) {
  for (const ValueId id : graph_.node(0).inputs) {
    // Weights in f32 are rounded by who reads them, so they are here; vectors are not.
    const TensorDesc& desc = graph_.desc(id);
    inputs_.emplace_back(desc, desc.shape.rank() == 1 ? desc.dtype : activation, byte_bound(problem_),
                         inputs_.size() + 1);
  }
  const Group group = single_groups(graph_).front();
  for (size_t i = 0; i < sets; ++i) {
    launches_.push_back(backend.prepare(graph_, group));
    sets_.push_back(make_set(launches_.back()->scratch_bytes()));
    launches_.back()->bind(sets_.back().addresses, sets_.back().memory.back()->data());
  }
}

KernelCase::Set KernelCase::make_set(size_t scratch_bytes) {
  Set set;
  set.addresses.assign(graph_.values.size(), nullptr);
  set_bytes_ = 0;
  for (size_t id = 0; id < graph_.values.size(); ++id) {
    set.memory.push_back(backend_.allocate(graph_.values[id].desc.bytes()));
    set.addresses[id] = set.memory.back()->data();
    set_bytes_ += set.memory.back()->bytes();
  }
  for (size_t i = 0; i < inputs_.size(); ++i) {
    inputs_[i].fill(backend_, *set.memory[static_cast<size_t>(graph_.node(0).inputs[i])]);
  }
  set.memory.push_back(backend_.allocate(scratch_bytes));
  return set;
}

std::vector<Launch*> KernelCase::launches() const {
  std::vector<Launch*> list;
  for (const auto& launch : launches_) list.push_back(launch.get());
  return list;
}

size_t KernelCase::sets_for(const Backend& backend, size_t set_bytes, size_t most, size_t sharers) {
  const size_t bytes = std::max<size_t>(set_bytes, 1);
  const size_t wanted = 2 * backend.cache_bytes() / bytes + 1;
  const size_t room = backend.free_bytes() / 2 / (bytes * sharers);
  return std::clamp<size_t>(std::min(wanted, room), 1, most);
}

void KernelCase::poison(size_t output) {
  Memory& memory = *sets_[0].memory[static_cast<size_t>(graph_.node(0).outputs[output])];
  constexpr size_t kBlock = 65536;
  const std::vector<std::byte> block(std::min(kBlock, memory.bytes()), kFill);
  backend_.copy_to_device(memory.data(), block.data(), block.size());
  for (size_t done = block.size(); done < memory.bytes(); done *= 2) {
    backend_.copy(memory.data() + done, memory.data(), std::min(done, memory.bytes() - done));
  }
}

Verdict KernelCase::verify(bool tf32) {
  const size_t outputs = graph_.node(0).outputs.size();
  for (size_t i = 0; i < outputs; ++i) poison(i);
  launches_[0]->run({});
  backend_.synchronize();
  Verdict verdict;
  for (size_t i = 0; i < outputs && verdict.passed(); ++i) compare(i, tf32, verdict);
  return verdict;
}

std::vector<KernelCase::Element> KernelCase::sampled(size_t output, Verdict& verdict) const {
  const ValueId id = graph_.node(0).outputs[output];
  const TensorDesc& desc = graph_.desc(id);
  const std::byte* const data = sets_[0].addresses[static_cast<size_t>(id)];
  const int64_t terms = std::max<int64_t>(terms_of(problem_, operation_), 1);
  const int64_t samples = std::clamp(kTerms / terms, kFewest, kMost);
  const std::vector<Piece> pieces = pieces_of(desc.elements());
  const auto count = static_cast<int64_t>(pieces.size());
  const int64_t each = std::max<int64_t>(samples / count, 2);
  const int64_t stride = std::max<int64_t>(count * each / samples, 1);  // of the pieces that are compared
  std::vector<Element> elements;
  RandomStream random(2, RandomPurpose::kAnalysis, 0, output);
  for (int64_t p = 0; p < count; ++p) {
    const Piece& piece = pieces[static_cast<size_t>(p)];
    std::vector<std::byte> bytes(static_cast<size_t>(piece.count) * size_of(desc.dtype));
    backend_.copy_to_host(bytes.data(), data + static_cast<size_t>(piece.first) * size_of(desc.dtype),
                          bytes.size());
    const auto at = [&](int64_t i) { return element_at(bytes.data(), desc.dtype, static_cast<size_t>(i)); };
    for (int64_t i = 0; i < piece.count; ++i) {
      if (std::isfinite(at(i))) continue;
      verdict.problem = fmt::format("output {} element {} is {}", output, piece.first + i, at(i));
      return {};
    }
    if (p % stride != 0 && p != count - 1) continue;
    for (const int64_t i : places_in(piece, each, random)) {
      const int64_t index = piece.first + i;
      elements.push_back({index, at(i), expected_element(problem_, operation_, inputs_, output, index)});
    }
  }
  return elements;
}

void KernelCase::compare(size_t output, bool tf32, Verdict& verdict) const {
  const std::vector<Element> elements = sampled(output, verdict);
  double squares = 0;
  for (const Element& e : elements) squares += e.expected.value * e.expected.value;
  const double rms = std::sqrt(squares / static_cast<double>(std::max<size_t>(elements.size(), 1)));
  const Node& node = graph_.node(0);
  const DType activation = graph_.desc(node.inputs[0]).dtype,
              result = graph_.desc(node.outputs[output]).dtype;
  const bool products = node_macs(graph_, node) > 0;
  for (const Element& e : elements) {
    const double size = std::max(std::abs(e.expected.value), rms);
    const double error = std::abs(e.found - e.expected.value) / (size > 0 ? size : 1);
    const double allowed =
        allowed_error(backend_.name(), activation, result, e.expected.terms, products, tf32);
    ++verdict.checked;
    if (error * verdict.allowed >= verdict.error * allowed) {
      verdict.error = error;
      verdict.allowed = allowed;
    }
    if (error <= allowed) continue;
    verdict.error = error;
    verdict.allowed = allowed;
    verdict.problem =
        fmt::format("output {} element {} is {:.6g}, must be {:.6g}: relative error {:.3g}, allowed {:.3g}",
                    output, e.index, e.found, e.expected.value, error, allowed);
    return;
  }
}

}  // namespace residuum::bench
