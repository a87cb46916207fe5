"""What dbt's docs promise of each model: who answers for it, and for marts a query to paste."""

from typing import Any

from dbt_bouncer.check_framework.decorator import check, fail


@check
def check_models_have_owner_and_example(ctx: Any) -> None:
    """Every model has a group, which has an owner; a mart's description ends with a query."""
    models = [getattr(it, "model", None) or it for it in ctx.models]
    wrong = [
        f"{model.unique_id} has no group (of its folder in dbt_project.yml)"
        for model in models
        if not model.group
    ]
    wrong += [
        f"{model.unique_id} has no example query of churn_published.{model.name}"
        for model in models
        if model.original_file_path.startswith("models/marts/")
        and f"churn_published.{model.name}" not in model.description.partition("```sql")[2]
    ]
    if wrong:
        fail("; ".join(wrong))
