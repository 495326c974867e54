#include "bench/ceilings.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <algorithm>

#include "bench/kernel_case.h"
#include "engine/core/check.h"
#include "engine/core/log.h"

namespace residuum::bench {
namespace {

double copy_bandwidth(Backend& backend, size_t bytes, const Sampling& sampling) {
  const auto from = backend.allocate(bytes), to = backend.allocate(bytes);
  const std::unique_ptr<Timer> timer = backend.make_timer();
  const auto work = [&] { backend.copy(to->data(), from->data(), bytes); };
  warm_up(*timer, sampling, work);
  return 2 * static_cast<double>(bytes) / statistics_of(sample(*timer, sampling, work)).median;
}

struct Product {
  double flops_per_second = 0;
  std::string by;
};
/// A product of square matrices, as a linear layer or as a 1x1 convolution of 4x4 images.
Product product_speed(Backend& backend, bool linear, DType type, int64_t extent, const Sampling& sampling) {
  Problem problem{ProblemKind::kLinear, "product", {extent, 1, 1, extent, extent}, 1, false};
  if (!linear) problem = {ProblemKind::kConv, "product", {extent / 16, 4, 4, extent, extent}, 1, false};
  KernelCase test(backend, problem, linear ? "linear" : "conv", type, 1);
  const std::unique_ptr<Timer> timer = backend.make_timer();
  const auto program = record_in_turn(backend, test.launches(), 1);
  warm_up(*timer, sampling, [&] { program->run({}); });
  const Statistics time = statistics_of(sample(*timer, sampling, [&] { program->run({}); }));
  return {2 * static_cast<double>(problem.shape.macs()) / time.median, test.implementation()};
}

/// Seconds of one launch of a tiny operation, replayed many times over; and of one alone, waited for.
std::pair<double, double> launch_latency(Backend& backend, const Sampling& sampling) {
  const Problem problem{ProblemKind::kGlobalAvgPool, "tiny", {1, 1, 1, 8, 8}, 1, false};
  KernelCase test(backend, problem, "global_avg_pool", DType::kF32, 1);
  constexpr size_t kLaunches = 100;
  const std::unique_ptr<Timer> timer = backend.make_timer();
  const auto program = record_in_turn(backend, test.launches(), kLaunches);
  warm_up(*timer, sampling, [&] { program->run({}); });
  const Statistics many = statistics_of(sample(*timer, sampling, [&] { program->run({}); }));
  const auto alone = [&] {
    test.launches().front()->run({});
    backend.synchronize();
  };
  const Statistics one = statistics_of(sample(*timer, sampling, alone));
  return {many.median / kLaunches, one.median};
}

std::unique_ptr<Backend> backend_with_cublas(const Backend& backend) {
  if (backend.name() != "cuda") return nullptr;
  try {
    return make_backend("cuda", {.cublas = true});
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kDevice) throw;
    log_warning("the ceiling of matrix products is that of own kernels: {}", error.what());
    return nullptr;
  }
}

}  // namespace

double Ceilings::seconds_for(double bytes, double flops) const {
  return std::max(bytes / copy_bytes_per_second, flops / flops_per_second);
}

bool Ceilings::memory_bound(double bytes, double flops) const {
  return bytes / copy_bytes_per_second >= flops / flops_per_second;
}

CeilingSizes ceiling_sizes(const Backend& backend) {
  if (backend.name() == "cuda") return {size_t{1} << 30, 8192};
  return {size_t{128} << 20, 1024};
}

Ceilings measure_ceilings(Backend& backend, DType type, const CeilingSizes& sizes, const Sampling& sampling) {
  Ceilings ceilings;
  ceilings.copy_bytes_per_second = copy_bandwidth(backend, sizes.copy_bytes, sampling);
  std::tie(ceilings.launch_seconds, ceilings.run_seconds) = launch_latency(backend, sampling);
  ceilings.product_type = to_string(type);
  const std::unique_ptr<Backend> library = backend_with_cublas(backend);
  const auto consider = [&](const Product& product) {
    if (product.flops_per_second <= ceilings.flops_per_second) return;
    ceilings.flops_per_second = product.flops_per_second;
    ceilings.product_by = product.by;
  };
  for (const bool linear : {true, false}) {
    consider(product_speed(backend, linear, type, sizes.product, sampling));
  }
  if (library) consider(product_speed(*library, true, type, sizes.product, sampling));
  return ceilings;
}

nlohmann::ordered_json to_json(const Ceilings& ceilings) {
  return {{"copy_gbytes_per_second", ceilings.copy_bytes_per_second * 1e-9},
          {"product_tflops", ceilings.flops_per_second * 1e-12},
          {"product_by", ceilings.product_by},
          {"product_type", ceilings.product_type},
          {"launch_us", ceilings.launch_seconds * 1e6},
          {"run_us", ceilings.run_seconds * 1e6}};
}

std::string to_text(const Ceilings& ceilings) {
  return fmt::format(
      "ceilings: copy {:.1f} GB/s, {} product {:.3f} TFLOP/s ({}), {:.2f} us a launch in a program, "
      "{:.1f} us alone\n",
      ceilings.copy_bytes_per_second * 1e-9, ceilings.product_type, ceilings.flops_per_second * 1e-12,
      ceilings.product_by, ceilings.launch_seconds * 1e6, ceilings.run_seconds * 1e6);
}

}  // namespace residuum::bench
