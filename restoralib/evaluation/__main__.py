"""`python -m restoralib.evaluation`."""

from restoralib.evaluation.bundled import main

main()
