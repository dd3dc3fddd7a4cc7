"""`python -m app`: see app/manage."""

import sys

from app.manage.commands import main

if __name__ == "__main__":
    sys.exit(main())
