"""Two runs side by side on the same images, and many in one table: views of plain data, and what reads it from runs."""
