"""The run folder, and what is made of a run: its images, its model, its readings."""
