# SPDX-License-Identifier: MIT
"""What the check and its reports share: TAP, test programs, results, requirements."""
