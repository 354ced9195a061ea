"""The exit codes of the commands. A command that succeeds exits with 0."""

BUG = 1  # an error of the library; its traceback is printed
MISTAKE = 2  # a mistake in the command line or the configuration; one line describes it
INTERRUPTED = 130  # stopped by Ctrl-C or SIGTERM
