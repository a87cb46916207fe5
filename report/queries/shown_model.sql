-- Which model made the scores that readers see?
-- The one behind the published list; without a list, the one that was trained last.
with

listed as (

    select
        max(model_run_id) as model_run_id,
        count(*) as users
    from {{ target.schema }}_published.churn_risk

),

trained as (

    select max_by(model_run_id, struct(trained_at, model_run_id)) as model_run_id
    from {{ target.schema.split('.')[-1] }}_ml.model_runs

)

select
    coalesce(listed.model_run_id, trained.model_run_id) as model_run_id,
    listed.users as listed_users
from listed
cross join trained
