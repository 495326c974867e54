// Classes of one image by a net of the zoo, with weights from a safetensors file. README shows this program.
#include <cstdint>
#include <cstdio>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/core/check.h"
#include "engine/exec/executor.h"
#include "engine/train/weights.h"
#include "models/zoo.h"

int main(int argc, char** argv) try {
  using namespace residuum;
  const auto backend = make_backend("auto", {});  // or "cpu", "cuda"
  ModelOptions options;                           // a batch of 1, by default
  options.mode = Mode::kEval;
  State state(*backend);
  Executor net(build_model("cifar_resnet20", options), *backend, state);
  import_weights(state, SafetensorsFile::read(argc > 1 ? argv[1] : "cifar_resnet20.safetensors"));

  net.write("images", std::vector<uint8_t>(32 * 32 * 3, 128));  // N,H,W,C; the graph normalises them
  net.write("labels", std::vector<int32_t>{-1});                // no label: counted in no accuracy
  net.run_micro_step({});
  for (const float logit : net.read<float>("logits")) std::printf("%.4f\n", static_cast<double>(logit));
} catch (const residuum::Error& error) {  // error.kind() tells data from weights, device, ...
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
