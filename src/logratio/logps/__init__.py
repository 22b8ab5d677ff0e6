"""Log-probs of response tokens: the only place with a shift, a mask or an upcast."""
