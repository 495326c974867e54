// The tied-unit experiment (Orhan and Pitkow 2018): two units of a layer start with the same incoming and the
// same outgoing weights, an overlap singularity. In a plain layer their gradients are equal, so training
// never parts them; a shortcut around the layer gives each an input of its own, and one step does.
#pragma once

#include <string>
#include <vector>

#include "engine/lab/subject.h"

namespace residuum {

struct TiedUnits {
  std::string layer;      ///< whose units 0 and 1 are tied
  bool shortcut = false;  ///< whether the layer's block adds a shortcut to it
  struct Moment {
    int64_t step = 0;
    double distance = 0;  ///< largest difference between incoming weights of the two
    double cosine = 1;    ///< between them
    bool equal = true;    ///< bit for bit
  };
  std::vector<Moment> moments;  ///< before training and after each step
};

/// Ties units 0 and 1 of the last layer of block `block` (empty: the middle one), with their gates where it
/// has any, then trains. Changes the state of `subject`. Throws Error(kConfig) for a model without blocks, or
/// a layer of one unit.
TiedUnits tied_units(const Subject& subject, const std::string& block, int64_t steps);

}  // namespace residuum
