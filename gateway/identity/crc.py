"""CRC-32C and CRC-64/NVME without a native library: tens of MB/s from Python's own integers.

A reflected CRC of M is M·x^w mod P over GF(2). Python has no carry-less multiplication, but shifting and XORing one
long integer runs at memory speed; so M = H·x^K + L is folded to H·(x^K mod P) + L, halving it each time, with K a
power of two (the constants are a short table). The last few hundred bytes go through the usual byte table.
"""

from collections.abc import Callable
from typing import Any

_FOLD_DOWN_TO = 2048  # bits
_LARGEST_POWER = 40  # K <= 2^40 bits; a piece is about 1 MiB


def crc_function(polynomial: int, width: int) -> Callable[[Any, int], int]:
    """`polynomial` without its top bit, most significant first. The answer continues a CRC: step(data, before)."""
    powers = _powers_of_x(polynomial, width)
    table = _byte_table(polynomial, width)
    ones = (1 << width) - 1

    def step(data: Any, before: int) -> int:
        view = memoryview(data).cast("B")
        state = before ^ ones
        if len(view) * 8 > _FOLD_DOWN_TO:
            # XOR of the state into the first bits is what continuing from it means; then the start is zero.
            view = _fold(int.from_bytes(view, "little") ^ state, len(view) * 8, powers, width)
            state = 0
        for byte in view:
            state = table[(state ^ byte) & 0xFF] ^ (state >> 8)
        return state ^ ones

    return step


def _fold(message: int, bits: int, powers: list[list[int]], width: int) -> memoryview:
    """A shorter message with the same remainder. Bit j of `message` is the coefficient of x^(bits-1-j)."""
    while bits > _FOLD_DOWN_TO:
        power = (bits - 1).bit_length() - 1
        low = 1 << power  # L: the last `low` bits
        high = bits - low
        length = max(low, high + width)
        front = (message & ((1 << high) - 1)) << (length - high)
        message = (message >> high) << (length - low)
        for degree in powers[power]:
            message ^= front >> degree
        bits = length
    return memoryview(message.to_bytes(bits // 8, "little"))


def _powers_of_x(polynomial: int, width: int) -> list[list[int]]:
    """For each j, the degrees of the terms of x^(2^j) mod P."""
    modulus = polynomial | (1 << width)
    value = 2  # x
    powers = []
    for _ in range(_LARGEST_POWER):
        powers.append([degree for degree in range(width) if value >> degree & 1])
        square = int("0".join(f"{value:b}"), 2)  # squaring over GF(2) spreads the bits
        for degree in range(square.bit_length() - 1, width - 1, -1):
            if square >> degree & 1:
                square ^= modulus << (degree - width)
        value = square
    return powers


def _byte_table(polynomial: int, width: int) -> list[int]:
    reflected = int(f"{polynomial:0{width}b}"[::-1], 2)
    table = []
    for byte in range(256):
        state = byte
        for _ in range(8):
            state = (state >> 1) ^ (reflected if state & 1 else 0)
        table.append(state)
    return table


crc32c = crc_function(0x1EDC6F41, 32)
crc64nvme = crc_function(0xAD93D23594C93659, 64)
