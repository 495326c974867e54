#include "engine/backend/cpu/onednn.h"

#include "engine/core/check.h"

namespace residuum::cpu::onednn {
namespace {

using Desc = dnnl::memory::desc;
using Dims = dnnl::memory::dims;
using Type = dnnl::memory::data_type;
using Tag = dnnl::memory::format_tag;

Type type_of(DType type) {
  switch (type) {
    case DType::kF32:
      return Type::f32;
    case DType::kBF16:
      return Type::bf16;
    default:
      fail(ErrorKind::kDevice, "the CPU backend computes in f32 or bf16, not in {}", to_string(type));
  }
}

dnnl::stream& thread_stream() {
  thread_local dnnl::stream stream(engine());
  return stream;
}

Dims weight_dims(const ConvShape& s) {
  if (s.groups == 1) return {s.k, s.c, s.r, s.s};
  return {s.groups, s.k / s.groups, s.c / s.groups, s.r, s.s};
}

struct ConvDescs {
  Desc src, weights, dst;
  Dims strides, pad;
  dnnl::primitive_attr attr;
};

ConvDescs describe(ConvDirection direction, const ConvShape& s, DType type) {
  const Type t = type_of(type);
  ConvDescs d;
  d.src = Desc({s.n, s.c, s.h, s.w}, t, Tag::nhwc);
  d.dst = Desc({s.n, s.k, s.p(), s.q()}, t, Tag::nhwc);
  d.weights = Desc(weight_dims(s), direction == ConvDirection::kBackwardFilter ? Type::f32 : t, Tag::any);
  d.strides = {s.stride, s.stride};
  d.pad = {s.pad, s.pad};
  d.attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return d;
}

#if DNNL_VERSION_MAJOR >= 3
dnnl::convolution_forward::primitive_desc forward_desc(const ConvDescs& d, const Desc& weights) {
  return {engine(),
          dnnl::prop_kind::forward_training,
          dnnl::algorithm::convolution_direct,
          d.src,
          weights,
          d.dst,
          d.strides,
          d.pad,
          d.pad,
          d.attr};
}
dnnl::convolution_backward_data::primitive_desc backward_data_desc(
    const ConvDescs& d, const dnnl::convolution_forward::primitive_desc& hint) {
  return {
      engine(), dnnl::algorithm::convolution_direct, d.src, d.weights, d.dst, d.strides, d.pad, d.pad, hint,
      d.attr};
}
dnnl::convolution_backward_weights::primitive_desc backward_weights_desc(
    const ConvDescs& d, const dnnl::convolution_forward::primitive_desc& hint) {
  return {
      engine(), dnnl::algorithm::convolution_direct, d.src, d.weights, d.dst, d.strides, d.pad, d.pad, hint,
      d.attr};
}
#else
dnnl::convolution_forward::primitive_desc forward_desc(const ConvDescs& d, const Desc& weights) {
  return {{dnnl::prop_kind::forward_training, dnnl::algorithm::convolution_direct, d.src, weights, d.dst,
           d.strides, d.pad, d.pad},
          d.attr,
          engine()};
}
dnnl::convolution_backward_data::primitive_desc backward_data_desc(
    const ConvDescs& d, const dnnl::convolution_forward::primitive_desc& hint) {
  return {{dnnl::algorithm::convolution_direct, d.src, d.weights, d.dst, d.strides, d.pad, d.pad},
          d.attr,
          engine(),
          hint};
}
dnnl::convolution_backward_weights::primitive_desc backward_weights_desc(
    const ConvDescs& d, const dnnl::convolution_forward::primitive_desc& hint) {
  return {{dnnl::algorithm::convolution_direct, d.src, d.weights, d.dst, d.strides, d.pad, d.pad},
          d.attr,
          engine(),
          hint};
}
#endif

ConvPrimitive make(ConvDirection direction, const ConvShape& shape, DType type) {
  const ConvDescs d = describe(direction, shape, type);
  const auto forward = forward_desc(d, Desc(weight_dims(shape), type_of(type), Tag::any));
  switch (direction) {
    case ConvDirection::kForward:
      return {dnnl::convolution_forward(forward), forward.src_desc(), forward.weights_desc(),
              forward.dst_desc(), forward.scratchpad_desc()};
    case ConvDirection::kBackwardData: {
      const auto pd = backward_data_desc(d, forward);
      return {dnnl::convolution_backward_data(pd), pd.diff_src_desc(), pd.weights_desc(), pd.diff_dst_desc(),
              pd.scratchpad_desc()};
    }
    case ConvDirection::kBackwardFilter: {
      const auto pd = backward_weights_desc(d, forward);
      return {dnnl::convolution_backward_weights(pd), pd.src_desc(), pd.diff_weights_desc(),
              pd.diff_dst_desc(), pd.scratchpad_desc()};
    }
  }
  fail(ErrorKind::kInternal, "unknown convolution direction");
}

}  // namespace

const dnnl::engine& engine() {
  static const dnnl::engine instance(dnnl::engine::kind::cpu, 0);
  return instance;
}

std::string version() {
  const dnnl_version_t* v = dnnl_version();
  return fmt::format("oneDNN {}.{}.{}", v->major, v->minor, v->patch);
}

ConvPrimitive make_conv(ConvDirection direction, const ConvShape& shape, DType type) {
  try {
    return make(direction, shape, type);
  } catch (const dnnl::error& error) {
    fail(ErrorKind::kDevice,
         "oneDNN has no {} convolution for this processor ({}); train.precision = \"fp32\" runs on every "
         "processor",
         to_string(type), error.what());
  }
}

Desc plain_weights(const ConvShape& s, DType type) {
  const int64_t c = s.c / s.groups;
  const Dims strides = {s.r * s.s * c, 1, s.s * c, c};
  if (s.groups == 1) return Desc({s.k, c, s.r, s.s}, type_of(type), strides);
  Dims grouped = strides;
  grouped.insert(grouped.begin(), s.k / s.groups * s.r * s.s * c);
  return Desc(weight_dims(s), type_of(type), grouped);
}

int64_t output_channel_block(const Desc& weights) {
#if DNNL_VERSION_MAJOR >= 3
  const Dims strides = weights.get_strides(), padded = weights.get_padded_dims(), dims = weights.get_dims();
  const Dims blocks = weights.get_inner_blks(), indices = weights.get_inner_idxs();
  const size_t inner = blocks.size();
#else
  const dnnl_blocking_desc_t& layout = weights.data.format_desc.blocking;
  const dnnl_dims_t &strides = layout.strides, &padded = weights.data.padded_dims, &dims = weights.data.dims;
  const dnnl_dims_t &blocks = layout.inner_blks, &indices = layout.inner_idxs;
  const size_t inner = static_cast<size_t>(layout.inner_nblks);
#endif
  const bool outermost = strides[0] >= strides[1] && strides[0] >= strides[2] && strides[0] >= strides[3];
  if (!outermost || padded[0] != dims[0]) return 0;
  int64_t block = 1;
  for (size_t i = 0; i < inner; ++i) {
    if (indices[i] == 0) block *= blocks[i];
  }
  return block;
}

dnnl::memory unbound(const Desc& desc) {
  return dnnl::memory(desc, engine(), DNNL_MEMORY_NONE);
}

void set_address(dnnl::memory& memory, void* address) {
  dnnl_memory_set_data_handle(memory.get(), address);
}

Call::Call(dnnl::primitive primitive, std::vector<std::pair<int, dnnl::memory>> arguments)
    : primitive_(std::move(primitive)) {
  for (auto& [kind, memory] : arguments) {
    memories_.push_back(memory);
    arguments_.push_back({kind, memories_.back().get()});
  }
}

void Call::execute() const {
  const dnnl_status_t status = dnnl_primitive_execute(primitive_.get(), thread_stream().get(),
                                                      static_cast<int>(arguments_.size()), arguments_.data());
  check(status == dnnl_success, ErrorKind::kDevice, "oneDNN failed with status {}", static_cast<int>(status));
}

Call reorder(const Desc& from, const Desc& to) {
  const dnnl::reorder::primitive_desc pd(engine(), from, engine(), to);
  return Call(dnnl::reorder(pd), {{DNNL_ARG_FROM, unbound(from)}, {DNNL_ARG_TO, unbound(to)}});
}

}  // namespace residuum::cpu::onednn
