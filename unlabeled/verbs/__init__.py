"""What can be done, a file a verb: the functions behind the command line and the Python interface."""
