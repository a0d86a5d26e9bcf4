"""`python -m restoralib.evaluation`."""

from restoralib.evaluation.bundled import main

if __name__ == "__main__":
    main()
