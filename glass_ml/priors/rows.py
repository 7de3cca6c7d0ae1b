""".npy files larger than the memory: rows written one after the other, and read where they are wanted.

Read with pread and not through a memory map, whose pages would count as this process's memory until others want them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy


class RowFile:
    """The rows of a .npy file; any of them costs one read, wherever it stands.

    Raises:
        ValueError: not a whole .npy file of numbers in rows.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self._file = self.path.open("rb", buffering=0)
        version = npy.read_magic(self._file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        self.shape, by_columns, self.dtype = read(self._file)
        if by_columns or self.dtype.hasobject or not self.shape:
            raise ValueError(f"{self.path.name}: not numbers in rows")
        self._start = self._file.tell()
        self._row = self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))
        if self.path.stat().st_size < self._start + self._row * len(self):
            raise ValueError(f"{self.path.name}: cut short")

    def __len__(self) -> int:
        return self.shape[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return RowFile, (self.path,)

    def rows(self, first: int, last: int) -> np.ndarray:
        """Rows first ... last - 1, as an array of their own.

        Raises:
            IndexError: there are no such rows.
        """
        if not 0 <= first <= last <= len(self):
            raise IndexError(f"rows {first} to {last} of {len(self)}")
        array = np.empty((last - first, *self.shape[1:]), self.dtype)
        wanted, place = array.reshape(-1).view(np.uint8).data, self._start + first * self._row
        while wanted:  # one read takes 2 GiB at most
            count = os.preadv(self._file.fileno(), [wanted], place)
            if not count:
                raise OSError(f"{self.path}: cut short")
            wanted, place = wanted[count:], place + count
        return array


class RowWriter:
    """A .npy file that grows; its header is completed by `close`.

    Args:
        path: made new.
        dtype: of the numbers.
        shape: of one row.
    """

    def __init__(self, path: Path, dtype: type, shape: tuple[int, ...] = ()):
        self.dtype, self.shape, self.count = np.dtype(dtype), shape, 0
        self._file = path.open("wb")
        self._header()
        self._start = self._file.tell()

    def append(self, rows: np.ndarray) -> None:
        """Add rows (n, *shape), converted to the file's type."""
        array = np.ascontiguousarray(rows, self.dtype).reshape(-1, *self.shape)
        self._file.write(array.tobytes())
        self.count += len(array)

    def close(self) -> None:
        """Say in the header how many rows there are."""
        self._file.seek(0)
        self._header()
        assert self._file.tell() == self._start  # numpy pads headers, so that the first axis may grow
        self._file.close()

    def _header(self) -> None:
        description = {"descr": npy.dtype_to_descr(self.dtype), "fortran_order": False}
        npy.write_array_header_1_0(self._file, {**description, "shape": (self.count, *self.shape)})
