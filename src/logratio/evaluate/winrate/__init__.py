"""Win rates between models: answers drawn, judged in both orders, and figures with intervals (`api.winrate`)."""
