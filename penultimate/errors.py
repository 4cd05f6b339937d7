"""The one exception that is meant for people."""


class UserError(Exception):
    """Something the user can mend. The message is one line: what is wrong, with which file or key, what to do.

    `console.run_stage` prints it without a traceback and exits with 1.
    """
