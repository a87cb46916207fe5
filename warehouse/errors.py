"""The error that ends a command with one sentence."""

from __future__ import annotations


class ProjectError(Exception):
    """Something the user can mend: says in one sentence what is wrong and what to do."""

    exit_status = 1
