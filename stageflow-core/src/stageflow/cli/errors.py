"""What can be wrong with a command line, found before anything runs."""

from __future__ import annotations

from collections.abc import Iterable

from stageflow.errors import ConfigurationError, ContractErrorInfo

__all__ = (
    "CommandError",
    "CommandLoadError",
    "DrawingError",
    "DurableRunError",
    "InputError",
    "NoRecordError",
    "OptionError",
    "RunLookupError",
    "StageExitError",
    "TargetCallError",
    "TargetImportError",
    "TargetMissingError",
    "TargetNameError",
    "TargetSyntaxError",
    "TargetTypeError",
    "UnexpectedError",
)


class CommandError(ConfigurationError):
    """A command cannot do what it was asked to.

    Attributes:
        where: The place that the message is about, such as a line of the user's code; may be
            empty.
    """

    code = "SF900"
    exit_status = 2
    """Exit status of the command."""

    def __init__(self, message: str, *, hint: str = "", where: str = "") -> None:
        super().__init__(message, hint=hint)
        self.where = where


class TargetSyntaxError(CommandError):
    """A target is not written as `module:name` or `path/file.py:name`."""

    code = "SF901"


class TargetMissingError(CommandError):
    """The module or file of a target does not exist."""

    code = "SF902"


class TargetImportError(CommandError):
    """The module or file of a target raised while it was imported."""

    code = "SF903"


class TargetNameError(CommandError):
    """The module of a target has nothing of that name."""

    code = "SF904"


class TargetTypeError(CommandError):
    """A target is not a pipeline, and does not make one."""

    code = "SF905"


class TargetCallError(CommandError):
    """The function that a target names raised when it was called."""

    code = "SF906"


class InputError(CommandError):
    """Inputs of a run cannot be used; all their faults are listed.

    Attributes:
        faults: Every fault, each with a code of its own.
    """

    code = "SF907"

    def __init__(self, faults: Iterable[ContractErrorInfo]) -> None:
        self.faults = tuple(faults)
        lines = [f"  {number}. {fault}" for number, fault in enumerate(self.faults, 1)]
        count = "An input" if len(lines) == 1 else f"{len(lines)} inputs"
        super().__init__("\n".join([f"{count} cannot be used:", *lines]))


class OptionError(CommandError):
    """An option does not go with the target."""

    code = "SF915"


class DurableRunError(CommandError):
    """A run is to be durable, and nothing is recorded of it."""

    code = "SF960"


class StageExitError(CommandError):
    """A stage asked for the end of the whole process, with `sys.exit` or its like."""

    code = "SF916"
    exit_status = 1


class DrawingError(CommandError):
    """A pipeline cannot be drawn in the format that was asked for."""

    code = "SF920"


class RunLookupError(CommandError):
    """No recorded run has the id that was given, or several have."""

    code = "SF930"


class NoRecordError(CommandError):
    """The run store in use cannot answer what was asked."""

    code = "SF931"


class CommandLoadError(CommandError):
    """What a plugin offers as a command is none."""

    code = "SF940"


class UnexpectedError(CommandError):
    """Something went wrong that Stageflow did not foresee: a defect of it, or of a plugin."""

    code = "SF999"
    exit_status = 1
