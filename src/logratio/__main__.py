"""`python -m logratio`, the same as the command `logratio`; what torchrun starts."""

from .cli.app import main

if __name__ == "__main__":
    main()
