"""What forgetting algorithms share: loops over retain and forget batches, teachers, autoencoders, stopping rules."""
