"""Pure numerics: no model, no machine, no file."""
