"""Groups of tokenised responses, packed end to end: the shapes that everything above shares.

Suffix of every tensor name: `T` packed tokens, `R` scored response tokens, `S` responses, `E` edges (pairs),
`G` groups, `V` vocabulary, `D` hidden width. Log-probs are float32 nats.
"""
