"""The package's errors. Text = what was wrong, what was given, what was expected, what to do."""


class DinarError(Exception):
    """Base of every error that a user of this package can cause."""


class InputError(DinarError, ValueError):
    """An argument has the wrong shape, type, range or is not finite; names the field."""


class BundleError(DinarError):
    """An avatar bundle is missing, damaged, hostile or of an unknown version."""


class BodyError(DinarError):
    """A body model file cannot be used."""


class MotionError(DinarError):
    """A motion file or source cannot be used."""


class ProtocolError(DinarError):
    """Bytes from the network are not a valid message."""


class RemoteError(DinarError):
    """The server answered with an error; `code` is its number in docs/protocol.md."""

    def __init__(self, message: str, code: int = 0):
        super().__init__(message)
        self.code = code


class AccessError(DinarError):
    """The server does not let this client in, or the two do not agree on whether keys are needed."""


class KeyFileError(DinarError):
    """A key file or the folder of a server's keys cannot be used."""


class StreamTimeout(DinarError, TimeoutError):
    """No answer in time; names the endpoint."""


class CheckpointError(DinarError):
    """A file or mapping of network weights cannot be used."""


class ModelError(DinarError):
    """A file of a network that finds people in pictures is missing, damaged, or cannot be had."""
