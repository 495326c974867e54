// CRC-32C (Castagnoli, RFC 3720 appendix B.4): the checksum of training states and of TensorBoard records.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace residuum {

/// CRC-32C of `bytes`; pass the result for the bytes before as `crc` to continue over several pieces.
/// crc32c(32 zero bytes) = 0x8a9136aa.
uint32_t crc32c(std::span<const std::byte> bytes, uint32_t crc = 0);

}  // namespace residuum
