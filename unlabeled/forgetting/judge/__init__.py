"""What shows whether a model forgot: measures, attacks, re-probing, relearning, and the tables made of them."""
