"""`python -m noisette`."""

import sys

from noisette.cli import main

sys.exit(main())
