"""What every part stands on: errors that teach, atomic files, stateless randomness, progress, ranks."""
