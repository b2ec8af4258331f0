"""Recipes: what to do, written down and checked. The public names stand in ``unlabeled`` itself."""
