"""Worlds small enough that the right answer is known: prompts × enumerable responses, float64, no text, no network.

Suffix of every tensor name: `X` prompts, `Y` responses, `YY` ordered pairs of responses (winner, loser).
Policies are log-probs [X, Y]; rewards and log-ratios are nats.
"""
