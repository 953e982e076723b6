"""The commands: one module each, whose `main(argv)` returns the exit status."""

import warnings

# Libraries tell of their next versions by these; a user of a command cannot change it.
warnings.filterwarnings("ignore", category=FutureWarning)
