"""The former name of dinar_live.runtime.live; kept for programs written for 0.1."""

from dinar_live.runtime.live import *  # noqa: F403
from dinar_live.runtime.live import __all__  # noqa: F401
