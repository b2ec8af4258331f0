"""The command line: options, printing and completion of every verb; the work is done in ``unlabeled.verbs``."""
