-- How good is each model on days that came after its fit?
with

shown as (

    select
        coalesce(
            (select max(model_run_id) from {{ target.schema }}_published.churn_risk),
            (
                select max_by(model_run_id, struct(trained_at, model_run_id))
                from {{ target.schema.split('.')[-1] }}_ml.model_runs
            )
        ) as model_run_id

)

select
    runs.model_run_id,
    runs.model_name,
    runs.is_chosen,
    runs.cohort,
    runs.metric,
    runs.value,
    runs.low,
    runs.high,
    runs.trained_at,
    runs.horizon_days,
    runs.train_first_snapshot_date,
    runs.train_last_snapshot_date,
    runs.test_first_snapshot_date,
    runs.test_last_snapshot_date
from {{ target.schema.split('.')[-1] }}_ml.model_runs as runs
inner join shown on runs.model_run_id = shown.model_run_id
where
    runs.cohort in ('all', 'new_users')
    and runs.metric in (
        'base_rate', 'roc_auc', 'pr_auc', 'lift_at_10_percent', 'recall_at_10_percent', 'log_loss',
        'brier', 'calibration_slope', 'calibration_intercept', 'calibration_error',
        'expected_profit'
    )
order by runs.cohort, runs.model_name, runs.metric
