"""The errors a user can cause and mend."""

ERROR_FILE = "error.txt"
"""Under this name a failed job of a sweep leaves its line in its folder."""


LONGEST_MESSAGE = 1500
"""Characters of a message at most: the names in a file can be of any length."""


class StickgenError(Exception):
    """A mistake in the input, told in one line: the thing, the place and the way out.

    The command-line entries print the message and exit with status 1, without a traceback. Anything else that
    is raised is a bug of ours and keeps its traceback.
    """

    exit_status = 1

    def __str__(self) -> str:
        """Return the message; of one that is too long, its beginning and its end."""
        message = super().__str__()
        half = LONGEST_MESSAGE // 2
        return message if len(message) <= LONGEST_MESSAGE else f"{message[:half]} … {message[-half:]}"


class InterruptedRunError(StickgenError):
    """The user stopped a run; the message says how to go on with it."""

    exit_status = 130  # what a shell reports for an interrupt


class PreemptedRunError(InterruptedRunError):
    """A signal asked a run to give its place up; the message says how to go on with it."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message, number)
        self.exit_status = 128 + number  # what a shell reports for the signal

    def __str__(self) -> str:
        return str(self.args[0])


class ConfigError(StickgenError):
    """A setting has a value that cannot work; the message begins with its key."""


class UsageError(StickgenError):
    """A command line that no command understands."""

    exit_status = 2  # what Unix commands report for one


class DataError(StickgenError):
    """A data file, or a clip in it, is not what docs/data.md describes."""


class CheckpointError(StickgenError):
    """A base, adapter or run on disk is missing, damaged, foreign, or does not fit what it is used with."""


class AdapterError(StickgenError):
    """LoRA adapters do not fit the model, or are in the wrong state for what is asked of them."""


class TrainingError(StickgenError):
    """A training came to numbers that are none; there is nothing worth keeping after that."""


class GenerationError(StickgenError):
    """A motion cannot be generated as asked, or what was generated is none."""


class OutputExistsError(StickgenError):
    """An output is already there; it is kept unless overwriting is asked for."""


class OutputError(StickgenError):
    """An output could not be written, as on a full disk; what was there before is kept."""


class FolderInUseError(StickgenError):
    """Another process writes into the folder of a run or a sweep."""
