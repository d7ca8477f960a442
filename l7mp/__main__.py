"""``python -m l7mp`` is the ``l7mp`` command."""

import sys

from l7mp.cli.run import main

sys.exit(main())
