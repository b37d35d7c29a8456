"""Reading MXNet's `.params` files without MXNet.

The format, little-endian: magic 0x112 and a reserved word (64 bits each), the number of arrays
(64 bits), the arrays, the number of names, and each name as its length (64 bits) and its bytes.
An array starts with a 32-bit word: 0xF993FAC9 (storage type follows) or 0xF993FAC8 before a shape
of 64-bit sizes, or else the number of dimensions of a shape of 32-bit sizes, as the oldest files
have it. After the shape come device type and number (32 bits each), the type of the values
(32 bits) and the values.

The file comes from elsewhere and is not trusted: every length is compared with what is left of
the file before anything is read or allocated.
"""

import struct
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from histoweak.errors import WeightsError

LIST_MAGIC = 0x112
V1, V2 = 0xF993FAC8, 0xF993FAC9
DENSE = (-1, 0)
"""Storage types of an array whose values all stand in the file: unset and default."""

MAX_BYTES = 4 << 30
MAX_ARRAYS = 100_000
MAX_DIMENSIONS = 8
MAX_NAME = 1_000
TYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "u1", 4: "<i4", 5: "i1", 6: "<i8"}


def read_params(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Read the named arrays of a file.

    Args:
        path: a file that MXNet's `nd.save` or `Module.save_params` wrote.

    Returns:
        Name, such as `arg:conv1a_weight`, to array.

    Raises:
        WeightsError: it cannot be read, is cut short or damaged, or of another kind.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _error(path, "larger than 4 GiB")
        content = path.read_bytes()
    except OSError as error:
        raise _error(path, f"cannot be read ({error.strerror or error})") from error
    reader = _Reader(path, content)
    if reader.number("Q") != LIST_MAGIC:
        raise _error(path, "does not begin as a list of MXNet arrays does")
    reader.number("Q")
    arrays = [reader.array() for _ in range(reader.count("arrays"))]
    names = [reader.name() for _ in range(reader.count("names"))]
    if len(names) != len(arrays) or len(set(names)) != len(names):
        raise _error(path, f"{len(arrays)} arrays with {len(set(names))} different names")
    if reader.place != len(content):
        raise _error(path, f"{len(content) - reader.place} bytes too many")
    return dict(zip(names, arrays, strict=True))


class _Reader:
    """Takes numbers, arrays and names from bytes, one after the other."""

    def __init__(self, path: Path, content: bytes) -> None:
        self.path, self.content, self.place = path, content, 0

    def take(self, size: int) -> memoryview:
        """The next bytes."""
        left = len(self.content) - self.place
        if size > left:
            raise _error(self.path, f"ends {size - left} bytes too early")
        self.place += size
        return memoryview(self.content)[self.place - size : self.place]

    def number(self, kind: str) -> int:
        """One number; `kind` as in `struct`."""
        (value,) = struct.unpack(f"<{kind}", self.take(struct.calcsize(kind)))
        return int(value)

    def count(self, what: str) -> int:
        """How many of something follow."""
        count = self.number("Q")
        if count > MAX_ARRAYS:
            raise _error(self.path, f"{count} {what}")
        return count

    def name(self) -> str:
        """One name."""
        size = self.number("Q")
        if size > MAX_NAME:
            raise _error(self.path, f"a name of {size} bytes")
        try:
            return bytes(self.take(size)).decode("utf-8")
        except UnicodeDecodeError as error:
            raise _error(self.path, "a name that is no text") from error

    def array(self) -> npt.NDArray[np.generic]:
        """One array; without dimensions it holds nothing."""
        word = self.number("I")
        if word == V2:
            storage = self.number("i")
            if storage not in DENSE:
                raise _error(self.path, f"an array of storage type {storage}")
        known = word in (V1, V2)
        shape = self.shape(self.number("I"), "q") if known else self.shape(word, "I")
        if not shape:
            return np.zeros(0, np.float32)
        self.take(8)  # the device that the array was on
        code = self.number("i")
        if code not in TYPES:
            raise _error(self.path, f"an array of type {code}")
        kind = np.dtype(TYPES[code])
        return np.frombuffer(self.take(prod(shape) * kind.itemsize), kind).reshape(shape)

    def shape(self, dimensions: int, kind: str) -> tuple[int, ...]:
        """A shape of the given number of dimensions."""
        if dimensions > MAX_DIMENSIONS:
            raise _error(self.path, f"an array of {dimensions} dimensions")
        shape = tuple(self.number(kind) for _ in range(dimensions))
        if min(shape, default=0) < 0:
            raise _error(self.path, f"an array of shape {shape}")
        return shape


def _error(path: Path, problem: str) -> WeightsError:
    return WeightsError(
        problem,
        where=path,
        expected="dense arrays as MXNet saves the parameters of a network",
        remedy="Fetch the .params file again from where it is published",
    )
