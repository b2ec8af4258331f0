"""The one training loop: any method, exactly resumable, on any number of ranks."""
