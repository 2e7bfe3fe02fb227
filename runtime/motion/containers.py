"""The containers in which researchers save numbers, with torch.save, joblib.dump or pickle, read without
running anything in them."""

from __future__ import annotations

import pathlib
import zipfile

from dinar_live.runtime.core.errors import InputError, MotionError
from dinar_live.runtime.formats.joblib_files import read_joblib
from dinar_live.runtime.formats.pickles import load_pickle
from dinar_live.runtime.formats.restricted_unpickle import UnpickleError
from dinar_live.runtime.formats.torch_zip import TorchZipError, read_torch_zip

# A clip's dict has some 5 to 50 kB of pickle besides its numbers; the limit keeps a hostile file from taking
# long.
MAX_PICKLE_BYTES = 512 << 10
_OLD_TORCH = 0x1950A86A20F9469CFC6C  # how files of torch before 1.6 begin


def read_container(path) -> object:
    """What a .pt/.pth (torch.save), joblib.dump or plain pickle file holds: containers, numbers, text, and
    arrays or `StoredArray`.

    Nothing in the file is executed or imported. Raises MotionError naming the file.
    """
    path = pathlib.Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(512)
        if start[:2] == b"PK" and zipfile.is_zipfile(path):
            return read_torch_zip(path, MAX_PICKLE_BYTES)
        if b"joblib" in start:
            return read_joblib(path, MAX_PICKLE_BYTES)
        if start[:1] in (b"x", b"\x1f", b"B"):
            raise MotionError(f"{path}: compressed; save it without compression")
        try:
            content = load_pickle(path)
        except InputError as e:
            if "torch." in str(e):
                raise MotionError(
                    f"{path}: a plain pickle of torch tensors ({e}); save it with torch.save, or as numpy arrays"
                ) from None
            if "joblib" in str(e):  # its arrays come late in the file
                return read_joblib(path, MAX_PICKLE_BYTES)
            raise MotionError(str(e)) from None
        if isinstance(content, int) and content == _OLD_TORCH:
            raise MotionError(
                f"{path}: written by torch.save before torch 1.6, or in its old way; save it again with a newer torch"
            )
        return content
    except TorchZipError as e:
        raise MotionError(f"{path}: {e}") from None
    except UnpickleError as e:
        raise MotionError(f"{path}: not a readable file of numbers ({e})") from None
    except OSError as e:
        raise MotionError(f"{path}: cannot be read ({e})") from None
