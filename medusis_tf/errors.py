"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """What is wrong, what was received, which file, and what to do.

    Commands print its text after `error:` and exit with status 2, without a traceback.
    Everything else that is raised is our own fault and keeps its traceback.
    """
