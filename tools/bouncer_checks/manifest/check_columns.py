"""Checks that dbt-bouncer has for models alone."""

from typing import Any

from dbt_bouncer.check_framework.decorator import check, fail


@check
def check_columns_described(ctx: Any) -> None:
    """Columns of seeds and sources have a description, and a seed lists its columns."""
    seeds = [getattr(it, "seed", None) or it for it in ctx.seeds]
    sources = [getattr(it, "source", None) or it for it in ctx.sources]
    bare = [f"{seed.unique_id} lists no columns" for seed in seeds if not seed.columns]
    bare += [
        f"{node.unique_id}.{name} has no description"
        for node in seeds + sources
        for name, column in (node.columns or {}).items()
        if not column.description
    ]
    if bare:
        fail("; ".join(bare))
