# SPDX-License-Identifier: Apache-2.0
"""`python -m ha_agent.cli`, as commands start one another."""

import sys

from ha_agent.cli.main import main

sys.exit(main())
