"""Recipes: what to do, written down, checked, and carried out. The public names stand in ``unlabeled`` itself."""
