-- Which model made the scores that readers see?
-- The one behind the published list; without a list, the one that was trained last.
with

listed as (

    select
        max(model_run_id) as model_run_id,
        max(snapshot_date) as snapshot_date,
        count(*) as users
    from {{ target.schema }}_published.churn_risk

),

trained as (

    select max_by(model_run_id, struct(trained_at, model_run_id)) as model_run_id
    from {{ target.schema.split('.')[-1] }}_ml.model_runs

),

served as (

    select
        max(snapshot_date) as snapshot_date,
        max(model_run_id) as model_run_id
    from {{ target.schema.split('.')[-1] }}_ml.served_model

)

select
    coalesce(listed.model_run_id, trained.model_run_id) as model_run_id,
    listed.users as listed_users,
    listed.snapshot_date as listed_snapshot_date,
    served.snapshot_date as served_snapshot_date,
    served.model_run_id as served_model_run_id
from listed
cross join trained
cross join served
