// Lesions (Veit 2016, section 4; Greff 2017 for highway nets): what parts of a trained net can be taken away,
// or put in another order, at test time.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/lab/subject.h"
#include "engine/lab/surgery.h"

namespace residuum {

enum class LesionKind : uint8_t {
  kBlocks,  ///< a block's output becomes its input; of a down-sampling block the shortcut stays
  kLayers,  ///< a layer's output becomes its input: plain nets
  kGates,   ///< a highway block's gates are forced shut: it copies its input
};
/// "blocks", "layers", "gates".
std::string to_string(LesionKind kind);

/// A part that can be taken away.
struct LesionTarget {
  std::string name;
  bool down_sampling = false;  ///< its output has fewer pixels than its input
  std::function<Graph(Graph)> operation;
};

/// Gates where every block has one, else blocks where every block has a shortcut or appends channels, else
/// layers.
LesionKind natural_lesion(const Graph& graph);

/// What can be taken away of a net. Layers whose shapes differ are left out. Throws Error(kConfig) naming
/// `model` and what it lacks when there is nothing of that kind.
std::vector<LesionTarget> lesion_targets(const Graph& graph, LesionKind kind, const std::string& model);

struct LesionOptions {
  std::vector<int> counts = {};  ///< how many to take away at random, each `draws` times
  int draws = 3;
  uint64_t seed = 1;
  std::function<void(const std::string&)> progress = {};  ///< hears of each evaluation
};

struct LesionReport {
  LesionKind kind = LesionKind::kBlocks;
  Evaluation whole;  ///< the net as it is
  struct Single {
    std::string name;
    bool down_sampling = false;
    Evaluation without;
  };
  std::vector<Single> singles;  ///< each part alone
  struct Several {
    int count = 0;
    std::vector<Evaluation> draws;
  };
  std::vector<Several> several;
};

/// Throws Error(kConfig) for a count above the number of parts, and as lesion_targets.
LesionReport lesion(const Subject& subject, LesionKind kind, const LesionOptions& options);

struct ShuffleOptions {
  std::vector<int> swaps = {};  ///< how many exchanges, each `draws` times
  int draws = 3;
  uint64_t seed = 1;
  std::function<void(const std::string&)> progress = {};
};

struct ShuffleReport {
  Evaluation whole;
  struct Point {
    int swaps = 0;
    double kendall_tau = 1;  ///< of the order of all blocks
    std::vector<std::string> order;
    Evaluation shuffled;
  };
  std::vector<Point> points;
};

/// Exchanges random pairs of equal blocks. Throws Error(kConfig) when the model has no two equal blocks.
ShuffleReport shuffle_blocks(const Subject& subject, const ShuffleOptions& options);

}  // namespace residuum
