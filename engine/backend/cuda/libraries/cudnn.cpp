// The three passes have functions of one form in cuDNN (operand, operand, convolution, result), so that one
// table of three serves them all. Descriptors live as long as one call: they are small host objects, and
// calls are captured once.
#include "engine/backend/cuda/libraries/cudnn.h"

#include <array>

#include "engine/core/check.h"
#include "engine/core/dynamic_library.h"

namespace residuum::cuda {
namespace {

using Handle = void*;
using Descriptor = void*;
// Values of cuDNN's stable binary interface (cudnn_graph.h, cudnn_ops.h, cudnn_cnn.h).
constexpr int kSuccess = 0, kNhwc = 1, kCrossCorrelation = 1, kDeterministic = 1;
constexpr int kDefaultMath = 0, kTensorOpMath = 1, kFmaMath = 3;
constexpr int kFloat = 0;

int data_type(kernels::Element type) {
  switch (type) {
    case kernels::Element::kF32:
      return kFloat;
    case kernels::Element::kF16:
      return 2;  // CUDNN_DATA_HALF
    case kernels::Element::kBF16:
      return 9;  // CUDNN_DATA_BFLOAT16
  }
  return kFloat;
}

/// On f32, the default allows TF32.
int math_type(const kernels::ConvProblem& conv) {
  if (conv.type != kernels::Element::kF32) return kTensorOpMath;
  return conv.math == kernels::F32Math::kTf32 ? kDefaultMath : kFmaMath;
}

/// cudnnConvolution{Fwd,BwdData,BwdFilter}AlgoPerf_t, which are the same.
struct Performance {
  int algorithm = 0, status = 0;
  float milliseconds = 0;
  size_t workspace_bytes = 0;
  int determinism = 0, math = 0;
  int reserved[3] = {};
};
static_assert(sizeof(Performance) == 48);

struct PassFunctions {
  int (*guess)(Handle, Descriptor, Descriptor, Descriptor, Descriptor, int wanted, int* found,
               Performance*) = nullptr;
  int (*workspace)(Handle, Descriptor, Descriptor, Descriptor, Descriptor, int algorithm,
                   size_t* bytes) = nullptr;
  int (*run)(Handle, const void* alpha, Descriptor, const void* a, Descriptor, const void* b, Descriptor conv,
             int algorithm, void* workspace, size_t bytes, const void* beta, Descriptor, void* dst) = nullptr;
};

/// The functions of the library.
struct Functions {
  explicit Functions(const DynamicLibrary& library) {
    library.find(create, "cudnnCreate");
    library.find(destroy, "cudnnDestroy");
    library.find(version, "cudnnGetVersion");
    library.find(set_stream, "cudnnSetStream");
    library.find(make_tensor, "cudnnCreateTensorDescriptor");
    library.find(set_tensor, "cudnnSetTensor4dDescriptor");
    library.find(drop_tensor, "cudnnDestroyTensorDescriptor");
    library.find(make_filter, "cudnnCreateFilterDescriptor");
    library.find(set_filter, "cudnnSetFilter4dDescriptor");
    library.find(drop_filter, "cudnnDestroyFilterDescriptor");
    library.find(make_conv, "cudnnCreateConvolutionDescriptor");
    library.find(set_conv, "cudnnSetConvolution2dDescriptor");
    library.find(set_groups, "cudnnSetConvolutionGroupCount");
    library.find(set_math, "cudnnSetConvolutionMathType");
    library.find(drop_conv, "cudnnDestroyConvolutionDescriptor");
    constexpr std::array<const char*, 3> kPasses = {"Forward", "BackwardData", "BackwardFilter"};
    for (size_t i = 0; i < kPasses.size(); ++i) {
      const auto name = [&](const char* form) { return fmt::format(fmt::runtime(form), kPasses[i]); };
      library.find(passes[i].guess, name("cudnnGetConvolution{}Algorithm_v7").c_str());
      library.find(passes[i].workspace, name("cudnnGetConvolution{}WorkspaceSize").c_str());
      library.find(passes[i].run, name("cudnnConvolution{}").c_str());
    }
  }

