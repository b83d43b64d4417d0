"""Read pickles of arrays without running what else a pickle may hold."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from smoothmix.utils.errors import UserError


def load_pickle(path: Path) -> dict[str, Any]:
    """Read a pickled dictionary of NumPy arrays, lists, strings and numbers; nothing else in it is ever called.

    Raises:
        UserError: the file names any other object, or is damaged.
    """
    try:
        with open(path, "rb") as file:
            content = _ArrayUnpickler(file, encoding="latin1").load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}: {error}): delete its folder and download it again"
        ) from error
    if not isinstance(content, dict):
        raise UserError(
            f"{path} holds a {type(content).__name__}, not a dictionary; delete its folder and download it again"
        )
    return {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in content.items()}


def _dtype(name: str, align: int = 0, copy: int = 0) -> np.dtype:
    # Old pickles give the two flags as integers, of which NumPy complains.
    return np.dtype(name, align=bool(align), copy=bool(copy))


def _encode(text: str, encoding: str) -> bytes:
    # How pickle protocols 0 to 2 write bytes; codecs.encode itself would run any codec.
    return text.encode("latin1")


# What rebuilds a NumPy array, by the names that NumPy 1 and 2 gave it. Containers, strings and numbers need no name.
_reconstruct = np.zeros(0).__reduce__()[0]
_frombuffer = np.zeros(0).__reduce_ex__(5)[0]
_ADMITTED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
    ("_codecs", "encode"): _encode,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no part of an array, and was not run")
        return _ADMITTED[module, name]
