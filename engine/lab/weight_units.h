// What the weights of a layer are like, unit by unit: singularities (Orhan and Pitkow 2018) and pairs of
// opposite filters (Shang 2016). Needs a state, no data. A unit's incoming weights are one row of the weight.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/exec/state.h"
#include "engine/graph/graph.h"

namespace residuum {

struct UnitStats {
  std::string layer;
  int64_t units = 0, inputs = 0;                              ///< rows and columns of the weight
  double smallest_norm = 0, mean_norm = 0, largest_norm = 0;  ///< of incoming weights: elimination where 0
  double largest_overlap = 0;  ///< largest cosine between two units: overlap where 1
  /// Exp of the entropy of the singular values' shares (Roy 2007): linear dependence.
  double effective_rank = 0;
  /// The same of normal random weights of this shape.
  double random_overlap = 0, random_rank = 0;
};

/// Of every weight of rank above 1 in the graph, in their order.
std::vector<UnitStats> unit_statistics(const Graph& graph, const State& state, uint64_t seed);

struct PairingStats {
  std::string layer;
  int64_t units = 0;
  std::vector<double> cosines;       ///< of each unit with the unit most opposite to it, rising
  double mean = 0, random_mean = 0;  ///< of the cosines; of those of normal random filters
};

/// Of every convolution with two units or more. Throws Error(kConfig) naming a model without one.
std::vector<PairingStats> pairing_statistics(const Graph& graph, const State& state, const std::string& model,
                                             uint64_t seed);

/// exp(-sum p ln p) of the shares p of the singular values of a rows x columns matrix; 0 for a zero matrix.
double effective_rank(const std::vector<float>& matrix, int64_t rows, int64_t columns);

}  // namespace residuum