  int (*create)(Handle*) = nullptr;
  int (*destroy)(Handle) = nullptr;
  size_t (*version)() = nullptr;
  int (*set_stream)(Handle, CUstream_st*) = nullptr;
  int (*make_tensor)(Descriptor*) = nullptr;
  int (*set_tensor)(Descriptor, int format, int type, int n, int c, int h, int w) = nullptr;
  int (*drop_tensor)(Descriptor) = nullptr;
  int (*make_filter)(Descriptor*) = nullptr;
  int (*set_filter)(Descriptor, int type, int format, int k, int c, int r, int s) = nullptr;
  int (*drop_filter)(Descriptor) = nullptr;
  int (*make_conv)(Descriptor*) = nullptr;
  int (*set_conv)(Descriptor, int pad_h, int pad_w, int stride_h, int stride_w, int dilation_h,
                  int dilation_w, int mode, int compute) = nullptr;
  int (*set_groups)(Descriptor, int) = nullptr;
  int (*set_math)(Descriptor, int) = nullptr;
  int (*drop_conv)(Descriptor) = nullptr;
  std::array<PassFunctions, 3> passes;  ///< by CudnnPass
};

void check_status(int status, const char* call) {
  check(status == kSuccess, ErrorKind::kDevice, "{} failed with cuDNN status {}", call, status);
}

/// Owner of a descriptor.
class Described {
 public:
  Described(int (*make)(Descriptor*), int (*drop)(Descriptor)) : drop_(drop) {
    check_status(make(&descriptor_), "making a descriptor");
  }
  ~Described() { drop_(descriptor_); }
  Described(const Described&) = delete;
  Described& operator=(const Described&) = delete;
  Descriptor get() const { return descriptor_; }

 private:
  Descriptor descriptor_ = nullptr;
  int (*drop_)(Descriptor);
};

/// The descriptors of a problem.
class Description {
 public:
  Description(const Functions& f, const CudnnProblem& problem, int math)
      : pass_(problem.pass),
        src_(f.make_tensor, f.drop_tensor),
        dst_(f.make_tensor, f.drop_tensor),
        weight_(f.make_filter, f.drop_filter),
        conv_(f.make_conv, f.drop_conv) {
    const ConvShape& s = problem.conv.shape;
    const int type = data_type(problem.conv.type);
    const auto whole = [](int64_t value) { return static_cast<int>(value); };
    check_status(f.set_tensor(src_.get(), kNhwc, type, whole(s.n), whole(s.c), whole(s.h), whole(s.w)),
                 "cudnnSetTensor4dDescriptor");
    check_status(f.set_tensor(dst_.get(), kNhwc, type, whole(s.n), whole(s.k), whole(s.p()), whole(s.q())),
                 "cudnnSetTensor4dDescriptor");
    check_status(
        f.set_filter(weight_.get(), type, kNhwc, whole(s.k), whole(s.c / s.groups), whole(s.r), whole(s.s)),
        "cudnnSetFilter4dDescriptor");
    check_status(f.set_conv(conv_.get(), whole(s.pad), whole(s.pad), whole(s.stride), whole(s.stride), 1, 1,
                            kCrossCorrelation, kFloat),
                 "cudnnSetConvolution2dDescriptor");
    check_status(f.set_groups(conv_.get(), whole(s.groups)), "cudnnSetConvolutionGroupCount");
    check_status(f.set_math(conv_.get(), math), "cudnnSetConvolutionMathType");
  }

