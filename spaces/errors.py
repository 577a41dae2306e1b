"""The errors that Athanor raises on purpose, and what each means to a caller.

    AthanorError
    ├── InputError            what was given cannot be used (exit status 2)
    │   ├── SpaceError        an architecture, recipe or space breaks a rule
    │   ├── DataError         images or labels are missing, broken or out of range
    │   ├── JobError          a job file or option breaks a rule, or names no job
    │   ├── StoreError        the study store cannot be opened or does not fit
    │   └── ModelFolderError  a model folder is missing, broken or was altered
    ├── WorkerUnfit           this worker cannot do the job; others may (exit status 1)
    └── JobFailed             the job ran and could not be finished (exit status 1)

Every message is one line that states the rule and the value that broke it.
"""


class AthanorError(Exception):
    """Base of every error that Athanor raises on purpose."""


class InputError(AthanorError):
    """What was given cannot be used; nothing has been written."""


class SpaceError(InputError):
    """An architecture, a recipe or a search space breaks a rule."""


class DataError(InputError):
    """Images or labels are missing, broken or out of range."""


class JobError(InputError):
    """A job file or option breaks a rule, or names a job that is not there."""


class StoreError(InputError):
    """The study store cannot be opened, or its schema does not fit this version."""


class NoStore(StoreError):
    """There is no study store where one is looked for."""


class ModelFolderError(InputError):
    """A model folder is missing, incomplete or was altered."""


class JobFailed(AthanorError):
    """The job ran and could not be finished."""


class WorkerUnfit(AthanorError):
    """This worker lacks the data, files or device that the job was planned with; others may not."""
