"""Imports openvino without its telemetry: `from .quiet_import import openvino`.

`import openvino` itself reports the import to a web analytics service: it writes an id below the home folder,
forks this process and connects, unless the user has opted out (seen in 2026.4.1:
openvino/tools/ovc/__init__.py). Nobody asked our users, and a fork does a server no good. Where the package
openvino_telemetry cannot be imported, openvino uses its own stub, which does nothing; so it is hidden for the
duration of the import. A program that imported openvino before has made its own choice.

Its oneDNN keeps the code of the last 1024 layers that it compiled, tens of MB where sizes come and go; 64 are enough
for the networks here, and those of models in use are kept by the models. ONEDNN_PRIMITIVE_CACHE_CAPACITY says otherwise.
"""

import os
import sys

os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")  # read by oneDNN when it is first used

_TELEMETRY = "openvino_telemetry"

if "openvino" in sys.modules or _TELEMETRY in sys.modules:
    import openvino
else:
    # Python's own way to make an import fail.
    sys.modules[_TELEMETRY] = None  # pyright: ignore[reportArgumentType]  (typeshed knows modules only)
    try:
        import openvino
    finally:
        sys.modules.pop(_TELEMETRY, None)

__all__ = ["openvino"]