  /// In cuDNN's order: (src, weight) -> dst, (weight, d_dst) -> d_src, (src, d_dst) -> d_weight.
  Descriptor first() const { return pass_ == CudnnPass::kBackwardData ? weight_.get() : src_.get(); }
  Descriptor second() const { return pass_ == CudnnPass::kForward ? weight_.get() : dst_.get(); }
  Descriptor result() const {
    return pass_ == CudnnPass::kForward        ? dst_.get()
           : pass_ == CudnnPass::kBackwardData ? src_.get()
                                               : weight_.get();
  }
  Descriptor conv() const { return conv_.get(); }

 private:
  CudnnPass pass_;
  Described src_, dst_, weight_, conv_;
};

class LoadedCudnn : public Cudnn {
 public:
  LoadedCudnn() { check_status(functions_.create(&handle_), "cudnnCreate"); }
  ~LoadedCudnn() override {
    if (handle_ != nullptr) functions_.destroy(handle_);
  }
  LoadedCudnn(const LoadedCudnn&) = delete;
  LoadedCudnn& operator=(const LoadedCudnn&) = delete;

  std::string version() const override {
    const size_t number = functions_.version();
    return fmt::format("cuDNN {}.{}.{}", number / 10000, number / 100 % 100, number % 100);
  }

  std::vector<CudnnAlgorithm> algorithms(const CudnnProblem& problem) const override {
    const PassFunctions& pass = functions_.passes[static_cast<size_t>(problem.pass)];
    const Description d(functions_, problem, math_type(problem.conv));
    std::array<Performance, kMostAlgorithms> found;
    int count = 0;
    const int status = pass.guess(handle_, d.first(), d.second(), d.conv(), d.result(), kMostAlgorithms,
                                  &count, found.data());
    std::vector<CudnnAlgorithm> usable;
    if (status != kSuccess) return usable;
    for (const Performance& p : std::span(found).first(static_cast<size_t>(count))) {
      if (p.status != kSuccess || p.determinism != kDeterministic) continue;
      // An algorithm may be listed once with and once without tensor cores.
      const Description own(functions_, problem, p.math);
      size_t bytes = 0;
      const bool fits = pass.workspace(handle_, own.first(), own.second(), own.conv(), own.result(),
                                       p.algorithm, &bytes) == kSuccess;
      const bool exact = math_type(problem.conv) != kFmaMath || p.math == kFmaMath;
      // Behind the fastest it lists its fallbacks without tensor cores, up to 800 times slower on an H100.
      const bool fallback = !usable.empty() && p.math != math_type(problem.conv);
      if (fits && exact && !fallback && bytes <= kMostWorkspace)
        usable.push_back({p.algorithm, p.math, bytes});
    }
    return usable;
  }

  void run(const CudnnProblem& problem, const CudnnAlgorithm& algorithm, const void* a, const void* b,
           void* dst, void* workspace, kernels::Stream stream) const override {
    const PassFunctions& pass = functions_.passes[static_cast<size_t>(problem.pass)];
    const Description d(functions_, problem, algorithm.math);
    if (problem.pass != CudnnPass::kForward) std::swap(a, b);
    const float one = 1, zero = 0;
    check_status(functions_.set_stream(handle_, stream), "cudnnSetStream");
    check_status(pass.run(handle_, &one, d.first(), a, d.second(), b, d.conv(), algorithm.number, workspace,
                          algorithm.workspace_bytes, &zero, d.result(), dst),
                 "cuDNN's convolution");
  }

 private:
  static constexpr int kMostAlgorithms = 16;                 // cuDNN has at most 8 of a pass
  static constexpr size_t kMostWorkspace = size_t{1} << 30;  // FFT algorithms want many times the tensors

  DynamicLibrary library_{"cuDNN", "RESIDUUM_CUDNN_LIBRARY", {"libcudnn.so.9", "libcudnn.so"}};
  Functions functions_{library_};
  Handle handle_ = nullptr;
};

}  // namespace

std::unique_ptr<Cudnn> open_cudnn() {
  return std::make_unique<LoadedCudnn>();
}

}  // namespace residuum::cuda
