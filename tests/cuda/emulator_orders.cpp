// Linked into test programs with the emulated CUDA backend: the orders in which every case runs. A right
// kernel and a right backend give the same bits in all of them.
#include "tests/emulator/options.h"
#include "tests/emulator/runtime.h"
#include "tests/support/test_device.h"

namespace residuum {
namespace {

EmulatorOrder order_of(std::string name, emulator::Order order, emulator::Copies copies,
                       emulator::StreamOrder streams) {
  return {std::move(name), [=] {
            emulator::options().order = order;
            emulator::options().copies = copies;
            emulator::set_stream_order(streams, 1);
          }};
}

const bool kNamed = [] {
  using emulator::Copies, emulator::Order, emulator::StreamOrder;
  under_race_detector() = RESIDUUM_RACE;
  emulator::options().every_grid_waits = true;
  emulator_orders() = {
      order_of("forward, late copies", Order::kForward, Copies::kLazy, StreamOrder::kForward),
      order_of("reverse, early copies", Order::kReverse, Copies::kEager, StreamOrder::kReverse),
      order_of("random", Order::kRandom, Copies::kRandom, StreamOrder::kRandom),
  };
  // Whether bits are the same in all of them is for the plain build. A race is seen in any order in which
  // both accesses happen, but may need late or early copies; an address that is wrong is so in every order.
#ifdef __SANITIZE_ADDRESS__
  constexpr int kKept = 1;
#else
  constexpr int kKept = RESIDUUM_RACE ? 2 : 3;
#endif
  emulator_orders().erase(emulator_orders().begin() + kKept, emulator_orders().end());
  return true;
}();

}  // namespace
}  // namespace residuum
