"""Dense evaluation: what the patch tokens or feature maps of a frozen backbone know of each place in an image."""
