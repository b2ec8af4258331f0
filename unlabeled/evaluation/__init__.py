"""What a backbone is worth beyond one accuracy: unknowns, retrieval, clusters, masks, shift, erasure, compatibility."""
