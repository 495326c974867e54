#include "engine/lab/weight_units.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>

#include "engine/core/check.h"
#include "engine/core/random.h"

namespace residuum {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Matrix as_matrix(const std::vector<float>& values, int64_t rows, int64_t columns) {
  return Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>(
             values.data(), rows, columns)
      .cast<double>();
}

Matrix normal_matrix(int64_t rows, int64_t columns, uint64_t seed) {
  RandomStream random(seed, RandomPurpose::kAnalysis, static_cast<uint64_t>(rows),
                      static_cast<uint64_t>(columns));
  Matrix matrix(rows, columns);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) matrix(r, c) = random.normal();
  }
  return matrix;
}

/// Cosines between the rows; a row of zeros has cosine 0 with every other.
Matrix cosines_of(const Matrix& matrix) {
  Matrix unit = matrix;
  for (int64_t r = 0; r < unit.rows(); ++r) {
    const double norm = unit.row(r).norm();
    if (norm > 0) unit.row(r) /= norm;
  }
  return unit * unit.transpose();
}

double largest_overlap(const Matrix& matrix) {
  if (matrix.rows() < 2) return 0;
  Matrix cosines = cosines_of(matrix);
  cosines.diagonal().setConstant(-1);
  return cosines.maxCoeff();
}

double effective_rank_of(const Matrix& matrix) {
  const bool wide = matrix.cols() > matrix.rows();
  const Matrix gram = wide ? Matrix(matrix * matrix.transpose()) : Matrix(matrix.transpose() * matrix);
  const Eigen::VectorXd squares =
      Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(gram, Eigen::EigenvaluesOnly).eigenvalues();
  double sum = 0, entropy = 0;
  for (const double square : squares) sum += std::sqrt(std::max(0.0, square));
  if (sum == 0) return 0;
  for (const double square : squares) {
    const double share = std::sqrt(std::max(0.0, square)) / sum;
    if (share > 0) entropy -= share * std::log(share);
  }
  return std::exp(entropy);
}

/// The smallest cosine of each row with another row, rising.
std::vector<double> pairing_cosines(const Matrix& matrix) {
  Matrix cosines = cosines_of(matrix);
  cosines.diagonal().setConstant(1);
  std::vector<double> smallest;
  for (int64_t r = 0; r < cosines.rows(); ++r) smallest.push_back(cosines.row(r).minCoeff());
  std::sort(smallest.begin(), smallest.end());
  return smallest;
}

double mean_of(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

struct Weight {
  std::string layer;
  Matrix matrix;
  bool convolution = false;
};

std::vector<Weight> weights_of(const Graph& graph, const State& state) {
  std::vector<Weight> weights;
  for (const Value& value : graph.values) {
    if (value.kind != ValueKind::kParameter || value.desc.shape.rank() < 2) continue;
    constexpr std::string_view kSuffix = ".weight";
    const std::string layer =
        value.name.ends_with(kSuffix) ? value.name.substr(0, value.name.size() - kSuffix.size()) : value.name;
    const int64_t rows = value.desc.shape[0];
    weights.push_back({layer, as_matrix(state.read_floats(value.name), rows, value.desc.elements() / rows),
                       value.desc.shape.rank() == 4});
  }
  return weights;
}

}  // namespace

double effective_rank(const std::vector<float>& matrix, int64_t rows, int64_t columns) {
  return effective_rank_of(as_matrix(matrix, rows, columns));
}

std::vector<UnitStats> unit_statistics(const Graph& graph, const State& state, uint64_t seed) {
  std::vector<UnitStats> all;
  for (const Weight& weight : weights_of(graph, state)) {
    const Eigen::VectorXd norms = weight.matrix.rowwise().norm();
    const Matrix random = normal_matrix(weight.matrix.rows(), weight.matrix.cols(), seed);
    all.push_back({weight.layer, weight.matrix.rows(), weight.matrix.cols(), norms.minCoeff(), norms.mean(),
                   norms.maxCoeff(), largest_overlap(weight.matrix), effective_rank_of(weight.matrix),
                   largest_overlap(random), effective_rank_of(random)});
  }
  return all;
}

std::vector<PairingStats> pairing_statistics(const Graph& graph, const State& state, const std::string& model,
                                             uint64_t seed) {
  std::vector<PairingStats> all;
  for (const Weight& weight : weights_of(graph, state)) {
    if (!weight.convolution || weight.matrix.rows() < 2) continue;
    PairingStats stats{weight.layer, weight.matrix.rows(), pairing_cosines(weight.matrix)};
    stats.mean = mean_of(stats.cosines);
    stats.random_mean =
        mean_of(pairing_cosines(normal_matrix(weight.matrix.rows(), weight.matrix.cols(), seed)));
    all.push_back(std::move(stats));
  }
  check(!all.empty(), ErrorKind::kConfig, "pairing: model {} has no convolution with two filters", model);
  return all;
}

}  // namespace residuum
