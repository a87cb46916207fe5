-- Which model made the scores that readers see?
-- The one behind the published list; without a list, the one that was trained last.
select
    coalesce(
        (select max(model_run_id) from {{ target.schema }}_published.churn_risk),
        (
            select max_by(model_run_id, struct(trained_at, model_run_id))
            from {{ target.schema.split('.')[-1] }}_ml.model_runs
        )
    ) as model_run_id
