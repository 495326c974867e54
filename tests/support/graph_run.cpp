#include "tests/support/graph_run.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "engine/core/check.h"

namespace residuum {
namespace {

using reference::Tensor;

constexpr size_t kGuardBytes = 256;
constexpr std::byte kFill{0xFF};

uint16_t to_bf16(double value) {
  const auto bits = std::bit_cast<uint32_t>(static_cast<float>(value));
  if (std::isnan(value)) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

double from_bf16(uint16_t bits) {
  return double{std::bit_cast<float>(static_cast<uint32_t>(bits) << 16)};
}

/// IEEE binary16: 11 significant bits, multiples of 2^-24 below 2^-14, infinity from 65520 on.
uint16_t to_f16(double value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double size = std::abs(value);
  if (std::isnan(value)) return sign | 0x7E00;
  if (size >= 65520) return sign | 0x7C00;
  const int exponent = size < 0x1p-14 ? -14 : std::ilogb(size);
  const auto units = static_cast<int>(std::nearbyint(std::ldexp(size, 10 - exponent)));  // half to even
  return static_cast<uint16_t>(sign | (((exponent + 14) << 10) + units));  // a carry moves to the exponent
}

double from_f16(uint16_t bits) {
  const int exponent = (bits >> 10) & 31, fraction = bits & 1023;
  const double size = exponent == 31  ? (fraction == 0 ? INFINITY : NAN)
                      : exponent == 0 ? std::ldexp(fraction, -24)
                                      : std::ldexp(1024 + fraction, exponent - 25);
  return (bits & 0x8000) != 0 ? -size : size;
}

template <typename Stored, typename Convert>
std::vector<std::byte> encode_as(const Tensor& tensor, const Convert& convert) {
  std::vector<std::byte> bytes(tensor.data.size() * sizeof(Stored));
  for (size_t i = 0; i < tensor.data.size(); ++i) {
    const Stored stored = convert(tensor.data[i]);
    std::memcpy(bytes.data() + i * sizeof(Stored), &stored, sizeof(Stored));
  }
  return bytes;
}

template <typename Stored, typename Convert>
Tensor decode_as(const std::vector<std::byte>& bytes, const Shape& shape, const Convert& convert) {
  Tensor tensor(shape);
  for (size_t i = 0; i < tensor.data.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, bytes.data() + i * sizeof(Stored), sizeof(Stored));
    tensor.data[i] = convert(stored);
  }
  return tensor;
}

template <typename To>
constexpr auto kCast = [](auto value) { return static_cast<To>(value); };

}  // namespace

std::vector<std::byte> encode(const Tensor& tensor, DType type) {
  switch (type) {
    case DType::kF32:
      return encode_as<float>(tensor, kCast<float>);
    case DType::kBF16:
      return encode_as<uint16_t>(tensor, to_bf16);
    case DType::kF16:
      return encode_as<uint16_t>(tensor, to_f16);
    case DType::kI32:
      return encode_as<int32_t>(tensor, kCast<int32_t>);
    case DType::kU8:
      return encode_as<uint8_t>(tensor, kCast<uint8_t>);
    default:
      fail(ErrorKind::kInternal, "tests do not use values of type {}", to_string(type));
  }
}

Tensor decode(const std::vector<std::byte>& bytes, const TensorDesc& desc) {
  switch (desc.dtype) {
    case DType::kF32:
      return decode_as<float>(bytes, desc.shape, kCast<double>);
    case DType::kBF16:
      return decode_as<uint16_t>(bytes, desc.shape, from_bf16);
    case DType::kF16:
      return decode_as<uint16_t>(bytes, desc.shape, from_f16);
    case DType::kI32:
      return decode_as<int32_t>(bytes, desc.shape, kCast<double>);
    case DType::kU8:
      return decode_as<uint8_t>(bytes, desc.shape, kCast<double>);
    default:
      fail(ErrorKind::kInternal, "tests do not use values of type {}", to_string(desc.dtype));
  }
}

Tensor rounded_to(DType type, const Tensor& tensor) {
  return decode(encode(tensor, type), {type, tensor.shape});
}

GraphRun::GraphRun(const Graph& graph, Backend& backend, Grouping grouping)
    : graph_(graph), backend_(backend) {
  groups_ = grouping == Grouping::kJoined ? backend.groups(graph) : single_groups(graph);
  std::vector<bool> internal(graph.values.size());
  for (const Group& group : groups_) {
    for (const ValueId id : group.internal) internal[static_cast<size_t>(id)] = true;
  }
  std::vector<std::byte*> addresses;
  for (size_t id = 0; id < graph.values.size(); ++id) {
    const Value& value = graph.values[id];
    values_.push_back(internal[id] ? Place{value.name, 0, nullptr}
                                   : make_place(value.name, value.desc.bytes()));
    addresses.push_back(internal[id] ? nullptr : values_.back().memory->data());
  }
  for (const Group& group : groups_) {
    launches_.push_back(backend.prepare(graph, group));
    scratch_.push_back(make_place("scratch", launches_.back()->scratch_bytes()));
    launches_.back()->bind(addresses, scratch_.back().memory->data());
  }
}

GraphRun::Place GraphRun::make_place(std::string name, size_t bytes) {
  Place place{std::move(name), bytes, backend_.allocate(bytes + kGuardBytes)};
  const std::vector<std::byte> fill(bytes + kGuardBytes, kFill);
  backend_.copy_to_device(place.memory->data(), fill.data(), fill.size());
  return place;
}

void GraphRun::write(ValueId id, const Tensor& tensor) {
  const std::vector<std::byte> bytes = encode(tensor, graph_.desc(id).dtype);
  check(bytes.size() == graph_.desc(id).bytes(), ErrorKind::kInternal, "{} bytes for value '{}' of {}",
        bytes.size(), graph_.value(id).name, to_string(graph_.desc(id)));
  backend_.copy_to_device(values_[static_cast<size_t>(id)].memory->data(), bytes.data(), bytes.size());
}

void GraphRun::run(const StepParams& params) {
  for (const auto& launch : launches_) launch->run(params);
  backend_.synchronize();
}

std::vector<std::byte> GraphRun::bytes(ValueId id) const {
  const Place& place = values_[static_cast<size_t>(id)];
  check(place.memory != nullptr, ErrorKind::kInternal, "value '{}' is internal to a group", place.name);
  std::vector<std::byte> bytes(place.bytes);
  backend_.copy_to_host(bytes.data(), place.memory->data(), bytes.size());
  return bytes;
}

std::vector<std::string> GraphRun::overruns() const {
  std::vector<std::string> names;
  for (const std::vector<Place>* places : {&values_, &scratch_}) {
    for (const Place& place : *places) {
      if (place.memory == nullptr) continue;
      std::vector<std::byte> guard(kGuardBytes);
      backend_.copy_to_host(guard.data(), place.memory->data() + place.bytes, guard.size());
      if (std::any_of(guard.begin(), guard.end(), [](std::byte b) { return b != kFill; }))
        names.push_back(place.name);
    }
  }
  return names;
}

void run_reference(const Graph& graph, reference::Tensors& values, const StepParams& params) {
  for (const Node& node : graph.nodes) {
    std::vector<Tensor*> in;
    for (const ValueId id : node.inputs) in.push_back(&values[static_cast<size_t>(id)]);
    reference::Tensors out = reference::evaluate(node.op, in, params);
    for (size_t i = 0; i < out.size(); ++i) values[static_cast<size_t>(node.outputs[i])] = std::move(out[i]);
  }
}

}  // namespace residuum
